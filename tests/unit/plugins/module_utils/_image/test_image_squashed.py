# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a root that is a squashfs is unpacked: not before it is known how large that becomes."""

from __future__ import annotations

import contextlib
import io

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._image import squashed
from ansible_collections.homelab.hybrid.plugins.module_utils._image.state import SourceFile

LISTING = b"""\
drwxr-xr-x 0/0                      48 2026-11-26 21:44 squashfs-root
brw-rw---- 0/6                   8,  0 2026-11-26 21:44 squashfs-root/dev/sda
-rw-r--r-- 33/65534                600 2026-11-26 21:44 squashfs-root/etc/a b
-rw-r--r-- 0/0                     400 2026-11-26 21:44 squashfs-root/etc/of two
lines
"""


def test_what_would_become_too_large_is_not_unpacked(tmp_path, monkeypatch):
    started: list[str] = []
    source = SourceFile("/srv/a.squashfs", "squashfs", 1, 1, "path: /srv/a.squashfs")
    monkeypatch.setattr(squashed.command, "reading", lambda argv: contextlib.nullcontext(io.BytesIO(LISTING)))
    monkeypatch.setattr(squashed.command, "run", lambda argv, keep_fds: started.append(argv[0]))
    monkeypatch.setattr(squashed, "remove_tree", started.append)
    with pytest.raises(ApplyError, match="larger than 1047"):
        squashed.write_root(source, str(tmp_path / "root.tar.zst"), 1047, ())
    assert started == []
    squashed.write_root(source, str(tmp_path / "root.tar.zst"), 1048, ())
    assert started == ["unsquashfs", "tar", str(tmp_path / "unpacked")]
