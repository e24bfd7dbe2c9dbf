# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The files in which hosts keep bridges with ports: what they say, and what an edit leaves of them."""

from __future__ import annotations

import dataclasses
import difflib

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import backends
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import ifupdown as ifupdown_files
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.ifupdown import MAIN, OURS, Ifupdown
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.interfaces_file import InterfacesFile
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.networkd import Networkd
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.unit_file import UnitFile

ETC = "/etc/systemd/network"
ETH1, BOND = Port("eth1"), Port("bond0", 7, (20, 30, 31))
FULL = LinkSettings(
    addresses=("192.0.2.10/24",),
    addresses6=("fd00:20::10/64",),
    gateway="192.0.2.1",
    gateway6="fe80::1",
    mtu=9000,
    mac="52:54:00:00:00:01",
    stp=True,
    vlan_aware=True,
    ports=(BOND, ETH1),
)
INTERFACES = """\
# by hand
source /etc/network/interfaces.d/*
auto lo vmbr0
iface lo inet loopback

iface eth0 inet dhcp

iface vmbr0 inet static
\taddress 192.0.2.10
\tnetmask 255.255.255.0
\tgateway 192.0.2.1
\tbridge-ports bond0 \\
\t\teth1
\tbridge_stp yes
\thwaddress ether 52:54:00:00:00:01
\tmtu 9000
\tbridge-vlan-aware yes
\tup echo "kept"
\tpost-up bridge vlan del dev bond0 vid 1
\tpost-up bridge vlan add dev bond0 vid 7 pvid untagged
\tpost-up bridge vlan add dev bond0 vid 20
\tpost-up bridge vlan add dev bond0 vid 30-31
# six
iface vmbr0 inet6 static
\taddress fd00:20::10/64
\tgateway fe80::1

# the last word
iface eth9 inet manual
"""
UNITS = {
    f"{ETC}/10-vmbr0.netdev": "# by hand\n[NetDev]\nName = vmbr0\nKind=bridge\nMTUBytes=9000\nMACAddress=52:54:00:00:00:01\n"
    "[Bridge]\nSTP=true\nVLANFiltering=1\nPriority=9\n",
    f"{ETC}/10-vmbr0.network": "[Match]\nName=vmbr0\n\n[Network]\nAddress=192.0.2.10/24\nDescription=kept\nGateway=192.0.2.1\n"
    "\n[Address]\nAddress=fd00:20::0010/64\nLabel=six\n\n[Route]\nGateway=fe80::1\n",
    f"{ETC}/20-bond0.network": "[Match]\nName=bond0\n[Network]\nBridge=vmbr0\n[BridgeVLAN]\nPVID=7\nEgressUntagged=7\n"
    "[BridgeVLAN]\nVLAN=20\nVLAN=30-31\n",
    f"{ETC}/20-ports.network": "[Match]\nName=eth1\n\n[Network]\nBridge=vmbr0\n",
    "/usr/lib/systemd/network/80-all.network": "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n",
}
LINKS = {
    name: {"mac": f"52:54:00:00:01:0{number}", "type": "ether", "kind": ""}
    for number, name in enumerate(("eth0", "eth1", "bond0"))
}


def networkd(files=None, **more):
    return Networkd({**(UNITS if files is None else files), **more}, LINKS)


def ifupdown(text=INTERFACES, **more):
    return Ifupdown({MAIN: text, **more})


