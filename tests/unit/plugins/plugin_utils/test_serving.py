# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that serve what others stand on: which of them this run keeps the services of, and what was left for later."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._serving import deferred, serving

MakeRole = t.Callable[..., None]
MEDIA = {"path": "/srv/media", "type": "nfs", "source": "nas:/tank", "wait_for_guest": "nas"}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "alpha": {"hypervisor_mounts": [MEDIA, {**MEDIA, "path": "/srv/more"}, {"path": "/srv/far"}, "no"]},
    "beta": {"hypervisor_mounts": [{**MEDIA, "wait_for_guest": "plain"}, {**MEDIA, "wait_for_guest": "stranger"}]},
    "gamma": {},
    "nas": {"guest_hypervisor": "alpha", "guest_services": ["my.lab.films"]},
    "films": {"guest_hypervisor": "alpha", "guest_services": ["unbound"]},
    "plain": {"guest_hypervisor": "beta"},
}
GUESTS, HYPERVISORS = ["nas", "films", "plain"], ["alpha", "beta", "gamma"]
GROUPS = {"all": [*HOSTVARS], "guests": GUESTS, "hypervisors": HYPERVISORS}


def found(
    limit: str = "", run_tags: t.Sequence[str] = ("all",), skip_tags: t.Sequence[str] = (), **changed: t.Any
) -> t.Any:
    return serving(GUESTS, {**HOSTVARS, **changed}, HYPERVISORS, limit, GROUPS, run_tags, skip_tags)


@pytest.fixture(autouse=True)
def _role(a_role: MakeRole) -> None:
    a_role("films")


def test_a_guest_serves_that_a_mount_names_and_that_has_services() -> None:
    assert found() == {"alpha": ["nas"]}
    assert found(nas={**HOSTVARS["nas"], "guest_hypervisor": "beta"}) == {}, "it is none of this host"
    assert found(nas={**HOSTVARS["nas"], "guest_services": ["no.such.thing"]}) == {}
    assert found(alpha={}) == {}


@pytest.mark.parametrize(
    ("limit", "is_kept"),
    [
        ("alpha:nas", True),
        ("guests", True),
        ("all:!beta", True),
        ("alpha", False),
        ("films", False),
        ("all:!nas", False),
    ],
)
def test_whose_services_a_limit_leaves_out_is_waited_for_by_nobody(limit: str, is_kept: bool) -> None:
    assert found(limit) == ({"alpha": ["nas"]} if is_kept else {})


@pytest.mark.parametrize(
    ("run_tags", "skip_tags", "is_kept"),
    [
        (("guests", "services"), (), True),
        (("hypervisors", "films"), (), True),
        (("hypervisors", "guests"), (), False),
        (("guests", "unbound"), (), False),
        (("all",), ("services",), False),
        (("all",), ("films",), False),
    ],
)
def test_whose_services_the_tags_leave_out_is_waited_for_by_nobody(
    run_tags: t.Sequence[str], skip_tags: t.Sequence[str], is_kept: bool
) -> None:
    assert found("", run_tags, skip_tags) == ({"alpha": ["nas"]} if is_kept else {})


class HostVars(dict[str, t.Any]):
    def raw_get(self, name: str) -> t.Any:
        return self[name]


def item(kind: str, name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"kind": kind, "name": name, **more}


def test_what_was_left_for_later_is_known_of_each_hypervisor_that_left_something() -> None:
    left = {"resources": [item("container", "films", deferred="waits"), item("storage_pool", "far", deferred="waits")]}
    run = {
        "guests_serving": {"alpha": ["nas"], "beta": ["tank"], "gamma": ["third"], "delta": ["fourth"]},
        "guests_hypervisors": ["alpha", "beta", "delta"],
        "guests_sorted": {"by_hypervisor": {"gamma": ["more"]}},
    }
    hostvars = HostVars(
        alpha={"hypervisor_layout": left},
        beta={"hypervisor_layout": {"resources": [item("vm", "web")]}},
        more={"guest_layout": {"resources": [item("vm", "more", deferred="waits")]}},
        # Its layout was refused, or it could not be reached.
        delta={},
    )
    assert deferred(hostvars, run) == {
        "alpha": {"guests": ["films"], "pools": ["far"], "serve": ["nas"], "hosts": ["alpha", "films", "nas"]},
        "gamma": {"guests": ["more"], "pools": [], "serve": ["third"], "hosts": ["gamma", "more", "third"]},
    }
    for before in ({}, {"guests_serving": {}}):
        assert deferred(hostvars, before) == {}
