# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The only code that writes containers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from .._core import atomic, lock, startup
from .._core.converge import Work
from .._core.errors import ApplyError, MissingRequirement
from .._core.plan import Change, How, Plan, Step
from .._core.record import Record
from .._host import links
from .._host.lxc import LXC_PATH, config_path
from .._image import store
from . import definition, guest_files, idmap, inside, live, power, rootfs
from .config import Config
from .items import bind_entries, claim_mounts, live_nic, net_lines
from .observe import read_host
from .plan import power_of, resolved
from .spec import Mount, Network, Spec
from .state import State

Steps = t.Iterator["Change | Step"]
_IN_RECORD = ("description", "tags", "protection")
_RUNNING = ("started", "restarted", "paused")
_INSIDE = ("hostname", "dns.servers", "dns.search", "ssh_keys")


@dataclasses.dataclass
class _Job:
    """What the steps of one run share. *spec* is the resolved one."""

    spec: Spec
    state: State
    plan: Plan
    work: Work
    record: Record
    told: list[Change] = dataclasses.field(default_factory=list)

    def stands(self, *changes: Change | None) -> t.Iterator[Change]:
        """Those of *changes* that were not told yet."""
        for change in changes:
            if change is not None and not any(change is each for each in self.told):
                self.told.append(change)
                yield change


