# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""homelab.hybrid.update raises Debian's packages in a guest, and brings it back when what is new does not work."""

from __future__ import annotations

import json
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

# The host of the tests is not updated with its guests.
ALONE = ("-e", "update_hosts=false")


@pytest.fixture(autouse=True)
def _guest() -> t.Iterator[None]:
    try:
        guest.set_up("update.img")
        yield
    finally:
        guest.tear_down()


def publish(version: str, program: str, name: str = guest.NAME) -> None:
    files = {"usr/bin/homelab-clock": program, f"usr/lib/systemd/system/{UNIT}": SERVICE}
    debian_archive.publish(guest.rootfs(name), PACKAGE, version, files, RESTART)


def version(name: str = guest.NAME) -> str:
    return guest.inside("dpkg-query", "--show", "--showformat=${Version}", PACKAGE, name=name)


def test_what_does_not_work_goes_back_with_what_was_written_and_is_not_tried_again(tmp_path: Path) -> None:
    lab = guest.Lab(tmp_path)
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", "nftables")
    debian_archive.use_alone(guest.rootfs())
    publish("1", WORKS)
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", PACKAGE)
    assert lab.playbook("update", *ALONE).succeeded().changed == 0, "there is nothing newer"

    publish("2", WORKS)
    checked = lab.playbook("update", *ALONE, "--check").succeeded()
    assert checked.changed and f"{PACKAGE}=1 now, {PACKAGE}=2 then" in checked.said and version() == "1"
    debian_archive.turn(guest.rootfs(), PACKAGE, "2")
    refused = lab.playbook("update", *ALONE).failed()
    assert "Hash Sum mismatch" in refused.said and version() == "1"
    publish("2", WORKS)
    assert lab.playbook("update", *ALONE).succeeded().changed
    assert version() == "2" and guest.status("systemctl", "is-active", UNIT) == 0
    assert lab.playbook("update", *ALONE).succeeded().changed == 0

    guest.inside("sh", "-c", f"mkdir -p /var/lib/homelab-clock; echo row > {LOG}")
    publish("3", BREAKS)
    failed = lab.playbook("update", *ALONE).failed()
    assert f"{PACKAGE}=3 failed and the guest went back" in failed.said and f"{UNIT} fails" in failed.said
    assert version() == "2" and guest.status("systemctl", "is-active", UNIT) == 0
    assert guest.inside("cat", LOG) == "row"
    assert guest.inside("nft", "list", "tables") == "", "the guest is open"
    again = lab.playbook("update", *ALONE).succeeded()
    assert again.changed == 0 and f"{PACKAGE}=3 failed before" in again.said

    publish("4", WORKS)
    assert lab.playbook("update", *ALONE).succeeded().changed
    assert version() == "4"
    kept = [line.rpartition("@")[2] for line in guest.run("ls", str(guest.FOLDER / "pool")).splitlines() if "@" in line]
    assert sum(name.startswith("before-debian-") for name in kept) == 3


def fingerprint() -> set[str]:
    """What the guest is, but for the lists of packages, which a run fetches anew."""
    return {line for line in guest.fingerprint() if "/var/lib/apt/lists" not in line and "/var/cache/apt" not in line}


def boot() -> str:
    return guest.inside("systemctl", "show", "--property=UserspaceTimestampMonotonic,UserspaceTimestamp")


def test_a_guest_restarts_when_that_is_allowed_and_one_that_fails_ends_the_run(tmp_path: Path) -> None:
    lab = guest.Lab(tmp_path)
    more = tmp_path / "more.yml"
    further = {guest.SECOND: guest.GUEST, "hlsv-third": guest.GUEST}
    more.write_text(json.dumps({"guests": {"hosts": further}}), encoding="utf-8")
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", "nftables")
    debian_archive.use_alone(guest.rootfs())
    publish("1", WORKS)
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", PACKAGE)

    asks = f"{RESTART}echo {PACKAGE} > /run/reboot-required.pkgs; touch /run/reboot-required\n"
    files = {"usr/bin/homelab-clock": WORKS, f"usr/lib/systemd/system/{UNIT}": SERVICE}
    debian_archive.publish(guest.rootfs(), PACKAGE, "2", files, asks)
    before = boot()
    waits = lab.playbook("update", *ALONE).succeeded()
    assert f"waits for a restart (asked for by {PACKAGE})" in waits.said and boot() == before
    debian_archive.publish(guest.rootfs(), PACKAGE, "3", files, asks)
    lab.playbook("update", *ALONE, "-e", "update_reboot=true").succeeded()
    assert boot() != before and version() == "3" and guest.status("systemctl", "is-active", UNIT) == 0
    assert guest.inside("nft", "list", "tables") == "", "the guest is open"

    guest.add_second()
    publish("4", BREAKS)
    publish("4", WORKS, guest.SECOND)
    failed = lab.playbook("update", "-i", str(more), *ALONE).failed()
    assert "Left as they are: hlsv-second, hlsv-third" in failed.said, failed.printed[-3000:]
    assert version(guest.SECOND) == "3" and "hlsv-third does not run" not in failed.said, "their turn did not come"
    again = lab.playbook("update", "-i", str(more), *ALONE).succeeded()
    assert (version(), version(guest.SECOND)) == ("3", "4") and "hlsv-third does not run" in again.said
    assert {host for _task, host in again.changes} == {guest.SECOND}

    for name in (guest.NAME, guest.SECOND):
        publish("5", WORKS, name)
    both = lab.playbook("update", "-i", str(more), *ALONE).succeeded()
    assert (version(), version(guest.SECOND)) == ("5", "5")
    turns = [host for _task, host in both.changes if host in (guest.NAME, guest.SECOND)]
    assert turns == sorted(turns), "one after the other"
    for name in (guest.NAME, guest.SECOND):
        assert guest.inside("nft", "list", "tables", name=name) == "", "both are open"


def test_a_host_is_updated_and_restarts_when_that_is_allowed(tmp_path: Path) -> None:
    lab = guest.Lab(tmp_path)
    more = tmp_path / "more.yml"
    more.write_text(json.dumps({"machines": {"hosts": {guest.NAME: {}}}}), encoding="utf-8")
    debian_archive.use_alone(guest.rootfs())
    publish("1", WORKS)
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", PACKAGE)
    asks = f"{RESTART}touch /run/reboot-required\n"
    files = {"usr/bin/homelab-clock": WORKS, f"usr/lib/systemd/system/{UNIT}": SERVICE}
    debian_archive.publish(guest.rootfs(), PACKAGE, "2", files, asks)
    only = ("-i", str(more), "-e", '{"hybrid_hypervisors": "machines", "hybrid_guests": "nobody"}')
    before, stood = boot(), fingerprint()
    checked = lab.playbook("update", *only, "--check").succeeded()
    assert checked.changed and f"{PACKAGE} 1 2" in checked.said and fingerprint() == stood
    waits = lab.playbook("update", *only).succeeded()
    assert f"{guest.NAME} waits for a restart" in waits.said and version() == "2" and boot() == before
    lab.playbook("update", *only, "-e", "update_reboot=true").succeeded()
    assert boot() != before
    stood = fingerprint()
    for arguments in ((), ("--check",)):
        assert lab.playbook("update", *only, *arguments).succeeded().changed == 0
        assert fingerprint() == stood, fingerprint() ^ stood
