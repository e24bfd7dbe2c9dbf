# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The order in which a container is made, changed and taken away. Each change is told when it stands."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._core import atomic, lock, startup
from .._core.converge import Work
from .._core.errors import ApplyError, MissingRequirement
from .._core.options import RECORD, pattern, split
from .._core.plan import Change, How, Plan, Step
from .._core.record import Record
from .._guest.spec import GuestSpec
from .._host.lxc import LXC_PATH, config_path
from .._image import store
from . import definition, idmap, inside, live, power, rootfs, running
from .config import Config
from .mount import bind_entries
from .observe import read_host
from .options import OPTIONS
from .plan import power_of
from .running import LIVE, LIVE_PATHS, Running
from .state import State
from .wanted import Wanted, wanted_of

Steps = t.Iterator["Change | Step"]
_IN_RECORD = ("description", "tags", "protection")


class _Job:
    """What the steps of one run share."""

    def __init__(self, wanted: Wanted, plan: Plan, work: Work, record: Record) -> None:
        self.wanted = wanted
        self.spec = wanted.spec
        self.state = wanted.state
        self.plan = plan
        self.work = work
        self.record = record
        self.is_restart = any(change.how is How.RESTART for change in plan.changes)

    def told_after(self, stage: str) -> list[Change]:
        return [change for change in self.plan.changes if _stage_of(change) == stage]


def _stage_of(change: Change) -> str:
    """After which step of a run a change stands: that of the last place in which it is written."""
    area, name, dummy = split(change.path)
    if change.path == "state" or change.how is How.RESTART:
        return "power"
    if change.how is How.LIVE and not _goes(change) and pattern(change.path) in LIVE_PATHS:
        return "live"
    if inside.is_inside(change.path):
        return "inside"
    return "record" if not name and OPTIONS[area].home == RECORD else "definition"


def _goes(change: Change) -> bool:
    """Whether the change takes an item away."""
    return change.path.endswith("]") and change.after is None


