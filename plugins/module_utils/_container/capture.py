# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Shows what a container holds, as of one moment, in a folder from which it is backed up.

The root is a snapshot where the pool shares blocks; else it is copied while the container runs, and once more what has changed since
while it stands still. One that does not run is read where it lies. So are the folders of the host that its owner wants with it: as long as
one of them is read, the container stays as the mode and the hooks have brought it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from .._core import atomic, command, lock
from .._core.errors import ApplyError
from .._core.reference import Reference
from .._guest import hooks
from .._guest.capture import APPLICATION, CRASH, STOP, SUSPEND, Begun, Captured, Note, Wish
from .._guest.content import Content, show_copied
from .._guest.record import GuestRecord
from .._guest.recorded import load_file
from .._host import mounts, remote
from .._host.lxc import config_path
from .._host.snapshot import GUEST, Host
from .._storage import fstab
from .._storage.choice import drivers_of
from .._storage.driver import SNAPSHOT, Snapshotting
from .._storage.volume import Volume
from . import content, live, power
from .config import MountEntry
from .listed import configs
from .mount import bind_entries, claim_mounts, innermost
from .state import ROOTFS
from .tree import Tree

# No snapshot that a user makes has this in its name.
_KEPT = "+backup"
CONFIG = "config"
_HELD, _FROZEN, _STOPPED = "held", "frozen", "stopped"
_VOLUME, _HOOKED = "volume", "hooked"
# The folder of those of the host, each by the name of its mount.
MOUNTS = "mounts"
_HOOK_SECONDS, _SHUTDOWN_SECONDS, _UMOUNT_SECONDS = 3600, 120, 60
# Owners by number, hard links, holes, ACLs and attributes: the copy is what is restored one day.
_COPY = ["rsync", "-aHAXS", "--numeric-ids", "--one-file-system", "--delete"]
_VANISHED = 24
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def captured(wish: Wish, host: Host, note: Note, fds: t.Sequence[int]) -> t.Iterator[Captured]:
    """What the container of *wish* holds, shown in its folder until this is left. *fds* are the descriptors of the lock of the backup.

    :raises ApplyError, CommandError: nothing of it is left then.
    """
    run = _Capture(wish, host, note, fds)
    try:
        # Dumps take their time, and nobody is to wait for the guest that long. What is kept every few minutes asks for none.
        if wish.keep is None:
            run.hook()
        with lock.hold((Reference(GUEST, wish.guest),), ()):
            host.drop()
            its = run.begin()
        yield its if run.mounts else its._replace(trouble=run.unhook())
        run.check_whole()
        run.release()
        if trouble := run.unhook():
            raise hooks.HookError(trouble)
    finally:
        run.end()


def take_back(guest: str, folder: str, begun: Begun, host: Host, fds: t.Sequence[int]) -> None:
    """Undo what a capture has *begun* that was killed.

    :raises ApplyError, CommandError:
    """
    _let_go(guest, begun.get(_HELD), host, fds)
    _unmount(folder)
    if begun.get(_VOLUME):
        _remove(_volume_of(begun[_VOLUME]), host)
    if _HOOKED in begun:
        _unhook(guest, begun[_HOOKED], host)