def apply_container(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError, CommandError: when a step fails.
    :raises MissingRequirement: when the source of a mount does not exist; nothing was written then.
    """
    wanted = spec if spec.state == "absent" else resolved(spec, state)
    job = _Job(wanted, state, plan, work, work.host.record("guests", spec.name))
    _check_sources(wanted, state)
    if spec.state == "absent":
        yield from _remove(job)
    elif state.is_defined:
        yield from _change(job)
    else:
        yield from _create(job)


def _check_sources(spec: Spec, state: State) -> None:
    wanted = [item.source for item in spec.mounts or () if item.is_present and item.source]
    missing = [f"path {source}" for source in wanted if source not in state.places]
    if missing and spec.state != "absent":
        raise MissingRequirement(f"there is no {', '.join(missing)}, which a mount needs", missing=missing)


def _create(job: _Job) -> Steps:
    spec, state = job.spec, job.state
    target = t.cast(str, state.target)
    if state.is_registered:
        yield from _take_away_half_made(job)
    is_adopted = job.plan.has("rootfs")
    ids = _claim(job, target, is_adopted)
    yield Step("record written")
    if is_adopted:
        rootfs.remove_left_overs(target)
    else:
        rootfs.remove(target)
        yield Step("left-overs removed")
        yield from _make_rootfs(job, target, ids)
    config = definition.new_config(str(spec.hostname), target, ids, has_apparmor=state.host.has_apparmor)
    _write_config(job, definition.edit(config, spec, state, job.plan))
    yield Step("definition written")
    if is_adopted:
        _write_inside(job, inside.Tree(target, (ids.start, ids.start) if ids else (0, 0)), is_new=True)
        yield Step("files inside written")
    # From here on the container stands, though it does not run yet.
    job.record.save(building=None, volumes={"rootfs": {"pool": spec.pool, "path": target, "made": True}})
    yield Step("record finished")
    if spec.state in _RUNNING:
        power.start(spec.name)
        yield Step("started")
        if spec.state == "paused":
            power.freeze(spec.name)
    yield from job.stands(*job.plan.changes)


def _take_away_half_made(job: _Job) -> Steps:
    power.kill(job.spec.name)
    atomic.remove_file(config_path(job.spec.name))
    yield Step("half-made container removed")


def _claim(job: _Job, target: str, is_adopted: bool) -> idmap.Range | None:
    """Write the record, with the ids and MACs that were planned, unless somebody took them since: then with others."""
    spec = job.spec
    with lock.allocations():
        job.work.host.drop()
        now = read_host(spec.name, job.work.host)
        ids = None
        if spec.unprivileged:
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
        _check_macs(spec, now.taken_macs)
        volume = {"pool": spec.pool, "path": target, "made": True, **({} if is_adopted else {"new": True})}
        job.record.save(
            kind="container",
            building=True,
            image=spec.image,
            volumes={"rootfs": volume},
            idmap={"start": ids.start, "count": ids.count} if ids else None,
            **_record_of(job),
        )
    return ids


def _check_macs(spec: Spec, taken: t.Collection[str]) -> None:
    for item in spec.networks or ():
        if item.is_present and item.mac in taken:
            raise ApplyError(f"networks[{item.name}].mac: {item.mac} is another guest's by now. Run it again")


def _record_of(job: _Job, *, is_final: bool = True) -> dict[str, t.Any]:
    """What the record says of the options whose place it is, and of the names of items, after this run.

    Before the definition is written it must say what fits the old one: then (not *is_final*) names only come, none goes
    or means something else.
    """
    spec, plan = job.spec, job.plan
    data = job.record.data if job.state.is_defined else {}
    values: dict[str, t.Any] = {}
    for key in _IN_RECORD:
        if plan.has(key):
            value = getattr(spec, key)
            values[key] = (list(value) if isinstance(value, tuple) else value) or None
    if plan.has(*startup.PATHS):
        changed = {path: spec.startup.get(path, off) for path, off in startup.recorded({}).items() if plan.has(path)}
        values["startup"] = startup.to_record({**startup.recorded(data), **changed})
    if plan.has("ssh_keys"):
        old = () if is_final else data.get("ssh_keys") or ()
        values["ssh_keys"] = list(dict.fromkeys([*(spec.ssh_keys or ()), *old])) or None
    for key, names in _names_of_items(job).items():
        before = data.get(key) or {}
        values[key] = (names if is_final else {**names, **before}) or None
    return values


def _names_of_items(job: _Job) -> dict[str, dict[str, str]]:
    """The MACs of interfaces, the bridges of those that are unplugged and the paths of mounts, by the items' names."""
    spec, state, plan = job.spec, job.state, job.plan
    data = state.record if state.is_defined else {}
    macs, unplugged, paths = (dict(data.get(key) or {}) for key in ("macs", "unplugged", "mounts"))
    # A run that was killed may have left names of what is gone.
    there = {net.get("hwaddr", "").lower() for net in state.config.nets().values()}
    macs = {name: mac for name, mac in macs.items() if mac in there}
    unplugged = {name: bridge for name, bridge in unplugged.items() if name in macs}
    bound = {entry.path for entry in bind_entries(state.config)}
    paths = {name: path for name, path in paths.items() if path in bound}
    touched = {*definition.changed_items(plan, "networks"), *(item.name for item in spec.networks or ())}
    numbers = definition.network_numbers(spec, state)
    for name in touched:
        unplugged.pop(name, None)
        if _goes(job, f"networks[{name}]") or name not in numbers:
            macs.pop(name, None)
            continue
        lines = definition.wanted_network(_network(spec, name), spec, state)
        if lines.mac:
            macs[name] = lines.mac
        if lines.link == "down":
            unplugged[name] = lines.bridge
    claims = claim_mounts(spec.mounts or (), state.config, paths) if state.is_defined else {}
    for name in {*definition.changed_items(plan, "mounts"), *(item.name for item in spec.mounts or ())}:
        mount = _mount(spec, name)
        if _goes(job, f"mounts[{name}]") or not (mount.is_present and (name in claims or mount.path)):
            paths.pop(name, None)
        else:
            paths[name] = definition.wanted_mount(mount, claims.get(name), spec, state).path
    return {"macs": macs, "unplugged": unplugged, "mounts": paths}


def _goes(job: _Job, path: str) -> bool:
    """Whether the plan takes the item away."""
    change = job.plan.get(path)
    return change is not None and change.after is None


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
        root = (ids.start, ids.start) if ids else (0, 0)
        if ids:
            rootfs.shift(attempt, root)
            yield Step("owners shifted")
        _write_inside(job, inside.Tree(attempt, root), is_new=True)
        yield Step("files inside written")
        rootfs.put(attempt, target)
    except Exception:
        # A root that did not fit would keep its pool full.
        rootfs.remove_left_overs(target)
        raise
    yield Step("root in place")


def _write_inside(job: _Job, tree: inside.Tree, *, is_new: bool = False) -> None:
    """The files of the guest that the plan changes."""
    spec, plan, state = job.spec, job.plan, job.state
    if plan.has("hostname"):
        inside.set_hostname(tree, str(spec.hostname))
    if plan.has("dns.servers", "dns.search"):
        servers, search = guest_files.resolver(tree.read(guest_files.RESOLV_CONF))
        servers = (spec.servers or ()) if plan.has("dns.servers") else servers
        search = (spec.search or ()) if plan.has("dns.search") else search
        inside.set_resolver(tree, servers or (state.host.servers if is_new else ()), search)
    elif is_new and not tree.has(guest_files.RESOLV_CONF):
        inside.set_resolver(tree, state.host.servers, state.host.search)
    if plan.has("ssh_keys"):
        ours = job.state.record.get("ssh_keys") or ()
        inside.set_keys(tree, spec.ssh_keys or (), ours)
    for name in definition.changed_items(plan, "networks"):
        if _goes(job, f"networks[{name}]"):
            inside.remove_network(tree, name)
            continue
        lines = definition.wanted_network(_network(spec, name), spec, state)
        inside.set_network(tree, guest_files.Net(name, lines.device, lines.ip, lines.gateway))


def _network(spec: Spec, name: str) -> Network:
    return next((item for item in spec.networks or () if item.name == name), Network(name))


def _mount(spec: Spec, name: str) -> Mount:
    return next((item for item in spec.mounts or () if item.name == name), Mount(name))


def _write_config(job: _Job, config: Config) -> None:
    path = config_path(job.spec.name)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o755)
    # The file of a hand-made container keeps its owner and mode.
    if os.path.exists(path):
        status = os.stat(path)
        atomic.write_file(path, config.text, mode=status.st_mode & 0o7777, owner=(status.st_uid, status.st_gid))
    else:
        atomic.write_file(path, config.text)


