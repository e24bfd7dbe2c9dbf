# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""homelab.hybrid.update raises Debian's packages in a guest, and brings it back when what is new does not work."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import debian_archive

PACKAGE, UNIT, LOG = "homelab-clock", "homelab-clock.service", "/var/lib/homelab-clock/rows"
WORKS = "#!/bin/sh\nexec sleep infinity\n"
BREAKS = f"#!/bin/sh\necho half > {LOG}\nexit 1\n"
SERVICE = "[Service]\nType=exec\nExecStart=/usr/bin/homelab-clock\n[Install]\nWantedBy=multi-user.target\n"
RESTART = (
    "#!/bin/sh\nsystemctl daemon-reload\nsystemctl enable homelab-clock\nsystemctl restart homelab-clock\nsleep 1\n"
)


@pytest.fixture(autouse=True)
def _guest() -> t.Iterator[None]:
    try:
        guest.set_up("update.img")
        yield
    finally:
        guest.tear_down()


def publish(version: str, program: str) -> None:
    files = {"usr/bin/homelab-clock": program, f"usr/lib/systemd/system/{UNIT}": SERVICE}
    debian_archive.publish(guest.rootfs(), PACKAGE, version, files, RESTART)


def version() -> str:
    return guest.inside("dpkg-query", "--show", "--showformat=${Version}", PACKAGE)


def test_what_does_not_work_goes_back_with_what_was_written_and_is_not_tried_again(tmp_path: Path) -> None:
    lab = guest.Lab(tmp_path)
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", "nftables")
    debian_archive.use_alone(guest.rootfs())
    publish("1", WORKS)
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", PACKAGE)
    assert lab.playbook("update").succeeded().changed == 0, "there is nothing newer"

    publish("2", WORKS)
    checked = lab.playbook("update", "--check").succeeded()
    assert checked.changed and f"{PACKAGE} 1 2" in checked.said and version() == "1"
    debian_archive.turn(guest.rootfs(), PACKAGE, "2")
    refused = lab.playbook("update").failed()
    assert "Hash Sum mismatch" in refused.said and version() == "1"
    publish("2", WORKS)
    assert lab.playbook("update").succeeded().changed
    assert version() == "2" and guest.status("systemctl", "is-active", UNIT) == 0
    assert lab.playbook("update").succeeded().changed == 0

    guest.inside("sh", "-c", f"mkdir -p /var/lib/homelab-clock; echo row > {LOG}")
    publish("3", BREAKS)
    failed = lab.playbook("update").failed()
    assert f"{PACKAGE}=3 failed and the guest went back" in failed.said and f"{UNIT} fails" in failed.said
    assert version() == "2" and guest.status("systemctl", "is-active", UNIT) == 0
    assert guest.inside("cat", LOG) == "row"
    assert guest.inside("nft", "list", "tables") == "", "the guest is open"
    again = lab.playbook("update").succeeded()
    assert again.changed == 0 and f"{PACKAGE}=3 failed before" in again.said

    publish("4", WORKS)
    assert lab.playbook("update").succeeded().changed
    assert version() == "4"
    kept = [line.rpartition("@")[2] for line in guest.run("ls", str(guest.FOLDER / "pool")).splitlines() if "@" in line]
    assert sum(name.startswith("before-debian-") for name in kept) == 3
