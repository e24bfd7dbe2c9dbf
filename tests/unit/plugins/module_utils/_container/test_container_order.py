# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a container is written, and what its record says of it."""

from __future__ import annotations

import contextlib
import os
import types
import typing as t
from pathlib import Path

import pytest
from unit.plugins.module_utils._container.test_container_backend import CHANGED, NEW, Writers
from unit.plugins.module_utils._container.test_container_plan import (
    ABSENT,
    MAC,
    NIC,
    RECORD,
    RUNNING,
    STOPPED,
    parse,
    plan,
    plan_container,
    running,
    stopped,
)
from unit.plugins.module_utils._guest.fake import File

from ansible_collections.homelab.hybrid.plugins.module_utils._container import backend as written
from ansible_collections.homelab.hybrid.plugins.module_utils._container.device import Node, read_devices
from ansible_collections.homelab.hybrid.plugins.module_utils._container.state import State
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError, MissingRequirement
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.content import Content, Part, Source
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.device import HostDevice
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.ownership import Ownership
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import (
    GuestRecord,
    RecordedVolume,
    dump,
    load,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume

ROOT = Volume("p", "one.rootfs", "filesystem")
HELD = types.SimpleNamespace(fds=(8,))
LISTED = RUNNING.replace(places={"/srv": "8:1 /srv"}, machine_id="m")


class Host(Writers):
    """The writers, with a pool that notes more, and the record that they leave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int = 0) -> None:
        super().__init__(monkeypatch, fails_at)
        self.driver = written.drivers_of(t.cast(t.Any, None))["p"]
        for name in ("retire", "resize"):
            setattr(self.driver, name, self._note(name))
        for name in ("stop", "stop_unloadable", "unfreeze"):
            monkeypatch.setattr(written.power, name, self._note(name))
        for name in ("unplug_card", "unmount"):
            monkeypatch.setattr(written.running, name, self._note(name, tells=True))
        monkeypatch.setattr(written.rate, "lay_down", self._note("lay down"))
        monkeypatch.setattr(written, "config_path", lambda name: "/nonexistent/one/config")
        monkeypatch.setattr(written.ContainerBackend, "undefine", lambda backend: self._note("undefine")())

    def carry_out(self, there: State, extra: t.Sequence[Change] = (), /, **wish: t.Any) -> GuestRecord:
        """Carry out a wish to its end, or to an error that is told. *extra* are changes that the plan has besides."""
        spec = parse({"name": "one", **wish})
        plan = plan_container(spec, there)
        assert not plan.refused
        plan.changes += extra
        file = File("guests", "one", dump(there.record) if there.record.exists else None)
        host = types.SimpleNamespace(record=lambda kind, name: file, drop=lambda: None, containers={"two": None})
        work = types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=(9,)))
        self.stood = []
        try:
            for step in written.apply_container(spec, there, plan, t.cast(t.Any, work)):
                if isinstance(step, Change):
                    self.stood.append(step.path)
                    step.done = True
        except (ApplyError, OSError) as exc:
            self.asked.append(f"failed: {exc}")
        self.warnings = plan.warnings
        return Ownership(file).record


def test_a_new_root_is_whole_before_it_is_in_its_place_and_the_container_defined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host(monkeypatch)
    record = host.carry_out(ABSENT.replace(machine_id="m"), **{**NEW, "networks": [{"name": "lan", "bridge": "br0"}]})
    assert host.asked == ["create", "shift", "write_files", "publish", "config", "start"]
    assert record.volumes["rootfs"].volume == ROOT and not record.volumes["rootfs"].is_fresh
    assert record.idmap == (100000, 65536) and list(record.macs) == ["lan"]


def test_a_new_privileged_container_has_no_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    record = host.carry_out(ABSENT.replace(machine_id="m"), **{**NEW, "unprivileged": False})
    assert "shift" not in host.asked and record.idmap is None


def test_a_root_that_is_cloned_waits_for_the_copy_of_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    attempt = types.SimpleNamespace(path="/pool/.attempt")
    host.driver.clone = lambda volume, copy, size: host.asked.append(f"clone {copy} {size}") or attempt
    monkeypatch.setattr(written.copies, "copy_in", lambda name, kind, driver: "copy")
    monkeypatch.setattr(written.copier, "make", lambda image, driver, fds: iter([host.asked.append(f"copy {fds}")]))
    extra = [Change(written.copy_path("i", "p"), None, "copy", How.LIVE)]
    host.carry_out(ABSENT.replace(machine_id="m"), extra, **NEW)
    assert host.asked[:2] == ["copy (9,)", "clone copy None"] and host.stood.count(extra[0].path) == 1
    # It is there for others, whatever becomes of the container.
    monkeypatch.setattr(host, "fails_at", len(host.asked) + 3)
    host.carry_out(ABSENT.replace(machine_id="m"), extra, **NEW)
    assert host.asked[-1] == "failed: shift" and host.stood == [extra[0].path]


def test_what_only_the_image_tells_is_found_before_the_root_is_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    tree = types.SimpleNamespace(target_obstacle=lambda path, is_folder: f"/{path.lstrip('/')} leads out")
    monkeypatch.setattr(written, "Tree", lambda root: tree)
    mounts = [{"name": "data", "source": "/srv", "path": "/data"}]
    host.carry_out(ABSENT.replace(machine_id="m", places={"/srv": "8:1 /srv"}), **NEW, mounts=mounts)
    assert host.asked == ["create", "shift", "purge", "failed: mounts[data]: /data leads out"]


def test_a_root_that_is_kept_is_taken_with_its_size_and_nothing_of_attempts_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host(monkeypatch)
    extra = [Change("rootfs", None, "/pool/one.rootfs", How.LIVE)]
    state = ABSENT.replace(machine_id="m", record=RECORD)
    spec = {**NEW, "rootfs": {"pool": "p", "size": "1GiB"}, "state": "stopped"}
    monkeypatch.setattr(State, "size_obstacle", None, raising=False)
    with_limits(monkeypatch, host)
    record = host.carry_out(state, extra, **spec)
    assert host.asked == ["purge", "resize", "write_files", "config"]
    assert record.volumes["rootfs"].volume == ROOT and record.idmap == (100000, 65536) and "rootfs" in host.stood


def with_limits(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """A pool whose roots can be limited."""
    host.driver.can = ("limit",)


def source_of(power: str = "stopped", *, ids: tuple[int, int] = (200000, 65536), of_one_moment: bool = True) -> Source:
    volume = Volume("p", "two.rootfs", "filesystem")
    content = Content(power, {"rootfs": volume})
    return Source("container", content, {"rootfs": Part(volume, is_of_one_moment=of_one_moment)}, idmap=ids)


CLONED: dict[str, t.Any] = {
    "clone_from": {"guest": "two", "mode": "full"},
    "rootfs": {"pool": "p", "size": "1GiB"},
    "unprivileged": True,
    "state": "stopped",
}


class Cloning(Host):
    """A pool in which roots are cloned, and a guest that is held meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int = 0) -> None:
        super().__init__(monkeypatch, fails_at)
        with_limits(monkeypatch, self)
        attempt = types.SimpleNamespace(path="/pool/.attempt")
        begin = self._note("clone")

        def clone(*given: t.Any, is_linked: bool, keep_fds: t.Sequence[int]) -> t.Any:
            assert (is_linked, keep_fds) == (False, (9,))
            begin()
            return attempt

        monkeypatch.setattr(written.cloning, "begin", clone)
        monkeypatch.setattr(written.identity, "reset", lambda tree, name: self._note("reset")() or ["no keys"])
        monkeypatch.setattr(written.lock, "holding", lambda name: contextlib.nullcontext(HELD))


