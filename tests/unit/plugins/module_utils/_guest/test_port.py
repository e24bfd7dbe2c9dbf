# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port of a guest on its bridge: its VLAN, and what the kernel forgets with the bridge."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import replug
from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import port
from ansible_collections.homelab.hybrid.plugins.module_utils._host import vlans

BRIDGE = "/sys/class/net/tap0/master/bridge"


@pytest.mark.parametrize(
    ("filters", "vlan", "wanted"), [("1\n", 7, 7), ("1\n", 0, 1), ("0\n", 7, None), (None, 7, None)]
)
def test_a_port_comes_into_its_vlan_or_that_of_its_bridge_where_the_bridge_knows_any(
    monkeypatch: pytest.MonkeyPatch, filters: str | None, vlan: int, wanted: int | None
) -> None:
    told: list[t.Any] = []
    files = {f"{BRIDGE}/vlan_filtering": filters, f"{BRIDGE}/default_pvid": "1\n"}
    monkeypatch.setattr(port.atomic, "read_text", files.get)
    monkeypatch.setattr(port.links, "read_vlans", lambda: {"tap0": ["there"]})
    monkeypatch.setattr(vlans, "port_lines", lambda name, there, number: [f"{name} {there} {number}"])
    monkeypatch.setattr(port.command, "run", lambda argv, **how: told.append((argv, how["input"])))
    port.put_into_vlan("tap0", vlan)
    line = f"tap0 ['there'] {wanted}\n"
    assert told == ([] if wanted is None else [(["bridge", "-batch", "-"], line)])
    monkeypatch.setattr(vlans, "port_lines", lambda name, there, number: [])
    told.clear()
    port.put_into_vlan("tap0", vlan)
    assert told == []


def test_a_link_comes_back_with_its_flags_unless_it_is_gone_or_found_another_bridge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"/sys/class/net/here", "/sys/class/net/away", "/sys/class/net/away/master", "/sys/class/net/odd"}
    plugged: list[str] = []
    flagged: list[t.Any] = []

    def run(argv: list[str]) -> None:
        if "odd" in argv:
            raise CommandError(argv, 2, "no")
        plugged.append(argv[4])

    monkeypatch.setattr(replug.os.path, "isdir", there.__contains__)
    monkeypatch.setattr(replug.os.path, "exists", there.__contains__)
    monkeypatch.setattr(replug.links, "ports_of", lambda bridge: [])
    monkeypatch.setattr(replug.command, "run", run)
    monkeypatch.setattr(replug, "_set_flags", lambda name, flags: flagged.append((name, flags)))
    flags = {"isolated": "1"}
    with pytest.raises(CommandError):
        replug.plug_in("br0", [{"link": name, "flags": flags} for name in ("odd", "gone", "away", "here")])
    assert plugged == ["here"] and flagged == [("here", flags)]


def test_only_a_flag_that_is_another_now_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []

    def open_instead(path: str, *given: t.Any, **how: t.Any) -> t.Any:
        opened.append(path.rpartition("/")[2])
        return (tmp_path / "flag").open("w")

    monkeypatch.setattr(replug, "_flags", lambda name: {"isolated": "0", "learning": "1"})
    monkeypatch.setattr(replug, "open", open_instead, raising=False)
    replug._set_flags("tap0", {"isolated": "1", "learning": "1", "unknown": "1"})
    assert opened == ["isolated"] and (tmp_path / "flag").read_text() == "1"
