# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Where the packets of a tunnel leave the host, by the words of the programs that know."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import command
from ansible_collections.homelab.hybrid.plugins.module_utils._host import links

WIREGUARD = {"wg0": {"linkinfo": {"info_kind": "wireguard"}}, "br0": {"addr_info": [{"scope": "global"}]}}
ROUTE = '[{"dst":"192.0.2.9","dev":"br0"}]'


def answer(monkeypatch: pytest.MonkeyPatch, answers: t.Mapping[str, str]) -> list[str]:
    asked: list[str] = []

    def run(argv: t.Sequence[str], **dummy: t.Any) -> str:
        asked.append(" ".join(argv))
        if asked[-1] not in answers:
            raise command.CommandError(argv, 1, "no such thing")
        return answers[asked[-1]]

    monkeypatch.setattr(command, "run", run)
    return asked


@pytest.mark.parametrize(
    ("mark", "endpoint", "question"),
    [
        ("off\n", "key=\t192.0.2.9:51820\n", "ip -j route get 192.0.2.9"),
        ("0xca6c\n", "key=\t192.0.2.9:51820\n", "ip -j route get 192.0.2.9 mark 0xca6c"),
        ("off\n", "key=\t[2001:db8::9]:51820\n", "ip -j route get 2001:db8::9"),
        ("off\n", "other=\t(none)\nkey=\t[fe80::9%br0]:51820\n", "ip -j route get fe80::9"),
    ],
)
def test_wireguard_goes_by_the_way_to_its_peer(monkeypatch, mark, endpoint, question):
    asked = answer(monkeypatch, {"wg show wg0 fwmark": mark, "wg show wg0 endpoints": endpoint, question: ROUTE})
    assert links.read_outer(WIREGUARD) == {"wg0": ["br0"]}
    assert question in asked


def test_wireguard_without_its_program_may_go_by_each_way(monkeypatch):
    answer(monkeypatch, {})
    assert links.read_outer(WIREGUARD) == {"wg0": ["br0"]}


def test_links_that_are_no_tunnels_are_not_asked_for(monkeypatch):
    tap = {"linkinfo": {"info_kind": "tun", "info_data": {"type": "tap"}}}
    assert links.read_outer({"eth0": {}, "tap0": tap, "br0": {"linkinfo": {"info_kind": "bridge"}}}) == {}