def test_a_clone_has_an_identity_of_its_own_before_it_comes_to_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Cloning(monkeypatch)
    record = host.carry_out(ABSENT.replace(machine_id="m", source=source_of()), **CLONED)
    assert host.asked == ["clone", "shift", "reset", "write_files", "publish", "resize", "config"]
    assert record.origin is not None and record.origin.guest == "two" and "no keys" in host.warnings
    host = Cloning(monkeypatch)
    host.carry_out(ABSENT.replace(machine_id="m", source=source_of(ids=(100000, 65536))), **CLONED)
    assert "shift" not in host.asked


@pytest.mark.parametrize("fails_at", [0, 2])
def test_a_guest_is_held_while_it_is_cloned_and_let_go_also_where_that_fails(
    monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    host = Cloning(monkeypatch, fails_at)
    monkeypatch.setattr(
        written.lock, "holding", lambda name: host.asked.append(f"holding {name}") or contextlib.nullcontext(HELD)
    )
    record = host.carry_out(ABSENT.replace(machine_id="m", source=source_of("started", of_one_moment=False)), **CLONED)
    whole = ["holding two", "freeze", "clone", "unfreeze", "shift"]
    assert host.asked[:5] == (["holding two", "unfreeze", "purge", "failed: freeze"] if fails_at else whole)
    assert record.holds is None


def test_who_was_held_by_a_run_that_was_killed_is_let_go_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Cloning(monkeypatch)
    record = RECORD.replace(is_building=True, volumes={}, holds="two")
    record = host.carry_out(ABSENT.replace(machine_id="m", record=record), **{**NEW, "state": "stopped"})
    assert host.asked[0] == "unfreeze" and record.holds is None


def test_what_only_the_root_of_the_origin_tells_is_found_before_the_clone_is_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Cloning(monkeypatch)
    tree = types.SimpleNamespace(target_obstacle=lambda path, is_folder: "it leads out")
    monkeypatch.setattr(written, "Tree", lambda root: tree)
    mounts = [{"name": "data", "source": "/srv", "path": "/data"}]
    state = ABSENT.replace(machine_id="m", source=source_of(), places={"/srv": "8:1 /srv"})
    host.carry_out(state, **CLONED, mounts=mounts)
    assert host.asked[-2:] == ["purge", "failed: mounts[data]: it leads out"] and "publish" not in host.asked


def test_a_root_that_could_not_be_cloned_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Cloning(monkeypatch, fails_at=3)
    host.carry_out(ABSENT.replace(machine_id="m", source=source_of()), **CLONED)
    assert host.asked == ["clone", "shift", "purge", "failed: reset"]


def test_what_is_cloned_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingRequirement, match="there is no guest two"):
        Cloning(monkeypatch).carry_out(ABSENT.replace(machine_id="m"), **CLONED)


