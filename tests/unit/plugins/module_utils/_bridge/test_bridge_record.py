# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the record says of a bridge, as it is written and read back."""

from __future__ import annotations

import json

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.record import BridgeRecord

FULL = BridgeRecord(
    is_building=True,
    is_made=True,
    mode="ports",
    backend="networkd",
    network="lab",
    ports={"eth1": {"mtu": 1500, "up": True}},
    replug=[{"link": "vnet0", "flags": {"isolated": "1"}}],
    without_forwarding=["docker0"],
    without_forwarding6=["lab1"],
    words={"mac": "none"},
)


def test_every_part_is_read_back_as_it_was_written() -> None:
    written = {key: value for key, value in FULL.dump().items() if value is not None}
    assert BridgeRecord.load(json.loads(json.dumps(written))) == FULL
    assert len(written) == len(BridgeRecord.__slots__)


def test_what_says_nothing_is_not_written_but_no_link_and_no_bridge_are_something() -> None:
    assert not [key for key, value in BridgeRecord().dump().items() if value is not None]
    told = BridgeRecord(replug=[], without_forwarding=[]).dump()
    assert (told["replug"], told["bridges_without_forwarding"]) == ([], [])