class _Capture:
    """One capture of one container."""

    def __init__(self, wish: Wish, host: Host, note: Note, fds: t.Sequence[int]) -> None:
        self.wish = wish
        self.host = host
        self.note = note
        self.fds = fds
        self.written = hooks.Written()
        self.is_hooked = False
        self.kept: Volume | None = None
        # The power of one that does not run, whose root is read where it lies, and which nothing keeps from being started.
        self.bare: str | None = None
        # What of the host is read where it lies, by name, and how the container is held as long as that lasts.
        self.mounts: dict[str, MountEntry] = {}
        self.held: str | None = None

    @property
    def guest(self) -> str:
        return self.wish.guest

    def _look(self) -> Content:
        its = content.look(self.guest, load_file(self.host.record("guests", self.guest)), self.host)
        if its.obstacle is not None:
            raise ApplyError(its.obstacle)
        return its

    def hook(self) -> None:
        """Let its programs write down what they know.

        :raises HookError:
        """
        if self._look().power == "started":
            self.note(**{_HOOKED: list(self.wish.hooks.after)})
            self.is_hooked = True
            self.written = hooks.before(self.guest, self.wish.hooks, functools.partial(run_inside, self.guest))
            self.is_hooked = bool(self.written.ran or self.wish.hooks.after)
            self.note(**{_HOOKED: list(self.wish.hooks.after) if self.is_hooked else None})

    def unhook(self) -> str:
        """Undo that. Returns what went wrong."""
        try:
            if self.is_hooked:
                _unhook(self.guest, self.wish.hooks.after, self.host)
        except hooks.HookError as exc:
            return exc.message
        finally:
            self.is_hooked = False
        self.note(**{_HOOKED: None})
        return ""

    def begin(self) -> Captured:
        its, record = self._look(), load_file(self.host.record("guests", self.guest))
        runs = its.power == "started"
        self.mounts = self._wanted_mounts(record) if self.wish.keep is None else {}
        volume = its.volumes[ROOTFS]
        driver = t.cast(Snapshotting, drivers_of(self.host)[volume.pool])
        if self.wish.keep is not None:
            self.wish.keep({ROOTFS: volume})
            used = driver.used_bytes(volume)
        else:
            place, used = self._place(volume, driver, its.power)
            _mount(place, os.path.join(self.wish.folder, ROOTFS))
        for name, entry in self.mounts.items():
            _mount(entry.source, self._shown(name))
        if self.mounts and not runs:
            self.bare = its.power
        config = atomic.read_text(config_path(self.guest)) or ""
        atomic.write_file(os.path.join(self.wish.folder, CONFIG), config, mode=0o600)
        # A shutdown and hooks let all programs write what they know; of what stands still in the middle nobody knows.
        is_whole = its.power == "stopped" or (runs and (self.written.is_whole or self.wish.mode == STOP))
        # Nobody but root may pass a snapshot: what the root has itself is told beside.
        mode, limit = os.stat(driver.location(volume)).st_mode & 0o7777, driver.limit(volume).size
        root = {"file": ROOTFS, "pool": volume.pool, "kind": volume.kind, "used": used, "mode": mode}
        root |= {"size": limit} if limit else {}
        return Captured(
            APPLICATION if is_whole else CRASH,
            {ROOTFS: root},
            CONFIG,
            record.idmap,
            record.macs,
            (
                *self._missing_data(),
                *self._missing_mounts(record),
                *(self._restless() if runs and not is_whole else ()),
            ),
            tuple(self._left_out()),
            mounts={
                name: {
                    "file": os.path.join(MOUNTS, name),
                    "source": entry.source,
                    "path": entry.path,
                    "mapped": entry.is_mapped,
                }
                for name, entry in self.mounts.items()
            },
        )

    def _wanted_mounts(self, record: GuestRecord) -> dict[str, MountEntry]:
        """The mounts that are in its backups, by name.

        :raises ApplyError: for one without its source: what nobody misses in a backup is gone when it is needed.
        """
        config = self.host.derived(configs).get(self.guest)
        names = record.names.get("mounts") or {}
        known = claim_mounts((), config, names, record.backed_up) if config and record.backed_up else {}
        found = {name: entry for name, entry in known.items() if entry.is_backed_up}
        points = [mounts.plain(point) for point in fstab.points(atomic.read_text(fstab.PATH) or "")]
        points += [str(its.path) for its in remote.remotes()]
        for name, entry in found.items():
            away = mounts.missing_mount(entry.source, points)
            if away is not None or not os.path.exists(entry.source):
                why = f"nothing is mounted at {away}" if away else f"there is no {entry.source}"
                raise ApplyError(f"mounts[{name}] of {self.guest} belongs into its backup, and {why} on this host")
        return found

    def _shown(self, mount: str) -> str:
        return os.path.join(self.wish.folder, MOUNTS, mount)

    def _restless(self) -> t.Iterator[str]:
        """What was read while the container wrote to it, as sentences."""
        for name, entry in self.mounts.items() if self.wish.mode == SNAPSHOT else ():
            yield (
                f"mounts[{name}] of {self.guest} ({entry.path}) was read while it ran, each file as of its own moment: "
                "mode suspend holds it still meanwhile"
            )

    def _missing_mounts(self, record: GuestRecord) -> t.Iterator[str]:
        for name in record.backed_up if self.wish.keep is not None else ():
            yield f"mounts[{name}] of {self.guest} is a folder of the host, and not in its copy"
        for name, entry in self.mounts.items():
            below = [point for point in mounts.mounts_in(entry.source) if point != os.path.realpath(entry.source)]
            if below:
                yield f"mounts[{name}] of {self.guest}: what is mounted at {', '.join(below)} of the host is not in its backup"

    def _place_of(self, path: str) -> tuple[str, str]:
        """The folder that is shown in which *path* of the container lies, and where in it."""
        name = innermost(path, {name: entry.path for name, entry in self.mounts.items()})
        if name is None:
            return os.path.join(self.wish.folder, ROOTFS), path
        return self._shown(name), path.removeprefix(self.mounts[name].path)

    def _left_out(self) -> t.Iterator[str]:
        """A folder stays, as programs miss one that is theirs, and what lies in it does not."""
        for path in self.wish.exclude:
            shown, inner = self._place_of(path)
            yield f"{shown}{inner}/*" if Tree(shown).has(f"{inner}/.") else f"{shown}{inner}"

    def _missing_data(self) -> t.Iterator[str]:
        """Why the backup is not all that it is made for, as sentences."""
        config = self.host.derived(configs).get(self.guest)
        points = {entry.path: entry.source for entry in bind_entries(config)} if config else {}
        there = {entry.path for entry in self.mounts.values()}
        for path in self.wish.data_paths:
            point = innermost(path, {point: point for point in points})
            shown, inner = self._place_of(path)
            if point is not None and point not in there:
                yield (
                    f"the data at {path} of {self.guest} are not in its backup: {point} is {points[point]} of the host. "
                    "With backup: true the mount would be in it"
                )
            elif inner and not Tree(shown).has(inner):
                yield f"the data at {path} of {self.guest} are not in its backup: there is no such path"

    def _place(self, volume: Volume, driver: Snapshotting, power_now: str) -> tuple[str, int]:
        """Where the root lies as of one moment, and how many bytes it holds.

        Where blocks are shared that is counted in the snapshot: to count reads each inode, which is in memory then for who stores them.
        """
        runs = power_now == "started"
        shares = driver.obstacle(SNAPSHOT) is None and driver.snapshot_bytes(volume) == 0
        if not shares and not runs:
            self.bare = power_now
            return driver.location(volume), driver.used_bytes(volume)
        used = 0 if shares else driver.used_bytes(volume)
        if used > driver.usage().available:
            raise ApplyError(
                f"a copy of the root of {self.guest} takes {show_copied(used)}, and the storage pool {volume.pool} has "
                f"{show_copied(driver.usage().available)} left. Make room, or use a pool of type btrfs"
            )
        self.kept = volume.snapshot(_KEPT)
        self.note(**{_VOLUME: self.kept._asdict()})
        _remove(self.kept, self.host)
        if shares:
            stops = runs and (self.wish.mode in (SUSPEND, STOP) or not driver.is_of_one_moment(volume))
            with self._held() if stops else contextlib.nullcontext():
                kept = driver.snapshot(volume, _KEPT, keep_fds=self.fds)
            return driver.location(kept), driver.used_bytes(kept)
        attempt = driver.create(self.kept, keep_fds=self.fds)
        self._copy(driver.location(volume), attempt.path, may_vanish=True)
        with self._held():
            self._copy(driver.location(volume), attempt.path, may_vanish=False)
        return attempt.path, used

    def _copy(self, source: str, target: str, *, may_vanish: bool) -> None:
        try:
            command.run([*_COPY, f"{source}/", f"{target}/"], keep_fds=self.fds)
        except command.CommandError as exc:
            if exc.rc != _VANISHED or not may_vanish:
                raise

    @contextlib.contextmanager
    def _held(self) -> t.Iterator[None]:
        stops = self.wish.mode == STOP
        self.note(**{_HELD: _STOPPED if stops else _FROZEN})
        try:
            if stops:
                power.stop(self.guest, timeout=_SHUTDOWN_SECONDS, force=False, keep_fds=self.fds)
            else:
                power.freeze(self.guest, keep_fds=self.fds)
            yield
        finally:
            self.held = _STOPPED if stops else _FROZEN
            if not self.mounts or self.wish.mode == SNAPSHOT:
                self.release()
            elif stops:
                self.bare = "stopped"

    def release(self) -> None:
        """Let the container go on, where it is held."""
        if self.held is not None:
            _let_go(self.guest, self.held, self.host, self.fds)
            self.held = None
            self.note(**{_HELD: None})

    def check_whole(self) -> None:
        """Nothing kept one that did not run from being started while it was read.

        :raises ApplyError: when it was.
        """
        self.host.drop()
        if self.bare is not None and self._look().power != self.bare:
            raise ApplyError(f"{self.guest} was started while it was read, and what was stored is of no one moment")

    def end(self) -> None:
        """Take back what was done, all of it, whatever fails."""
        with contextlib.ExitStack() as stack:
            # Why it failed says more than what went wrong after it.
            stack.callback(self.unhook)
            if self.kept is not None:
                stack.callback(_remove, self.kept, self.host)
            stack.callback(_unmount, self.wish.folder)
            stack.callback(self.release)


