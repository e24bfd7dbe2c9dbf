# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OPNsense from variables: its first configuration, and the items that its API should have."""

from __future__ import annotations

import base64
import subprocess
from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense import compare
from ansible_collections.homelab.hybrid.plugins.plugin_utils import _opnsense
from ansible_collections.homelab.hybrid.plugins.plugin_utils._opnsense import OPNsenseError, made
from ansible_collections.homelab.hybrid.plugins.plugin_utils._sha512_crypt import sha512_crypt, stable_salt

WAN = {"name": "wan", "network": "outside", "address": "dhcp"}
LAN = {"name": "lan", "network": "inside", "address": "10.1.0.1/24"}
IOT = {"name": "iot", "vlan": "things", "address": "10.1.20.1/24"}
WANTED = {
    "name": "firewall",
    "networks": ["inside", "outside"],
    "secret": "a long secret of a vault",
    "hostname": "gate",
    "domain": "lab.home.arpa",
    "timezone": "Europe/Berlin",
    "timeservers": ["a.example.org", "b.example.org"],
    "dns_servers": [],
    "root_password": "",
    "ssh_keys": [],
    "users": [],
    "interfaces": [WAN, LAN, IOT],
    "vlans": [{"name": "things", "network": "inside", "tag": 20}],
    "dhcp_ranges": [{"name": "house", "interface": "lan", "start": "10.1.0.100", "end": "10.1.0.199"}],
    "dhcp_hosts": [{"name": "nas", "mac": "52:54:00:AA:BB:CC", "address": "10.1.0.5"}],
    "dns_hosts": [{"name": "nas", "address": "10.1.0.5"}, {"name": "www.example.org", "address": "fd00::5"}],
    "rules": [
        {"name": "LAN to any", "interface": "lan", "source": "lan"},
        {"name": "no printers", "interface": "iot", "action": "block", "protocol": "tcp", "port": "9100", "log": True},
    ],
}


def root(**changes):
    return ElementTree.fromstring(made({**WANTED, **changes})["config"])


def texts(node):
    return {child.tag: child.text for child in node}


def test_the_same_variables_make_the_same_text():
    assert made(WANTED) == made(WANTED)
    assert made(WANTED)["secrets"] != made({**WANTED, "name": "other"})["secrets"]


def test_cards_are_named_by_their_place_in_the_machine():
    interfaces = root().find("interfaces")
    assert [(node.tag, node.findtext("if")) for node in interfaces] == [
        ("wan", "vtnet1"), ("lan", "vtnet0"), ("opt1", "vlan01")
    ]  # fmt: skip
    assert texts(interfaces.find("lan")) == {
        "enable": "1", "if": "vtnet0", "descr": "LAN", "ipaddr": "10.1.0.1", "subnet": "24"
    }  # fmt: skip
    assert texts(root().find("vlans/vlan")) == {
        "if": "vtnet0", "tag": "20", "pcp": "0", "descr": "things (homelab.hybrid)", "vlanif": "vlan01"
    }  # fmt: skip


def test_a_private_wan_is_let_in_unless_it_is_said():
    assert root().find("interfaces/wan/blockpriv") is None
    blocked = root(interfaces=[{**WAN, "block_private": True}, LAN, IOT])
    assert blocked.find("interfaces/wan/blockpriv") is not None and blocked.find("interfaces/wan/blockbogons") is None


def test_no_password_survives_that_somebody_knows():
    given = root(root_password="of a vault")
    known = made(WANTED)["secrets"]
    for its, password in ((root(), known["password"]), (given, "of a vault")):
        hashed = its.findtext("system/user/password")
        assert hashed == sha512_crypt(password, hashed.split("$")[2])
        assert its.find("trigger_initial_wizard") is None
    assert len(known["password"]) == 24 and "opnsense" not in known["password"]


