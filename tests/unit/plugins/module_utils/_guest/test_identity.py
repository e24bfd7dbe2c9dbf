# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells one guest and its parts from all others."""

from __future__ import annotations

import re

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.identity import derive_mac, link_name


def test_a_mac_is_the_same_on_each_try_and_nobody_elses():
    first = derive_mac("m", "guest", "lan", (), prefix="00:16:3e")
    assert first == derive_mac("m", "guest", "lan", (), prefix="00:16:3e")
    assert first != derive_mac("m", "guest", "dmz", (), prefix="00:16:3e")
    assert derive_mac("m", "guest", "lan", {first}, prefix="00:16:3e") != first
    assert first.startswith("00:16:3e:") and first[9:] == derive_mac("m", "guest", "lan", (), prefix="52:54:00")[9:]


def test_no_mac_that_is_left_is_told_with_what_helps():
    class Everything:
        def __contains__(self, mac: object) -> bool:
            return True

        def __iter__(self):
            return iter(())

        def __len__(self) -> int:
            return 1

    with pytest.raises(SpecError, match="write one"):
        derive_mac("m", "guest", "lan", Everything(), prefix="00:16:3e")


@pytest.mark.parametrize(
    ("guest", "card"),
    [("a-rather-long-name", "lan"), ("by hand", "lan"), ("vnet0", "lan"), ("-x", "lan"), ("ä", "lan")],
)
def test_a_link_has_a_name_that_the_kernel_takes_and_libvirt_keeps(guest, card):
    name = link_name(guest, card, ())
    assert link_name("web", "lan", ()) == "web.lan"
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", name) and not name.startswith("vnet")
    assert name == link_name(guest, card, ()) != link_name(guest, "dmz", ())
    assert link_name(guest, card, {name}) != name and link_name("web", "lan", {"web.lan"}).startswith("web.")
