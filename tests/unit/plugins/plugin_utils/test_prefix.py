# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_error, host_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._networks import networks_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._prefix import PrefixError, subnet_of

ROUTED: dict[str, t.Any] = {"name": "br0", "mode": "routed", "address": "10.20.0.1/24"}


def host(prefix: t.Any = "2001:db8:1::/56", address6: str = "prefix:20", **more: t.Any) -> dict[str, t.Any]:
    bridges = [{**ROUTED, "address6": address6}, {"name": "br1", "address6": "fd00::1/64"}]
    return {"inventory_hostname": "alpha", "hypervisor_prefix6": prefix, "hypervisor_bridges": bridges, **more}


@pytest.mark.parametrize(
    ("prefix", "word", "subnet"),
    [
        ("2001:db8:1::/56", "prefix", "2001:db8:1::/64"),
        ("2001:db8:1::/56", "prefix:20", "2001:db8:1:20::/64"),
        ("2001:db8:1:ab00::/56", "prefix:20", "2001:db8:1:ab20::/64"),
        ("2001:db8:1::/48", "prefix:FFFF", "2001:db8:1:ffff::/64"),
        ("2001:db8:1:20::/64", "prefix", "2001:db8:1:20::/64"),
    ],
)
def test_a_subnet_has_the_digits_that_are_written(prefix: str, word: str, subnet: str) -> None:
    assert str(subnet_of("here", word, prefix)) == subnet


@pytest.mark.parametrize(
    ("prefix", "word", "sentence"),
    [
        (None, "prefix:1", "here is prefix:1, and there is no hypervisor_prefix6 of this hypervisor"),
        ("2001:db8::/32", "prefix", "hypervisor_prefix6 is '2001:db8::/32'; it must be an IPv6 network such as"),
        ("2001:db8:1::1/56", "prefix", "hypervisor_prefix6 is '2001:db8:1::1/56'"),
        ("2001:db8:1::/72", "prefix", "hypervisor_prefix6 is '2001:db8:1::/72'"),
        ("2001:db8:1::/56", "prefix:100", "here is prefix:100, and 2001:db8:1::/56 has prefix:0 to prefix:ff"),
        ("2001:db8:1::/64", "prefix:1", "here is prefix:1, and 2001:db8:1::/64 has prefix alone"),
        ("2001:db8:1::/56", "prefix:", "here is 'prefix:'; it must be prefix, or prefix: and up to four"),
        ("2001:db8:1::/56", "prefixes", "here is 'prefixes'; it must be prefix"),
    ],
)
def test_what_is_no_subnet_of_the_prefix_is_refused(prefix: t.Any, word: str, sentence: str) -> None:
    with pytest.raises(PrefixError) as caught:
        subnet_of("here", word, prefix)
    assert str(caught.value).startswith(sentence)


def test_a_bridge_has_the_first_address_of_its_subnet() -> None:
    first, second = host_options(host(), "bridges")
    assert first == {**ROUTED, "address6": "2001:db8:1:20::1/64"}
    assert second["address6"] == "fd00::1/64"
    # Another prefix is written in one place.
    assert host_options(host("2001:db8:2::/56"), "bridges")[0]["address6"] == "2001:db8:2:20::1/64"


def test_a_network_is_a_subnet_of_the_prefix_too() -> None:
    networks = [{"name": "lab6", "bridge": "br0", "subnet": "prefix:20", "slice": None}]
    (network,) = networks_of("alpha", host(hypervisor_networks=networks))
    assert (str(network.subnet), str(network.address)) == ("2001:db8:1:20::/64", "2001:db8:1:20::1")


def test_a_subnet_that_is_none_is_named_before_any_host_is_touched() -> None:
    assert host_error(host(address6="prefix:100")) == (
        "hypervisor_bridges[br0] of alpha: address6 is prefix:100, and 2001:db8:1::/56 has prefix:0 to prefix:ff"
    )
    networks = [{"name": "lab6", "bridge": "br0", "subnet": "prefix:100"}]
    assert str(host_error(host(hypervisor_networks=networks))).startswith("hypervisor_networks[lab6] of alpha: subnet")