def _change(job: _Job) -> Steps:
    spec, state, plan = job.spec, job.state, job.plan
    before = dict(job.record.data)
    job.record.save(kind="container", **_record_of(job, is_final=False))
    if job.record.data != before:
        yield Step("record written")
    now = power_of(spec, state)
    stays = now.is_running and now.will_run
    is_restart = stays and any(change.how is How.RESTART for change in plan.changes)
    if now.is_running and (is_restart or not now.will_run):
        power.stop(spec.name, timeout=spec.shutdown_timeout, force=spec.force_stop)
        yield Step("stopped")
    if stays and not is_restart:
        yield from _detach(job)
    config = definition.edit(state.config, spec, state, plan)
    if config != state.config:
        _write_config(job, config)
        yield Step("definition written")
    if plan.has(*_INSIDE) or definition.changed_items(plan, "networks"):
        _write_inside(job, inside.Tree(_root_inside(job), idmap.root_of(config.values("lxc.idmap")) or (0, 0)))
        yield Step("files inside written")
    job.record.save(**_record_of(job))
    yield from job.stands(*(change for change in plan.changes if change.how in (How.OFFLINE, How.NEXT_BOOT)))
    if stays and not is_restart:
        yield from _change_live(job)
    yield from _change_power(job, is_restart)
    yield from job.stands(*plan.changes)


def _root_inside(job: _Job) -> str:
    if not job.state.rootfs or not job.state.has_rootfs:
        raise ApplyError(
            f"the root of {job.spec.name} is not there: {job.state.rootfs or 'its configuration names none'}"
        )
    return job.state.rootfs


def _detach(job: _Job) -> Steps:
    """Interfaces and mounts that go, or whose place changes, leave the running container before the definition does."""
    running = job.state.live
    if running is None:
        return
    for change in job.plan.changes:
        name = definition.item_name(change.path, "networks")
        if name and change.path.endswith("]") and change.after is None and change.how is How.LIVE:
            nic = _live_nic(job, name)
            if nic is not None and nic.host:
                live.remove_nic(nic.host)
                yield Step(f"interface {name} removed")
    claims = claim_mounts(job.spec.mounts or (), job.state.config, job.state.record.get("mounts") or {})
    for name in definition.changed_items(job.plan, "mounts"):
        entry = claims.get(name)
        if entry is not None and entry.path in running.mounts:
            live.unmount(running.pid, entry.path)
            yield Step(f"mount {name} removed")


def _live_nic(job: _Job, name: str) -> t.Any:
    numbers = definition.network_numbers(job.spec, job.state)
    if name not in numbers:
        return None
    if numbers[name] not in job.state.config.nets():
        return live_nic(definition.wanted_network(_network(job.spec, name), job.spec, job.state), job.state.live)
    return live_nic(net_lines(name, numbers[name], job.state), job.state.live)