def difference(before, edits):
    """The lines that go (-) and come (+), over all files."""
    found = []
    for path, text in edits.items():
        old, new = before.get(path, "").splitlines(), (text or "").splitlines()
        found += [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    return found


def test_what_networkd_has_is_read():
    assert networkd().read("vmbr0") == FULL
    assert networkd().read("vmbr1") is None


def test_what_ifupdown_has_is_read():
    assert ifupdown().read("vmbr0") == FULL
    assert ifupdown().read("eth0") is None
    assert (ifupdown().starts("vmbr0"), ifupdown().starts("eth9")) == (True, False)


@pytest.mark.parametrize(
    "wanted", [LinkSettings(), FULL, dataclasses.replace(FULL, addresses=("dhcp",), gateway="", stp=False)]
)
def test_what_is_defined_reads_back_as_what_was_wanted(wanted):
    edits = networkd({}).define("vmbr0", wanted)
    assert Networkd(edits, {**LINKS}).read("vmbr0") == wanted
    assert Networkd(edits, LINKS).define("vmbr0", wanted) == {}
    assert set(Networkd(edits, LINKS).forget("vmbr0").values()) == {None}
    text = ifupdown("auto lo\niface lo inet loopback\n").define("vmbr0", wanted)[MAIN]
    assert ifupdown(text).read("vmbr0") == wanted
    assert ifupdown(text).define("vmbr0", wanted) == {}
    assert ifupdown(text).forget("vmbr0")[MAIN].strip() == "auto lo\niface lo inet loopback"


def test_a_new_bridge_in_the_files_of_ifupdown():
    edits = ifupdown("source-directory interfaces.d\n").define("vmbr0", dataclasses.replace(FULL, mtu=0, mac=""))
    assert edits == {
        f"{OURS}/vmbr0": """\
auto vmbr0
iface vmbr0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
    bridge_ports bond0 eth1
    bridge_stp on
    bridge_vlan_aware yes
    up bridge vlan del dev bond0 vid 1
    up bridge vlan add dev bond0 vid 7 pvid untagged
    up bridge vlan add dev bond0 vid 20
    up bridge vlan add dev bond0 vid 30-31
iface vmbr0 inet6 static
    address fd00:20::10/64
    gateway fe80::1
"""
    }
    assert list(ifupdown("source-directory interfaces.d\n").define("vmbr0.1", LinkSettings())) == [MAIN]


def test_a_new_bridge_in_the_files_of_networkd():
    assert networkd({}).define("vmbr0", FULL) == {
        f"{ETC}/05-vmbr0.netdev": "[NetDev]\nName=vmbr0\nKind=bridge\nMTUBytes=9000\nMACAddress=52:54:00:00:00:01\n\n"
        "[Bridge]\nSTP=yes\nVLANFiltering=yes\n",
        f"{ETC}/05-vmbr0.network": "[Match]\nName=vmbr0\n\n[Network]\nConfigureWithoutCarrier=yes\nAddress=192.0.2.10/24\n"
        "Address=fd00:20::10/64\nGateway=192.0.2.1\nGateway=fe80::1\n",
        f"{ETC}/05-vmbr0-port-bond0.network": "[Match]\nName=bond0\n\n[Network]\nBridge=vmbr0\n\n[Link]\nMTUBytes=9000\n\n"
        "[BridgeVLAN]\nPVID=7\nEgressUntagged=7\nVLAN=20\nVLAN=30-31\n",
        f"{ETC}/05-vmbr0-port-eth1.network": "[Match]\nName=eth1\n\n[Network]\nBridge=vmbr0\n\n[Link]\nMTUBytes=9000\n",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"stp": False}, ["- \tbridge_stp yes", "+ \tbridge_stp off", "+ \tbridge_fd 0"]),
        ({"mtu": 0}, ["- \tmtu 9000"]),
        ({"vlan_aware": False}, ["- \tbridge-vlan-aware yes"]),
        (
            {"addresses": ("192.0.2.11/25",)},
            ["- \taddress 192.0.2.10", "- \tnetmask 255.255.255.0", "+ \taddress 192.0.2.11/25"],
        ),
        (
            {"addresses": (), "gateway": ""},
            [
                "- iface vmbr0 inet static",
                "+ iface vmbr0 inet manual",
                *("- \taddress 192.0.2.10", "- \tnetmask 255.255.255.0", "- \tgateway 192.0.2.1"),
            ],
        ),
        (
            {"addresses6": (), "gateway6": ""},
            ["- iface vmbr0 inet6 static", "- \taddress fd00:20::10/64", "- \tgateway fe80::1"],
        ),
        (
            {"addresses6": ("dhcp",), "gateway6": ""},
            [
                "- iface vmbr0 inet6 static",
                "+ iface vmbr0 inet6 dhcp",
                "- \taddress fd00:20::10/64",
                "- \tgateway fe80::1",
            ],
        ),
        ({"ports": (BOND,)}, ["- \tbridge-ports bond0 \\", "- \t\teth1", "+ \tbridge-ports bond0"]),
        (
            {"ports": (Port("bond0", 7, (20,)), ETH1)},
            [
                *(
                    f"- \tpost-up bridge vlan {line}"
                    for line in (
                        "del dev bond0 vid 1",
                        "add dev bond0 vid 7 pvid untagged",
                        "add dev bond0 vid 20",
                        "add dev bond0 vid 30-31",
                    )
                ),
                *(
                    f"+ \tup bridge vlan {line}"
                    for line in ("del dev bond0 vid 1", "add dev bond0 vid 7 pvid untagged", "add dev bond0 vid 20")
                ),
            ],
        ),
    ],
)
def test_an_edit_of_interfaces_changes_what_is_wanted_and_nothing_else(changes, expected):
    wanted = dataclasses.replace(FULL, **changes)
    edits = ifupdown().define("vmbr0", wanted)
    assert sorted(difference({MAIN: INTERFACES}, edits)) == sorted(expected)
    assert ifupdown({MAIN: INTERFACES, **edits}[MAIN]).read("vmbr0") == wanted


