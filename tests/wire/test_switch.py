# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that can cut a host off is confirmed over a new connection, or the host is as it was: over a real wire, with systemd and sshd."""

from __future__ import annotations

import json
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.switch import program
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import wired_host
from ansible_collections.homelab.hybrid.tests.harness.wired_host import (
    CARD,
    CONTROL,
    KINDS,
    NAME,
    SECOND,
    WiredHost,
    inside,
)

BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports"}
# How far a change has come when the clock runs out is a matter of the host.
IN_TIME = (
    "the change had not ended after 20 s",
    "nobody confirmed the change within 20 s over a new connection",
)
ALONE = {**BRIDGE, "address": "10.77.0.1/24", "unset": ["gateway"]}


@pytest.fixture(scope="module", params=(*KINDS, SECOND), ids=lambda kind: kind.name)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WiredHost]:
    with wired_host.bridged_host(tmp_path_factory.mktemp("control"), request.param) as host:
        yield host


@pytest.fixture
def host(built: WiredHost) -> t.Iterator[WiredHost]:
    """As it was before, after each test too: nothing that came about may stay."""
    before = wired_host.network()
    yield built
    assert wired_host.network() == before
    assert wired_host.leftovers() == []
    assert built.is_reached()


def assert_taken_back(result: dict[str, t.Any], why: str) -> None:
    assert result.get("failed"), result
    assert not result["changed"]
    assert result["switch"]["state"] == "rolled_back"
    assert "the network of the host is as it was" in result["msg"]
    assert why in result["msg"]


def test_check_mode_says_what_will_be_confirmed_and_changes_nothing(host: WiredHost) -> None:
    result = host.task({**BRIDGE, "mtu": 1400}, "--check")
    assert result["changed"], result
    assert [(it["path"], it["how"]) for it in result["plan"]] == [("mtu", "confirmed")]
    assert host.state() == {}


def test_a_change_that_cuts_nothing_is_made_as_ever(host: WiredHost) -> None:
    assert not host.task({**BRIDGE, "ports": [{"name": CARD}]})["changed"]
    assert host.state() == {}


def test_a_good_change_is_confirmed_and_a_second_run_changes_nothing(host: WiredHost) -> None:
    for mtu in ({"mtu": 1400}, {"unset": ["mtu"]}):
        result = host.task({**BRIDGE, **mtu, "verify": [CONTROL]})
        assert result["changed"] and not result.get("failed"), result
        assert [(it["path"], it["how"], it["done"]) for it in result["plan"]] == [("mtu", "confirmed", True)]
        assert result["switch"]["state"] == "confirmed"
        assert wired_host.leftovers() == []
        again = host.task({**BRIDGE, **mtu, "verify": [CONTROL]})
        assert not again["changed"] and not again.get("failed"), again


def test_another_address_is_confirmed_at_that_address(host: WiredHost) -> None:
    result = host.task({**BRIDGE, "address": "10.219.0.11/24"})
    assert result["changed"] and not result.get("failed"), result
    assert "reached at 10.219.0.11 from now on" in result["warnings"][0]
    assert host.is_reached("10.219.0.11") and not host.is_reached()
    # The way back is by another control node's inventory: here with the tools of the host.
    for name, text in host.kind.bridge.items():
        (wired_host.ROOT / host.kind.folder / name).write_text(text)
    inside(*host.kind.reload)
    wait_until("the address of before", host.is_reached, timeout_seconds=60)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"gateway": "10.219.0.99"}, "the gateway 10.219.0.99 does not answer on vmbr0"),
        ({"ports": [{"name": CARD, "state": "absent"}]}, "taken back"),
        ({"mtu": 1400, "verify": ["10.219.0.98"]}, "verify: 10.219.0.98 does not answer"),
        ({"address": "10.77.0.1/24", "unset": ["gateway"]}, "nobody confirmed the change within 20 s"),
    ],
    ids=["wrong gateway", "wrong port", "silent target", "wrong address"],
)
def test_a_change_that_cuts_the_host_off_is_taken_back(host: WiredHost, options: dict[str, t.Any], why: str) -> None:
    assert_taken_back(host.task({**BRIDGE, **options, "confirm_timeout": 20}), why)


def test_a_control_node_that_is_killed_confirms_nothing(host: WiredHost) -> None:
    running = host.start_task({**ALONE, "confirm_timeout": 20})
    host.wait_for("armed", "applied")
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert host.wait_for("rolled_back")["reason"] in IN_TIME


def test_a_connection_of_before_the_change_confirms_nothing(host: WiredHost) -> None:
    """It came to an address that is gone, and begins the program late, as on a busy host."""
    running = host.start_task({**ALONE, "confirm_timeout": 20})
    switch = host.wait_for("armed")["id"]
    command = (
        f"until grep -qE 'applied|roll' {program.STATE}; do sleep 0.1; done; python3 {program.PROGRAM} confirm {switch}"
    )
    assert json.loads(inside("sh", "-c", command))["state"] == "applied"
    running.wait()
    assert host.wait_for("rolled_back")["reason"] in IN_TIME


def test_a_change_that_is_killed_is_taken_back(host: WiredHost) -> None:
    running = host.start_task({**ALONE, "confirm_timeout": 20})
    host.wait_for("armed")
    # Its unit begins when the timer is armed, and on a busy host that takes a while.
    kill = "systemctl kill --signal=KILL homelab-hybrid-switch-apply.service && echo killed"
    wait_until("the change to be killed", lambda: inside("sh", "-c", kill, check=False) == "killed", timeout_seconds=20)
    running.wait()
    assert host.wait_for("rolled_back")["reason"] in IN_TIME


def test_a_rollback_that_is_killed_goes_on(host: WiredHost) -> None:
    running = host.start_task({**ALONE, "confirm_timeout": 10})
    host.wait_for("rolling_back")
    inside("systemctl", "kill", "--signal=KILL", "homelab-hybrid-switch-rollback.service")
    running.wait()
    assert "left" not in host.wait_for("rolled_back") or host.state()["left"] == []


def test_a_second_run_is_refused_while_a_change_is_under_way(host: WiredHost, tmp_path: Path) -> None:
    running = host.start_task({**BRIDGE, "gateway": "10.219.0.99", "confirm_timeout": 60})
    state = host.wait_for("armed")
    other = WiredHost(tmp_path)
    other.key = host.key
    result = other.task({**BRIDGE, "mtu": 1400})
    assert result["failed"] and state["began"] in result["msg"] and state["ends"] in result["msg"], result
    assert "the bridge vmbr0 of this host is being changed since" in result["msg"]
    running.wait()
    host.wait_for("rolled_back")


def test_a_restart_while_armed_brings_back_what_was(host: WiredHost) -> None:
    running = host.start_task({**ALONE, "confirm_timeout": 120})
    host.wait_for("applied")
    wired_host.command("lxc-stop", "-n", NAME, "-k")
    wired_host.command("lxc-start", "-n", NAME)
    host.wait_until_up()
    assert "the host was restarted before" in host.wait_for("rolled_back")["reason"]
    out, errors = running.communicate()
    assert "the host was restarted before" in out + errors
