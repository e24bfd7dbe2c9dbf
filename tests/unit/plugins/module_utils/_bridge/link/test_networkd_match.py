# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which file of systemd-networkd is that of a link, and what becomes of one that is about more links than one."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import ifupdown as ifupdown_files
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import iproute
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import networkd as networkd_files
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.ifupdown import MAIN, Ifupdown
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.match import matches
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.networkd import Networkd
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import FIELDS, LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.unit_file import UnitFile
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.options import LINK

ETC = "/etc/systemd/network"
BR0 = {"mac": "52:54:00:00:00:01", "type": "bridge", "kind": "bridge", "driver": "bridge", "altnames": "lan0"}
ETH0 = {"mac": "52:54:00:00:00:02", "permanent_mac": "52:54:00:00:00:03", "type": "ether", "kind": "", "altnames": ""}
SHARED = f"{ETC}/20-shared.network"
NETDEV = {f"{ETC}/10-br0.netdev": "[NetDev]\nName=br0\nKind=bridge\n"}
NETWORK = "\n[Network]\nAddress=192.0.2.10/24\nDNS=192.0.2.53\n\n[Route]\nGateway=192.0.2.1\n"
READ = LinkSettings(addresses=("192.0.2.10/24",), gateway="192.0.2.1")


@pytest.mark.parametrize(
    ("match", "link", "known", "expected"),
    [
        ("Name=br0", "br0", BR0, True),
        ("Name=br0 br1", "br0", BR0, True),
        ("Name=br1\nName=br0", "br0", BR0, True),
        ("Name=br0\nName=\nName=br1", "br0", BR0, False),
        ("Name=br1\n[Match]\nName=br0", "br0", BR0, True),
        ("Name=br*", "br0", BR0, True),
        ("Name=br[1-9]", "br0", BR0, False),
        ("Name=!br1", "br0", BR0, True),
        ("Name=!br0 br1", "br1", {**BR0, "altnames": ""}, False),
        ("Name=br*\nName=!br0", "br0", BR0, False),
        ("Name=lan0", "br0", BR0, True),
        ("Kind=bridge", "br0", BR0, True),
        ("Kind=!bridge", "br0", BR0, False),
        ("Type=ether", "br0", BR0, False),
        ("Type=ether", "eth0", ETH0, True),
        ("Name=br0\nDriver=bridge", "br0", BR0, True),
        ("Name=br0\nDriver=virtio_net", "br0", BR0, False),
        ("Driver=virtio_net", "eth0", ETH0, None),
        ("Name=br0\nHost=alpha", "br0", BR0, None),
        ("Name=br1\nHost=alpha", "br0", BR0, False),
        ("Path=pci-*", "eth0", ETH0, None),
        ("SSID=home", "br0", BR0, False),
        ("SSID=home", "wlan0", {"type": "wlan"}, None),
        ("MACAddress=52-54-00-00-00-02 52:54:00:00:00:09", "eth0", ETH0, True),
        ("MACAddress=5254.0000.0002", "eth0", ETH0, True),
        ("MACAddress=nonsense\nName=eth0", "eth0", ETH0, True),
        ("OriginalName=eth0", "eth0", ETH0, False),
        ("OriginalName=eth1\nName=eth0", "eth0", ETH0, True),
        ('Name="eth0"', "eth0", ETH0, False),
        ('Kind="bridge"', "br0", BR0, True),
        ("Name=\\\n# eth1\n  eth0", "eth0", ETH0, True),
        ("Name=eth0 \\\\\nName=eth1", "eth1", ETH0, True),
        ("Host=alpha\nHost=", "eth0", ETH0, False),
        ("PermanentMACAddress=52:54:00:00:00:02", "eth0", ETH0, False),
        ("PermanentMACAddress=52:54:00:00:00:03", "eth0", ETH0, True),
        ("", "br0", BR0, False),
    ],
)
def test_a_match_section_is_read_as_networkd_reads_it(match, link, known, expected):
    assert matches(UnitFile(f"[Match]\n{match}\n"), link, known) is expected


