# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import forwarding
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.record import BridgeRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths, record


@pytest.fixture
def switch(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(paths, "LOCKS", str(tmp_path / "locks"))
    path = tmp_path / "ip_forward"
    monkeypatch.setattr(forwarding, "SWITCH", str(path))
    path.write_text("0\n")
    bridges(monkeypatch, "old0")
    return path


def bridges(monkeypatch, *names):
    monkeypatch.setattr(forwarding, "_bridges", lambda: set(names))


def file(name):
    return record.Owned(record.load("bridges", name), BridgeRecord)


def made(name):
    own = file(name)
    own.save(is_made=True)
    forwarding.remember(own)
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
