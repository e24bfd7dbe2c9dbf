# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OPNsense has no request for, read out of its configuration and compared."""

from __future__ import annotations

from xml.etree import ElementTree

from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.first_start import (
    differences,
    interfaces_of,
    settings_of,
)

CONFIG = """
<opnsense><system><hostname>gate</hostname><domain>lab</domain><timezone>Etc/UTC</timezone><dnsserver>9.9.9.9</dnsserver><dnsserver>1.1.1.1</dnsserver>
<ssh><group>admins</group>{ssh}</ssh></system><interfaces><lan><if>vtnet0</if><descr>House</descr><ipaddr>10.1.0.1</ipaddr><subnet>24</subnet></lan>
<opt1><if>vlan01</if>{block}<ipaddr>dhcp</ipaddr><gateway>OUT</gateway></opt1></interfaces>
<OPNsense><Gateways><gateway_item><name>OUT</name><gateway>10.2.0.1</gateway></gateway_item></Gateways></OPNsense></opnsense>
"""


def settings(ssh="", block=""):
    return settings_of(ElementTree.fromstring(CONFIG.format(ssh=ssh, block=block)))


def test_it_is_read_by_what_a_person_declares():
    found = settings(ssh="<enabled>enabled</enabled>", block="<blockpriv>1</blockpriv>")
    assert (found["hostname"], found["dns_servers"], found["timeservers"], found["ssh"]) == (
        "gate",
        "9.9.9.9 1.1.1.1",
        "",
        "on",
    )
    assert (found["interfaces[lan].address"], found["interfaces[lan].description"]) == ("10.1.0.1/24", "House")
    its = {path.rpartition(".")[2]: value for path, value in found.items() if path.startswith("interfaces[opt1]")}
    assert its == {
        "device": "vlan01",
        "description": "OPT1",
        "address": "dhcp",
        "gateway": "10.2.0.1",
        "block_private": "yes",
        "block_bogons": "no",
    }
    assert interfaces_of(ElementTree.fromstring(CONFIG)) == {"lan", "opt1"}


def test_an_element_that_says_0_is_switched_off():
    """The wizard of its pages writes that, where its older pages leave the element out."""
    found = settings(ssh="<enabled>0</enabled>", block="<blockpriv>0</blockpriv>")
    assert (found["ssh"], found["interfaces[opt1].block_private"]) == ("off", "no")


def test_each_difference_says_both_and_where_it_is_changed():
    stands = settings()
    assert differences(stands, stands, {}) == []
    declared = {**stands, "ssh": "on", "interfaces[lan].address": "10.1.0.9/24", "interfaces[opt1].device": "vtnet2"}
    found = differences(declared, stands, {"lan": "lan", "opt1": "iot"})
    assert [(each.path, each.page) for each in found] == [
        ("ssh", "System: Settings: Administration"),
        ("interfaces[lan].address", "Interfaces: [House]"),
        ("interfaces[iot].device", "Interfaces: Assignments"),
    ]
    assert "10.1.0.9/24 is declared, and 10.1.0.1/24 stands" in found[1].says
    gone = {path: value for path, value in stands.items() if not path.startswith("interfaces[opt1]")}
    (missing,) = differences(stands, gone, {"opt1": "iot"})
    assert (missing.path, missing.declared, missing.stands) == ("interfaces[iot]", "dhcp at vlan01", "")


def test_what_nobody_declares_is_not_told():
    stands = settings()
    assert differences({"hostname": "gate"}, stands, {}) == []