ABOUT_MORE = ["Name=br0 br1", "Name=br*", "Kind=bridge", "Name=br1\nName=br0", "Name=br1\n[Match]\nName=br0"]
ABOUT_IT_ALONE = ["Name=br0", "Name=br0\nDriver=bridge", "Name=br0\nKind=bridge", "Name=br0\n[Match]\nKind=bridge"]
UNSURE = ["Name=br0\nHost=alpha", "Name=br0\nVirtualization=!container"]


def backend(match, told=None):
    files = {**NETDEV, SHARED: f"[Match]\n{match}\n{NETWORK}"}
    return Networkd(files, {"br0": BR0, "br1": BR0, "eth0": ETH0}, told)


@pytest.mark.parametrize("match", [*ABOUT_MORE, *ABOUT_IT_ALONE, *UNSURE])
@pytest.mark.parametrize(
    "change", [{"mtu": 1400}, {"mac": "52:54:00:00:00:09"}, {"stp": True}, {"ports": (Port("eth0"),)}]
)
def test_a_file_of_the_network_stays_when_the_change_is_not_about_it(match, change):
    files = backend(match)
    assert files.read("br0") == READ
    wanted = dataclasses.replace(READ, **change)
    assert files.obstacles("br0", [port.name for port in wanted.ports], (), wanted) == []
    edits = files.define("br0", wanted)
    assert edits and SHARED not in edits and f"{ETC}/05-br0.network" not in edits
    assert Networkd({**files.files, **edits}, files.links).read("br0") == wanted


@pytest.mark.parametrize("match", [*ABOUT_MORE, *UNSURE])
@pytest.mark.parametrize(
    "change", [{"addresses": ("192.0.2.11/24",)}, {"addresses6": ("fd00::1/64",)}, {"gateway": "192.0.2.2"}]
)
def test_a_change_in_a_file_about_more_links_is_refused_by_its_name(match, change):
    (why,) = backend(match).obstacles("br0", [], (), dataclasses.replace(READ, **change))
    assert why.startswith(f"name: {SHARED} configures more links than br0") and "give br0 a file of its own" in why
    assert ("as Host may say" in why) == ("Host" in match)


@pytest.mark.parametrize("match", [*ABOUT_IT_ALONE, *UNSURE])
def test_a_file_about_the_bridge_alone_is_changed_in_place(match):
    files = backend(match, {"br0": SHARED})
    wanted = dataclasses.replace(READ, addresses=("192.0.2.11/24",))
    assert files.obstacles("br0", [], (), wanted) == []
    edits = files.define("br0", wanted)
    assert set(edits) == {SHARED} and f"[Match]\n{match}\n" in edits[SHARED] and "DNS=192.0.2.53\n" in edits[SHARED]


def test_networkd_itself_tells_which_file_it_takes():
    assert backend("Name=br0\nHost=alpha").effective("br0") == SHARED
    assert backend("Name=br0\nHost=beta", {"br0": f"{ETC}/90-other.network"}).effective("br0") is None


@pytest.mark.parametrize("key", ["MTUBytes=1500", "MACAddress=52:54:00:00:00:08"])
def test_a_value_that_lies_in_a_file_about_more_links_is_refused(key):
    files = {**NETDEV, SHARED: f"[Match]\nName=br0 br1\n[Link]\n{key}\n"}
    shared = Networkd(files, {"br0": BR0})
    wanted = dataclasses.replace(shared.read("br0"), mtu=1400, mac="52:54:00:00:00:09")
    (why,) = shared.obstacles("br0", [], (), wanted)
    assert SHARED in why