def test_a_bridge_by_hand_gets_no_options_that_nobody_wrote():
    text = "iface vmbr0 inet manual\n\tbridge_ports eth1\n\tbridge_fd 3\n"
    wanted = dataclasses.replace(LinkSettings(), ports=(ETH1,), mtu=1400)
    assert ifupdown(text).define("vmbr0", wanted, starts=False) == {MAIN: text + "\tmtu 1400\n"}
    assert ifupdown(text).define("vmbr0", wanted) == {MAIN: "auto vmbr0\n" + text + "\tmtu 1400\n"}


@pytest.mark.parametrize(
    ("addresses6", "more"),
    [
        (("fd00:20::11/64", "slaac"), ["iface vmbr0 inet6 static", "\taddress fd00:20::11/64"]),
        (("slaac",), []),
    ],
)
def test_what_takes_its_addresses_from_routers_goes_on_to(addresses6, more):
    text = INTERFACES.replace("# the last word", "iface vmbr0 inet6 auto\n\tprivext 2\n# the last word")
    edits = ifupdown(text).define("vmbr0", dataclasses.replace(FULL, addresses6=addresses6, gateway6=""))
    assert "iface vmbr0 inet6 auto\n\tprivext 2\n" in edits[MAIN]
    assert [line for line in edits[MAIN].splitlines() if "inet6 static" in line or "fd00" in line] == more


def test_what_a_router_announces_is_taken_also_while_the_host_forwards():
    text = "auto vmbr0\niface vmbr0 inet manual\n    bridge_ports eth1\n"
    told = LinkSettings(addresses6=("slaac",), ports=(ETH1,))
    edits = ifupdown(text).define("vmbr0", told)
    assert edits == {MAIN: text + "iface vmbr0 inet6 auto\n    accept_ra 2\n"}
    assert ifupdown(edits[MAIN]).read("vmbr0") == told
    fixed = dataclasses.replace(told, addresses6=("fd00:20::11/64",))
    assert ifupdown(edits[MAIN]).define("vmbr0", fixed) == {
        MAIN: text + "iface vmbr0 inet6 static\n    address fd00:20::11/64\n"
    }
    assert ifupdown(edits[MAIN]).define("vmbr0", dataclasses.replace(told, addresses6=())) == {MAIN: text}
    # The stanza that comes later has the last word of what the kernel takes.
    both = dataclasses.replace(told, addresses6=("fd00:20::11/64", "slaac"))
    assert ifupdown(edits[MAIN]).define("vmbr0", both) == {
        MAIN: f"{text}iface vmbr0 inet6 static\n    address fd00:20::11/64\niface vmbr0 inet6 auto\n    accept_ra 2\n"
    }


