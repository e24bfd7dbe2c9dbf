# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A configuration with what it includes: what counts, and how a change is written so that it counts."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import guest_files, monitor
from ansible_collections.homelab.hybrid.plugins.module_utils._container.card import device_names
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import Config, parse_entry
from ansible_collections.homelab.hybrid.plugins.module_utils._container.idmap import Range, parse_others, parse_subids
from ansible_collections.homelab.hybrid.plugins.module_utils._container.sharing import shared_namespaces

SHARED = "/etc/lxc/shared.conf"
LINES = (
    "lxc.start.auto = 1",
    "lxc.net.0.link = br0",
    "lxc.net.0.ipv4.address = 192.0.2.5/24",
    "lxc.net.0.ipv4.address = 192.0.2.6/24",
    "lxc.cgroup.pids.max = 100",
)


def including(text: str = "") -> Config:
    own = f"lxc.uts.name = a\nlxc.include = {SHARED}\n{text}"
    return Config.parse(own, {SHARED: [(SHARED, line) for line in LINES]})


def test_what_is_included_counts_in_its_place():
    assert including().get("lxc.start.auto") == "1"
    assert including("lxc.start.auto = 0\n").get("lxc.start.auto") == "0"
    assert including().nets() == {0: {"link": "br0", "ipv4.address": "192.0.2.5/24\n192.0.2.6/24"}}
    assert including().text == f"lxc.uts.name = a\nlxc.include = {SHARED}\n"


@pytest.mark.parametrize(
    ("key", "value", "lines"),
    [
        ("lxc.start.auto", "0", ["lxc.start.auto =", "lxc.start.auto = 0"]),
        ("lxc.cgroup.pids.max", "50", ["lxc.cgroup.pids.max =", "lxc.cgroup.pids.max = 50"]),
        ("lxc.net.0.link", "br1", ["lxc.net.0.link = br1"]),
        ("lxc.start.delay", "5", ["lxc.start.delay = 5"]),
    ],
)
def test_a_value_is_written_so_that_it_counts(key, value, lines):
    changed = including().set(key, value)
    assert changed.text.splitlines()[2:] == lines
    assert changed.set(key, value) == changed


def test_a_value_of_another_file_is_taken_back_by_an_empty_line():
    assert including().unset("lxc.start.auto").text.splitlines()[2:] == ["lxc.start.auto ="]
    assert including().unset("lxc.start.delay") == including()
    assert including().without_net(0).text.splitlines()[2:] == ["lxc.net.0 ="] and not including().without_net(0).nets()


def test_values_that_stand_more_than_once_are_changed_in_their_places():
    own = Config.parse("x.a = 1\n# one\nx.a=2\nx.b = 3\n")
    assert own.set_all("x.a", ["1", "5"]).text == "x.a = 1\n# one\nx.a=5\nx.b = 3\n"
    assert own.set_all("x.a", ["1"]).text == "x.a = 1\n# one\nx.b = 3\n"
    assert own.set_all("x.a", ["1", "2", "4"]).text == "x.a = 1\n# one\nx.a=2\nx.a = 4\nx.b = 3\n"
    changed = including().set_all("lxc.net.0.ipv4.address", ["192.0.2.7/24"])
    assert changed.values("lxc.net.0.ipv4.address") == ["192.0.2.7/24"]


def test_a_target_below_the_root_is_a_path_inside():
    for line in ("/a b/c none bind 0 0", "/a /srv/root/b/c none bind 0 0"):
        entry = parse_entry(line, "/srv/root")
        assert entry is not None and entry.path == "/b/c"
    assert parse_entry("/a /elsewhere none bind 0 0", "/srv/root") is None
    assert parse_entry("/a /srv/rootless none bind 0 0", "/srv/root") is None


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("lxc.net.0.type = none\n", {"net"}),
        ("lxc.net.0.type = none\nlxc.net.1.type = veth\n", set()),
        ("lxc.net.0.type = empty\n", set()),
        ("", set()),
        ("lxc.namespace.keep = net uts\n", {"net", "uts"}),
        ("lxc.namespace.clone = mnt pid\n", {"net", "uts"}),
        ("lxc.namespace.share.net = other\n", {"net"}),
    ],
)
def test_which_namespaces_are_not_its_own(text, shared):
    assert set(shared_namespaces(Config.parse(text))) == shared


def test_the_kernel_names_a_card_without_a_name():
    assert device_names({3: {}}) == {3: "eth0"}
    assert device_names({0: {"name": "eth0"}, 2: {}, 5: {}}) == {0: "eth0", 2: "eth1", 5: "eth2"}


def test_what_a_monitor_holds_is_compared_with_what_counts():
    config = Config.parse("lxc.uts.name = b\nlxc.net.0.link = br0\nlxc.cgroup.pids.max = 5\n")
    held = {
        "lxc.uts.name": "a",
        "lxc.net.0.link": "br0",
        "lxc.cgroup.pids.max": "5",
        "lxc.net.0.mtu": "",
        "lxc.mount.entry": "x y",
    }
    assert monitor.changed_keys(config, held) == ["lxc.uts.name", "lxc.mount.entry"]
    assert {"lxc.uts.name", "lxc.net.0.link", "lxc.cgroup.pids.max"} < set(monitor.keys_of(config, is_v2=False))


def test_ranges_of_users_are_nobody_elses():
    text = "root:100000:65536000\nsomebody:100000:65536\n0:5:5\nbad:1\nx:9:0\n"
    assert parse_subids(text) == [Range(100000, 65536000), Range(5, 5)]
    assert parse_others(text) == [Range(100000, 65536)]


def test_stanzas_of_an_interface_become_comments():
    text = "auto lo eth9\nauto eth0\niface eth0 inet dhcp\n    mtu 9000\n\niface eth1 inet dhcp\n# iface eth0\n"
    assert guest_files.asks_dhcp_for(text, "eth0") and not guest_files.asks_dhcp_for(text, "lo")
    left = guest_files.without_interface(text, "eth0")
    assert left == text.replace("auto eth0", "# auto eth0").replace("iface eth0 inet", "# iface eth0 inet").replace(
        "    mtu", "#     mtu"
    )
