# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose firewall is named as the cause of a guest without an address."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import WaitTimeout
from ansible_collections.homelab.hybrid.plugins.module_utils._host import firewall
from ansible_collections.homelab.hybrid.plugins.module_utils._host.firewall import obstacles


def chain(
    name: str, hook: str | None = None, policy: str = "drop", family: str = "ip", table: str = "filter"
) -> dict[str, t.Any]:
    told = {"family": family, "table": table, "name": name}
    return {**told, "type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else told


OPEN = [chain("FORWARD", "forward", "accept"), chain("INPUT", "input", "accept"), chain("LIBVIRT_FWI")]


@pytest.mark.parametrize(
    ("chains", "words"),
    [
        ([chain("FORWARD", "forward"), chain("DOCKER-USER"), chain("DOCKER")], ["Docker drops what is forwarded"]),
        (
            [chain("FORWARD", "forward"), chain("INPUT", "input"), chain("ufw-user-input")],
            ["ufw drops what is", "ufw drops what guests ask"],
        ),
        (
            [chain("FORWARD", "forward"), chain("DOCKER-USER"), chain("ufw-user-input")],
            ["ufw drops what is forwarded"],
        ),
        ([chain("filter_FORWARD", "forward", "drop", "inet", "firewalld")], ["firewalld rejects"]),
        ([chain("mine", "forward", family="inet", table="own")], ["the chain inet own mine drops what is forwarded"]),
    ],
)
def test_each_firewall_is_named_with_what_lets_guests_through(chains: list[dict[str, t.Any]], words: list[str]) -> None:
    found = obstacles([*OPEN[2:], *chains])
    assert len(found) == len(words)
    for sentence, word in zip(found, words, strict=True):
        assert (word in sentence and "BRIDGE" in sentence) or "each bridge of guests" in sentence


def rule(name: str, *parts: dict[str, t.Any], verdict: dict[str, t.Any]) -> dict[str, t.Any]:
    expr = [{"match": part} for part in parts] + [{"counter": {"packets": 0, "bytes": 0}}, verdict]
    return {"family": "ip", "table": "filter", "chain": name, "expr": expr}


def match(left: dict[str, t.Any], right: t.Any, op: str = "==") -> dict[str, t.Any]:
    return {"op": op, "left": left, "right": right}


ACCEPT: dict[str, t.Any] = {"accept": None}
FROM_LAN = match({"meta": {"key": "iifname"}}, "lan0")
ADDRESS = match({"payload": {"protocol": "ip", "field": "saddr"}}, {"prefix": {"addr": "10.1.1.0", "len": 24}})
SSH = match({"payload": {"protocol": "tcp", "field": "dport"}}, 22)
DHCP = match({"payload": {"protocol": "udp", "field": "dport"}}, 67)
KNOWN = match({"ct": {"key": "state"}}, ["established", "related"], "in")


@pytest.mark.parametrize(
    ("hook", "conditions", "passes"),
    [
        ("forward", [FROM_LAN], True),
        ("forward", [match({"meta": {"key": "iifname"}}, "lan*")], True),
        ("forward", [FROM_LAN, ADDRESS], True),
        ("input", [FROM_LAN, DHCP], True),
        ("forward", [FROM_LAN, DHCP], False),
        ("forward", [FROM_LAN, SSH], False),
        ("forward", [FROM_LAN, KNOWN], False),
        ("forward", [match({"meta": {"key": "iifname"}}, "lan0", "!=")], False),
        ("forward", [match({"meta": {"key": "oifname"}}, "lan0")], False),
        ("forward", [], True),
    ],
)
def test_a_bridge_whose_packets_a_rule_accepts_is_let_through(
    hook: str, conditions: list[dict[str, t.Any]], passes: bool
) -> None:
    rules = [
        rule("BASE", verdict={"jump": {"target": "USER"}}),
        rule("USER", *conditions, verdict=ACCEPT),
        rule("BASE", verdict={"jump": {"target": "USER"}}),
    ]
    found = obstacles([chain("BASE", hook), chain("USER")], rules, ["lan0"])
    assert [("each bridge of guests (lan0)" in sentence) for sentence in found] == ([] if passes else [True])


def test_only_the_bridges_that_are_held_up_are_named() -> None:
    rules = [rule("FORWARD", FROM_LAN, verdict=ACCEPT)]
    (found,) = obstacles([chain("FORWARD", "forward")], rules, ["dmz0", "lan0"])
    assert "each bridge of guests (dmz0)" in found


@pytest.mark.parametrize(
    "chains",
    [[], OPEN, [chain("FORWARD", "forward", family="ip6")], [chain("OUTPUT", "output")], [*OPEN, chain("DOCKER-USER")]],
)
def test_a_host_that_lets_guests_through_is_no_cause(chains: list[dict[str, t.Any]]) -> None:
    assert obstacles(chains) == []


def test_the_error_of_a_wait_keeps_what_it_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = WaitTimeout("waited 3 s for an address of web", waited_for="an address of web", timeout=3)
    monkeypatch.setattr(firewall, "read_obstacles", list)
    assert firewall.explained(error).message == error.message
    monkeypatch.setattr(firewall, "read_obstacles", lambda: ["Docker drops it"])
    told = firewall.explained(error)
    assert told.message == f"{error.message}. A firewall of the host may be why: Docker drops it"
    assert told.facts == error.facts
