# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of ifupdown2 for the VLANs of ports: read, and kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import manager
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.ifupdown import MAIN, Ifupdown
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port

BRIDGE = "auto vmbr0\niface vmbr0 inet static\n    address 192.0.2.10/24\n    bridge-ports eno1 eno2\n    bridge-vlan-aware yes\n"


def backend(more: str, *, is_second: bool = True) -> Ifupdown:
    return Ifupdown({MAIN: BRIDGE + more}, ["eno1", "eno2"], is_second=is_second)


def read(found: Ifupdown) -> LinkSettings:
    settings = found.read("vmbr0")
    assert settings is not None
    return settings


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", Port("eno1")),
        ("    bridge-vids 2-4 9\n", Port("eno1", 1, (2, 3, 4, 9))),
        ("    bridge-vids 2,3\n    bridge-pvid 3\n", Port("eno1", 3, (2,))),
        (
            "    bridge-vids 2-4094\n\niface eno1\n    bridge-access 7\n",
            Port("eno1", 7),
        ),
        ("    bridge-vids 2\n\niface eno1 inet manual\n    bridge-vids 5\n    bridge-pvid 6\n", Port("eno1", 6, (5,))),
    ],
)
def test_the_vlans_of_a_port_are_read_its_own_words_first(more: str, expected: Port) -> None:
    assert read(backend(more)).port("eno1") == expected
    assert read(backend(more, is_second=False)).port("eno1") == Port("eno1")


def test_words_are_kept_and_are_not_changed_behind_their_back() -> None:
    found = backend("    bridge-vids 2-4\n    bridge-pvid 1\n")
    before = read(found)
    (text,) = found.define("vmbr0", dataclasses.replace(before, mtu=1400)).values()
    assert text == BRIDGE + "    bridge-vids 2-4\n    bridge-pvid 1\n    mtu 1400\n"
    ports = (Port("eno1", 1, (9,)), *before.ports[1:])
    (told,) = found.obstacles("vmbr0", [], ["eno1"], dataclasses.replace(before, ports=ports))
    assert told == f"ports[eno1]: {MAIN} gives its VLANs with bridge-pvid. Change them there"
    assert found.obstacles("vmbr0", [], [], dataclasses.replace(before, mtu=1400)) == []


def test_ifupdown2_has_no_notes_of_ifupdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "IFSTATE", str(tmp_path / "ifstate"))
    manager.finish(backend(""), "vmbr0", starts_client=False)
    assert [*tmp_path.iterdir()] == []
    manager.finish(backend("", is_second=False), "vmbr0", starts_client=False)
    assert (tmp_path / "ifstate").read_text() == "vmbr0=vmbr0\n"
