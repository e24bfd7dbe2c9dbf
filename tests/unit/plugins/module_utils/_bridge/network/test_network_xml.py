# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import network_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.settings import NetworkSettings, merge
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.options import NETWORK
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.subnet import StaticHost

BY_HAND = """<network xmlns:dnsmasq="http://libvirt.org/schemas/network/dnsmasq/1.0" ipv6="yes">
  <name>default</name>
  <uuid>e60615cd-f1e6-4d0e-9b6d-72bda5322aab</uuid>
  <forward dev="eth0" mode="route"><interface dev="eth0"/></forward>
  <bridge name="virbr0" stp="off" delay="2"/>
  <mac address="52:54:00:4e:b0:c8"/>
  <domain name="old.internal" localOnly="no"/>
  <dns forwardPlainNames="no">
    <forwarder domain="corp.internal" addr="192.0.2.1"/>
    <forwarder addr="192.0.2.2"/>
    <txt name="example" value="text"/>
    <host ip="10.20.0.1"><hostname>gw</hostname><hostname>router</hostname></host>
    <host ip="10.20.0.2"><hostname>nas</hostname></host>
  </dns>
  <ip family="ipv6" address="fd00:20::1" prefix="64"><dhcp><host id="0:1" name="six" ip="fd00:20::5"/></dhcp></ip>
  <ip address="10.20.0.1" netmask="255.255.255.0" localPtr="yes">
    <tftp root="/srv/tftp"/>
    <dhcp>
      <range start="10.20.0.100" end="10.20.0.199"><lease expiry="24"/></range>
      <range start="10.20.0.20" end="10.20.0.29"/>
      <host mac="52:54:00:00:00:0A" name="alpha" ip="10.20.0.10"><lease expiry="0"/></host>
      <host mac="52:54:00:00:00:0b" ip="10.20.0.11"/>
      <bootp file="pxelinux.0"/>
    </dhcp>
  </ip>
  <ip address="10.99.0.1" prefix="24"/>
  <route address="192.0.2.128" prefix="28" gateway="10.20.0.9"/>
</network>"""
ALPHA = StaticHost("alpha", "52:54:00:00:00:0a", "10.20.0.10")
SECOND = StaticHost(None, "52:54:00:00:00:0b", "10.20.0.11")
SETTINGS = NetworkSettings(
    mode="routed",
    address="10.20.0.1/24",
    address6="fd00:20::1/64",
    ranges=(("10.20.0.100", "10.20.0.199"), ("10.20.0.20", "10.20.0.29")),
    hosts=(ALPHA, SECOND),
    domain="old.internal",
    dns_hosts=(("gw", "10.20.0.1"), ("router", "10.20.0.1"), ("nas", "10.20.0.2")),
    forwarders=("192.0.2.2",),
)


def wanted(**params):
    return merge(SETTINGS, parse({"name": "virbr0", **params}))


def lines(xml):
    text = re.sub(r">(?=<)", ">\n", ElementTree.canonicalize(xml, strip_text=True))
    return re.sub(r"(<(\w+)[^>]*>)\n</\2>", r"\1</\2>", text).splitlines()


def difference(**params):
    """The lines that an edit takes off and puts in, in the canonical form of both documents."""
    before, after = lines(BY_HAND), lines(network_xml.edit(BY_HAND, wanted(**params)))
    gone, come = list(before), []
    for line in after:
        if line in gone:
            gone.remove(line)
        else:
            come.append(line)
    return gone, come


def test_a_network_made_by_hand_is_read():
    assert network_xml.read(BY_HAND) == SETTINGS


