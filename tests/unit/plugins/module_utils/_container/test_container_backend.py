# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a container when one of its writers fails: of each change whether it was made."""

from __future__ import annotations

import contextlib
import types
import typing as t

import pytest
from unit.plugins.module_utils._container.test_container_plan import ABSENT, RUNNING, parse, plan_container
from unit.plugins.module_utils._guest.fake import File

from ansible_collections.homelab.hybrid.plugins.module_utils._container import backend as written
from ansible_collections.homelab.hybrid.plugins.module_utils._container.idmap import Range
from ansible_collections.homelab.hybrid.plugins.module_utils._container.state import State
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import run
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import dump

CHANGED: dict[str, t.Any] = {
    "memory": 128,
    "swap": 64,
    "hostname": "two",
    "dns": {"servers": ["192.0.2.53"]},
    "autostart": True,
    "tags": ["a"],
    "state": "paused",
    "networks": [{"name": "lan", "bridge": "br1", "ip": "192.0.2.6/24"}, {"name": "dmz", "bridge": "br0"}],
    "mounts": [{"name": "data", "source": "/srv", "path": "/data"}],
}
NEW: dict[str, t.Any] = {"image": "i", "rootfs": {"pool": "p"}, "state": "started", "memory": 128, "tags": ["a"]}
# After which writer a change stands: that of the last place in which it is.
NEEDS = {
    "memory": "limits",
    "swap": "limits",
    "hostname": "hostname",
    "dns.servers": "config",
    "autostart": "config",
    "state": "freeze",
    "networks[lan].bridge": "replug lan",
    "networks[lan].ip": "readdress lan",
    "networks[dmz]": "plug dmz",
    "mounts[data]": "mount data",
}


class Writers:
    """Every function that writes a container, each of which only notes that it was asked, and fails at the call *fails_at*."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
        self.asked: list[str] = []
        self.reloads: list[int] = []
        self.fails_at = fails_at
        self.has_failed = False
        running = written.running
        for module, name in (
            (written.power, "start"),
            (written.power, "freeze"),
            (written.power, "kill"),
            (written.inside, "write_files"),
            (written.rootfs, "shift"),
        ):
            monkeypatch.setattr(module, name, self._note(name))
        place = types.SimpleNamespace(path="/pool/.attempt")
        driver = types.SimpleNamespace(
            cloned=(),
            create=lambda *given, **kept: self._note("create")() or place,
            publish=self._note("publish"),
            purge=self._note("purge"),
            location=lambda volume: "/pool/one.rootfs",
            lxc_root=lambda volume: "dir:/pool/one.rootfs",
        )
        driver.pool = "p"
        monkeypatch.setattr(written, "drivers_of", lambda host: {"p": driver})
        monkeypatch.setattr(written, "write_config", self._note("config"))
        monkeypatch.setattr(written.loading, "problem_of", lambda name, folder: None)
        monkeypatch.setattr(running, "set_limits", self._note("limits"))
        monkeypatch.setattr(running, "reload_networkd", lambda name: self.reloads.append(len(self.asked)))
        monkeypatch.setitem(running.LIVE, "hostname", self._note("hostname"))
        replug, readdress = self._note("replug", tells=True), self._note("readdress", tells=True)
        for keys, write in ((("bridge", "link", "vlan"), replug), (("ip", "gateway"), readdress)):
            for key in keys:
                monkeypatch.setitem(running.LIVE_CARD, key, write)
        monkeypatch.setattr(running, "plug_card", self._note("plug", tells=True))
        monkeypatch.setattr(running, "mount", self._note("mount", tells=True))
        monkeypatch.setattr(written.live, "handle", lambda name: None)
        monkeypatch.setattr(written.os.path, "isdir", lambda path: True)
        monkeypatch.setattr(written, "free_ids", lambda name: Range(100000))
        image = types.SimpleNamespace(name="i", kind="container", path="/i")
        monkeypatch.setattr(written.store, "find", lambda name: image)
        monkeypatch.setattr(run.lock, "allocations", contextlib.nullcontext)
        monkeypatch.setattr(run, "check_macs", lambda guest, macs: None)

    def _note(self, what: str, *, tells: bool = False) -> t.Callable[..., None]:
        def write(*given: t.Any, **kept: t.Any) -> None:
            if len(self.asked) + 1 == self.fails_at and not self.has_failed:
                self.has_failed = True
                raise OSError(what)
            self.asked.append(f"{what} {given[1]}" if tells else what)

        return write


def carry_out(state: State, params: dict[str, t.Any]) -> Plan:
    """The plan, of which is marked as done what was told."""
    spec = parse({"name": "one", **params})
    plan = plan_container(spec, state)
    assert not plan.refused
    file = File("guests", "one", dump(state.record) if state.record.exists else None)
    host = types.SimpleNamespace(record=lambda kind, name: file, drop=lambda: None)
    work = types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=()))
    with contextlib.suppress(OSError):
        for step in written.apply_container(spec, state, plan, t.cast(t.Any, work)):
            if isinstance(step, Change):
                assert not step.done, f"{step.path} was told twice"
                step.done = True
    return plan


@pytest.mark.parametrize("fails_at", range(1, 11))
def test_a_change_of_a_running_container_is_told_when_its_last_writer_is_through(
    monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    writers = Writers(monkeypatch, fails_at)
    plan = carry_out(RUNNING.replace(places={"/srv": "8:1 /srv"}, machine_id="m"), CHANGED)
    assert {*NEEDS, "tags"} == {change.path for change in plan.changes}
    done = {change.path for change in plan.changes if change.done}
    assert done == {path for path in {*NEEDS, "tags"} if NEEDS.get(path) in {None, *writers.asked}}
    assert writers.has_failed == (len(done) < len(plan.changes))


def test_the_guest_reads_its_files_again_once_a_card_is_plugged_in_or_has_another_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writers = Writers(monkeypatch, 0)
    carry_out(RUNNING.replace(places={"/srv": "8:1 /srv"}, machine_id="m"), CHANGED)
    after = [writers.asked[number - 1] for number in writers.reloads]
    assert after == ["plug dmz", "readdress lan"] and "write_files" in writers.asked[: writers.reloads[0]]


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_of_a_creation_that_fails_nothing_is_told_until_the_container_stands(
    monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    writers = Writers(monkeypatch, fails_at)
    plan = carry_out(ABSENT.replace(machine_id="m"), NEW)
    done = {change.path for change in plan.changes if change.done}
    others = {change.path for change in plan.changes} - {"state"}
    assert done == (others if "config" in writers.asked else set()) | ({"state"} if "start" in writers.asked else set())


def test_a_root_that_could_not_be_made_leaves_nothing_beside_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    writers = Writers(monkeypatch, fails_at=2)
    carry_out(ABSENT, {**NEW, "state": "stopped"})
    assert writers.asked == ["create", "purge"]
