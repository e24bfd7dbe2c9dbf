# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How containers are written: what ``_guest.run`` asks of LXC, in the order that it has for both kinds of guest."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import typing as t

from .._core import atomic, lock
from .._core.converge import Work
from .._core.errors import ApplyError, MissingRequirement
from .._core.options import split
from .._core.plan import Change, Plan, Step
from .._guest.addressing import Wish, take
from .._guest.auto_address import AUTO
from .._guest.content import Source
from .._guest.ownership import Ownership
from .._guest.plan import power_of
from .._guest.record import Origin, RecordedVolume
from .._guest.run import Run, Steps, check_origin
from .._guest.spec import GuestSpec
from .._host.lxc import config_path, read_container
from .._host.snapshot import Host
from .._image import copier, copies, store
from .._image.plan import copy_path
from .._storage import cloning
from .._storage import volume as volumes
from .._storage.choice import drivers_of
from .._storage.driver import Attempt, Cloning, Driver
from .._storage.volume import Volume
from . import (
    definition,
    guest_files,
    identity,
    idmap,
    inside,
    live,
    loading,
    mounting,
    plugging,
    power,
    rate,
    rootfs,
    running,
)
from .config import HOOK, Config, MountEntry
from .device import write_device
from .mount import RECORDED
from .observe import KIND, free_ids
from .options import OPTIONS
from .plan import waiting_keys, with_addresses
from .running import Running
from .state import ROOTFS, State
from .tree import Tree
from .wanted import Wanted, devices_of, wanted_of

Begun = t.Generator["Change | Step", None, Attempt]