def test_a_link_that_a_shared_file_names_is_no_new_port():
    files = {f"{ETC}/20-ports.network": "[Match]\nName=eth0\nName=eth1\n[Network]\nLLDP=yes\n"}
    (why,) = Networkd(files, {"eth0": ETH0}).obstacles("br0", ["eth0"], (), LinkSettings(ports=(Port("eth0"),)))
    assert why.startswith(f"ports[eth0]: {ETC}/20-ports.network configures more links than eth0")
    everything = {f"{ETC}/80-all.network": "[Match]\nType=ether\n[Network]\nDHCP=yes\n"}
    assert Networkd(everything, {"eth0": ETH0}).obstacles("br0", ["eth0"]) == []


def test_ports_on_two_lines_are_plugged_in():
    files = {**NETDEV, f"{ETC}/20-ports.network": "[Match]\nName=eth0\nName=eth1\n[Network]\nBridge=br0\nLLDP=yes\n"}
    both = Networkd(files, {"eth0": ETH0, "eth1": ETH0})
    wanted = both.read("br0")
    assert wanted.ports == (Port("eth0"), Port("eth1"))
    assert both.obstacles("br0", [], (), wanted) == [] and both.define("br0", wanted) == {}


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            Networkd({f"{ETC}/10-br0.netdev": "[NetDev]\nName=br0\nKind=bridge\nMACAddress=none\n"}, {}),
            "MACAddress=none\n",
        ),
        (
            Ifupdown({MAIN: "auto br0\niface br0 inet manual\n  bridge_ports none\n  hwaddress random\n"}),
            "hwaddress random\n",
        ),
    ],
)
def test_a_word_in_the_place_of_a_mac_is_none_and_comes_back(files, line):
    before = files.read("br0")
    assert before.mac == ""
    assert files.define("br0", before) == {}
    words = files.words("br0")
    edits = files.define("br0", dataclasses.replace(before, mac="52:54:00:00:00:09"), words=words)
    ((path, text),) = edits.items()
    assert line not in text and "52:54:00:00:00:09" in text
    known = {**files.files, **edits}
    changed = Networkd(known, {}) if isinstance(files, Networkd) else Ifupdown(known)
    assert changed.define("br0", before, words=words) == {path: files.files[path]}


HERE = {"Host=here": True, "Host=there": False}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("Host=here", True),
        ("Name=eth0\nHost=there", False),
        ("Name=eth0\nHost=there\nHost=here", True),
        ("Name=eth1\nHost=here", False),
        ("Name=eth0\nKernelVersion=>=9", None),
    ],
)
def test_what_a_file_asks_of_the_host_is_answered_by_systemd(match, expected):
    assert matches(UnitFile(f"[Match]\n{match}\n"), "eth0", ETH0, HERE.get) is expected


def test_a_definition_for_another_host_or_behind_another_one_is_none():
    other = {f"{ETC}/00-br0.netdev": "[Match]\nHost=there\n[NetDev]\nName=br0\nKind=bridge\nMTUBytes=1300\n"}
    later = {f"{ETC}/90-br0.netdev": "[NetDev]\nName=br0\nKind=bridge\nMTUBytes=1300\n"}
    assert Networkd({**other, **NETDEV, **later}, {}, holds=HERE.get).read("br0").mtu == 0
    assert Networkd(other, {}, holds=HERE.get).read("br0") is None


def test_a_file_that_does_not_end_a_section_is_passed_over():
    broken = {f"{ETC}/00-br0.network": f"[Match\nName=br0\n{NETWORK}"}
    assert Networkd({**NETDEV, **broken}, {"br0": BR0}).effective("br0") is None


