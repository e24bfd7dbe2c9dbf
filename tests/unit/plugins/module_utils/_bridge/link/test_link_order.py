# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""In which order the record, the files, their manager and the kernel are written for a bridge with ports."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import types

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import apply
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.iproute import Line
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.networkd import Networkd
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.plan import plan_link
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.record import BridgeRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Work
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Owned, Record

LINKS = ("vmbr0", "eth1", "eth2", "eth3")
TWO = LinkSettings(addresses=("192.0.2.10/24",), ports=(Port("eth1"), Port("eth2")))


class Agreeing(Networkd):
    """What networkd has for a bridge, as another run left it a moment ago."""

    def words(self, bridge):
        return {"mac": "none"}


@pytest.fixture
def written(monkeypatch):
    """Carry out a wish: what was done, in order, and the record behind it."""

    def carry_out(wish, state, data=None):
        told = []
        first, now = Networkd({}, {}), Agreeing({}, {})
        record = Record("bridges", "vmbr0", data)
        host = types.SimpleNamespace(
            links={name: {"ifname": name, "mtu": 1500, "flags": ["UP"]} for name in LINKS},
            record=lambda kind, name: record,
            drop=lambda: told.append("host looked at anew"),
        )

        def save(own, **changes):
            own.data = {key: value for key, value in {**own.data, **changes}.items() if value is not None}
            told.append(f"record {'building' if own.data.get('building') else 'complete'}")

        @contextlib.contextmanager
        def allocations():
            told.append("locked")
            yield
            told.append("unlocked")

        def prepare(backend, *given, **options):
            told.append("manager told")
            return ("the manager is slow",)

        monkeypatch.setattr(Record, "save", save)
        monkeypatch.setattr(Record, "remove", lambda own: told.append("record removed"))
        monkeypatch.setattr(apply.backends, "read_backends", lambda links: (now, None))
        monkeypatch.setattr(apply.lock, "allocations", allocations)
        monkeypatch.setattr(apply, "_write", lambda path, text: told.append("file written" if text else "file removed"))
        monkeypatch.setattr(apply, "_run", lambda program, lines: told.append(f"{program} {lines[0]}"))
        monkeypatch.setattr(apply, "read_live", lambda *given: told.append("bridge read") or state.live)
        monkeypatch.setattr(apply.manager, "prepare", prepare)
        monkeypatch.setattr(apply.manager, "finish", lambda *given, **options: told.append("manager through"))
        monkeypatch.setattr(apply.manager, "forget", lambda *given: told.append("manager forgets"))
        monkeypatch.setattr(apply.os.path, "isdir", lambda path: True)
        monkeypatch.setattr(apply.os.path, "exists", lambda path: False)
        monkeypatch.setattr(Networkd, "forget", lambda own, name: {"/etc/vmbr0.network": None})
        state = dataclasses.replace(state, backend=first, links=frozenset(LINKS))
        spec = parse({"name": "vmbr0", "mode": "ports", **wish})
        plan = plan_link(spec, state)
        for step in apply.apply_link(spec, state, plan, Work(host, None)):
            if isinstance(step, Change):
                told.append(f"stands {step.path}")
        assert "the manager is slow" in plan.warnings
        return [each for number, each in enumerate(told) if told[number - 1] != each], record.data

    return carry_out


def test_a_new_bridge_is_recorded_then_written_then_brought_up_and_whole_before_it_is_told(written):
    told, record = written(
        {"address": "192.0.2.10/24", "ports": [{"name": "eth1", "pvid": 7}], "vlan_aware": True}, LinkState()
    )
    definition = ["record building", "locked", "record building", "file written", "unlocked"]
    kernel = [
        "manager told",
        "host looked at anew",
        "bridge read",
        "ip link add name vmbr0 type bridge forward_delay 0 stp_state 0 vlan_filtering 1",
    ]
    assert told[:9] == [*definition, *kernel]
    assert told[9].startswith("bridge vlan") and told[10:13] == [
        "manager through",
        "record building",
        "record complete",
    ]
    assert all(each.startswith("stands ") for each in told[13:])
    assert record == {
        "made": True,
        "mode": "ports",
        "backend": "systemd-networkd",
        "ports": {"eth1": {"mtu": 1500, "up": True}},
        # Of what another run has written meanwhile, under the lock.
        "words": {"mac": "none"},
    }


def test_a_port_that_leaves_is_forgotten_with_how_it_was(written):
    before = {"mtu": 1400, "up": False}
    state = LinkState(persistent=TWO, live=TWO, is_recorded=True)
    wish = {
        "ports": [{"name": "eth1"}, {"name": "eth2", "state": "absent"}],
    }
    dummy, record = written(wish, state, {"mode": "ports", "ports": {"eth1": before, "eth2": before}})
    assert list(record["ports"]) == ["eth1"]


def test_a_bridge_is_taken_away_from_its_files_to_its_record(written):
    state = LinkState(persistent=TWO, live=TWO, is_recorded=True)
    told, dummy = written({"state": "absent"}, state, {"mode": "ports", "ports": {"eth1": {"mtu": 1400, "up": False}}})
    assert told == [
        "locked",
        "file removed",
        "unlocked",
        "manager told",
        "ip link delete dev vmbr0 type bridge",
        "ip link set dev eth1 mtu 1400",
        "manager forgets",
        "record removed",
        "stands state",
    ]


