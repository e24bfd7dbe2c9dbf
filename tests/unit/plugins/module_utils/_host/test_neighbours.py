# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import struct

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host.neighbours import question, read_claim

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


SIX = ipaddress.IPv6Address("fd00:20::1:7").packed
NOBODY, ROUTER = bytes(16), ipaddress.IPv6Address("fe80::1").packed


def nd(kind: int, sender: bytes, options: bytes = b"", hops: int = 255) -> bytes:
    body = struct.pack("!BBHI", kind, 0, 0, 0) + SIX + options
    return OWN + OTHER + struct.pack("!HIHBB", 0x86DD, 6 << 28, len(body), 58, hops) + sender + NOBODY + body


def test_whoever_advertises_an_address_of_ipv6_or_asks_with_it_has_it() -> None:
    assert read_claim(nd(136, SIX)) == (SIX, OTHER)
    # A switch or a router in between may lay another MAC around it.
    assert read_claim(nd(136, ROUTER, bytes((2, 1)) + OWN)) == (SIX, OWN)
    assert read_claim(nd(135, ROUTER)) == (ROUTER, OTHER)


def test_whoever_probes_for_an_address_of_ipv6_is_about_to_take_it() -> None:
    assert read_claim(nd(135, NOBODY)) == (SIX, OTHER)


def test_what_is_no_neighbour_s_word_claims_nothing() -> None:
    assert read_claim(nd(136, SIX, hops=64)) is None
    assert read_claim(nd(134, ROUTER)) is None
    assert read_claim(nd(136, SIX)[:77]) is None


@pytest.mark.parametrize("as_neighbour", [False, True])
def test_a_question_for_an_address_of_ipv6_is_one_that_the_kernel_takes(as_neighbour: bool) -> None:
    frame = question(OWN, SIX, 0, as_neighbour=as_neighbour)
    assert frame[:6] == bytes.fromhex("3333ff010007") and frame[6:12] == OWN
    assert frame[38:54] == ipaddress.IPv6Address("ff02::1:ff01:7").packed
    # With its checksum the sum over the pseudo header and the message is all ones.
    pseudo = frame[22:54] + struct.pack("!II", len(frame) - 54, 58)
    total = sum(struct.unpack(f"!{(len(frame) - 14) // 2}H", pseudo + frame[54:]))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    claimed = ipaddress.IPv6Address(frame[22:38]) if as_neighbour else ipaddress.IPv6Address(SIX)
    assert read_claim(frame) == (claimed.packed, OWN) and claimed.is_link_local is as_neighbour


@pytest.mark.parametrize("address", [HERS, SIX])
def test_a_question_in_a_vlan_bears_its_tag(address: bytes) -> None:
    plain, tagged = question(OWN, address, 0), question(OWN, address, 20)
    assert tagged == plain[:12] + bytes.fromhex("81000014") + plain[12:]