def test_drop_ins_of_all_folders_are_read_and_not_edited():
    more = {
        "/usr/lib/systemd/network/20-br0.network.d/10.conf": "[Network]\nAddress=192.0.2.11/24\n",
        "/run/systemd/network/20-br0.network.d/10.conf": "[Network]\nAddress=192.0.2.12/24\n",
    }
    files = Networkd({**NETDEV, f"{ETC}/20-br0.network": f"[Match]\nName=br0\n{NETWORK}", **more}, {"br0": BR0})
    before = files.read("br0")
    assert before.addresses == ("192.0.2.10/24", "192.0.2.12/24")
    assert files.obstacles("br0", [], (), before) == []
    other = dataclasses.replace(before, addresses=("192.0.2.99/24",))
    assert "has drop-ins" in files.obstacles("br0", [], (), other)[0]


@pytest.mark.parametrize("line", ["Address=", "Address=192.0.2.10", "Address=0.0.0.0/24"])
def test_addresses_that_not_every_systemd_reads_alike_are_not_edited(line):
    text = f"[Match]\nName=br0\n{NETWORK.replace('Address=', f'{line}{chr(10)}Address=', 1)}"
    files = Networkd({**NETDEV, f"{ETC}/20-br0.network": text}, {"br0": BR0})
    before = files.read("br0")
    assert "192.0.2.10/24" in before.addresses
    (why,) = files.obstacles("br0", [], (), dataclasses.replace(before, addresses=("192.0.2.99/24",)))
    assert f"{ETC}/20-br0.network" in why
    assert files.obstacles("br0", [], (), dataclasses.replace(before, stp=True)) == []


def test_a_file_that_plugs_in_by_mac_still_plugs_in_all_of_them():
    path = f"{ETC}/30-ports.network"
    text = "[Match]\nMACAddress=52:54:00:00:00:02 52:54:00:00:00:04\n\n[Network]\nBridge=br0\n"
    links = {"eth0": ETH0, "eth1": {**ETH0, "mac": "52:54:00:00:00:04"}}
    files = Networkd({**NETDEV, path: text}, links)
    before = files.read("br0")
    assert [port.name for port in before.ports] == ["eth0", "eth1"]
    edits = files.define("br0", dataclasses.replace(before, mtu=1400))
    assert "Name=" not in edits[path]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("regex eth[0-9] noregex lan0", ["eth0", "eth1", "lan0"]),
        ("all", ["eth0", "eth1", "p1"]),
        ("none", []),
        ("regex eth(", []),
    ],
)
def test_patterns_of_bridge_utils_are_what_they_find(words, expected):
    files = Ifupdown({MAIN: f"iface ebr inet manual\n  bridge_ports {words}\n"}, ["ebr", "eth0", "eth1", "p1", "lan0"])
    assert [port.name for port in files.read("ebr").ports] == expected


def test_what_a_stanza_inherits_is_not_followed():
    text = "iface base inet static\n  mtu 1400\niface br0 inet static inherits base\n  address 192.0.2.10/24\n  bridge_ports none\n"
    files = Ifupdown({MAIN: text})
    before = files.read("br0")
    assert files.obstacles("br0", [], (), before) == []
    (why,) = files.obstacles("br0", [], (), dataclasses.replace(before, mtu=1300))
    assert f"{MAIN} lets br0 inherit from base" in why


def test_a_pattern_starts_a_bridge():
    files = Ifupdown({MAIN: "auto /br*\niface br0 inet manual\n  bridge_ports none\n"})
    assert files.starts("br0") and not files.starts("eth0")
    assert files.define("br0", files.read("br0")) == {}
    assert "auto /br*\n" in files.forget("br0")[MAIN]


@pytest.mark.parametrize("file", [networkd_files, ifupdown_files])
def test_each_option_is_read_and_written_once_in_each_backend(file):
    # A port is an item with files or lines of its own; the mode is that the bridge is there, and its start is read by itself.
    scalars = {row.path for row in LINK if row.is_compared and "[]" not in row.path} - {"mode", "autostart"}
    assert set(file.READ) == set(file.WRITE) == set(FIELDS) == scalars
    items = {row.path for row in LINK if row.is_compared and "[]" in row.path}
    assert {*iproute.LINK, *iproute.VLANS} == scalars | items | {"state"}
