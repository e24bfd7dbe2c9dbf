# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a device in the configuration, and its group on either side of the map."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import device, idmap
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import Config
from ansible_collections.homelab.hybrid.plugins.module_utils._container.guest_files import groups
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import Item
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.device import HostDevice

MAPPED = "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n"
DENIED = "lxc.cgroup.devices.deny = a\nlxc.cgroup2.devices.deny = a\n"
GPU = HostDevice("c", 226, 128, 0o660, "render")
STICK = HostDevice("c", 188, 3, 0o660, "dialout")


def wanted(config, name="gpu", target=("node", "/dev/dri/renderD128"), there=GPU, gid=44, **values):
    return device.wanted_device("one", Item(name, values=values), target, there, config, before=None, gid=gid)


@pytest.mark.parametrize("text", [MAPPED, DENIED])
@pytest.mark.parametrize(
    "target", [("node", "/dev/dri/renderD128"), ("serial", "usb-x#1"), ("usb", "10c4:ea60")], ids=lambda its: its[0]
)
def test_what_is_written_is_read_and_taken_away_without_a_trace(text, target):
    config = Config.parse(text)
    new = wanted(config, target=target, optional=True)
    there = device.write_device(config, None, new)
    found = device.read_devices("one", there)["gpu"]
    assert found.replace(line="") == new and found.line == new.hook
    assert device.write_device(there, found, None).text == text


def test_the_group_stands_on_the_host_as_the_map_says():
    assert wanted(Config.parse(MAPPED)).host_gid == 100044
    assert wanted(Config.parse("")).host_gid == 44
    assert wanted(Config.parse("")).mode == "0660"


def test_a_control_group_is_told_only_where_it_denies_and_by_major_number_of_what_is_plugged_in():
    assert wanted(Config.parse(MAPPED)).rule == ""
    assert wanted(Config.parse(DENIED)).rule == "c 226:128 rwm"
    assert wanted(Config.parse(DENIED), "stick", ("serial", "usb-x"), STICK).rule == "c 188:* rwm"


def test_a_rule_goes_with_the_last_device_that_needs_it():
    config = Config.parse(DENIED)
    for name in ("one", "two"):
        config = device.write_device(config, None, wanted(config, name, ("serial", f"usb-{name}"), STICK))
    assert config.text.count("devices.allow = c 188:* rwm") == 2
    config = device.write_device(config, device.read_devices("one", config)["one"], None)
    assert config.text.count("devices.allow = c 188:* rwm") == 2
    config = device.write_device(config, device.read_devices("one", config)["two"], None)
    assert config.text == DENIED


def test_a_device_that_the_host_numbers_otherwise_is_another_one_where_numbers_count():
    config = Config.parse(DENIED)
    there = device.read_devices("one", device.write_device(config, None, wanted(config)))["gpu"]
    assert device.with_numbers(there, GPU).value("path") == "/dev/dri/renderD128"
    moved = device.with_numbers(there, HostDevice("c", 226, 129, 0o660, "render"))
    assert moved.value("path") == "/dev/dri/renderD128 as c 226:128 rwm"
    assert device.with_numbers(there, None).value("path") == "/dev/dri/renderD128"


def test_groups_are_translated_through_a_map_of_several_ranges():
    lines = ["u 0 100000 65536", "g 0 100000 1000", "g 1000 1000 1", "g 1001 101001 64535"]
    for inside, host in ((0, 100000), (999, 100999), (1000, 1000), (1001, 101001)):
        assert idmap.host_gid(lines, inside) == host and idmap.inside_gid(lines, host) == inside
    assert idmap.host_gid(lines, 70000) is None and idmap.inside_gid(lines, 5) is None
    assert idmap.host_gid([], 5) == idmap.inside_gid([], 5) == 5


def test_of_a_group_that_is_there_twice_the_first_counts_and_broken_lines_count_nothing():
    text = "root:x:0:\nvideo:x:44:me\nvideo:x:45:\nbroken\nodd:x:x:\nlarge:x:99999999999:\n"
    assert groups(text) == {"root": 0, "video": 44} and groups(None) == {}
