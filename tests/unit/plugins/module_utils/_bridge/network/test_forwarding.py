# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import forwarding
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.record import BridgeRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths, record
from ansible_collections.homelab.hybrid.plugins.module_utils._host import forwarding as needs

LIBVIRT = """table ip nat {
    chain LIBVIRT_PRT {
        ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 counter packets 3 bytes 180 masquerade
    }

    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        counter packets 284 bytes 17198 jump LIBVIRT_PRT
    }
}
""".replace("    ", "\t")
NFTABLES = "table ip libvirt_network {\n\tchain guest_nat {\n\t\toif eth0 masquerade\n\t}\n}\n"
OTHERS = [
    LIBVIRT.replace("jump LIBVIRT_PRT", 'oifname "eth0" masquerade'),
    LIBVIRT.replace("jump LIBVIRT_PRT", 'xt target "MASQUERADE"'),
    "table inet mine {\n\tchain in {\n\t\ttcp dport 80 dnat ip to 10.0.0.9\n\t}\n}\n",
]


@pytest.fixture(params=[4, 6])
def version(request):
    return request.param


@pytest.fixture
def switch(tmp_path, monkeypatch, version):
    monkeypatch.setattr(paths, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(paths, "LOCKS", str(tmp_path / "locks"))
    for number in (4, 6):
        (tmp_path / f"forward{number}").write_text("0\n" if number == version else "1\n")
    monkeypatch.setattr(forwarding, "SWITCHES", {number: str(tmp_path / f"forward{number}") for number in (4, 6)})
    monkeypatch.setattr(forwarding, "LINKS6", str(tmp_path / "links*"))
    bridges(monkeypatch, "old0")
    monkeypatch.setattr(needs, "FOLDERS", (str(tmp_path / "etc"), str(tmp_path / "lib")))
    monkeypatch.setattr(needs, "LAST", str(tmp_path / "sysctl.conf"))
    monkeypatch.setattr(needs.shutil, "which", lambda name: f"/usr/sbin/{name}")
    rules(monkeypatch, LIBVIRT + NFTABLES)
    yield tmp_path / f"forward{version}"
    assert (tmp_path / f"forward{10 - version}").read_text() == "1\n"


def rules(monkeypatch, text):
    monkeypatch.setattr(needs.command, "run", lambda argv: text)


def bridges(monkeypatch, *names):
    monkeypatch.setattr(forwarding, "_bridges", lambda: set(names))


def file(name):
    return record.Owned(record.load("bridges", name), BridgeRecord)


def made(name):
    own = file(name)
    own.save(is_made=True)
    forwarding.remember(own, has_ipv6=True)
    return own


def removed(own):
    forwarding.give_back(file(own.name))
    own.remove()


def test_what_was_off_is_off_again(switch):
    own = made("lab0")
    switch.write_text("1\n")
    removed(own)
    assert switch.read_text() == "0\n"


def test_what_was_on_stays_on(switch):
    switch.write_text("1\n")
    own = made("lab0")
    removed(own)
    assert switch.read_text() == "1\n"


def test_the_next_of_our_bridges_inherits_the_note(switch):
    first = made("lab0")
    switch.write_text("1\n")
    second = made("lab1")
    removed(first)
    assert switch.read_text() == "1\n"
    removed(second)
    assert switch.read_text() == "0\n"


def test_a_bridge_that_somebody_adopted_inherits_nothing(switch):
    own = made("lab0")
    switch.write_text("1\n")
    file("hand0").save(network="hand")
    removed(own)
    assert switch.read_text() == "0\n"


def test_a_bridge_that_came_since_keeps_it_on(switch, monkeypatch):
    own = made("lab0")
    switch.write_text("1\n")
    bridges(monkeypatch, "old0", "docker0")
    removed(own)
    assert switch.read_text() == "1\n"


def test_the_bridge_itself_does_not_keep_it_on(switch, monkeypatch):
    own = made("lab0")
    switch.write_text("1\n")
    bridges(monkeypatch, "lab0", "old0")
    removed(own)
    assert switch.read_text() == "0\n"


@pytest.mark.parametrize("ruleset", OTHERS)
def test_who_translates_addresses_keeps_it_on(switch, monkeypatch, ruleset):
    own = made("lab0")
    switch.write_text("1\n")
    rules(monkeypatch, ruleset)
    removed(own)
    assert switch.read_text() == "1\n"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"etc/90-router.conf": "net.ipv4.ip_forward=1"}, "1\n"),
        ({"lib/router.conf": "net/ipv4/ip_forward = 1"}, "1\n"),
        ({"sysctl.conf": "# a router\n-net.ipv4.conf.all.forwarding = 1"}, "1\n"),
        ({"sysctl.conf": "#net.ipv4.ip_forward=1"}, "0\n"),
        ({"lib/router.conf": "net.ipv4.ip_forward=1", "etc/router.conf": ""}, "0\n"),
        ({"etc/10-on.conf": "net.ipv4.ip_forward=1", "lib/20-off.conf": "net.ipv4.ip_forward=0"}, "0\n"),
        ({"etc/10-on.conf.old": "net.ipv4.ip_forward=1"}, "0\n"),
    ],
)
def test_what_the_settings_of_the_host_switch_on_stays_on(switch, tmp_path, version, files, left):
    own = made("lab0")
    switch.write_text("1\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = text if version == 4 else text.replace("ip_forward", "conf.all.forwarding").replace("ipv4", "ipv6")
        (tmp_path / name).write_text(f"{text}\n")
    removed(own)
    assert switch.read_text() == left


def test_ipv6_that_some_links_forward_is_not_switched_off(switch, tmp_path, version):
    (tmp_path / "links0").write_text("1\n")
    own = made("lab0")
    switch.write_text("1\n")
    removed(own)
    assert switch.read_text() == ("0\n" if version == 4 else "1\n")


def test_a_bridge_without_ipv6_notes_nothing_of_it(switch, version):
    own = file("lab0")
    forwarding.remember(own)
    assert own.content.without_forwarding6 is None
    assert (own.content.without_forwarding is None) == (version == 6)