def test_the_key_of_the_api_is_there_before_the_first_start():
    known = made(WANTED)["secrets"]
    assert len(base64.b64decode(known["key"])) == len(base64.b64decode(known["secret"])) == 60
    key, hashed = root().findtext("system/user/apikeys").split("|")
    assert key == known["key"] and hashed == sha512_crypt(known["secret"], hashed.split("$")[2])
    assert known["secret"] not in made(WANTED)["config"]


def test_ssh_is_there_for_keys_alone():
    """What counts there is whether an element is there, and not what it says."""
    assert root().find("system/ssh/enabled") is None
    its = root(ssh_keys=["ssh-ed25519 AAAA me"])
    assert its.findtext("system/ssh/enabled") == "enabled" and its.find("system/ssh/passwordauth") is None
    assert base64.b64decode(its.findtext("system/user/authorizedkeys")) == b"ssh-ed25519 AAAA me\n"


def test_a_gateway_is_that_of_its_interface():
    its = root(interfaces=[{**WAN, "address": "192.0.2.2/24", "gateway": "192.0.2.1"}, LAN, IOT])
    assert its.findtext("interfaces/wan/gateway") == "WAN_GW"
    gateway = texts(its.find("OPNsense/Gateways/gateway_item"))
    assert (gateway["name"], gateway["gateway"], gateway["interface"]) == ("WAN_GW", "192.0.2.1", "wan")
    assert len(its.findall("OPNsense")) == 1 and its.find("OPNsense/Firewall/Filter/rules/rule") is not None


def test_what_the_api_compares_is_what_it_starts_with():
    its, found = root(), made(WANTED)["items"]
    assert [texts(node) for node in its.iterfind("OPNsense/Firewall/Filter/rules/rule")] == [
        {**rule, "destination_port": rule["destination_port"] or None} for rule in found["rules"]
    ]
    assert [texts(node) for node in its.iterfind("dnsmasq/dhcp_ranges")] == found["dhcp_ranges"]
    assert [texts(node) for node in its.iterfind("dnsmasq/hosts")] == found["dhcp_hosts"]
    assert found["dhcp_hosts"][0]["hwaddr"] == "52:54:00:aa:bb:cc"
    assert [(host["hostname"], host["domain"], host["rr"]) for host in found["dns_hosts"]] == [
        ("nas", "lab.home.arpa", "A"), ("www", "example.org", "AAAA")
    ]  # fmt: skip
    assert (found["rules"][1]["interface"], found["rules"][1]["protocol"]) == ("opt1", "TCP")


def test_ranges_that_come_later_need_no_other_setting():
    """Dnsmasq of OPNsense takes the interfaces of its ranges where none is named (getDhcpInterfaces of 26.7)."""
    its = root(dhcp_ranges=[])
    assert its.findtext("dnsmasq/enable") == "1" and its.find("dnsmasq/interface") is None


def test_both_sides_know_the_same_kinds_and_the_same_mark():
    assert {kind.name: kind.description for kind in compare.KINDS} == _opnsense.DESCRIPTIONS
    assert set(_opnsense.made(WANTED)["items"]) == {*_opnsense.DESCRIPTIONS, "users"}


def test_of_root_only_what_is_said_is_compared_later():
    silent, told = made(WANTED), made({**WANTED, "root_password": "correct horse", "ssh_keys": ["key a"]})
    assert (silent["items"]["users"], silent["passwords"]) == ([{"name": "root"}], {})
    assert told["items"]["users"] == [{"name": "root", "authorizedkeys": "key a"}]
    assert told["passwords"] == {"root": "correct horse"} and silent["secrets"]["password"] != "correct horse"


def test_users_are_ours_by_their_description_and_no_password_is_among_their_items():
    ada = {
        "name": "ada",
        "password": "analytical engine",
        "full_name": "Ada Lovelace",
        "ssh_keys": ["key a"],
        "admin": True,
    }
    its = made({**WANTED, "users": [ada, {"name": "guest"}]})
    assert its["items"]["users"][1:] == [
        {"name": "ada", "descr": "Ada Lovelace (homelab.hybrid)", "is_admin": True, "authorizedkeys": "key a"},
        {"name": "guest", "descr": "guest (homelab.hybrid)", "is_admin": False, "authorizedkeys": ""},
    ]
    assert its["passwords"] == {"ada": "analytical engine"} and "analytical" not in its["config"]


