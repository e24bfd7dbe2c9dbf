# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role immich refuses in its plan, as the guest itself says it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    try:
        guest.set_up("immich-plan.img", features={"docker": True})
        yield guest.Lab(tmp_path, "immich")
    finally:
        guest.tear_down()


def test_what_immich_could_not_live_with_is_refused_in_the_plan(lab: guest.Lab) -> None:
    loose = {"immich-server": "ghcr.io/immich-app/immich-server:v3.2.4"}
    assert "immich-server, redis, database" in lab.entry("main", "--check", immich_images=loose).failed().said

    guest.inside("sh", "-c", "mkdir -p /srv/disk && mount -t tmpfs disk /srv/disk")
    for arguments in (("--check",), ()):
        elsewhere = lab.entry("main", *arguments, immich_database_path="/srv/disk/immich/database").failed()
        assert "lies in the mount /srv/disk, which is in no snapshot" in elsewhere.said

    missing = lab.entry("main", "--check", immich_external_libraries=[{"name": "Scans", "paths": ["/media/none"]}])
    assert "has no folder /media/none" in missing.failed().said

    # An old processor, as the kernel would tell it.
    guest.inside(
        "sh", "-c", "grep -v '^flags' /proc/cpuinfo > /root/cpuinfo; echo 'flags : fpu sse sse2' >> /root/cpuinfo"
    )
    guest.inside("mount", "--bind", "/root/cpuinfo", "/proc/cpuinfo")
    old = lab.entry("main", "--check").failed()
    assert "x86-64-v2" in old.said and "lacks" in old.said and "sse4_2" in old.said
    assert lab.entry("main", "--check", immich_machine_learning=False).succeeded().changed
    overlapping = [{"base": "10.93.0.0/16", "size": 24}]
    taken = lab.entry("main", "--check", immich_machine_learning=False, docker_host_address_pools=overlapping).failed()
    assert "10.93.0.0/16 overlaps 10.93.64.0/24, the route of" in taken.said
    assert guest.status("sh", "-c", "command -v docker") != 0, "nothing was done"
