# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says and hardly means is warned of, and what may be meant is not."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_warnings import guest_warnings, slips

HOST: dict[str, t.Any] = {
    "hypervisor_bridges": [
        {
            "name": "nat0",
            "mode": "nat",
            "address": "10.20.0.1/24",
            "dhcp": {"start": "10.20.0.100", "end": "10.20.0.199"},
        },
        {"name": "alone0", "mode": "isolated", "address": "10.30.0.1/24"},
        {"name": "br0", "mode": "ports", "ports": ["enp1s0"]},
    ],
    "hypervisor_storage_pools": [{"name": "main", "path": "/srv/guests"}],
    "hypervisor_images": [{"name": "debian", "kind": "container"}, {"name": "debian-vm", "kind": "vm"}],
}


def net(**options: t.Any) -> dict[str, t.Any]:
    return {"networks": [{"name": "lan", **options}]}


def warned(
    spec: dict[str, t.Any], kind: str = "container", host: dict[str, t.Any] | None = None, **variables: t.Any
) -> list[str]:
    known = {"guest_kind": kind, "guest_spec": spec, **variables}
    return guest_warnings("web", known, HOST if host is None else host)


@pytest.mark.parametrize(
    ("spec", "kind", "said"),
    [
        (
            {"rootfs": {"pool": "mian"}},
            "container",
            "rootfs.pool of web: mian is none of the hypervisor_storage_pools (main)",
        ),
        ({"disks": [{"name": "root", "pool": "x"}]}, "vm", "disks[root].pool of web: x is none"),
        ({"image": "debain"}, "container", "image of web: debain is none of the hypervisor_images (debian, debian-vm)"),
        ({"image": "debian-vm"}, "container", "image of web: debian-vm is an image for a vm, and web is a container"),
        (
            {"disks": [{"name": "root", "image": "debian"}]},
            "vm",
            "disks[root].image of web: debian is an image for a container",
        ),
        (
            net(bridge="nat0", ip="10.20.0.150/24", gateway="10.20.0.1"),
            "container",
            "networks[lan].ip of web: 10.20.0.150 lies in",
        ),
        (net(bridge="nat0", ip="10.20.0.5/24"), "container", "networks[lan] of web has an address and no gateway"),
    ],
)
def test_what_is_hardly_meant_is_warned_of(spec: dict[str, t.Any], kind: str, said: str) -> None:
    (sentence,) = warned(spec, kind)
    assert said in sentence


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"rootfs": {"pool": "main"}, "image": "debian"}, "container"),
        (
            {
                "disks": [
                    {"name": "root", "pool": "main", "image": "debian-vm"},
                    {"name": "data", "source": "/srv/x.img"},
                ]
            },
            "vm",
        ),
        (net(bridge="nat0", ip="10.20.0.200/24", gateway="10.20.0.1"), "container"),
        (net(bridge="nat0", ip="dhcp"), "container"),
        (net(bridge="nat0", ip="10.20.0.150/24", state="absent"), "container"),
        (net(bridge="alone0", ip="10.30.0.5/24"), "container"),
        (net(bridge="br0", ip="192.0.2.5/24"), "container"),
        (net(bridge="made-by-hand", ip="192.0.2.5/24"), "container"),
        ({"memmory": 1, "image": "x"}, "container"),
    ],
)
def test_what_may_be_meant_is_not(spec: dict[str, t.Any], kind: str) -> None:
    assert warned(spec, kind) == []


def test_a_host_without_lists_knows_nothing_to_warn_of() -> None:
    assert warned({"rootfs": {"pool": "x"}, "image": "y"}, host={}) == []


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("guest_specs", "guest_spec"),
        ("guest_profile", "guest_profiles"),
        ("guest_hypervisors", "guest_hypervisor"),
        ("guest_start_up", "guest_startup"),
    ],
)
def test_a_slip_is_named_with_what_is_meant(slip: str, meant: str) -> None:
    assert list(slips("web", {slip: 1}, "guest_")) == [f"{slip} of web is read by nobody. Is {meant} meant?"]


@pytest.mark.parametrize(
    "variable", ["guest_state", "guest_tags", "guest_memory", "guest_addresses", "guest_owner", "guest_name", "guests"]
)
def test_a_fact_and_a_variable_of_somebody_else_is_no_slip(variable: str) -> None:
    assert list(slips("web", {variable: 1}, "guest_")) == []


def test_a_slip_of_a_host_is_named_too() -> None:
    (sentence,) = slips("alpha", {"hypervisor_bridge": []}, "hypervisor_")
    assert "Is hypervisor_bridges meant?" in sentence
