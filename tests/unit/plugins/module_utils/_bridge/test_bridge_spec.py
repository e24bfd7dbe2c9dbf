# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.options import show_vids
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Item

ITEM = {"name": "alpha", "mac": "52:54:00:00:00:01", "ip": "10.20.0.10"}


def test_everything_is_brought_into_one_form():
    spec = parse(
        {
            "name": "lab0",
            "address": "10.20.0.1/255.255.255.0",
            "dhcp": {"start": "10.20.0.100", "end": "10.20.0.199", "hosts": [{**ITEM, "mac": "52:54:00:AB:CD:EF"}]},
            "dns": {"domain": "Lab.Internal", "forwarders": ["2001:DB8::0:53"]},
        }
    )
    assert spec.get("address") == "10.20.0.1/24"
    assert spec.range == ("10.20.0.100", "10.20.0.199")
    assert spec.items("dhcp.hosts") == (Item("alpha", True, {"mac": "52:54:00:ab:cd:ef", "ip": "10.20.0.10"}),)
    assert (spec.get("dns.domain"), spec.get("dns.forwarders")) == ("lab.internal", ("2001:db8::53",))


def test_what_is_not_written_is_none():
    spec = parse({"name": "lab0", "dhcp": None, "dns": {"domain": None}, "exact": None, "unset": None})
    assert (spec.values, spec.lists, spec.exact, spec.unset, spec.range) == ({}, {}, (), (), None)


@pytest.mark.parametrize("name", ["lab0", "br-lan", "vmbr0.1", "a" * 15])
def test_names_that_linux_takes(name):
    assert parse({"name": name}).name == name


@pytest.mark.parametrize(
    "name", ["", "a" * 16, "../x", "br 0", "br:0", "-br", ".", "all", "default", "lo", "br\n", "bré"]
)
def test_names_that_linux_does_not_take(name):
    with pytest.raises(SpecError, match=r"^name: "):
        parse({"name": name})


def test_ports_are_brought_into_one_form():
    spec = parse(
        {
            "name": "vmbr0",
            "mode": "ports",
            "ports": [{"name": "eth1", "pvid": 7, "vids": ["30-32", 20, "20"]}, {"name": "bond0", "state": "absent"}],
            "address": "dhcp",
            "address6": "FD00:20::1/64",
            "gateway6": "FE80::1",
            "mac": "52:54:00:AB:CD:EF",
        }
    )
    assert spec.items("ports") == (Item("eth1", True, {"pvid": 7, "vids": (20, 30, 31, 32)}), Item("bond0", False))
    assert tuple(spec.get(key) for key in ("address", "address6", "gateway6", "mac")) == (
        "dhcp",
        "fd00:20::1/64",
        "fe80::1",
        "52:54:00:ab:cd:ef",
    )
    assert parse({"name": "vmbr0", "address": "none"}).get("address") == ""
    assert show_vids((20, 30, 31, 32)) == ["20", "30-32"]