def apply_container(spec: GuestSpec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError, CommandError: when a step fails.
    :raises MissingRequirement: when the source of a mount, or what it is cloned from, does not exist; nothing was written then.
    """
    wanted = Wanted(spec, state, {}, {}) if spec.state == "absent" else wanted_of(spec, state)
    sources = (item.get("source") for item in wanted.spec.wanted("mounts"))
    missing = [f"path {source}" for source in sources if source and source not in state.places]
    if missing and spec.state != "absent":
        raise MissingRequirement(f"there is no {', '.join(missing)}, which a mount needs", missing=missing)
    check_origin(spec, state)
    if spec.state != "absent":
        state = _with_taken(spec, state, work.host)
        wanted = wanted_of(spec, state)
    yield from Run(ContainerBackend(wanted, plan, work), wanted.spec, state, plan).steps()


def _with_taken(spec: GuestSpec, state: State, host: Host) -> State:
    """*state* with an address in the record for each that *spec* leaves to the host and that is not there yet."""
    wishes = []
    for item in with_addresses(spec, state).wanted("networks"):
        card = state.cards.get(item.name)
        bridge = item.get("bridge") or (card.text("bridge") if card else "")
        vlan = item.get("vlan", card["vlan"] if card else 0)
        wishes += [Wish(item.name, key, item.text(key) or AUTO, bridge, vlan) for key in waiting_keys(item)]
    if not wishes:
        return state
    return state.replace(record=take(spec.name, wishes, host, kind=KIND, is_building=not state.exists))


class ContainerBackend:
    """See ``_guest.run.Backend``."""

    word = KIND
    options = OPTIONS

    def __init__(self, wanted: Wanted, plan: Plan, work: Work) -> None:
        self.wanted = wanted
        self.name = wanted.spec.name
        self.state = wanted.state
        self.plan = plan
        self.work = work
        self.own = Ownership(work.host.record("guests", self.name))
        # What was done to the running container already, by one function for several options or steps.
        self._given: set[t.Hashable] = set()
        self._written: Config | None = None

    # -- record

    def claims(self, *, is_final: bool) -> dict[str, t.Any]:
        kept = self.own.record
        keys = kept.ssh_keys
        if self.plan.has("ssh_keys"):
            declared = self.wanted.spec.get("ssh_keys") or ()
            keys = declared if is_final else tuple(dict.fromkeys((*declared, *keys)))
        # What is not there is no name any more; of a run that was killed some may be left.
        macs, unplugged, entries = self._names()
        paths = {name: entry.path for name, entry in entries.items()}
        if not is_final:
            unplugged, paths = {**unplugged, **kept.unplugged}, {**paths, **(kept.names.get("mounts") or {})}
        found: dict[str, t.Any] = {"ssh_keys": keys, "unplugged": unplugged, "names": {"mounts": paths}}
        found["backed_up"] = tuple(sorted(name for name, entry in entries.items() if entry.is_backed_up))
        if is_final:
            return {
                **found,
                "macs": macs,
                "addresses": self._still_taken(kept.addresses, "ip", macs),
                "addresses6": self._still_taken(kept.addresses6, "ip6", macs),
            }
        return found if self.state.exists else {**found, **self._claim_root()}

    def _still_taken(self, taken: t.Mapping[str, str], key: str, names: t.Container[str]) -> dict[str, str]:
        """Those of the addresses *taken* that the cards of these *names* have by *key*."""
        cards = self.wanted.cards
        return {
            name: cidr
            for name, cidr in taken.items()
            if name in names and (name not in cards or cards[name][key] == cidr)
        }

    def _claim_root(self) -> dict[str, t.Any]:
        """The volume and the ids of a new container: those that are kept of an earlier one, else free ones."""
        kept, spec = self.own.record, self.wanted.spec
        volume = RecordedVolume(self._target, is_fresh=not self._is_adopted)
        ids = kept.idmap if spec.get("unprivileged") else None
        if spec.get("unprivileged") and ids is None:
            area = free_ids(self.name)
            if area is None:
                raise ApplyError(
                    f"no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid. "
                    "The role homelab.hybrid.hypervisor gives root a range"
                )
            ids = (area.start, area.count)
        return {"volumes": kept.volumes_with({ROOTFS: volume}), "idmap": ids}

    def _names(self) -> tuple[dict[str, str], dict[str, str], dict[str, MountEntry]]:
        """The MACs of the cards, the bridges of those that are unplugged and the mounts, by name after the run.

        Of those that nobody declares only the names that are recorded: another run may call them otherwise.
        """
        kept, wanted, state = self.own.record, self.wanted, self.state
        gone = {split(change.path)[:2] for change in self.plan.changes if _goes(change)}
        is_mount_gone = any(area == "mounts" for area, dummy in gone)
        cards = {
            name: card for name, card in state.cards.items() if name in kept.macs and ("networks", name) not in gone
        }
        cards.update(wanted.cards)
        entries = {
            name: entry
            for name, entry in state.mounts.items()
            # Where one goes by its place the others keep theirs, or the next would be called like it.
            if (name in (kept.names.get("mounts") or {}) or is_mount_gone) and ("mounts", name) not in gone
        }
        entries.update(wanted.mounts)
        macs = {name: card.text("mac") for name, card in cards.items() if card["mac"]}
        unplugged = {name: card.text("bridge") for name, card in cards.items() if not card.is_up()}
        return macs, unplugged, entries

    def clear(self) -> Steps:
        """The root of one that was interrupted goes too: nobody knows how far it came."""
        if self.state.is_known and self.state.is_building:
            self._kill()
            self.undefine()
            yield Step("half-made container removed")
        if self.own.record.holds is not None:
            self._let_go(self.own.record.holds)
            yield Step("held guest released")
        fresh = [recorded.volume for recorded in self.own.record.volumes.values() if recorded.is_fresh]
        for volume in fresh:
            self._remove(volume)
            yield Step("half-made root removed")
        if fresh:
            self.own.save(volumes={name: its for name, its in self.own.record.volumes.items() if not its.is_fresh})

    # -- power

    def stop(self) -> None:
        spec = self.wanted.spec
        stop = power.stop if self.state.problem is None else power.stop_unloadable
        stop(self.name, timeout=spec.shutdown_timeout, force=spec.force_stop, keep_fds=self.work.held.fds)

    def start(self) -> None:
        power.start(self.name)

    def switch(self, now: str, target: str) -> None:
        if now == "stopped":
            power.start(self.name)
        if target == "paused":
            power.freeze(self.name, keep_fds=self.work.held.fds)
        elif now == "paused":
            power.unfreeze(self.name, keep_fds=self.work.held.fds)

    # -- what runs

    @functools.cached_property
    def _running(self) -> Running:
        if self.state.live is None:
            raise ApplyError(f"the container {self.name} does not run")
        return Running(live.handle(self.name), self.state.live, self.wanted, self.work.held.fds)

    def detach(self, change: Change) -> None:
        area, name, dummy = split(change.path)
        if area == "networks":
            running.unplug_card(self._running, name)
        elif area == "devices":
            self._give(running.unplug_device, self._running, name)
        else:
            self._give(running.unmount, self._running, name)

    def attach(self, change: Change) -> None:
        area, name, dummy = split(change.path)
        try:
            if area == "networks":
                running.plug_card(self._running, name)
            elif area == "devices":
                self._give(running.plug_device, self._running, name)
            else:
                running.mount(self._running, name)
        except Exception:
            self._take_back(area, name)
            raise
        if area == "networks":
            self._tell_guest()

    def _take_back(self, area: str, name: str) -> None:
        """A new thing that cannot come now would keep the container from its next start too: its lines go again."""
        is_new = name not in self.state.persistent.things(area)
        if self._written is None or not is_new:
            return
        if area == "networks":
            left = self._written.without_net(self.wanted.cards[name].number)
        elif area == "devices":
            device = self.wanted.devices[name]
            left = write_device(self._written, device.replace(line=device.hook), None)
        else:
            entry = self.wanted.mounts[name]
            left = self._written.remove(entry.key, entry.text)
        write_config(self.name, left)

    def change_live(self, change: Change) -> None:
        area, name, key = split(change.path)
        if not name:
            self._give(running.LIVE[area], self._running)
        elif area == "mounts":
            self._give(running.mount, self._running, name)
        elif area == "devices":
            self._give(running.plug_device, self._running, name)
        else:
            self._give(running.LIVE_CARD[key], self._running, name)
            if inside.is_inside(change.path):
                self._tell_guest()

    def _give(self, write: t.Callable[..., None], container: Running, *names: str) -> None:
        if (write, *names) not in self._given:
            write(container, *names)
            self._given.add((write, *names))

    def _tell_guest(self) -> None:
        if self.state.power == "started":
            running.reload_networkd(self.name)

    # -- what lasts

    @property
    def _target(self) -> Volume:
        """Where a new root comes."""
        return volumes.of_guest(self.wanted.spec.get("rootfs.pool"), self.name, ROOTFS, volumes.FILESYSTEM)

    def _driver(self, volume: Volume) -> Driver:
        driver = drivers_of(self.work.host).get(volume.pool)
        if driver is None:
            raise ApplyError(f"rootfs.pool: the storage pool {volume.pool} has no driver on this host")
        return driver

    def _remove(self, volume: Volume) -> None:
        driver = self._driver(volume)
        driver.retire(volume)
        driver.purge(volume)

    @property
    def _is_adopted(self) -> bool:
        """Whether a new container gets the root that is kept of an earlier one."""
        return self.plan.has("rootfs")

    @property
    def _ids(self) -> idmap.Range | None:
        return idmap.Range(*self.own.record.idmap) if self.own.record.idmap else None

    @property
    def _inner_root(self) -> tuple[int, int]:
        """The uid and gid of the host that root of the container is."""
        if self.state.exists:
            return idmap.root_of(self.state.config.values("lxc.idmap")) or (0, 0)
        return (self._ids.start, self._ids.start) if self._ids else (0, 0)

    def make_volumes(self) -> Steps:
        if self.state.exists:
            return
        if self._is_adopted:
            driver = self._driver(self._target)
            driver.purge(self._target)
            if self.wanted.spec.get("rootfs.size") is not None:
                driver.resize(self._target, self.wanted.spec.get("rootfs.size"))
        else:
            yield from self._make_root(self._target)

    def _make_root(self, target: Volume) -> Steps:
        """Everything happens under a name of this attempt; the root appears in its place when it is finished."""
        driver, is_clone = self._driver(target), self.wanted.spec.origin is not None
        begin = self._begin_clone if is_clone else self._begin_of_image
        try:
            attempt = yield from begin(driver, target)
            self._check_targets(attempt.path)
            self._write_inside(attempt.path)
            yield Step("files inside written")
            driver.publish(attempt)
        except Exception:
            # A root that did not fit would keep its pool full.
            driver.purge(target)
            raise
        yield Step("root in place")
        if is_clone and self.wanted.spec.get("rootfs.size"):
            driver.resize(target, self.wanted.spec.get("rootfs.size"))
            yield Step("root limited")

    def _begin_clone(self, driver: Driver, target: Volume) -> Begun:
        """The root of another container, or of its snapshot, with the owners of this one and without what identifies that one."""
        source, origin = t.cast(Source, self.state.source), t.cast(Origin, self.own.record.origin)
        name, root = origin.guest, source.parts[ROOTFS].volume
        with self._held(name) if source.is_held else contextlib.nullcontext():
            if source.is_held:
                yield Step(f"{name} held")
            attempt = cloning.begin(
                driver, target, self._driver(root), root, is_linked=origin.is_linked, keep_fds=self.work.held.fds
            )
            yield Step("root cloned")
        if source.idmap != self.own.record.idmap and source.idmap and self._ids:
            by = self._ids.start - source.idmap[0]
            rootfs.shift(attempt.path, rootfs.Shift(by, by, source.idmap))
            yield Step("owners shifted")
        tree = inside.WritableTree(attempt.path, self._inner_root)
        self.plan.warnings += identity.reset(tree, self.wanted.value("hostname"))
        yield Step("identity reset")
        return attempt

    def _begin_of_image(self, driver: Driver, target: Volume) -> Begun:
        """What the image holds, with the owners of this container: a clone of the pool's copy, where the pool clones."""
        image = store.find(str(self.wanted.spec.image))
        if image.kind != KIND:
            raise ApplyError(
                f"image: {image.name} is of the kind {image.kind}, and a container needs one of the kind container"
            )
        fds, size = self.work.held.fds, self.wanted.spec.get("rootfs.size")
        copy = copies.copy_in(image.name, image.kind, driver)
        yield from copier.make(image, driver, fds)
        yield from (change for change in self.plan.changes if change.path == copy_path(image.name, driver.pool))
        if copy is None:
            attempt = driver.create(target, size=size, image=image.path, keep_fds=fds)
            yield Step("image unpacked")
        else:
            attempt = t.cast(Cloning, driver).clone(target, copy, size=size)
            yield Step("image cloned")
        if self._ids:
            rootfs.shift(attempt.path, rootfs.Shift(*self._inner_root))
            yield Step("owners shifted")
        return attempt

    @contextlib.contextmanager
    def _held(self, name: str) -> t.Iterator[None]:
        """Hold the running container *name* still. Our record says so: who was killed lets it go in the next run."""
        with lock.holding(name) as held:
            self.own.save(holds=name)
            try:
                power.freeze(name, keep_fds=held.fds)
                yield
            finally:
                self._release(name, held)

    def _let_go(self, name: str) -> None:
        with lock.holding(name) as held:
            self._release(name, held)

    def _release(self, name: str, held: lock.Held) -> None:
        if name in self.work.host.containers:
            power.unfreeze(name, keep_fds=held.fds)
        self.own.save(holds=None)

    def protect(self, *, is_read_only: bool) -> None:
        volume = self.own.record.volumes[ROOTFS].volume
        self._driver(volume).protect(volume, is_read_only=is_read_only)

    def _check_targets(self, root: str) -> None:
        """What only the image tells: whether LXC can mount in it what is declared.

        :raises ApplyError:
        """
        tree = Tree(root)
        for name, entry in self.wanted.mounts.items():
            why = tree.target_obstacle(entry.path, is_folder=entry.source not in self.state.files)
            if why is not None:
                raise ApplyError(f"mounts[{name}]: {why}")

    def resize(self, change: Change) -> None:
        volume = self.own.record.volumes[ROOTFS].volume
        self._driver(volume).resize(volume, self.wanted.spec.get(change.path))

    def write_files(self, changes: t.Sequence[Change]) -> Steps:
        """Files of a new root were written before it came to its place."""
        if not self.state.exists and not self._is_adopted:
            return
        if self.state.root_obstacle is not None:
            return  # the plan has no change that only stands inside
        if any(inside.is_inside(change.path) for change in self.plan.changes) or not self.state.exists:
            self._write_inside(self._root_inside())
            yield Step("files inside written")

    def has_files_plugged_in(self) -> bool:
        return True

    def _root_inside(self) -> str:
        path = self.state.rootfs if self.state.exists else self._driver(self._target).location(self._target)
        if not path or not os.path.isdir(path):
            raise ApplyError(f"the root of {self.name} is not there: {path or 'its configuration names none'}")
        return path

    def _write_inside(self, root: str) -> None:
        inside.write_files(inside.WritableTree(root, self._inner_root), self.wanted, self.plan.changes)

    def write_definition(self) -> bool:
        config = self.state.config
        if not self.state.exists:
            has_apparmor = self.state.host.has_apparmor
            root = self._driver(self._target).lxc_root(self._target)
            config = definition.new_config(self.wanted.value("hostname"), root, self._ids, has_apparmor=has_apparmor)
            if self.wanted.spec.wanted("devices"):
                config = _with_included(self.name, config)
                groups = guest_files.groups(Tree(self._root_inside()).read(guest_files.GROUP))
                devices = devices_of(self.wanted.spec, self.state, config, groups)
                self.wanted = self.wanted.replace(devices=devices)
        elif self.state.live is not None and power_of(self.wanted.spec, self.state).will_run:
            # What moves leaves its old place before nobody knows that any more.
            for name in dict.fromkeys(name for name, key in _keys(self.plan.changes, "mounts") if key not in RECORDED):
                self._give(running.unmount, self._running, name)
            for name in dict.fromkeys(name for name, key in _keys(self.plan.changes, "devices") if key in _PLACES):
                self._give(running.unplug_device, self._running, name)
        if self.wanted.devices:
            plugging.lay_down()
        if any(card["rate_limit.in"] or card["rate_limit.out"] for card in self.wanted.cards.values()):
            rate.lay_down()
        if any(entry.key == HOOK for entry in self.wanted.mounts.values()):
            mounting.lay_down()
        config = definition.edit(config, self.wanted, self.plan.changes)
        if self.state.exists and config == self.state.config:
            return False
        check_loads(self.name, config)
        write_config(self.name, config)
        self._written = config
        return True

    def set_flag(self, change: Change) -> None:
        raise ApplyError(f"{change.path}: LXC keeps all flags in the configuration")

    def settle_addresses(self) -> Steps:
        """Its own configuration has them."""
        yield from ()

    # -- removal

    def free_addresses(self) -> Steps:
        """They went with its configuration."""
        yield from ()

    def stop_for_good(self) -> None:
        if self.state.is_building:
            self._kill()
        elif self.state.power != "stopped":
            self.stop()

    def _kill(self) -> None:
        if self.state.problem is None:
            power.kill(self.name, keep_fds=self.work.held.fds)
        elif self.state.power != "stopped":
            power.stop_unloadable(self.name, timeout=0, force=True, keep_fds=self.work.held.fds)

    def definition(self) -> tuple[str, bool]:
        """Whether it starts with the host is in it."""
        return ("" if os.path.isdir(config_path(self.name)) else atomic.read_text(config_path(self.name)) or ""), False

    def undefine(self) -> None:
        path = config_path(self.name)
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        atomic.remove_file(path)
        plugging.forget(self.name)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(config_path(self.name)))

    def remove_volume(self, name: str) -> None:
        self._remove(self.own.record.volumes[name].volume)

    def remove_snapshot(self, name: str) -> None:
        for volume in self.own.record.snapshots[name].volumes.values():
            self._remove(volume)


