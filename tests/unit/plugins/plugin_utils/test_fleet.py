# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who of a play takes care of which guests, and in which order they start and stop."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError, AnsibleUndefinedVariable

from ansible_collections.homelab.hybrid.plugins.plugin_utils._fleet import share, steps
from ansible_collections.homelab.hybrid.plugins.plugin_utils._limit import left_out

HYPERVISORS = ["alpha", "beta"]
GUESTS = ["web", "dns", "desk"]
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "alpha": {},
    "beta": {},
    "web": {"guest_hypervisor": "alpha", "guest_kind": "container"},
    "dns": {"guest_hypervisor": "alpha", "guest_kind": "container", "guest_startup": {"order": 1, "up_delay": 5}},
    "desk": {"guest_hypervisor": "beta", "guest_kind": "vm", "guest_startup": {"order": 2, "down_delay": 7}},
}


def parts(*play: str, hostvars: t.Any = None, **given: t.Any) -> dict[str, tuple[str, bool, list[str]]]:
    found = share(hostvars or HOSTVARS, play, GUESTS, HYPERVISORS, **given)
    return {host: (part["hypervisor"], part["is_whole"], part["guests"]) for host, part in found.items()}


def test_a_hypervisor_takes_care_of_all_its_guests() -> None:
    whole = {"alpha": ("alpha", True, ["web", "dns"]), "beta": ("beta", True, ["desk"])}
    assert parts("alpha", "beta", "web", "dns", "desk") == whole
    assert parts("alpha", "beta") == whole
    assert parts("alpha") == {"alpha": whole["alpha"]}


def test_without_its_hypervisor_the_first_guest_takes_care_of_those_in_the_play() -> None:
    assert parts("dns") == {"dns": ("alpha", False, ["dns"])}
    assert parts("web", "dns", "beta") == {"beta": ("beta", True, ["desk"]), "web": ("alpha", False, ["web", "dns"])}


def test_names_choose_among_the_guests() -> None:
    assert parts("alpha", "beta", "web", names=["dns"]) == {"alpha": ("alpha", True, ["dns"])}
    assert parts("alpha", "beta", names="dns, desk").keys() == {"alpha", "beta"}
    with pytest.raises(AnsibleFilterError, match="no guest of the inventory is called dsn"):
        parts("alpha", names=["dns", "dsn"])
    with pytest.raises(AnsibleFilterError, match="desk: named, and not in this run"):
        parts("alpha", "web", names=["dns", "desk"])


def test_a_guest_that_is_left_out_is_in_no_part() -> None:
    assert parts("alpha", "dns", left_out=["web"]) == {"alpha": ("alpha", True, ["dns"])}
    with pytest.raises(AnsibleFilterError, match="web: named, and not in this run"):
        parts("alpha", left_out=["web"], names=["web", "dns"])


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        ("", []),
        ("alpha", []),
        ("all:!web", ["web"]),
        ("!web", ["web"]),
        ("alpha,beta,!containers", ["dns", "web"]),
        ("all:!d*:!web", ["desk", "dns", "web"]),
        ("all:&containers:!~^w", ["web"]),
        ("all:!containers[0]", ["dns"]),
    ],
)
def test_a_limit_leaves_out_what_it_names_with_an_exclamation_mark(limit: str, names: list[str]) -> None:
    groups = {"all": [*HYPERVISORS, *GUESTS], "containers": ["dns", "web"], "vms": ["desk"]}
    assert sorted(left_out(limit, groups)) == names