def test_a_port_that_is_given_up_does_not_stay_as_the_port_of_a_guest(monkeypatch):
    monkeypatch.setattr(apply.os.path, "isdir", lambda path: True)
    live = LinkSettings(ports=(Port("eth1"), Port("tap0")))
    away = parse({"name": "vmbr0", "mode": "ports", "ports": [{"name": "eth1", "state": "absent"}]})
    state = LinkState(persistent=LinkSettings(), live=live)
    assert [port.name for port in apply._target(away, state, LinkSettings()).ports] == ["tap0"]
    exact = parse({"name": "vmbr0", "mode": "ports", "ports": [], "exact": ["ports"]})
    state = dataclasses.replace(state, released=("eth1",))
    assert [port.name for port in apply._target(exact, state, LinkSettings()).ports] == ["tap0"]


def test_what_takes_no_line_stands_though_the_lines_are_refused(monkeypatch):
    def refuse(program, lines):
        raise CommandError([program], 1, "Command failed -:1")

    monkeypatch.setattr(apply, "_run", refuse)
    plan = Plan(changes=[Change("mtu", 0, 1400), Change("mac", "a", "b"), Change("state", "a", "b")])
    left, stood = apply._Left(plan, is_new=False), []
    with pytest.raises(ApplyError, match="refused to change"):
        stood.extend(step.path for step in apply._batch("ip", [Line("link set", ("mac",))], left, {"state"}))
    assert stood == ["mtu"]


@pytest.mark.parametrize("is_refused", [False, True])
def test_secondary_addresses_are_promoted_only_while_addresses_change(tmp_path, monkeypatch, is_refused):
    setting = tmp_path / "promote_secondaries"
    setting.write_text("0\n")
    read, set_kernel = apply.atomic.read_text, apply._set_kernel
    asked = []
    monkeypatch.setattr(apply.atomic, "read_text", lambda path: asked.append(path) or read(str(setting)))
    monkeypatch.setattr(apply, "_set_kernel", lambda path, value: set_kernel(str(setting), value))
    with contextlib.suppress(ZeroDivisionError), apply._promoted("vmbr0"):
        assert setting.read_text() == "1"
        assert not is_refused or 1 / 0
    assert setting.read_text() == "0\n" and asked == ["/proc/sys/net/ipv4/conf/vmbr0/promote_secondaries"]


def test_a_file_that_is_there_keeps_its_mode_and_owner_and_a_new_one_is_readable_by_networkd(tmp_path, monkeypatch):
    owners = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, *owner: owners.append(owner))
    path = tmp_path / "vmbr0.network"
    apply._write(str(path), "new\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), owners) == ("new\n", 0o644, [])
    path.chmod(0o640)
    apply._write(str(path), "changed\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("changed\n", 0o640)
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]
    apply._write(str(path), None)
    assert not path.exists()


def test_a_port_is_remembered_as_it_was_before_it_was_plugged_in(monkeypatch):
    saved = []
    monkeypatch.setattr(Record, "save", lambda own, **changes: saved.append(changes["ports"]))
    links = {
        "eth1": {"mtu": 1400, "flags": ["UP"], "master": "vmbr0"},
        "eth2": {"mtu": 9000, "flags": [], "master": "other"},
    }
    work = Work(types.SimpleNamespace(links=links), None)
    record = Owned(
        Record("bridges", "vmbr0", {"ports": {name: {"mtu": 1500, "up": True} for name in links}}), BridgeRecord
    )
    apply._remember_ports(parse({"name": "vmbr0", "mode": "ports"}), LinkState(), record, TWO, work)
    assert saved == [{"eth1": {"mtu": 1500, "up": True}, "eth2": {"mtu": 9000, "up": False}}]


def test_a_port_that_somebody_plugged_in_is_not_remembered_with_the_mtu_of_the_bridge(monkeypatch):
    saved = []
    monkeypatch.setattr(Record, "save", lambda own, **changes: saved.append(changes["ports"]))
    links = {
        "eth1": {"mtu": 1400, "flags": ["UP"], "master": "vmbr0"},
        "eth2": {"mtu": 1300, "flags": ["UP"], "master": "vmbr0"},
    }
    work = Work(types.SimpleNamespace(links=links), None)
    state = LinkState(persistent=dataclasses.replace(TWO, mtu=1400), ports=("eth1", "eth2"))
    record = Owned(Record("bridges", "vmbr0", {}), BridgeRecord)
    apply._remember_ports(parse({"name": "vmbr0", "mode": "ports"}), state, record, TWO, work)
    assert saved == [{"eth1": {"mtu": 1500, "up": True}, "eth2": {"mtu": 1300, "up": True}}]


def test_a_port_that_somebody_has_plugged_in_elsewhere_since_is_not_given_back(monkeypatch):
    told = []
    monkeypatch.setattr(apply, "_run", lambda program, lines: told.extend(lines))
    monkeypatch.setattr(apply.os.path, "isdir", lambda path: True)
    monkeypatch.setattr(apply.os.path, "exists", lambda path: path == "/sys/class/net/eth2/master")
    for name in ("eth1", "eth2"):
        apply._give_back(name, {"mtu": 1400, "up": False})
    assert told == ["link set dev eth1 mtu 1400", "link set dev eth1 down"]