def test_what_was_half_made_is_not_kept_when_it_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    fresh = {"rootfs": RecordedVolume(ROOT, is_fresh=True)}
    state = STOPPED.replace(exists=False, record=RECORD.replace(is_building=True, volumes=fresh))
    record = host.carry_out(state, state="absent")
    assert host.asked[-2:] == ["retire", "purge"] and not record.exists


def test_a_guest_is_noted_as_held_before_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Cloning(monkeypatch)
    backend = backend_of(STOPPED)
    backend.work.host.containers = {}
    monkeypatch.setattr(
        written.power, "freeze", lambda name, keep_fds: host.asked.append(f"freeze {backend.own.record.holds}")
    )
    with backend._held("two"):
        host.asked.append("held")
    assert host.asked == ["freeze two", "held"] and backend.own.record.holds is None, (
        "one that went meanwhile is let be"
    )


def test_a_template_is_protected_by_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.driver.protect = lambda volume, is_read_only: host.asked.append(f"protect {volume} {is_read_only}")
    backend_of(STOPPED).protect(is_read_only=True)
    assert host.asked == ["protect p/one.rootfs True"]


def test_what_was_half_made_goes_before_it_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    fresh = {"rootfs": RecordedVolume(ROOT, is_fresh=True)}
    record = RECORD.replace(is_building=True, volumes=fresh)
    state = STOPPED.replace(exists=False, record=record, machine_id="m")
    host.carry_out(state, **{**NEW, "state": "stopped"})
    assert host.asked[:5] == ["kill", "undefine", "retire", "purge", "create"]