def apply_container(spec: GuestSpec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError, CommandError: when a step fails.
    :raises MissingRequirement: when the source of a mount does not exist; nothing was written then.
    """
    record = work.host.record("guests", spec.name)
    if spec.state == "absent":
        yield from _remove(spec, state, plan, record)
        return
    job = _Job(wanted_of(spec, state), plan, work, record)
    _check_sources(job)
    if state.exists:
        yield from _change(job)
    else:
        yield from _create(job)


def _check_sources(job: _Job) -> None:
    wanted = [item.get("source") for item in job.spec.wanted("mounts")]
    missing = [f"path {source}" for source in wanted if source and source not in job.state.places]
    if missing:
        raise MissingRequirement(f"there is no {', '.join(missing)}, which a mount needs", missing=missing)


# ---- creation ----------------------------------------------------------------------------------------------------------------


def _create(job: _Job) -> Steps:
    spec, state = job.spec, job.state
    target = t.cast(str, state.target)
    if state.is_registered:
        yield from _take_away_half_made(spec.name)
    is_adopted = job.plan.has("rootfs")
    ids = _claim(job, target, is_adopted)
    yield Step("record written")
    if is_adopted:
        rootfs.remove_left_overs(target)
    else:
        rootfs.remove(target)
        yield Step("left-overs removed")
        yield from _make_rootfs(job, target, ids)
    config = definition.new_config(job.wanted.value("hostname"), target, ids, has_apparmor=state.host.has_apparmor)
    _write_config(spec.name, definition.edit(config, job.wanted, job.plan.changes))
    yield Step("definition written")
    if is_adopted:
        _write_inside(job, inside.WritableTree(target, _root_of(ids)))
        yield Step("files inside written")
    # From here on the container stands, though it does not run yet.
    job.record.save(building=None, volumes={"rootfs": {"pool": spec.get("rootfs.pool"), "path": target, "made": True}})
    yield Step("record finished")
    yield from (change for change in job.plan.changes if change.path != "state")
    if power_of(spec, state).will_run:
        power.start(spec.name)
        yield Step("started")
        if spec.state == "paused":
            power.freeze(spec.name)
    yield from (change for change in job.plan.changes if change.path == "state")


def _root_of(ids: idmap.Range | None) -> tuple[int, int]:
    return (ids.start, ids.start) if ids else (0, 0)


def _take_away_half_made(name: str) -> Steps:
    power.kill(name)
    atomic.remove_file(config_path(name))
    yield Step("half-made container removed")


def _claim(job: _Job, target: str, is_adopted: bool) -> idmap.Range | None:
    """Write the record, with the ids and MACs that were planned, unless somebody took them since: then with others."""
    spec = job.spec
    with lock.allocations():
        job.work.host.drop()
        now = read_host(spec.name, job.work.host)
        ids = None
        if spec.get("unprivileged"):
            kept = job.record.data.get("idmap")
            ids = (
                idmap.Range(int(kept["start"]), int(kept["count"]))
                if kept
                else idmap.allocate(now.uids, now.gids, now.taken_ids)
            )
            if ids is None:
                raise ApplyError(
                    f"no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid. "
                    "The role homelab.hybrid.hypervisor gives root a range"
                )
        _check_macs(job.wanted, now.taken_macs)
        volume = {
            "pool": spec.get("rootfs.pool"),
            "path": target,
            "made": True,
            **({} if is_adopted else {"new": True}),
        }
        job.record.save(
            kind="container",
            building=True,
            image=spec.image,
            volumes={"rootfs": volume},
            idmap={"start": ids.start, "count": ids.count} if ids else None,
            **_record_of(job),
        )
    return ids


def _check_macs(wanted: Wanted, taken: t.Collection[str]) -> None:
    for card in wanted.cards.values():
        if card["mac"] in taken:
            raise ApplyError(f"networks[{card.name}].mac: {card['mac']} is another guest's by now. Run it again")


def _make_rootfs(job: _Job, target: str, ids: idmap.Range | None) -> Steps:
    """Everything happens under a name of this attempt; the root appears in its place when it is finished."""
    image = store.find(str(job.spec.image))
    if image.kind != "container":
        raise ApplyError(
            f"image: {image.name} is of the kind {image.kind}, and a container needs one of the kind container"
        )
    attempt = rootfs.attempt_path(target)
    try:
        rootfs.unpack(image.path, attempt, job.work.held.fds)
        yield Step("image unpacked")
        if ids:
            rootfs.shift(attempt, _root_of(ids))
            yield Step("owners shifted")
        _write_inside(job, inside.WritableTree(attempt, _root_of(ids)))
        yield Step("files inside written")
        rootfs.put(attempt, target)
    except Exception:
        # A root that did not fit would keep its pool full.
        rootfs.remove_left_overs(target)
        raise
    yield Step("root in place")


def _write_inside(job: _Job, tree: inside.WritableTree) -> None:
    inside.write_files(tree, job.wanted, job.plan.changes)


def _write_config(name: str, config: Config) -> None:
    path = config_path(name)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o755)
    # The file of a hand-made container keeps its owner and mode.
    if os.path.exists(path):
        status = os.stat(path)
        atomic.write_file(path, config.text, mode=status.st_mode & 0o7777, owner=(status.st_uid, status.st_gid))
    else:
        atomic.write_file(path, config.text)


# ---- the record --------------------------------------------------------------------------------------------------------------


def _record_of(job: _Job, *, is_final: bool = True) -> dict[str, t.Any]:
    """What the record says of the options whose place it is, and of the names of items, after this run.

    Before the definition is written it must say what fits the old one: then (not *is_final*) names only come, none goes
    or means something else.
    """
    wanted, plan = job.wanted, job.plan
    data = job.record.data if job.state.exists else {}
    values: dict[str, t.Any] = {}
    for key in _IN_RECORD:
        if plan.has(key):
            value = wanted.value(key)
            values[key] = (list(value) if isinstance(value, tuple) else value) or None
    if plan.has(*startup.PATHS):
        values["startup"] = startup.to_record({path: wanted.value(path) for path in startup.PATHS})
    if plan.has("ssh_keys"):
        old = () if is_final else data.get("ssh_keys") or ()
        values["ssh_keys"] = list(dict.fromkeys([*(wanted.spec.get("ssh_keys") or ()), *old])) or None
    for key, names in _names_of_items(job).items():
        before = data.get(key) or {}
        values[key] = (names if is_final else {**names, **before}) or None
    return values


def _names_of_items(job: _Job) -> dict[str, dict[str, str]]:
    """The MACs of interfaces, the bridges of those that are unplugged and the paths of mounts, by the items' names."""
    wanted, state = job.wanted, job.state
    data = state.record if state.exists else {}
    macs, unplugged, paths = (dict(data.get(key) or {}) for key in ("macs", "unplugged", "mounts"))
    # A run that was killed may have left names of what is gone.
    there = {net.get("hwaddr", "").lower() for net in state.config.nets().values()}
    macs = {name: mac for name, mac in macs.items() if mac in there}
    unplugged = {name: bridge for name, bridge in unplugged.items() if name in macs}
    bound = {entry.path for entry in bind_entries(state.config)}
    paths = {name: path for name, path in paths.items() if path in bound}
    for area, kept in (("networks", (macs, unplugged)), ("mounts", (paths,))):
        gone = {split(change.path)[1] for change in job.plan.under(area) if _goes(change)}
        for name in gone | {item.name for item in job.spec.items(area)}:
            for names in kept:
                names.pop(name, None)
    for name, card in wanted.cards.items():
        if card["mac"]:
            macs[name] = card["mac"]
        if not card.is_up():
            unplugged[name] = card["bridge"]
        else:
            unplugged.pop(name, None)
    paths.update({name: entry.path for name, entry in wanted.mounts.items()})
    return {"macs": macs, "unplugged": unplugged, "mounts": paths}


# ---- change ------------------------------------------------------------------------------------------------------------------


def _change(job: _Job) -> Steps:
    spec, state, plan = job.spec, job.state, job.plan
    before = dict(job.record.data)
    job.record.save(kind="container", **_record_of(job, is_final=False))
    if job.record.data != before:
        yield Step("record written")
    yield from job.told_after("record")
    now = power_of(spec, state)
    stays = now.is_running and now.will_run and not job.is_restart
    if now.is_running and not stays:
        power.stop(spec.name, timeout=spec.shutdown_timeout, force=spec.force_stop)
        yield Step("stopped")
    container = Running(live.handle(spec.name), state.live, job.wanted) if stays and state.live else None
    if container is not None:
        yield from _detach(job, container)
    config = definition.edit(state.config, job.wanted, plan.changes)
    if config != state.config:
        _write_config(spec.name, config)
        yield Step("definition written")
    yield from job.told_after("definition")
    if any(inside.is_inside(change.path) for change in plan.changes):
        _write_inside(job, inside.WritableTree(_root_inside(job), idmap.root_of(config.values("lxc.idmap")) or (0, 0)))
        yield Step("files inside written")
    yield from job.told_after("inside")
    job.record.save(**_record_of(job))
    if container is not None:
        yield from _change_live(job, container)
    else:
        yield from job.told_after("live")
    yield from _change_power(job)


def _root_inside(job: _Job) -> str:
    if not job.state.rootfs or not job.state.has_rootfs:
        raise ApplyError(
            f"the root of {job.spec.name} is not there: {job.state.rootfs or 'its configuration names none'}"
        )
    return job.state.rootfs


def _detach(job: _Job, container: Running) -> Steps:
    """Interfaces and mounts that go, or whose place changes, leave the running container before the definition does."""
    for change in job.plan.changes:
        area, name, dummy = split(change.path)
        if area == "networks" and _goes(change) and change.how is How.LIVE:
            running.unplug_card(container, name)
            yield Step(f"interface {name} removed")
    for name in _names(job.plan.changes, "mounts"):
        if running.unmount(container, name):
            yield Step(f"mount {name} removed")


def _names(changes: t.Iterable[Change], area: str) -> list[str]:
    """The names of the items of a list that *changes* speak of, each once."""
    places = (split(change.path) for change in changes)
    return list(dict.fromkeys(name for in_area, name, key in places if in_area == area and name))


def _change_live(job: _Job, container: Running) -> Steps:
    """Bring into force what a definition alone does not. One function for several options is called once for all of them."""
    changes = job.told_after("live")
    scalars = [change for change in changes if change.path in LIVE]
    for write in dict.fromkeys(LIVE[change.path] for change in scalars):
        write(container)
        yield Step("value set")
        yield from (change for change in scalars if LIVE[change.path] is write)
    for name in _names(changes, "networks"):
        mine = [change for change in changes if split(change.path)[:2] == ("networks", name)]
        keys = [split(change.path)[2] for change in mine]
        if "" in keys:
            running.plug_card(container, name)
        else:
            running.change_card(container, name, keys)
        yield Step(f"interface {name} changed")
        yield from mine
    if _names(job.plan.changes, "networks") and job.state.power == "started":
        running.reload_networkd(job.spec.name)
    for name in _names(changes, "mounts"):
        running.mount(container, name)
        yield Step(f"mount {name} added")
        yield from (change for change in changes if split(change.path)[:2] == ("mounts", name))


def _change_power(job: _Job) -> Steps:
    spec, state = job.spec, job.state
    now = power_of(spec, state)
    if now.will_run and (job.is_restart or state.power == "stopped"):
        power.start(spec.name)
        yield Step("started")
    elif now.will_run and state.power == "paused" and spec.state == "started":
        power.unfreeze(spec.name)
    if spec.state == "paused" or (job.is_restart and spec.state == "present" and state.power == "paused"):
        power.freeze(spec.name)
    yield from job.told_after("power")


# ---- removal -----------------------------------------------------------------------------------------------------------------


def _remove(spec: GuestSpec, state: State, plan: Plan, record: Record) -> Steps:
    removal, deletion = plan.get("state"), plan.get("rootfs")
    if removal is not None:
        if state.is_building:
            power.kill(spec.name)
        elif state.power != "stopped":
            power.stop(spec.name, timeout=spec.shutdown_timeout, force=spec.force_stop)
            yield Step("stopped")
        atomic.remove_file(config_path(spec.name))
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(LXC_PATH, spec.name))
        yield Step("definition removed")
        _shrink_record(record, is_kept=state.owns_rootfs and (deletion is not None or not state.volume.get("new")))
        if state.volume.get("new"):
            rootfs.remove(state.volume["path"])
            record.remove()
        yield removal
    if deletion is not None:
        rootfs.remove(state.volume["path"])
        yield Step("root removed")
        record.remove()
        yield deletion


def _shrink_record(record: Record, *, is_kept: bool) -> None:
    """What outlives the container: what is needed to delete its root later, or to use it again."""
    if not is_kept:
        record.remove()
        return
    kept = {"kind", "image", "volumes", "idmap", "schema"}
    record.save(**{key: None for key in record.data if key not in kept})
