# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct

from ansible_collections.homelab.hybrid.plugins.module_utils._host.neighbours import read_claim

OTHER, OWN = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
HERS, OURS = bytes((10, 0, 0, 7)), bytes((10, 0, 0, 8))


def arp(operation: int, sender: bytes, target: bytes) -> bytes:
    return OWN + OTHER + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation) + OTHER + sender + OWN + target


def test_whoever_answers_or_asks_with_an_address_has_it() -> None:
    assert read_claim(arp(2, HERS, OURS)) == (HERS, OTHER)
    assert read_claim(arp(1, HERS, OURS)) == (HERS, OTHER)


def test_whoever_probes_for_an_address_is_about_to_take_it() -> None:
    assert read_claim(arp(1, bytes(4), OURS)) == (OURS, OTHER)
    assert read_claim(arp(2, bytes(4), OURS)) is None


def test_what_is_no_whole_question_or_answer_claims_nothing() -> None:
    assert read_claim(arp(2, HERS, OURS)[:41]) is None
    assert read_claim(arp(9, HERS, OURS)) is None