def test_networkd_is_told_to_take_what_a_router_announces():
    path = f"{ETC}/10-vmbr0.network"
    edits = networkd().define("vmbr0", dataclasses.replace(FULL, addresses6=("slaac",), gateway6=""))
    assert "IPv6AcceptRA=yes\n" in edits[path] and "fd00" not in edits[path]
    assert networkd({**UNITS, **edits}).read("vmbr0").addresses6 == ("slaac",)
    back = networkd({**UNITS, **edits}).define("vmbr0", FULL)
    assert "IPv6AcceptRA" not in back[path]
    # What somebody wrote beside a lease or an address of his own stays: both need it for their way out.
    for word in ("DHCP=ipv6", "Address=fd00:20::10/64"):
        text = f"[Match]\nName=vmbr0\n\n[Network]\n{word}\nIPv6AcceptRA=true\n"
        known = networkd({**UNITS, path: text}).read("vmbr0")
        edits = networkd({**UNITS, path: text}).define("vmbr0", dataclasses.replace(known, gateway="192.0.2.1"))
        assert "IPv6AcceptRA=true\n" in edits[path]


def test_a_bridge_in_two_files_is_edited_in_both():
    head, six = INTERFACES.split("# six\n")
    six, tail = six.split("# the last word\n")
    files = {MAIN: head + tail, f"{OURS}/six": six}
    changes = {"addresses": ("192.0.2.11/24",), "addresses6": ("fd00:20::11/64",), "gateway6": "fe80::2", "mtu": 1400}
    wanted = dataclasses.replace(FULL, **changes)
    edits = Ifupdown(files).define("vmbr0", wanted)
    assert edits[f"{OURS}/six"] == "iface vmbr0 inet6 static\n\taddress fd00:20::11/64\n\tgateway fe80::2\n\n"
    assert "inet6" not in edits[MAIN]
    assert Ifupdown({**files, **edits}).read("vmbr0") == wanted


def test_a_sourced_file_sources_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ifupdown_files, "MAIN", str(tmp_path / "interfaces"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "interfaces").write_text("source a/*\n")
    (tmp_path / "a" / "first").write_text("source b/*\n")
    (tmp_path / "a" / "b" / "second").write_text("auto vmbr0\niface vmbr0 inet manual\n bridge_ports eth1\n")
    dummy, files = backends.read_backends({})
    assert files.read("vmbr0") == LinkSettings(ports=(ETH1,))


def test_a_word_for_vlans_that_bridge_utils_does_not_take_is_mended():
    text = INTERFACES.replace("bridge-vlan-aware yes", "bridge-vlan-aware on")
    assert not ifupdown(text).read("vmbr0").vlan_aware
    assert ifupdown(text).define("vmbr0", FULL) == {MAIN: INTERFACES}


def test_lines_are_joined_as_ifupdown_joins_them():
    text = "iface vmbr0 inet manual\n\tbridge_ports eth1 \\\neth2\\\n\teth\\\n3\n"
    assert [port.name for port in ifupdown(text).read("vmbr0").ports] == ["eth1", "eth2", "eth3"]