PORTS = {"mode": "ports"}


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"address": "10.20.0.1"}, "address: '10.20.0.1' is not allowed"),
        ({"address": "10.20.0.0/24"}, "an address of a host in 10.20.0.0/24"),
        ({"address": "10.20.0.255/24"}, "an address of a host in 10.20.0.0/24"),
        ({"address": "10.20.0.1/31"}, "/8 to /30"),
        ({"address": "10.20.0.1/7"}, "/8 to /30"),
        ({"address": "fd00::1/64"}, "an IPv4 address"),
        ({"address": "127.0.0.1/8"}, "an address that guests can reach"),
        ({"address": "224.0.0.1/24"}, "an address that guests can reach"),
        ({"address": "10.20.0.1/24; id"}, "an IPv4 address"),
        ({"dhcp": {"start": "10.20.0.5"}}, "dhcp: start and end are needed together"),
        ({"dhcp": {"end": "10.20.0.5"}}, "dhcp: start and end are needed together"),
        ({"dhcp": {"start": "10.20.0.5", "end": "10.20.0.4"}}, "a range of 1 to 65535 addresses from 10.20.0.5"),
        ({"dhcp": {"start": "10.0.0.0", "end": "10.1.0.0"}}, "a range of 1 to 65535 addresses"),
        ({"dhcp": {"start": "10.20.0.x", "end": "10.20.0.9"}}, "dhcp.start: '10.20.0.x' is not allowed"),
        (
            {"address": "10.20.0.1/24", "dhcp": {"start": "10.20.0.1", "end": "10.20.0.9"}},
            "is the address of the bridge itself",
        ),
        (
            {"address": "10.20.0.5/24", "dhcp": {"start": "10.20.0.1", "end": "10.20.0.9"}},
            "holds the address of the bridge",
        ),
        ({"address": "10.20.0.1/24", "dhcp": {"start": "10.20.1.1", "end": "10.20.1.9"}}, "is no address for a guest"),
        (
            {"address": "10.20.0.10/24", "dhcp": {"hosts": [ITEM]}},
            "dhcp.hosts[alpha].ip: 10.20.0.10 is the address of the bridge",
        ),
        ({"dhcp": {"hosts": [{"name": "alpha", "mac": ITEM["mac"]}]}}, "dhcp.hosts[alpha]: mac and ip are needed"),
        ({"dhcp": {"hosts": [{"name": "alpha", "ip": ITEM["ip"]}]}}, "dhcp.hosts[alpha]: mac and ip are needed"),
        ({"dhcp": {"hosts": [ITEM, ITEM]}}, "dhcp.hosts: the name 'alpha' is there twice"),
        ({"dhcp": {"hosts": [ITEM, {**ITEM, "name": "b"}]}}, "dhcp.hosts: the mac '52:54:00:00:00:01' is there twice"),
        (
            {"dhcp": {"hosts": [ITEM, {**ITEM, "name": "b", "mac": "52:54:00:00:00:02"}]}},
            "the ip '10.20.0.10' is there twice",
        ),
        ({"dhcp": {"hosts": [{**ITEM, "name": "4ever"}]}}, "dhcp.hosts[].name: '4ever' is not allowed"),
        ({"dhcp": {"hosts": [{**ITEM, "name": "a.b"}]}}, "without a domain"),
        ({"dhcp": {"hosts": [{**ITEM, "name": "a-"}]}}, "dhcp.hosts[].name"),
        ({"dhcp": {"hosts": [{**ITEM, "mac": "53:54:00:00:00:01"}]}}, "dhcp.hosts[alpha].mac"),
        ({"dhcp": {"hosts": [{**ITEM, "mac": "00:00:00:00:00:00"}]}}, "dhcp.hosts[alpha].mac"),
        ({"dhcp": {"hosts": [{**ITEM, "mac": "52:54:00:00:00"}]}}, "such as 52:54:00:12:34:56"),
        ({"dhcp": {"hosts": [{**ITEM, "mac": "52:54:00:00:00:01\n"}]}}, "dhcp.hosts[alpha].mac"),
        ({"dns": {"domain": "lab..internal"}}, "a DNS name such as lab.internal"),
        ({"dns": {"domain": "lab.internal."}}, "a DNS name such as lab.internal"),
        ({"dns": {"domain": "x" * 64}}, "a DNS name"),
        ({"dns": {"hosts": [{"name": "gw"}]}}, "dns.hosts[gw]: ip or ip6 is needed"),
        ({"dns": {"hosts": [{"name": "gw", "ip": "::1"}]}}, "dns.hosts[gw].ip: '::1' is not allowed"),
        ({"dns": {"hosts": [{"name": "gw", "ip6": "fe80::1"}]}}, "dns.hosts[gw].ip6: 'fe80::1' is not allowed"),
        ({"dns": {"hosts": [{"name": "gw", "ip": "10.0.0.1"}] * 2}}, "dns.hosts: the name 'gw' is there twice"),
        ({"dns": {"forwarders": ["dns.example"]}}, "dns.forwarders: 'dns.example' is not allowed"),
        ({"dns": {"forwarders": ["192.0.2.1", "192.0.2.1"]}}, "there twice"),
        ({"mtu": 100}, "mtu: 100 is not allowed. Allowed: 576 to 65535"),
        ({"exact": ["dhcp.hosts"]}, "exact: dhcp.hosts is not declared"),
        ({**PORTS, "ports": [{"name": "eth 1"}]}, "ports[].name: 'eth 1' is not allowed"),
        ({**PORTS, "ports": [{"name": "eth1"}] * 2}, "ports: the name 'eth1' is there twice"),
        ({**PORTS, "ports": [{"name": "eth1", "pvid": 4095}]}, "ports[eth1].pvid: 4095 is not allowed"),
        ({**PORTS, "ports": [{"name": "eth1", "vids": ["9-3"]}]}, "VLANs from 1 to 4094"),
        ({**PORTS, "ports": [{"name": "eth1", "vids": ["1;id"]}]}, "VLANs from 1 to 4094"),
        ({**PORTS, "ports": [{"name": "eth1", "pvid": 7, "vids": [7]}]}, "7 is the VLAN of what comes without a tag"),
        ({**PORTS, "ports": [{"name": "eth1", "vids": [1]}]}, "1 is the VLAN of what comes without a tag"),
        ({**PORTS, "address6": "fe80::1/64"}, "address6: 'fe80::1/64' is not allowed"),
        ({**PORTS, "address6": "fd00::1"}, "address6: 'fd00::1' is not allowed"),
        ({**PORTS, "gateway": "fd00::1"}, "gateway: 'fd00::1' is not allowed"),
        ({**PORTS, "gateway6": "10.0.0.1"}, "gateway6: '10.0.0.1' is not allowed"),
        ({**PORTS, "gateway6": "fe80::1%eth0"}, "gateway6"),
        ({**PORTS, "mac": "01:00:5e:00:00:01"}, "mac: '01:00:5e:00:00:01' is not allowed"),
        ({**PORTS, "address": "none", "gateway": "10.0.0.1"}, "gateway: needs an address of the bridge"),
        ({**PORTS, "address": "dhcp", "gateway": "10.0.0.1"}, "gateway: comes by DHCP"),
        ({**PORTS, "address6": "dhcp", "gateway6": "fe80::1"}, "gateway6: comes by DHCP"),
        (
            {**PORTS, "address6": "slaac", "gateway6": "fe80::1"},
            "gateway6: comes with what a router announces. Write it with a fixed address only",
        ),
        ({**PORTS, "address": "slaac"}, "address: 'slaac' is not allowed"),
        ({"mode": "nat", "address6": "slaac"}, "address6: slaac is for mode ports"),
        ({**PORTS, "dhcp": {"hosts": []}}, "dhcp: a bridge with mode ports does not have it"),
        ({**PORTS, "unset": ["dns.domain"]}, "dns: a bridge with mode ports does not have it"),
        ({**PORTS, "state": "stopped"}, "state: a bridge with mode ports is up as long as it is there"),
        ({**PORTS, "autostart": False}, "autostart: a bridge with mode ports always starts"),
        ({"mode": "nat", "stp": True}, "stp: a bridge with mode nat does not have it"),
        ({"mode": "nat", "unset": ["ports[eth1].pvid"]}, "ports: a bridge with mode nat does not have it"),
        ({"mode": "routed", "address": "dhcp"}, "address: dhcp is for mode ports"),
        ({"exact": ["ports"]}, "exact: ports is not declared"),
        ({"unset": ["mode"]}, "unset: 'mode' cannot be taken off"),
        ({"unset": ["mtu"], "mtu": 1400}, "declared and unset at once"),
        (
            {"unset": ["ports[eth0.5].pvid"], "ports": [{"name": "eth0.5", "pvid": 7}]},
            "ports[eth0.5].pvid is declared and unset at once",
        ),
        ({"unset": ["dhcp"], "dhcp": {"hosts": []}}, "declared and unset at once"),
        ({"unset": ["dns.domain"], "dns": {"domain": "lab.internal"}}, "declared and unset at once"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(params, sentence):
    with pytest.raises(SpecError) as caught:
        parse({"name": "lab0", **params})
    assert sentence in caught.value.message
