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
            [chain("FORWARD", "forward"), chain("DOCKER-USER"), chain("ufw-before-input")],
            ["ufw drops what is forwarded"],
        ),
        ([chain("filter_FORWARD", "forward", "accept", "inet", "firewalld")], ["firewalld rejects"]),
        ([chain("mine", "forward", family="inet", table="own")], ["the chain inet own mine drops what is forwarded"]),
    ],
)
def test_each_firewall_is_named_with_what_lets_guests_through(chains: list[dict[str, t.Any]], words: list[str]) -> None:
    found = obstacles([*OPEN[2:], *chains])
    assert len(found) == len(words)
    for sentence, word in zip(found, words, strict=True):
        assert (word in sentence and "BRIDGE" in sentence) or "each bridge of guests" in sentence


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
