# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is waited for."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import wait
from ansible_collections.homelab.hybrid.plugins.module_utils._container.card import (
    Address,
    Card,
    Nic,
    has_its_address,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core import command


@pytest.mark.parametrize(
    ("ip", "addresses", "is_there"),
    [
        ("dhcp", [], False),
        ("dhcp", ["fd00::1:2/64"], False),
        ("dhcp", ["fd00::1:2/64", "10.1.0.5/24"], True),
        ("dhcp", ["fd00::1:2/128"], True),
        ("10.1.0.5/24", ["10.1.0.5/24"], True),
        ("10.1.0.5/24", [], False),
    ],
)
def test_an_address_that_the_guest_gives_itself_is_no_lease(ip: str, addresses: list[str], is_there: bool) -> None:
    card = Card("lan", 0, "eth0", "pair0", {"ip": ip})
    nic = Nic("eth0", "02:00:00:00:00:01", addresses=tuple(Address(cidr, is_leased=True) for cidr in addresses))
    assert has_its_address(card, nic) is is_there


@pytest.mark.parametrize(
    ("said", "is_booted"),
    [("running\n", True), ("degraded\n", True), ("starting\n", False), ("", False), (None, False)],
)
def test_one_that_does_not_answer_in_time_has_not_finished_its_boot(
    monkeypatch: pytest.MonkeyPatch, said: str | None, is_booted: bool
) -> None:
    def run(argv: t.Sequence[str], **dummy: t.Any) -> str:
        if said is None:
            raise command.CommandError(argv, 124, "took longer than 30 s")
        return said

    monkeypatch.setattr(command, "run", run)
    assert wait._is_booted("nas") is is_booted