def run_inside(guest: str, *words: str, seconds: int = _HOOK_SECONDS) -> hooks.Said:
    """How ``/bin/sh -c`` with *words* ends in a container that runs."""
    argv = ["lxc-attach", "-n", guest, "--clear-env", "-v", _PATH, "--", "/bin/sh", "-c", *words]
    try:
        return hooks.Said(0, command.run(argv, timeout=seconds))
    except command.CommandError as exc:
        return hooks.Said(exc.rc, exc.stdout, exc.stderr)


def _unhook(guest: str, lines: t.Sequence[str], host: Host) -> None:
    """Undo what hooks did in a container, unless it went down with what they did."""
    host.drop()
    entry = host.containers.get(guest)
    if entry is not None and entry.is_running and live.settled_state(live.handle(guest)) == "RUNNING":
        hooks.after(guest, lines, functools.partial(run_inside, guest))


def _mount(source: str, target: str) -> None:
    """Show *source* at *target*, where nobody can write to it."""
    if os.path.isdir(source):
        os.makedirs(target, mode=0o700, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        atomic.write_file(target, "", mode=0o600)
    command.run(["mount", "--bind", "--options", "ro", source, target])


def _unmount(folder: str) -> None:
    while points := mounts.mounts_in(folder):
        command.run(["umount", points[-1]], timeout=_UMOUNT_SECONDS)


def _let_go(guest: str, held: str | None, host: Host, fds: t.Sequence[int]) -> None:
    """Let a container go on that was held, unless it is gone by now."""
    host.drop()
    entry = host.containers.get(guest)
    if entry is None:
        return
    if held == _FROZEN and entry.is_running:
        power.unfreeze(guest, keep_fds=fds)
    elif held == _STOPPED and not entry.is_running:
        power.start(guest)


def _remove(volume: Volume, host: Host) -> None:
    driver = drivers_of(host).get(volume.pool)
    if driver is not None and os.path.isdir(driver.path):
        driver.retire(volume)
        driver.purge(volume)


def _volume_of(noted: t.Mapping[str, str]) -> Volume:
    return Volume(**noted)