@pytest.mark.parametrize(
    ("params", "gone", "come"),
    [
        ({}, [], []),
        ({"dhcp": {"start": "10.20.0.20", "end": "10.20.0.29"}}, [], []),
        (
            {"mode": "nat"},
            ['<forward dev="eth0" mode="route">'],
            ['<forward dev="eth0" mode="nat">'],
        ),
        (
            {"dns": {"domain": "new.internal"}},
            ['<domain localOnly="no" name="old.internal"></domain>'],
            ['<domain localOnly="no" name="new.internal"></domain>'],
        ),
        ({"unset": ["dns.domain"]}, ['<domain localOnly="no" name="old.internal"></domain>'], []),
        (
            {"dns": {"forwarders": ["192.0.2.3"]}},
            ['<forwarder addr="192.0.2.2"></forwarder>'],
            ['<forwarder addr="192.0.2.3"></forwarder>'],
        ),
        ({"unset": ["dns.forwarders"]}, ['<forwarder addr="192.0.2.2"></forwarder>'], []),
        ({"mtu": 1400}, [], ['<mtu size="1400"></mtu>']),
        (
            {"address": "10.20.0.2/16"},
            ['<ip address="10.20.0.1" localPtr="yes" netmask="255.255.255.0">'],
            ['<ip address="10.20.0.2" localPtr="yes" prefix="16">'],
        ),
        (
            {"dhcp": {"start": "10.20.0.90", "end": "10.20.0.199"}},
            ['<range end="10.20.0.199" start="10.20.0.100">'],
            ['<range end="10.20.0.199" start="10.20.0.90">'],
        ),
        (
            {"dhcp": {"hosts": [{"name": "alpha", "mac": "52:54:00:00:00:0a", "ip": "10.20.0.33"}]}},
            ['<host ip="10.20.0.10" mac="52:54:00:00:00:0A" name="alpha">'],
            ['<host ip="10.20.0.33" mac="52:54:00:00:00:0A" name="alpha">'],
        ),
        (
            {"dhcp": {"hosts": [{"name": "beta", "mac": "52:54:00:00:00:0b", "ip": "10.20.0.11"}]}},
            ['<host ip="10.20.0.11" mac="52:54:00:00:00:0b"></host>'],
            ['<host ip="10.20.0.11" mac="52:54:00:00:00:0b" name="beta"></host>'],
        ),
        (
            {"dhcp": {"hosts": [{"name": "new", "mac": "52:54:00:00:00:0c", "ip": "10.20.0.12"}]}},
            [],
            ['<host ip="10.20.0.12" mac="52:54:00:00:00:0c" name="new"></host>'],
        ),
        (
            {"dhcp": {"hosts": [{"name": "alpha", "state": "absent"}]}},
            ['<host ip="10.20.0.10" mac="52:54:00:00:00:0A" name="alpha">', '<lease expiry="0"></lease>', "</host>"],
            [],
        ),
        (
            {"dns": {"hosts": [{"name": "nas", "ip": "10.20.0.1"}]}},
            ['<host ip="10.20.0.2">', "</host>"],
            [],
        ),
        ({"dns": {"hosts": [{"name": "router", "state": "absent"}]}}, ["<hostname>router</hostname>"], []),
    ],
)
def test_an_edit_changes_what_is_declared_and_nothing_else(params, gone, come):
    assert difference(**params) == (gone, come)


def test_a_domain_in_capitals_is_the_same_domain():
    xml = BY_HAND.replace("old.internal", "Old.Internal")
    assert network_xml.read(xml) == SETTINGS
    assert 'name="Old.Internal"' in network_xml.edit(xml, wanted(dns={"domain": "old.internal"}, mtu=1400))


def test_a_network_becomes_isolated_and_loses_its_address():
    gone, come = difference(mode="isolated", unset=["address", "dhcp"])
    assert come == []
    assert [line for line in gone if line.startswith(("<forward ", "<ip "))] == [
        '<forward dev="eth0" mode="route">',
        '<ip address="10.20.0.1" localPtr="yes" netmask="255.255.255.0">',
        '<ip address="10.99.0.1" prefix="24"></ip>',
    ]


def test_what_libvirt_keeps_for_translation_goes_with_it():
    xml = "<network><forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward></network>"
    assert network_xml.edit(xml, NetworkSettings(mode="routed")) == '<network><forward mode="route" /></network>'


def test_what_was_edited_reads_back_as_what_was_wanted():
    settings = wanted(
        mode="nat",
        mtu=1400,
        address="10.20.0.2/16",
        address6="fd00:20::2/80",
        nat6=True,
        dhcp={
            "start": "10.20.1.1",
            "end": "10.20.1.9",
            "hosts": [{"name": "b", "mac": "52:54:00:00:00:0b", "ip": "10.20.0.44"}],
        },
        dns={"domain": "new.internal", "forwarders": [], "hosts": [{"name": "gw", "ip": "10.20.0.2"}]},
    )
    assert network_xml.read(network_xml.edit(BY_HAND, settings)) == settings
    assert settings == NetworkSettings(
        mode="nat",
        address="10.20.0.2/16",
        address6="fd00:20::2/80",
        nat6=True,
        ranges=(("10.20.1.1", "10.20.1.9"), ("10.20.0.20", "10.20.0.29")),
        hosts=(ALPHA, StaticHost("b", "52:54:00:00:00:0b", "10.20.0.44")),
        domain="new.internal",
        dns_hosts=(("router", "10.20.0.1"), ("nas", "10.20.0.2"), ("gw", "10.20.0.2")),
        forwarders=(),
        mtu=1400,
    )