def test_what_is_declared_for_its_own_pages_is_what_it_starts_with():
    its = made(WANTED)["declared"]
    assert its["names"] == {"wan": "wan", "lan": "lan", "opt1": "iot"}
    assert (its["settings"]["timezone"], its["settings"]["interfaces[opt1].address"]) == (
        "Europe/Berlin",
        "10.1.20.1/24",
    )


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"secret": "short"}, "at least 16"),
        ({"interfaces": [WAN]}, "lan is needed"),
        ({"interfaces": [LAN, LAN]}, "lan is there twice"),
        ({"interfaces": [{**LAN, "name": "Lan"}]}, "is no name"),
        ({"interfaces": [LAN, {**IOT, "name": "opt1"}]}, "is no name"),
        ({"interfaces": [{**LAN, "network": "nowhere"}, IOT]}, "the guest has no network nowhere"),
        ({"interfaces": [{**LAN, "vlan": "things"}, IOT]}, "needs one of network and vlan"),
        ({"interfaces": [{**LAN, "address": "10.1.0.1"}, IOT]}, "with its prefix"),
        ({"interfaces": [LAN, {**IOT, "vlan": "nothing"}]}, "opnsense_vlans does not have"),
        ({"interfaces": [{**LAN, "gateway": "x"}, IOT]}, "'x' is no address"),
        ({"interfaces": [{**LAN, "description": "a\x00b"}, IOT]}, "no XML may have"),
        ({"dhcp_ranges": [{**WANTED["dhcp_ranges"][0], "start": "10.1.0.250"}]}, "ends before it begins"),
        ({"dhcp_ranges": [{**WANTED["dhcp_ranges"][0], "end": "10.2.0.1"}]}, "is not in 10.1.0.0/24"),
        ({"dhcp_ranges": [{**WANTED["dhcp_ranges"][0], "interface": "wan"}]}, "no address of its own"),
        ({"dhcp_hosts": [{"name": "nas", "mac": "1", "address": "10.1.0.5"}]}, "is no MAC address"),
        ({"dns_hosts": [{"name": "nas", "address": "here"}]}, "'here' is no address"),
        ({"rules": [{"name": "a\nb", "interface": "lan"}]}, "is no name"),
        ({"rules": [{"name": "a", "interface": "dmz"}]}, "no interface dmz"),
        ({"rules": [{"name": "a", "interface": "lan", "port": "22"}]}, "has a port"),
        ({"rules": WANTED["rules"][:1] * 2}, "LAN to any is there twice"),
        ({"root_password": "short"}, "opnsense_root_password: it must have 8 characters at least"),
        ({"users": [{"name": "ada", "password": "ü" * 40}]}, "the password of ada: .* 72 bytes at most"),
        ({"users": [{"name": "ada"}, {"name": "ada"}]}, "ada is there twice"),
        ({"users": [{"name": "root"}]}, "'root' is no name"),
        ({"users": [{"name": "a b"}]}, "'a b' is no name"),
        ({"users": [{"name": "ada", "full_name": "a\nb"}]}, "must be one line"),
    ],
)
def test_what_makes_no_configuration_is_refused(changes, saying):
    with pytest.raises(OPNsenseError, match=saying):
        made({**WANTED, **changes})


def test_what_is_written_reaches_no_other_element():
    its = root(interfaces=[WAN, {**LAN, "description": "<if>]]>&"}, IOT])
    assert its.findtext("interfaces/lan/descr") == "<if>]]>&" and its.findtext("interfaces/lan/if") == "vtnet0"


@pytest.mark.parametrize("password", ["x", "Hello world!", "a" * 70, "ü" * 40, "p" * 128])
def test_a_hash_is_that_of_openssl(password):
    salt = stable_salt(password)
    argv = ("openssl", "passwd", "-6", "-salt", salt, password)
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    assert sha512_crypt(password, salt) == told