@pytest.mark.parametrize("hypervisor", ["gamma", None])
def test_a_guest_that_lives_nowhere_has_a_part_of_its_own_that_says_so(hypervisor: str | None) -> None:
    hostvars = {**HOSTVARS, "web": {**HOSTVARS["web"], "guest_hypervisor": hypervisor}}
    found = share(hostvars, ["alpha", "web", "dns"], GUESTS, HYPERVISORS)
    assert found["alpha"]["guests"] == ["dns"]
    assert (found["web"]["hypervisor"], found["web"]["guests"]) == (None, [])
    assert f"web: guest_hypervisor is {hypervisor!r}" in found["web"]["error"]
    assert parts("beta", hostvars=hostvars).keys() == {"beta"}, "and is no business of a play that it is not in"
    assert parts("alpha", "web", names="web", hostvars=hostvars).keys() == {"web"}
    assert parts("alpha", "web", names="dns", hostvars=hostvars).keys() == {"alpha"}


def seen(state: str) -> list[dict[str, t.Any]]:
    return [{"name": name, "state": state, "kind": HOSTVARS[name]["guest_kind"]} for name in GUESTS]


def order(state: str, now: str, hostvars: t.Any = None) -> list[list[str]]:
    found = steps(GUESTS, hostvars or HOSTVARS, state, seen(now))["steps"]
    return [[each["name"] for each in step["vms"] + step["containers"]] for step in found]


def delays(state: str, now: str) -> list[int]:
    return [step["delay"] for step in steps(GUESTS, HOSTVARS, state, seen(now))["steps"]]


def test_guests_start_in_their_order_and_stop_the_other_way_round() -> None:
    assert order("started", "stopped") == [["dns"], ["desk"], ["web"]]
    assert order("stopped", "started") == [["web"], ["desk"], ["dns"]]
    assert delays("started", "stopped") == [5, 0, 0]
    assert delays("stopped", "started") == [0, 7, 0]


def test_who_stands_on_what_another_guest_serves_starts_after_it_and_stops_before() -> None:
    media = {"path": "/srv/media", "type": "nfs", "source": "web:/tank", "wait_for_guest": "web"}
    alpha = {**HOSTVARS["alpha"], "hypervisor_mounts": [media, {"path": "/srv/far", "source": "far:/x"}]}
    for source, first, last in (("/srv/media/films", "web", "dns"), ("/srv/media2", "dns", "web")):
        dns = {**HOSTVARS["dns"], "guest_spec": {"mounts": [{"name": "films", "source": source, "path": "/films"}]}}
        hostvars = {**HOSTVARS, "alpha": alpha, "dns": dns}
        started, stopped = order("started", "stopped", hostvars), order("stopped", "started", hostvars)
        assert started.index([first]) < started.index([last])
        assert stopped.index([last]) < stopped.index([first])


def test_a_startup_among_the_options_counts_like_that_of_the_inventory() -> None:
    web = {**HOSTVARS["web"], "guest_spec": {"startup": {"order": 0, "up_delay": 3}}}
    assert order("started", "stopped", {**HOSTVARS, "web": web}) == [["web"], ["dns"], ["desk"]]
    both = {**web, "guest_startup": {"order": 9}}
    assert order("started", "stopped", {**HOSTVARS, "web": both}) == [["dns"], ["desk"], ["web"]]
    assert steps(["web"], {"web": both}, "started", seen("stopped"))["steps"][0]["delay"] == 3


@pytest.mark.parametrize(("state", "now"), [("started", "started"), ("stopped", "stopped"), ("stopped", "suspended")])
def test_what_is_as_it_should_be_is_in_no_step(state: str, now: str) -> None:
    assert steps(GUESTS, HOSTVARS, state, seen(now)) == {"steps": [], "unread": []}


def test_what_is_not_there_is_in_no_step_unless_it_is_to_go() -> None:
    assert steps(GUESTS, HOSTVARS, "started", [])["steps"] == []
    assert steps(GUESTS, HOSTVARS, "stopped")["steps"] == []
    (step,) = steps(GUESTS, HOSTVARS, "absent")["steps"]
    assert (len(step["vms"]), len(step["containers"])) == (1, 2)