def test_dhcp_goes_as_a_whole_but_for_what_it_has_beside():
    edited = network_xml.edit(BY_HAND, wanted(unset=["dhcp"]))
    assert network_xml.read(edited).ranges == network_xml.read(edited).hosts == ()
    assert '<bootp file="pxelinux.0"' in edited


def test_a_new_network():
    spec = parse(
        {
            "name": "lab0",
            "mode": "nat",
            "address": "10.20.0.1/24",
            "mtu": 1400,
            "dhcp": {
                "start": "10.20.0.100",
                "end": "10.20.0.199",
                "hosts": [{"name": "a", "mac": "52:54:00:00:00:01", "ip": "10.20.0.5"}],
            },
            "dns": {
                "domain": "lab.internal",
                "forwarders": ["192.0.2.2", "192.0.2.1"],
                "hosts": [{"name": "gw", "ip": "10.20.0.1"}],
            },
        }
    )
    assert network_xml.new("lab0", merge(NetworkSettings(mode=""), spec)) == (
        '<network><name>lab0</name><bridge name="lab0" stp="on" delay="0" /><forward mode="nat" /><mtu size="1400" />'
        '<domain name="lab.internal" localOnly="yes" /><dns><forwarder addr="192.0.2.2" /><forwarder addr="192.0.2.1" />'
        '<host ip="10.20.0.1"><hostname>gw</hostname></host></dns><ip address="10.20.0.1" prefix="24"><dhcp>'
        '<range start="10.20.0.100" end="10.20.0.199" /><host mac="52:54:00:00:00:01" name="a" ip="10.20.0.5" /></dhcp></ip></network>'
    )


def test_live_updates_take_off_before_they_put_in():
    after = network_xml.edit(
        BY_HAND,
        wanted(
            dhcp={
                "start": "10.20.0.90",
                "end": "10.20.0.199",
                "hosts": [{"name": "alpha", "mac": "52:54:00:00:00:0a", "ip": "10.20.0.33"}],
            },
            dns={"hosts": [{"name": "nas", "ip": "10.20.0.1"}]},
        ),
    )
    found = network_xml.updates(BY_HAND, after)
    assert [(update.command, update.section, update.xml) for update in found] == [
        ("delete", "dhcp_range", '<range end="10.20.0.199" start="10.20.0.100"><lease expiry="24"></lease></range>'),
        (
            "delete",
            "dhcp_host",
            '<host ip="10.20.0.10" mac="52:54:00:00:00:0A" name="alpha"><lease expiry="0"></lease></host>',
        ),
        ("delete", "dns_host", '<host ip="10.20.0.1"></host>'),
        ("delete", "dns_host", '<host ip="10.20.0.2"></host>'),
        ("add", "dhcp_range", '<range end="10.20.0.199" start="10.20.0.90"><lease expiry="24"></lease></range>'),
        (
            "add",
            "dhcp_host",
            '<host ip="10.20.0.33" mac="52:54:00:00:00:0A" name="alpha"><lease expiry="0"></lease></host>',
        ),
        (
            "add",
            "dns_host",
            '<host ip="10.20.0.1"><hostname>gw</hostname><hostname>router</hostname><hostname>nas</hostname></host>',
        ),
    ]
    assert network_xml.updates(BY_HAND, BY_HAND) == []


# The field of each option, of an item that of its list.
FIELDS = {
    "mode": "mode",
    "address": "address",
    "address6": "address6",
    "nat6": "nat6",
    "dhcp.start": "ranges",
    "dhcp.end": "ranges",
    "dhcp.hosts[]": "hosts",
    "dns.domain": "domain",
    "dns.hosts[]": "dns_hosts",
    "dns.forwarders": "forwarders",
    "mtu": "mtu",
}


def test_each_option_is_read_and_written_once():
    # Its start is read by itself; the keys of an item belong to it, and so does DHCP as a whole to its parts.
    rows = {row.path for row in NETWORK if row.is_compared and "[]." not in row.path} - {"autostart", "dhcp"}
    assert set(FIELDS) == rows
    assert [*network_xml.READ] == [*network_xml.WRITE]
    fields = {field.name for field in dataclasses.fields(NetworkSettings)}
    assert set(network_xml.READ) == set(FIELDS.values()) == fields
