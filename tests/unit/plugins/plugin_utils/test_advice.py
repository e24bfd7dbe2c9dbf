# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of when to take which kind of guest, applied to what an inventory declares."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._advice import NEEDS, guest_advice

LIGHT = {"image": "debian-13-vm", "memory": "512MiB", "disks": [{"name": "root", "pool": "main"}]}


def advice(kind: str, spec: dict[str, t.Any], name: str = "web", **variables: t.Any) -> list[tuple[str, str]]:
    found = guest_advice([name], {name: {"guest_kind": kind, "guest_spec": spec, **variables}})
    assert {each["guest"] for each in found} <= {name}
    return [(each["better"], each["why"]) for each in found]


@pytest.mark.parametrize("need", NEEDS)
def test_a_container_with_a_need_of_a_machine_is_told_of(need: str) -> None:
    assert advice("container", {}, guest_needs=[need]) == [("virtual machine", NEEDS[need])]
    assert advice("vm", LIGHT, guest_needs=[need]) == [], "and a machine has its reason"


@pytest.mark.parametrize(
    ("name", "spec", "why"),
    [
        ("opnsense", {}, "it is called opnsense: it is an appliance"),
        ("nas", {"tags": ["TrueNAS"]}, "it is called truenas: it is an appliance"),
        ("desk", {"image": "windows"}, "it is called windows: it runs another operating system"),
        ("lab", {"tags": ["untrusted"]}, "it is called untrusted: it must be isolated"),
        (
            "tool",
            {"mounts": [{"name": "m", "source": "/lib/modules/6.1", "path": "/lib/modules/6.1"}]},
            "/lib/modules/6.1 of",
        ),
        ("tool", {"mounts": [{"name": "m", "source": "/dev/", "path": "/host"}]}, "/dev of the host is mounted in it"),
        ("tool", {"mounts": [{"name": "m", "source": "/", "path": "/host"}]}, "/ of the host is mounted in it"),
    ],
)
def test_a_container_that_looks_like_a_machine_is_told_of(name: str, spec: dict[str, t.Any], why: str) -> None:
    ((better, said),) = advice("container", spec, name=name)
    assert better == "virtual machine"
    assert said.startswith(why)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("resolver", {"image": "debian-13", "tags": ["dns"]}),
        ("windows-exporter", {"tags": ["for-opnsense"]}),
        ("media", {"mounts": [{"name": "films", "source": "/srv/films", "path": "/films"}]}),
        ("gpu", {"mounts": [{"name": "gpu", "source": "/dev/dri", "path": "/dev/dri"}]}),
    ],
)
def test_a_container_that_is_one_is_left_alone(name: str, spec: dict[str, t.Any]) -> None:
    assert advice("container", spec, name=name) == []


def test_a_privileged_container_is_told_of() -> None:
    ((better, why),) = advice("container", {"unprivileged": False})
    assert better == "unprivileged container"
    assert "its root is the root of the host" in why
    assert advice("container", {"unprivileged": True}) == []


def test_a_small_debian_machine_is_told_of() -> None:
    ((better, why),) = advice("vm", LIGHT)
    assert better == "container"
    assert "image debian-13-vm" in why
    of_disk = {"memory": "1GiB", "disks": [{"name": "root", "image": "debian-12-vm"}]}
    assert advice("vm", of_disk)[0][0] == "container"


@pytest.mark.parametrize(
    "more",
    [
        {"memory": "4GiB"},
        {"memory_max": "8GiB"},
        {"image": None},
        {"graphics": {"type": "vnc"}},
        {"boot": {"kernel": "/boot/vmlinuz"}},
        {"disks": [{"name": "root", "pool": "main"}, {"name": "data", "source": "/srv/a.img"}]},
        {"cdroms": [{"name": "installer", "source": "/srv/a.iso"}]},
        {"memory": "much"},
    ],
)
def test_a_machine_with_something_of_its_own_is_left_alone(more: dict[str, t.Any]) -> None:
    assert advice("vm", {**LIGHT, **more}) == []


def test_what_profiles_say_counts() -> None:
    catalog = {"light": LIGHT}
    assert advice("vm", {}, guest_profiles=["light"], guest_profile_catalog=catalog)[0][0] == "container"


def test_a_need_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        AnsibleFilterError, match="guest_needs of web: 'speed' is not allowed; it must be one of other_os"
    ):
        advice("container", {}, guest_needs=["speed"])
