# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A run that dies in the middle says of each change of a bridge with ports whether it was made."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link import apply, manager
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.networkd import Networkd
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.plan import plan_link
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.settings import LinkSettings, Port
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.link.state import LinkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Work
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError, WaitTimeout
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record

BEFORE = LinkSettings(addresses=("192.0.2.10/24",), mac="52:54:00:00:00:01", vlan_aware=True, ports=(Port("eth1"),))
WISH = {
    "name": "vmbr0",
    "mode": "ports",
    "address": "192.0.2.11/24",
    "gateway": "192.0.2.1",
    "mac": "52:54:00:00:00:02",
    "ports": [{"name": "eth1", "vids": ["20"]}, {"name": "eth2", "pvid": 7}],
}


class Host:
    links = {name: {"ifname": name, "mtu": 1500, "flags": ["UP"]} for name in ("vmbr0", "eth1", "eth2")}

    def record(self, kind, name):
        return Record(kind, name)

    def drop(self):
        pass


class Failing:
    """The effects of apply, of which the one of that name fails. *line* is the line of the batch at which a program does."""

    def __init__(self, at, line=1):
        self.at = at
        self.line = line

    def _try(self, name):
        if name == self.at:
            raise CommandError([name], 1, f"Error: no.\nCommand failed -:{self.line}")

    def write(self, path, text):
        self._try("files")

    def run(self, argv, **options):
        self._try(argv[0])
        return ""

    def prepare(self, *args, **options):
        self._try("networkctl")
        return ()

    def finish(self, *args, **options):
        self._try("ifup")

    def save(self, record, **changes):
        if "building" in changes:
            self._try("record")


@pytest.fixture
def carry_out(monkeypatch):
    def carry_out(effects, wish, state):
        def save(record, **changes):
            effects.save(record, **changes)

        backend = Networkd({}, {})
        state = dataclasses.replace(state, backend=backend, links=frozenset(Host.links))
        spec = parse(wish)
        plan = plan_link(spec, state)
        assert plan.refused == []
        monkeypatch.setattr(apply.backends, "read_backends", lambda links: (backend, None))
        monkeypatch.setattr(apply, "_write", effects.write)
        monkeypatch.setattr(apply.command, "run", effects.run)
        monkeypatch.setattr(apply.os.path, "isdir", lambda path: True)
        monkeypatch.setattr(apply.lock, "allocations", contextlib.nullcontext)
        monkeypatch.setattr(apply, "read_live", lambda *args: state.live)
        monkeypatch.setattr(manager, "prepare", effects.prepare)
        monkeypatch.setattr(manager, "finish", effects.finish)
        monkeypatch.setattr(Record, "save", save)
        stood = []
        try:
            for step in apply.apply_link(spec, state, plan, Work(Host(), None)):
                if isinstance(step, Change):
                    stood.append(step.path)
        except HybridError:
            assert effects.at is not None
        else:
            assert effects.at is None
            assert sorted(stood) == sorted(change.path for change in plan.changes)
        return stood

    return carry_out


STANDING = LinkState(persistent=BEFORE, live=BEFORE, starts=False)
FIRST = ["autostart"]
OF_IP = ["address", "gateway", "mac"]


@pytest.mark.parametrize(
    ("at", "line", "expected"),
    [
        ("files", 1, []),
        ("networkctl", 1, FIRST),
        ("ip", 1, FIRST),
        ("ip", 2, [*FIRST, "mac"]),
        ("ip", 3, [*FIRST, "mac"]),
        ("ip", 6, [*FIRST, "mac"]),
        ("ip", 7, [*FIRST, "mac"]),
        ("ip", 8, [*FIRST, "address", "mac"]),
        ("bridge", 1, [*FIRST, *OF_IP]),
        ("bridge", 2, [*FIRST, *OF_IP, "ports[eth1].vids"]),
        ("ifup", 1, [*FIRST, *OF_IP, "ports[eth1].vids", "ports[eth2]"]),
        (None, 1, [*FIRST, *OF_IP, "ports[eth1].vids", "ports[eth2]"]),
    ],
)
def test_what_stands_of_a_change_that_fails(carry_out, at, line, expected):
    assert sorted(carry_out(Failing(at, line), {**WISH, "autostart": True}, STANDING)) == sorted(expected)


NEW = ["autostart", "mac", "address", "gateway", "ports[eth1]", "ports[eth2]", "vlan_aware", "mode", "state"]


@pytest.mark.parametrize(
    ("at", "line"),
    [("record", 1), ("files", 1), ("networkctl", 1), ("ip", 1), ("ip", 2), ("ip", 8), ("bridge", 1), ("ifup", 1)],
)
def test_nothing_stands_of_a_creation_that_fails_since_the_next_run_begins_anew(carry_out, at, line):
    assert carry_out(Failing(at, line), {**WISH, "vlan_aware": True}, LinkState()) == []


def test_all_of_a_creation_stands_at_its_end(carry_out):
    assert sorted(carry_out(Failing(None, 1), {**WISH, "vlan_aware": True}, LinkState())) == sorted(NEW)


def test_a_definition_of_a_bridge_that_is_down_stands_with_its_files(carry_out):
    down = LinkState(persistent=BEFORE, starts=True)
    assert carry_out(Failing("files"), {"name": "vmbr0", "mode": "ports", "mtu": 1400}, down) == []
    assert carry_out(Failing(None), {"name": "vmbr0", "mode": "ports", "mtu": 1400}, down) == ["mtu"]


def test_networkd_that_does_not_end_is_told(monkeypatch):
    monkeypatch.setattr(manager, "is_networkd_running", lambda: True)
    monkeypatch.setattr(manager.command, "run", lambda *args, **options: "")

    def wait(what, ask, *, timeout_seconds, every_seconds):
        raise WaitTimeout(f"waited {timeout_seconds:g} s for {what}")

    monkeypatch.setattr(manager, "wait_until", wait)
    told = manager.prepare(Networkd({}, {}), "vmbr0", ["eth1"], stops_client=False, is_leased=False)
    assert told == (
        "bridge vmbr0: waited 20 s for systemd-networkd to configure vmbr0, eth1; its state is told by networkctl status",
    )
    (leased,) = manager.prepare(Networkd({}, {}), "vmbr0", [], stops_client=False, is_leased=True)
    assert leased.endswith("waited 5 s for systemd-networkd to configure vmbr0; no DHCP server may have answered yet")
