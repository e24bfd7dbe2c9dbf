# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._guest.auto_address import (
    candidates,
    fits,
    is_auto,
    is_of_ipv6,
    offer_of,
    read_offer,
)


def number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def test_an_offer_is_spans_of_one_network() -> None:
    offer = read_offer("auto:10.20.0.65-10.20.0.66,10.20.0.70-10.20.0.70/24")
    assert offer is not None and str(offer.network) == "10.20.0.0/24"
    assert sorted(candidates(offer, (), "web")) == ["10.20.0.65/24", "10.20.0.66/24", "10.20.0.70/24"]
    assert read_offer("auto") is None and is_auto("auto") and not is_auto("10.20.0.65/24")


@pytest.mark.parametrize(
    "written",
    [
        "auto:",
        "auto:10.20.0.65/24",
        "auto:10.20.0.66-10.20.0.65/24",
        "auto:10.20.0.1-10.20.1.1/24",
        "auto:10.20.0.1-10.20.0.2",
        "auto:10.20.0.1-fd00::2/24",
        "auto:fd00::2-fd00::1/64",
    ],
)
def test_an_offer_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_offer(written)


def test_what_is_taken_is_not_a_candidate_nor_are_the_ends_of_the_network() -> None:
    found = candidates(offer_of("10.20.0.1/29"), [(number("10.20.0.1"), number("10.20.0.3"))], "web")
    assert sorted(found) == ["10.20.0.4/29", "10.20.0.5/29", "10.20.0.6/29"]


def test_the_same_guest_begins_at_the_same_address_and_comes_to_all() -> None:
    offer = offer_of("10.20.0.1/24")
    orders = {seed: list(candidates(offer, (), seed)) for seed in ("web/lan", "db/lan")}
    assert orders["web/lan"] == list(candidates(offer, (), "web/lan"))
    assert orders["web/lan"][0] != orders["db/lan"][0]
    assert all(len(set(order)) == 254 for order in orders.values())


def test_what_was_taken_stays_while_it_is_of_the_network() -> None:
    offer = "auto:10.20.0.65-10.20.0.66/24"
    assert fits(offer, "10.20.0.9/24", 4) and fits("auto", "10.30.0.9/24", 4)
    assert not any(fits(offer, other, 4) for other in ("10.20.0.9/25", "10.30.0.9/24", "fd00::9/24"))
    assert not fits("auto", "dhcp", 4)
    # The only address of a card may be of IPv6 where the network is.
    assert fits("auto:fd00:20::2-fd00:20::3/64", "fd00:20::9/64", 4)
    assert fits("auto", "fd00:20::9/64", 6) and not fits("auto", "fd00:20::9/64", 4)


def test_of_ipv6_the_short_addresses_are_taken_and_not_that_of_any_router() -> None:
    found = list(candidates(offer_of("fd00:20::1/64"), [(int(ipaddress.IPv6Address("fd00:20::1")),) * 2], "web"))
    assert len(found) == len(set(found)) == 0x10000 - 1
    assert "fd00:20::/64" not in found and "fd00:20::1/64" not in found and "fd00:20::ffff/64" in found


def test_an_offer_of_ipv6_is_read_as_one_of_ipv4() -> None:
    offer = read_offer("auto:fd00:20::10-fd00:20::11,fd00:20::20-fd00:20::20/64")
    assert offer is not None
    assert sorted(candidates(offer, (), "web")) == ["fd00:20::10/64", "fd00:20::11/64", "fd00:20::20/64"]
    assert is_of_ipv6("auto:fd00:20::10-fd00:20::11/64") and is_of_ipv6("fd00::1/64")
    assert not is_of_ipv6("auto:10.20.0.1-10.20.0.2/24") and not is_of_ipv6("auto") and not is_of_ipv6("10.20.0.1/24")
