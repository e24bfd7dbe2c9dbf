# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._storage.fstab import (
    line_of,
    points,
    with_line,
    without_line,
)

HOST = "# made by the installer\nUUID=1 / ext4 errors=remount-ro 0 1\n/dev/sr0 /media udf,iso9660 user,noauto 0 0"


def test_a_device_is_named_by_what_it_holds():
    assert line_of("main", "UUID=2", "/srv/main", is_file=False) == (
        "UUID=2 /srv/main btrfs nofail,x-homelab_hybrid.pool=main 0 0"
    )


def test_an_image_file_is_a_loop_device():
    assert line_of("main", "/srv/a b.img", "/srv/#1", is_file=True) == (
        "/srv/a\\040b.img /srv/\\0431 btrfs loop,nofail,x-homelab_hybrid.pool=main 0 0"
    )


@pytest.mark.parametrize("text", ["", HOST, HOST + "\n"])
def test_a_line_comes_once_and_goes_and_all_others_stay(text):
    line = line_of("main", "UUID=2", "/srv/main", is_file=False)
    other = line_of("main2", "UUID=3", "/srv/main2", is_file=False)
    once = with_line(text, "main", line)
    assert with_line(once, "main", line) == once
    both = with_line(once, "main2", other)
    assert both.splitlines() == [*text.splitlines(), line, other]
    assert without_line(both, "main").splitlines() == [*text.splitlines(), other]
    ended = text + "\n" if text and not text.endswith("\n") else text
    assert without_line(once, "main") == ended


def test_a_comment_is_no_line_of_a_pool():
    text = f"#{line_of('main', 'UUID=2', '/srv/main', is_file=False)}\n"
    assert without_line(text, "main") == text


def test_the_mount_points_are_told_and_swap_is_none():
    text = "# UUID=1 /old ext4 defaults 0 0\nUUID=2 /srv/my\\040data ext4 defaults 0 2\n/dev/sda2 none swap sw 0 0\n\nbroken\n"
    assert points(text) == ["/srv/my\\040data"]