def _change_live(job: _Job) -> Steps:
    running = job.state.live
    if running is None:
        return
    container = live.handle(job.spec.name)
    for items in definition.limits(job.spec, job.state, job.plan):
        live.set_limits(container, items, running.items)
        yield Step("limits set")
    if job.plan.has("hostname"):
        live.set_hostname(running.pid, str(job.spec.hostname))
        yield Step("host name set")
    for name in definition.changed_items(job.plan, "networks"):
        yield from _change_nic(job, name)
    if definition.changed_items(job.plan, "networks") and job.state.power == "started":
        live.reload_networkd(job.spec.name)
    yield from _mount_live(job)


def _change_nic(job: _Job, name: str) -> Steps:
    pid = t.cast(t.Any, job.state.live).pid
    if _goes(job, f"networks[{name}]"):
        return
    wanted = definition.wanted_network(_network(job.spec, name), job.spec, job.state)
    nic = _live_nic(job, name)
    if nic is None:
        with _removed_on_failure(wanted.pair):
            live.add_nic(pid, wanted)
        yield Step(f"interface {name} added")
        return
    path = f"networks[{name}]"
    old = net_lines(name, wanted.number, job.state) if wanted.number in job.state.config.nets() else wanted
    if nic.host and job.plan.has(f"{path}.bridge", f"{path}.link"):
        live.plug(nic.host, wanted.bridge if wanted.link == "up" else None)
    if nic.host and job.plan.has(f"{path}.bridge", f"{path}.link", f"{path}.vlan"):
        # A port that leaves its bridge forgets its VLAN.
        links.put_into_vlan(nic.host, wanted.vlan)
    if nic.host and job.plan.has(f"{path}.mtu"):
        live.set_mtu(pid, nic, wanted.mtu)
    if job.plan.has(f"{path}.ip"):
        static = [address if "/" in address else None for address in (old.ip, wanted.ip)]
        live.set_address(pid, nic.device, *static)
    if job.plan.has(f"{path}.gateway", f"{path}.ip"):
        live.set_gateway(pid, nic.device, old.gateway or None, wanted.gateway or None)
    yield Step(f"interface {name} changed")


@contextlib.contextmanager
def _removed_on_failure(host_name: str) -> t.Iterator[None]:
    try:
        yield
    except Exception:
        if os.path.isdir(f"/sys/class/net/{host_name}"):
            live.remove_nic(host_name)
        raise


def _mount_live(job: _Job) -> Steps:
    running = job.state.live
    claims = claim_mounts(job.spec.mounts or (), job.state.config, job.state.record.get("mounts") or {})
    for name in definition.changed_items(job.plan, "mounts"):
        if running is None or _goes(job, f"mounts[{name}]"):
            continue
        entry = definition.wanted_mount(_mount(job.spec, name), claims.get(name), job.spec, job.state)
        is_mapped = "idmap=container" in entry.options
        ids = job.state.config.values("lxc.idmap")
        live.mount(running.pid, entry.source, entry.path, is_readonly=entry.is_readonly, is_mapped=is_mapped, idmap=ids)
        yield Step(f"mount {name} added")


def _change_power(job: _Job, is_restart: bool) -> Steps:
    spec, state = job.spec, job.state
    if is_restart:
        power.start(spec.name)
        yield Step("started")
        if spec.state == "paused" or (spec.state == "present" and state.power == "paused"):
            power.freeze(spec.name)
    elif job.plan.has("state") and spec.state in _RUNNING:
        if state.power == "stopped":
            power.start(spec.name)
            yield Step("started")
        elif state.power == "paused":
            power.unfreeze(spec.name)
        if spec.state == "paused":
            power.freeze(spec.name)


def _remove(job: _Job) -> Steps:
    spec, state, record = job.spec, job.state, job.record
    removal, deletion = job.plan.get("state"), job.plan.get("rootfs")
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
        yield from job.stands(removal)
    if deletion is not None:
        rootfs.remove(state.volume["path"])
        yield Step("root removed")
        record.remove()
        yield from job.stands(deletion)


def _shrink_record(record: Record, *, is_kept: bool) -> None:
    """What outlives the container: what is needed to delete its root later, or to use it again."""
    if not is_kept:
        record.remove()
        return
    kept = {"kind", "image", "volumes", "idmap", "schema"}
    record.save(**{key: None for key in record.data if key not in kept})