def test_other_commands_beside_those_for_vlans_stay_to_the_letter():
    commands = "\tup echo 'a  b'\n\t# about c\n\tpost-up c\n\tup ip route add 10.0.0.0/8 \\\n\t  via 192.0.2.2\n"
    text = INTERFACES.replace('\tup echo "kept"\n', commands)
    other = dataclasses.replace(FULL, ports=(BOND, Port("eth1", 0, (40,))))
    edits = ifupdown(text).define("vmbr0", other)
    assert commands in edits[MAIN]
    assert ifupdown(edits[MAIN]).read("vmbr0") == other
    assert ifupdown(edits[MAIN]).define("vmbr0", FULL) == {MAIN: text}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stp": False}, ["- STP=true", "+ STP=no", "+ ForwardDelaySec=0"]),
        ({"mtu": 0}, ["- MTUBytes=9000"]),
        ({"vlan_aware": False}, ["- VLANFiltering=1"]),
        ({"addresses": ("192.0.2.11/25",)}, ["- Address=192.0.2.10/24", "+ Address=192.0.2.11/25"]),
        ({"addresses": ("dhcp",), "gateway": ""}, ["- Address=192.0.2.10/24", "- Gateway=192.0.2.1", "+ DHCP=ipv4"]),
        ({"gateway6": "fd00:20::1"}, ["- [Route]", "- Gateway=fe80::1", "+ Gateway=fd00:20::1"]),
        ({"ports": (ETH1,)}, None),
        (
            {"ports": (*FULL.ports, Port("eth0"))},
            ["+ [Match]", "+ Name=eth0", "+ ", "+ [Network]", "+ Bridge=vmbr0", "+ ", "+ [Link]", "+ MTUBytes=9000"],
        ),
    ],
)
def test_an_edit_of_units_changes_what_is_wanted_and_nothing_else(changes, expected):
    wanted = dataclasses.replace(FULL, **changes)
    edits = networkd().define("vmbr0", wanted)
    assert set(networkd({**UNITS, **edits}).read("vmbr0").ports) == set(wanted.ports)
    assert dataclasses.replace(networkd({**UNITS, **edits}).read("vmbr0"), ports=()) == dataclasses.replace(
        wanted, ports=()
    )
    if expected is not None:
        ours = [line for line in difference(UNITS, edits) if "ConfigureWithoutCarrier" not in line]
        assert sorted(ours) == sorted(expected)


@pytest.mark.parametrize(
    ("backend", "ports", "sentence"),
    [
        (
            networkd({f"{ETC}/00-all.network": "[Match]\nName=eth*\n[Network]\nDHCP=yes\n"}),
            ["eth0"],
            "00-all.network claims the link eth0",
        ),
        (
            networkd(**{f"{ETC}/30-eth0.network": "[Match]\nName=eth0\n[Network]\nDHCP=yes\n"}),
            ["eth0"],
            "gives it an address of its own",
        ),
        (
            networkd(**{f"{ETC}/30-eth0.network": "[Match]\nName=eth0\n[Network]\nBridge=br9\n"}),
            ["eth0"],
            "plugs it into br9",
        ),
        (networkd(**{f"{ETC}/10-vmbr0.network.d/a.conf": "[Network]\nDNS=::1\n"}), [], "has drop-ins"),
        (
            networkd(**{"/run/systemd/network/10-vmbr0.network.d/a.conf": "[Network]\n"}),
            [],
            "10-vmbr0.network.d has drop-ins",
        ),
        (networkd(**{f"{ETC}/10-vmbr0.netdev.d/a.conf": "[Bridge]\nSTP=no\n"}), [], "10-vmbr0.netdev.d has drop-ins"),
        (
            networkd({"/run/systemd/network/x.netdev": "[NetDev]\nName=vmbr0\nKind=bridge\n"}),
            [],
            "belongs to another tool",
        ),
        (ifupdown(), ["eth0"], "gives it an address of its own"),
        (ifupdown(INTERFACES + "iface br9 inet manual\n bridge_ports eth9\n"), ["eth9"], "plugs it into br9"),
        (ifupdown(INTERFACES.replace("bridge-ports bond0", "bridge-ports regex bond.*")), [], "by a pattern"),
        (ifupdown("iface vmbr0 inet manual\n"), [], "without bridge_ports"),
        (ifupdown("iface vmbr0\n\tbridge_ports eth1\n"), [], "without a family and a method"),
    ],
)
def test_what_cannot_be_defined_is_told(backend, ports, sentence):
    wanted = dataclasses.replace(backend.read("vmbr0") or FULL, gateway="192.0.2.2")
    (found,) = backend.obstacles("vmbr0", ports, (), wanted)
    assert sentence in found


def test_a_file_for_more_links_than_one_is_not_edited_for_one_of_them():
    shared = networkd(**{f"{ETC}/20-ports.network": "[Match]\nName=eth1 eth2\n\n[Network]\nBridge=vmbr0\n"})
    assert {port.name for port in shared.read("vmbr0").ports} == {"bond0", "eth1", "eth2"}
    (found,) = shared.obstacles("vmbr0", [], ["eth1"])
    assert "plugs in more links than eth1" in found
    assert shared.obstacles("vmbr0", [], ["bond0"]) == []


