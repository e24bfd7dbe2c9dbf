# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file: what is changed is changed in place, all else survives to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import (
    Config,
    escape_path,
    parse_entry,
    unescape_path,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError

BY_HAND = """\
# Template used: download
#   lxc.net.0.link = not me

   lxc.include=/usr/share/lxc/config/common.conf
lxc.uts.name =   old-name\t
lxc.start.auto = 0
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
some broken line
lxc.mount.entry = /a a none bind 0 0
lxc.net.0.flags = up
LXC.odd = x = y # no comment
lxc.mount.entry = /b b none bind,ro 0 0
lxc.start.auto = 1
"""


def test_reading_changes_nothing():
    assert Config.parse(BY_HAND).text == BY_HAND


def test_a_changed_value_keeps_its_place_and_form():
    changed = Config.parse(BY_HAND).set("lxc.uts.name", "new").text
    assert changed == BY_HAND.replace("lxc.uts.name =   old-name\t", "lxc.uts.name =   new")
    assert Config.parse(BY_HAND).set("lxc.include", "/x").text.splitlines()[3] == "   lxc.include=/x"


def test_the_last_line_of_a_key_counts():
    config = Config.parse(BY_HAND)
    assert config.get("lxc.start.auto") == "1"
    assert config.set("lxc.start.auto", "0").text.endswith("lxc.start.auto = 0\n")
    assert config.set("lxc.start.auto", "1") is config
    assert config.unset("lxc.start.auto").get("lxc.start.auto") is None


def test_a_new_line_stands_beside_its_family():
    lines = Config.parse(BY_HAND).set("lxc.net.0.hwaddr", "00:16:3e:00:00:01").text.splitlines()
    assert lines[lines.index("lxc.net.0.flags = up") + 1] == "lxc.net.0.hwaddr = 00:16:3e:00:00:01"
    assert Config.parse(BY_HAND).set("lxc.cgroup.pids.max", "5").text == BY_HAND + "lxc.cgroup.pids.max = 5\n"


def test_values_that_stand_more_than_once_are_exact():
    config = Config.parse(BY_HAND)
    key = "lxc.mount.entry"
    assert config.values(key) == ["/a a none bind 0 0", "/b b none bind,ro 0 0"]
    assert config.remove(key, "/a a none bind 0 0").values(key) == ["/b b none bind,ro 0 0"]
    assert config.remove(key, "/a") is not None and config.remove(key, "/a").text == BY_HAND
    assert config.append(key, "/c c none bind 0 0").values(key)[-1] == "/c c none bind 0 0"
    replaced = config.replace(key, "/a a none bind 0 0", "/z a none bind 0 0").text
    assert replaced == BY_HAND.replace("/a a none", "/z a none")


def test_an_empty_value_clears_what_stands_before():
    config = Config.parse("lxc.idmap = u 0 1 2\nlxc.idmap =\nlxc.idmap = g 0 1 2\n")
    assert config.values("lxc.idmap") == ["g 0 1 2"]


def test_interfaces_are_read_by_number():
    text = BY_HAND + "lxc.net.2.type = macvlan\nlxc.net.5.type = veth\nlxc.net.5 =\n"
    nets = Config.parse(text).nets()
    assert nets == {0: {"type": "veth", "link": "lxcbr0", "flags": "up"}, 2: {"type": "macvlan"}}
    without = Config.parse(text).without_net(0).text
    assert "lxc.net.0" not in without.replace("#   lxc.net.0.link = not me", "") and "some broken line" in without
    assert Config.parse(text + "lxc.net =\nlxc.net.1.type = veth\n").nets() == {1: {"type": "veth"}}
    assert Config.parse("lxc.net.1.link = a\nlxc.net.10.link = b\n").without_net(1).text == "lxc.net.10.link = b\n"


def test_quotes_around_a_value_are_not_part_of_it():
    assert Config.parse("lxc.uts.name = 'a b'\n").get("lxc.uts.name") == "a b"
    assert Config.parse('lxc.uts.name = "a\n').get("lxc.uts.name") == '"a'


@pytest.mark.parametrize("value", ["a\nlxc.hook.start = /x", "a\rb", "a\x00", "a\u2028b", "a\x1b[2J"])
def test_a_value_never_becomes_a_second_line(value):
    with pytest.raises(ApplyError, match="one printable line"):
        Config().set("lxc.uts.name", value)
    with pytest.raises(ApplyError, match="one printable line"):
        Config().append("lxc.mount.entry", value)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"))))
def test_any_file_survives(lines):
    text = "".join(line + "\n" for line in lines)
    config = Config.parse(text)
    assert config.text == text
    assert config.set("lxc.hlct", "1").unset("lxc.hlct").text == config.unset("lxc.hlct").text


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1))
def test_a_path_in_an_entry_is_the_path(path):
    assert unescape_path(escape_path(path)) == path
    assert not set(escape_path(path)) & set(" \t")


def test_an_entry_is_read_and_written_alike():
    entry = parse_entry("/srv/my\\040files mnt/x none bind,create=dir,ro 0 0")
    assert entry is not None and (entry.source, entry.path) == ("/srv/my files", "/mnt/x")
    assert entry.is_bind and entry.is_readonly
    assert entry.text == "/srv/my\\040files mnt/x none bind,create=dir,ro 0 0"
    assert parse_entry("broken") is None