@pytest.mark.parametrize("fails_at", [1, 0])
def test_names_only_come_until_the_definition_has_them(monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    data = {
        **dump(RECORD),
        "unplugged": {"old": "br7"},
        "names": {"mounts": {"old": "gone"}},
        "ssh_keys": ["ssh-ed25519 BBBB ours"],
    }
    state = LISTED.replace(record=load(data, exists=True))
    host = Host(monkeypatch, fails_at)
    networks = [{"name": "lan", "link": "down"}, {"name": "dmz", "bridge": "br0"}]
    record = host.carry_out(state, **{**CHANGED, "networks": networks, "ssh_keys": ["ssh-ed25519 AAAA new"]})
    if fails_at:
        assert record.ssh_keys == ("ssh-ed25519 AAAA new", "ssh-ed25519 BBBB ours")
        assert record.unplugged == {"old": "br7", "lan": "br0"}
        assert record.names == {"mounts": {"old": "gone", "data": "/data"}}
    else:
        assert record.ssh_keys == ("ssh-ed25519 AAAA new",) and record.unplugged == {"lan": "br0"}
        assert record.names == {"mounts": {"data": "/data"}}
    assert record.macs["lan"] == MAC and list(record.macs) == ["lan", "dmz"]


def test_every_writer_of_a_running_container_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.carry_out(LISTED, **CHANGED)
    assert len(set(host.asked)) == len(host.asked) and {"limits", "config", "write_files"} < set(host.asked)


@pytest.mark.parametrize("what", ["plug dmz", "mount data"])
def test_what_cannot_come_into_the_running_container_leaves_its_configuration_again(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    texts: list[str] = []
    host = Host(monkeypatch)
    monkeypatch.setattr(written, "write_config", lambda name, config: texts.append(config.text))

    def fail(running: t.Any, name: str) -> None:
        raise ApplyError("no")

    monkeypatch.setattr(written.running, "plug_card" if what.startswith("plug") else "mount", fail)
    wish = {key: CHANGED[key] for key in ("networks", "mounts")}
    host.carry_out(LISTED, **wish)
    key = "lxc.net.1" if what.startswith("plug") else "lxc.mount.entry"
    assert len(texts) == 2 and key in texts[0] and key not in texts[1] and "failed: no" in host.asked


def test_what_moves_leaves_its_old_place_before_nobody_knows_that_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.carry_out(LISTED, mounts=CHANGED["mounts"])
    assert host.asked == ["unmount data", "config", "mount data"]


def test_a_card_that_goes_is_unplugged_before_its_lines_go(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.carry_out(LISTED, networks=[{"name": "lan", "state": "absent"}])
    assert host.asked[:1] == ["unplug_card lan"] and "config" in host.asked


def test_a_configuration_that_names_the_program_for_rates_finds_it_there(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.carry_out(STOPPED.replace(machine_id="m"), networks=[{"name": "lan", "rate_limit": {"in": "8Mbit"}}])
    assert host.asked == ["lay down", "config"]


def test_a_configuration_that_liblxc_cannot_load_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    seen: list[str] = []

    def problem_of(name: str, folder: str) -> str:
        seen.append(Path(folder, name, "config").read_text())
        return "line 7 is odd"

    monkeypatch.setattr(written.loading, "problem_of", problem_of)
    host.carry_out(STOPPED.replace(machine_id="m"), description="x", memory=128)
    assert "134217728" in seen[0] and "config" not in host.asked and "line 7 is odd" in host.asked[-1]


def test_a_root_gets_another_size_from_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    backend = backend_of(STOPPED)
    backend.resize(Change("rootfs.size", 1, 2, How.LIVE))
    assert host.asked == ["resize"]


def backend_of(state: State, **wish: t.Any) -> written.ContainerBackend:
    spec = parse({"name": "one", **wish})
    file = File("guests", "one", dump(state.record))
    host = types.SimpleNamespace(record=lambda kind, name: file)
    work = types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=(9,)))
    return written.ContainerBackend(written.wanted_of(spec, state), plan_container(spec, state), t.cast(t.Any, work))


@pytest.mark.parametrize(
    ("now", "target", "asked"),
    [
        ("stopped", "started", ["start"]),
        ("stopped", "paused", ["start", "freeze"]),
        ("started", "paused", ["freeze"]),
        ("paused", "started", ["unfreeze"]),
    ],
)
def test_a_container_is_switched_from_each_power_to_each_other(
    monkeypatch: pytest.MonkeyPatch, now: str, target: str, asked: list[str]
) -> None:
    host = Host(monkeypatch)
    backend_of(STOPPED).switch(now, target)
    assert host.asked == asked


def test_a_container_is_stopped_by_what_can_reach_it_and_ended_where_it_was_half_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host(monkeypatch)
    broken = RUNNING.replace(problem="line 7 is odd")
    building = RECORD.replace(is_building=True)
    for state in (RUNNING, broken, RUNNING.replace(record=building), broken.replace(record=building), STOPPED):
        backend_of(state).stop_for_good()
    backend_of(RUNNING).start()
    assert host.asked == ["stop", "stop_unloadable", "kill", "stop_unloadable", "start"]


def test_a_container_goes_with_its_root_and_its_snapshots_where_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.carry_out(STOPPED, state="absent", delete=["rootfs"])
    assert host.asked == ["undefine", "retire", "purge"]
    host.asked.clear()
    kept = {"created": 1.0, "consistency": "clean", "volumes": {"rootfs": ROOT.snapshot("a")._asdict()}}
    state = STOPPED.replace(record=load({**dump(RECORD), "snapshots": {"a": kept}}, exists=True))
    backend_of(state).remove_snapshot("a")
    assert host.asked == ["retire", "purge"]


def test_the_folder_of_a_configuration_goes_when_nothing_is_left_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one" / "config"
    backend = backend_of(STOPPED)
    forgotten: list[str] = []
    monkeypatch.setattr(written, "config_path", lambda name: str(path))
    monkeypatch.setattr(written.plugging, "forget", forgotten.append)
    path.mkdir(parents=True)
    backend.undefine()
    assert os.listdir(tmp_path) == [] and forgotten == ["one"]
    path.parent.mkdir()
    path.write_text("x")
    (path.parent / "rootfs").mkdir()
    backend.undefine()
    assert os.listdir(path.parent) == ["rootfs"]


def test_a_configuration_that_is_there_keeps_its_mode_and_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one" / "config"
    owners: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, *owner: owners.append(owner))
    monkeypatch.setattr(written, "config_path", lambda name: str(path))
    mask = os.umask(0)
    try:
        written.write_config("one", t.cast(t.Any, types.SimpleNamespace(text="a\n")))
    finally:
        os.umask(mask)
    assert path.read_text() == "a\n" and path.parent.stat().st_mode & 0o777 == 0o755
    path.chmod(0o640)
    written.write_config("one", t.cast(t.Any, types.SimpleNamespace(text="b\n")))
    assert path.read_text() == "b\n" and path.stat().st_mode & 0o777 == 0o640
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]