@pytest.mark.parametrize(
    ("spec", "is_started"),
    [
        ({}, True),
        ({"state": "stopped"}, False),
        ({"state": "present"}, False),
        ({"state": "present", "onboot": True}, True),
    ],
)
def test_only_what_the_inventory_wants_to_run_is_started(spec: dict[str, t.Any], is_started: bool) -> None:
    hostvars = {**HOSTVARS, "web": {**HOSTVARS["web"], "guest_spec": spec}}
    assert (["web"] in order("started", "stopped", hostvars)) is is_started


def unread(broken: dict[str, t.Any], state: str, now: str) -> tuple[list[list[str]], list[dict[str, t.Any]]]:
    """The steps by their guests, and which guests cannot be read, where *broken* stands in the variables of web."""
    found = steps(GUESTS, {**HOSTVARS, "web": {**HOSTVARS["web"], **broken}}, state, seen(now))
    return [[each["name"] for each in step["vms"] + step["containers"]] for step in found["steps"]], found["unread"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"guest_profiles": ["no such"]}, "there is no profile 'no such'"),
        ({"guest_kind": "jail"}, "guest_kind is 'jail', it must be one of vm, container"),
        ({"guest_startup": {"order": "first"}}, "startup of web: order is 'first'; it must be a whole number from 0"),
        ({"guest_startup": {"order": -1}}, "startup of web: order is -1"),
        ({"guest_startup": {"delay": 3}}, "startup of web: must be a dictionary of order, up_delay, down_delay"),
        ({"guest_startup": 3}, "startup of web: int is given, it must be a dictionary"),
    ],
)
def test_a_guest_that_cannot_be_read_stops_and_is_neither_started_nor_taken_away_and_the_others_are(
    given_for_a_run: t.Callable[..., None], broken: dict[str, t.Any], said: str
) -> None:
    assert unread(broken, "stopped", "started") == ([["web"], ["desk"], ["dns"]], [])
    for state, now, others in (
        ("started", "stopped", [["dns"], ["desk"]]),
        ("absent", "started", [["desk", "dns"]]),
    ):
        found, (told,) = unread(broken, state, now)
        assert found == others
        assert (told["kind"], told["name"], told["failed"]) == ("container", "web", True) and said in told["msg"]


def test_a_guest_with_a_template_that_fails_is_its_own_trouble() -> None:
    class Broken(dict[str, t.Any]):
        def get(self, key: str, default: t.Any = None) -> t.Any:
            if key == "guest_spec":
                raise AnsibleUndefinedVariable("'nowhere' is undefined")
            return super().get(key, default)

    hostvars = {**HOSTVARS, "web": Broken(HOSTVARS["web"])}
    assert order("stopped", "started", hostvars) == [["web"], ["desk"], ["dns"]]
    assert [told["msg"] for told in steps(GUESTS, hostvars, "started", seen("stopped"))["unread"]] == [
        "web: 'nowhere' is undefined"
    ]


def test_a_step_changes_nothing_else_of_a_guest(given_for_a_run: t.Callable[..., None]) -> None:
    given_for_a_run(guest_delete=["rootfs", "disks"])
    spec = {"memory": "1GiB", "wait_for": ["ip"], "wait_timeout": 9, "shutdown_timeout": 3, "force_stop": True}
    hostvars = {**HOSTVARS, "web": {**HOSTVARS["web"], "guest_spec": spec, "guest_delete": ["rootfs", "disks"]}}
    of = {
        state: steps(["web"], hostvars, state, seen({"started": "stopped"}.get(state, "started")))["steps"][0][
            "containers"
        ][0]
        for state in ("started", "stopped", "absent")
    }
    assert of["started"] == {"name": "web", "state": "started", "wait_for": ["ip"], "wait_timeout": 9}
    assert of["stopped"] == {"name": "web", "state": "stopped", "shutdown_timeout": 3, "force_stop": True}
    assert of["absent"] == {**of["stopped"], "state": "absent", "delete": ["rootfs"]}


def test_a_state_that_there_is_not_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="must be one of absent, started, stopped"):
        steps(GUESTS, HOSTVARS, "frozen")
