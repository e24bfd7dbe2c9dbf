# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""homelab.hybrid.update on a hypervisor that has guests: it restarts when that is allowed, and its guests come back and answer."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_lab
from ansible_collections.homelab.hybrid.tests.harness.service_lab import in_guest, on_host
from ansible_collections.homelab.hybrid.tests.services import debian_archive

PACKAGE = "homelab-clock"
# The hosts alone.
HOSTS = ("-e", "update_debian=false", "-e", "update_hosts=true")
RESTARTS = "#!/bin/sh\ntouch /run/reboot-required\n"
BREAKS = "#!/bin/sh\nlxc-attach -n messages -- systemctl stop mosquitto.service\n"
GUESTS: dict[str, service_lab.Variables] = {
    "messages": {"guest_services": ["mosquitto"]},
    "asleep": {
        "guest_kind": "container",
        "guest_spec": {"state": "stopped", "image": "debian-13", "rootfs": {"pool": "lab"}, "memory": "128MiB"},
    },
}


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[service_lab.Lab]:
    try:
        service_lab.set_up()
        yield service_lab.Lab(tmp_path, GUESTS)
    finally:
        service_lab.tear_down()


def publish(version: str, after: str = "") -> None:
    files = {"usr/bin/homelab-clock": "#!/bin/sh\n"}
    debian_archive.publish(service_lab.rootfs(), PACKAGE, version, files, after)


def version() -> str:
    return on_host("dpkg-query", "--show", "--showformat=${Version}", PACKAGE)


def boot() -> str:
    return on_host("systemctl", "show", "--property=UserspaceTimestampMonotonic,UserspaceTimestamp")


def states() -> dict[str, str]:
    return {name: on_host("lxc-info", "-n", name, "-sH") for name in GUESTS}


def test_a_host_with_guests_restarts_when_that_is_allowed_and_they_answer_after(lab: service_lab.Lab) -> None:
    lab.play("hypervisors").succeeded()
    lab.play("site").succeeded()
    debian_archive.use_alone(service_lab.rootfs())
    publish("1")
    on_host("apt-get", "-qq", "update")
    on_host("apt-get", "-qqy", "install", PACKAGE)
    stood, before = states(), boot()
    assert stood == {"messages": "RUNNING", "asleep": "STOPPED"}

    publish("2", RESTARTS)
    waits = lab.play("update", *HOSTS).succeeded()
    assert "alpha waits for a restart" in waits.said and version() == "2" and boot() == before
    lab.play("update", *HOSTS, "-e", "update_reboot=true").succeeded()
    assert boot() != before and states() == stood
    assert in_guest("messages", "systemctl", "is-active", "mosquitto.service") == "active"
    assert lab.play("update", *HOSTS, "-e", "update_reboot=true").succeeded().changed == 0

    publish("3", BREAKS)
    failed = lab.play("update", *HOSTS).failed()
    assert "of messages answered before the update of alpha, and not any more" in failed.said, failed.printed[-4000:]
