# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import declared
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError


@pytest.mark.parametrize("name", ["a", "web-1", "Web_1.lan", "9", "a" * 63])
def test_a_name(name):
    assert declared.check_name("name", name) == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "../etc", "a/b", "a b", "a\n", "a" * 64, "ä", "a\x00", None, 5])
def test_what_is_no_name(name):
    with pytest.raises(SpecError, match=r"^name: "):
        declared.check_name("name", name)


def test_the_name_of_an_item_has_no_dot():
    with pytest.raises(SpecError):
        declared.check_item_name("disks[].name", "a.b")


@pytest.mark.parametrize(("path", "clean"), [("/a/b/", "/a/b"), ("//a/./b", "/a/b"), ("/a b", "/a b"), (None, None)])
def test_a_path(path, clean):
    assert declared.check_path("path", path) == clean


@pytest.mark.parametrize("path", ["", "a", "/", "//", "/.", "/a/../b", "/a\nb", "/a\x00"])
def test_what_is_no_path(path):
    with pytest.raises(SpecError, match=r"^path: "):
        declared.check_path("path", path)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\u2028b", "a\x85b", "\x1b[0m"])
def test_what_is_no_line(text):
    with pytest.raises(SpecError):
        declared.check_line("hostname", text)


def test_text_may_have_lines_but_no_control_characters():
    assert declared.check_text("description", "a\n\tb") == "a\n\tb"
    with pytest.raises(SpecError):
        declared.check_text("description", "a\x07")


def test_an_item_that_is_there_twice_is_refused():
    with pytest.raises(SpecError, match="'lan' is there twice"):
        declared.check_items("networks", [{"name": "lan"}, {"name": "lan"}])


def test_a_number_outside_its_range_is_refused_with_the_range():
    with pytest.raises(SpecError, match=r"vlan: 5000 is not allowed\. Allowed: 1 to 4094"):
        declared.check_number("vlan", 5000, least=1, most=4094)


def test_a_choice():
    assert declared.check_choice("bus", None, ["virtio"]) is None
    with pytest.raises(SpecError, match="one of virtio, scsi"):
        declared.check_choice("bus", "ide", ["virtio", "scsi"])


def test_what_is_none_was_not_written():
    assert declared.written({"name": "lan", "vlan": None, "link": False}) == {"name": "lan", "link": False}
