# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What systemd-networkd and ifupdown are told around a change of the kernel."""

from __future__ import annotations

import fcntl
import os

import pytest
from unit.descriptors import open_files

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import manager
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.ifupdown import Ifupdown
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.networkd import Networkd

IFUPDOWN, NETWORKD = Ifupdown({}), Networkd({}, {})


@pytest.fixture
def told(monkeypatch, tmp_path):
    """The programs that were started, in order."""
    commands = []
    monkeypatch.setattr(manager.command, "run", lambda argv, **options: commands.append(" ".join(argv)) or "")
    monkeypatch.setattr(manager, "is_networkd_running", lambda: True)
    monkeypatch.setattr(manager, "IFSTATE", str(tmp_path / "network" / "ifstate"))
    monkeypatch.setattr(manager, "_LOOK_SECONDS", 0.0)
    (tmp_path / "network").mkdir()
    return commands


@pytest.fixture
def files(monkeypatch):
    """What the kernel and networkd say, by path."""
    known = {}
    monkeypatch.setattr(manager.atomic, "read_text", known.get)
    return known


def prepare(backend, *ports, stops_client=False, is_leased=False):
    return manager.prepare(backend, "vmbr0", ports, stops_client=stops_client, is_leased=is_leased)


def test_networkd_reads_its_files_and_is_waited_for_until_it_stays_done(told, files, monkeypatch):
    looks = []
    monkeypatch.setattr(manager, "_is_final", lambda link: looks.append(link) or len(looks) > 3)
    assert prepare(NETWORKD, "eth1") == ()
    assert told == ["networkctl reload"]
    assert looks == ["vmbr0"] * 3 + ["vmbr0", "eth1"] * manager._FINAL_LOOKS


def test_networkd_that_looked_done_and_was_not_is_waited_for_from_the_beginning(told, monkeypatch):
    states = iter([True] * 5 + [False] + [True] * 6)
    left = []
    monkeypatch.setattr(manager, "_is_final", lambda link: next(states))
    prepare(NETWORKD)
    left.extend(states)
    assert left == []


@pytest.mark.parametrize(
    ("text", "is_final"),
    [
        ("ADMIN_STATE=configuring\n", False),
        ("A=1\nADMIN_STATE=configured\n", True),
        ("ADMIN_STATE=failed\n", True),
        (None, False),
    ],
)
def test_a_link_is_done_when_networkd_says_so_under_its_number(files, text, is_final):
    assert manager._is_final("gone")
    files["/sys/class/net/eth1/ifindex"] = "7\n"
    files["/run/systemd/netif/links/7"] = text
    assert manager._is_final("eth1") == is_final


def test_a_lease_is_waited_for_less_long_than_a_state(told, monkeypatch):
    limits = []
    monkeypatch.setattr(manager, "wait_until", lambda what, ask, **limit: limits.append(limit["timeout_seconds"]))
    prepare(NETWORKD, is_leased=True)
    prepare(NETWORKD, is_leased=False)
    assert limits == [manager._LEASE_SECONDS, manager._SETTLE_SECONDS]


def test_a_networkd_that_does_not_run_is_not_told(told, monkeypatch):
    monkeypatch.setattr(manager, "is_networkd_running", lambda: False)
    assert prepare(NETWORKD) == () and told == []


@pytest.mark.parametrize(
    ("pid_of", "which", "stopped"),
    [
        ("/run/dhclient.vmbr0.pid", None, ["dhclient -r -pf /run/dhclient.vmbr0.pid vmbr0"]),
        (None, "/usr/sbin/dhcpcd", ["dhcpcd -k vmbr0"]),
        (None, None, []),
    ],
)
def test_the_client_that_ifup_started_is_stopped_and_its_lease_taken_off(told, monkeypatch, pid_of, which, stopped):
    monkeypatch.setattr(manager.os.path, "exists", lambda path: path == pid_of)
    monkeypatch.setattr(manager.shutil, "which", lambda name: which)
    assert prepare(IFUPDOWN) == () and told == []
    assert prepare(IFUPDOWN, stops_client=True) == ()
    assert told == [*stopped, "ip -4 address flush dev vmbr0 dynamic"]


def test_ifupdown_notes_which_bridges_are_up_under_its_own_lock(told, tmp_path, monkeypatch):
    state, own = tmp_path / "network" / "ifstate", tmp_path / "network" / "ifstate.vmbr0"
    state.write_text("lo=lo\nvmbr0=old\n")
    locked = []
    monkeypatch.setattr(
        fcntl, "lockf", lambda descriptor, how: locked.append((os.readlink(f"/proc/self/fd/{descriptor}"), how))
    )
    before = open_files()
    manager.finish(IFUPDOWN, "vmbr0", starts_client=False)
    assert (state.read_text(), own.read_text()) == ("lo=lo\nvmbr0=vmbr0\n", "vmbr0\n")
    assert locked == [(str(tmp_path / "network" / ".ifstate.lock"), fcntl.LOCK_EX)] and told == []
    manager.forget(IFUPDOWN, "vmbr0")
    assert state.read_text() == "lo=lo\n" and not own.exists()
    assert open_files() <= before


def test_a_client_is_started_by_ifup_and_where_ifupdown_never_ran_nothing_is_noted(told, tmp_path):
    (tmp_path / "network").rmdir()
    manager.finish(IFUPDOWN, "vmbr0", starts_client=True)
    assert told == ["ifup --force vmbr0"] and not (tmp_path / "network").exists()


def test_networkd_keeps_its_own_notes(told):
    manager.finish(NETWORKD, "vmbr0", starts_client=True)
    manager.forget(NETWORKD, "vmbr0")
    assert told == []