def test_a_port_with_drop_ins_is_not_edited():
    files = networkd(**{"/run/systemd/network/20-bond0.network.d/a.conf": "[BridgeVLAN]\nVLAN=40\n"})
    (found,) = files.obstacles("vmbr0", [], ["bond0"])
    assert "20-bond0.network.d has drop-ins" in found
    assert files.obstacles("vmbr0", []) == []


@pytest.mark.parametrize("everything", ["::/0", "0.0.0.0/0"])
def test_a_route_to_everywhere_is_the_gateway(everything):
    gateway, other = ("fe80::1", "fe80::2") if ":" in everything else ("192.0.2.1", "192.0.2.2")
    key = "gateway6" if ":" in everything else "gateway"
    section = f"\n[Route]\nDestination={everything}\nGateway={gateway}\n"
    path = f"{ETC}/10-vmbr0.network"
    text = UNITS[path].replace("\n[Route]\nGateway=fe80::1\n", "").replace("Gateway=192.0.2.1\n", "") + section
    files = networkd(**{path: text})
    assert getattr(files.read("vmbr0"), key) == gateway
    edits = files.define("vmbr0", dataclasses.replace(files.read("vmbr0"), **{key: other}))
    assert f"Gateway={other}\n" in edits[path]
    assert everything not in edits[path]


def test_what_can_be_defined_is_not_refused():
    assert networkd().obstacles("vmbr0", ["eth0"]) == []
    assert ifupdown().obstacles("vmbr0", ["eth9"]) == []


def test_the_first_unit_that_matches_wins():
    assert networkd().effective("eth0") == "/usr/lib/systemd/network/80-all.network"
    assert networkd().effective("eth1") == f"{ETC}/20-ports.network"
    masked = networkd(
        **{"/run/systemd/network/20-ports.network": "[Match]\nName=eth1\n", f"{ETC}/20-ports.network": ""}
    )
    assert masked.effective("eth1") == "/usr/lib/systemd/network/80-all.network"
    excluded = networkd(
        {
            f"{ETC}/a.network": "[Match]\nName=!eth0 eth1\n",
            f"{ETC}/b.network": "[Match]\nMACAddress=52-54-00-00-01-01\n",
        }
    )
    assert (excluded.effective("eth0"), excluded.effective("eth1")) == (None, f"{ETC}/b.network")
    assert excluded.effective("bond0") == f"{ETC}/a.network"


@pytest.mark.parametrize("model", [UnitFile, InterfacesFile])
@pytest.mark.parametrize("text", [INTERFACES, *UNITS.values(), "", "\n\n# only\n", "iface x inet manual \\\n"])
def test_a_file_that_nobody_edits_stays_to_the_letter(model, text):
    assert model(text).render() == text


def test_a_file_of_networkd_that_was_there_before_the_bridge_stays_when_it_goes():
    own = f"{ETC}/10-vmbr0.network"
    before = {own: "[Match]\nName=vmbr0\n\n[Network]\nDNS=192.0.2.53\n"}
    files = {**before, **Networkd(before, LINKS).define("vmbr0", FULL)}
    assert f"{ETC}/05-vmbr0.network" not in files
    gone = Networkd(files, LINKS).forget("vmbr0")
    assert f"{ETC}/05-vmbr0.netdev" in gone
    assert gone[own] == before[own]


@pytest.mark.parametrize("text", ["auto lo\niface lo inet loopback\n", "# only\n", "auto lo\n\n# end\n"])
def test_a_bridge_that_comes_and_goes_leaves_the_file_to_the_letter(text):
    there = ifupdown(text).define("vmbr0", FULL)[MAIN]
    assert ifupdown(there).forget("vmbr0") == {MAIN: text}


def test_what_goes_leaves_the_words_of_others():
    text = ifupdown().forget("vmbr0")[MAIN]
    assert "vmbr0" not in text
    assert "auto lo\n" in text
    assert "# six\n" in text
    assert "# the last word\niface eth9 inet manual\n" in text