# ---- devices -----------------------------------------------------------------------------------------------------------------

GPU = {"name": "gpu", "path": "/dev/dri/renderD128"}
TARGET = ("node", "/dev/dri/renderD128")
ON_HOST = {TARGET: HostDevice("c", 226, 128, 0o660, "render")}


class Plugging(Host):
    """The writers, and those of devices; *texts* are the configurations that were written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: str = "") -> None:
        super().__init__(monkeypatch)
        self.texts: list[str] = []
        for name in ("plug_device", "unplug_device"):
            monkeypatch.setattr(written.running, name, self._refusing(name, refused))
        monkeypatch.setattr(written.plugging, "lay_down", self._note("lay down"))
        monkeypatch.setattr(written, "write_config", lambda name, config: self.texts.append(config.text))

    def _refusing(self, name: str, refused: str) -> t.Callable[..., None]:
        def write(running: t.Any, item: str) -> None:
            self.asked.append(f"{name} {item}")
            if name == refused:
                raise ApplyError("no")

        return write


def with_gpu(monkeypatch: pytest.MonkeyPatch) -> State:
    """A running container that has a device, as what was written once leaves it."""
    host = Plugging(monkeypatch)
    host.carry_out(LISTED.replace(host_devices=ON_HOST), devices=[GPU])
    there = stopped(host.texts[-1], RECORD)
    found = {"gpu": read_devices("one", there.config)["gpu"]}
    there.persistent.items["devices"] = found
    its = running(there, (NIC,)).replace(machine_id="m", host_devices=ON_HOST)
    assert its.live is not None
    t.cast("dict[str, t.Any]", its.live.items)["devices"] = {"gpu": Node("c 226:128", "0660", 0)}
    return its


def test_a_device_is_defined_with_the_program_that_makes_it_and_then_plugged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Plugging(monkeypatch)
    host.carry_out(LISTED.replace(host_devices=ON_HOST), devices=[GPU])
    assert host.asked == ["lay down", "plug_device gpu"] and host.texts[0].count("dev/dri/renderD128") == 2


def test_a_device_that_a_machine_runs_with_is_refused() -> None:
    there = LISTED.replace(host_devices=ON_HOST, device_owners={"gpu": "vm"})
    (change,) = plan(there, devices=[GPU]).refused
    assert change.reason == "devices[gpu]: vm runs with it, and has it alone. Take it away from that machine first"


def test_a_device_that_cannot_be_plugged_in_leaves_the_configuration_again(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Plugging(monkeypatch, "plug_device")
    host.carry_out(LISTED.replace(host_devices=ON_HOST), devices=[GPU])
    assert host.asked[-1] == "failed: no" and len(host.texts) == 2
    assert "renderD128" in host.texts[0] and "renderD128" not in host.texts[1]


def test_a_device_that_changes_is_brought_to_what_it_is_and_one_that_moves_leaves_its_place_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = with_gpu(monkeypatch)
    host = Plugging(monkeypatch)
    host.carry_out(there, devices=[{"name": "gpu", "mode": "0600"}])
    assert host.asked == ["lay down", "plug_device gpu"]
    host = Plugging(monkeypatch)
    other = {**ON_HOST, ("node", "/dev/x"): HostDevice("c", 1, 3, 0o666, "root")}
    host.carry_out(there.replace(host_devices=other), devices=[{"name": "gpu", "path": "/dev/x"}])
    assert host.asked == ["unplug_device gpu", "lay down", "plug_device gpu"]


def test_a_device_that_goes_is_taken_out_before_its_lines_go(monkeypatch: pytest.MonkeyPatch) -> None:
    there = with_gpu(monkeypatch)
    host = Plugging(monkeypatch)
    host.carry_out(there, devices=[{"name": "gpu", "state": "absent"}])
    assert host.asked == ["unplug_device gpu"] and "renderD128" not in host.texts[0]


def test_a_device_of_a_new_container_stands_in_its_first_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Plugging(monkeypatch)
    read: list[str] = []
    tree = types.SimpleNamespace(
        read=lambda path: "root:x:0:\nvideo:x:44:\n", target_obstacle=lambda *given, **how: None
    )
    monkeypatch.setattr(written, "Tree", lambda root: tree)

    def read_container(name: str, path: str) -> t.Any:
        read.append(Path(path).read_text())
        return None

    monkeypatch.setattr(written, "read_container", read_container)
    state = ABSENT.replace(machine_id="m", host_devices=ON_HOST)
    host.carry_out(state, **{**NEW, "devices": [{**GPU, "gid": "video"}]})
    assert host.asked == ["create", "shift", "write_files", "publish", "lay down", "start"]
    assert "lxc.rootfs.path" in read[0] and "100044" in host.texts[0]
    host = Plugging(monkeypatch)
    host.carry_out(state, **{**NEW, "devices": [{**GPU, "gid": "render"}]})
    assert host.asked[-1] == "start" and " 100000 100000 " in host.texts[0], (
        "it is root's until the guest has the group"
    )


def test_a_mount_whose_options_change_is_mounted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    backend = backend_of(LISTED, mounts=CHANGED["mounts"])
    monkeypatch.setattr(written.live, "handle", lambda name: None)
    backend.change_live(Change("mounts[data].readonly", False, True, How.LIVE))
    backend.change_live(Change("mounts[data].source", "/a", "/srv", How.LIVE))
    backend.detach(Change("mounts[data]", "x", None, How.LIVE))
    assert host.asked == ["mount data", "unmount data"]


def test_a_mount_that_goes_leaves_the_names_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "lxc.mount.entry = /srv a none bind\nlxc.mount.entry = /srv b none bind\n"
    there = stopped(STOPPED.config.text + lines, RECORD).replace(machine_id="m", places={"/srv": "8:1 /srv"})
    host = Host(monkeypatch)
    gone, other = list(there.mounts)
    record = host.carry_out(there, mounts=[{"name": gone, "state": "absent"}])
    assert list(record.names["mounts"]) == [other]