def _goes(change: Change) -> bool:
    """Whether the change takes an item away."""
    return change.path.endswith("]") and change.after is None


# What makes another device of one: it leaves its old place before nobody knows that any more.
_PLACES = ("type", "path", "id")


def _keys(changes: t.Iterable[Change], area: str) -> list[tuple[str, str]]:
    """The items of a list and their keys that *changes* speak of."""
    places = (split(change.path) for change in changes)
    return [(name, key) for in_area, name, key in places if in_area == area]


def _with_included(name: str, config: Config) -> Config:
    """A configuration that is no file yet, with what it includes."""
    with tempfile.TemporaryDirectory(prefix="homelab-hybrid-") as folder:
        path = os.path.join(folder, "config")
        atomic.write_file(path, config.text)
        its = read_container(name, path)
    return config if its is None else Config.parse(its.config, its.included, its.tables)


def check_loads(name: str, config: Config) -> None:
    """A configuration that liblxc cannot load is never written.

    :raises ApplyError:
    """
    with tempfile.TemporaryDirectory(prefix="homelab-hybrid-") as folder:
        place = os.path.join(folder, name)
        os.mkdir(place)
        with open(os.path.join(place, "config"), "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(config.text)
        problem = loading.problem_of(name, folder)
    if problem is not None:
        raise ApplyError(f"LXC cannot load what the configuration of {name} would become: {problem}")


def write_config(name: str, config: Config) -> None:
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
