# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A container out of a backup: its ids, its root, its configuration."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t

from ..._container import idmap, mounting, plugging, power, rate, rootfs
from ..._container.backend import check_loads, write_config
from ..._container.card import RATE_PROGRAM
from ..._container.config import MOUNT_PROGRAM, Config
from ..._container.device import PROGRAM as DEVICE_PROGRAM
from ..._container.inside import WritableTree
from ..._container.observe import free_ids, has_ids
from ..._container.state import ROOTFS
from ..._core import atomic, command, lock
from ..._core.converge import Work
from ..._core.errors import ApplyError
from ..._core.plan import Step
from ..._core.removal import remove_tree
from ..._guest.allocation import check_macs
from ..._guest.identity import MACHINE_ID, link_name
from ..._guest.ownership import Ownership
from ..._host.lxc import config_path
from ..._host.snapshot import Host
from ..._storage.choice import drivers_of
from ..._storage.driver import LIMIT, Attempt, Driver
from ..._storage.volume import Volume
from ..manifest import Manifest
from .source import Source
from .spec import Spec
from .state import State

_HOSTNAME, _LXC_HOSTNAME = "/etc/hostname", "lxc.uts.name"
# What restic brings back is below this in the attempt at a root, until it is moved to its place.
_ASIDE = ".homelab_hybrid-restore"
# A file that has a hole is larger, most of the time.
_WITH_HOLES_BYTES = 1 << 20


def claim(spec: Spec, state: State, own: Ownership) -> None:
    """The record of a container that is begun, with its volumes and its ids: those that it had, where nobody has them by now.

    :raises ApplyError, ObserveError:
    """
    with lock.allocations():
        check_macs(spec.name, state.macs)
        own.save(state.begun(spec, _ids(spec, state.of_backup())))


def _ids(spec: Spec, manifest: Manifest) -> tuple[int, int] | None:
    if manifest.idmap is None:
        return None
    if not spec.is_renamed and has_ids(spec.name, idmap.Range(*manifest.idmap)):
        return manifest.idmap
    area = free_ids(spec.name)
    if area is None:
        raise ApplyError(
            f"no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid. "
            "The role homelab.hybrid.hypervisor gives root a range"
        )
    return (area.start, area.count)


def fill(
    state: State,
    item: str,
    volume: Volume,
    driver: Driver,
    source: Source,
    own: Ownership,
    fds: t.Sequence[int],
) -> Attempt:
    """Begin *volume* with what the backup has of *item*, its owners those of the ids in the record.

    :raises ApplyError, CommandError, RepositoryError: nothing of it is left then.
    """
    manifest = state.of_backup()
    its = manifest.volumes[item]
    attempt = driver.create(volume, keep_fds=fds)
    try:
        bring(state.chosen.id, os.path.join(state.chosen.folder, its["file"]), attempt.path, source, fds)
        ids = own.record.idmap
        if manifest.idmap and ids and manifest.idmap != ids:
            by = ids[0] - manifest.idmap[0]
            rootfs.shift(attempt.path, rootfs.Shift(by, by, manifest.idmap))
    except Exception:
        # What did not fit would keep its pool full.
        driver.purge(volume)
        raise
    return attempt


def bring(backup: str, inner: str, target: str, source: Source, fds: t.Sequence[int]) -> None:
    """What the folder *inner* of *backup* is comes to be the folder *target*, which is there and empty.

    :raises CommandError, RepositoryError:
    """
    aside = os.path.join(target, _ASIDE)
    os.mkdir(aside, mode=0o700)
    source.restore(backup, aside, inner)
    its_times = _move(os.path.join(aside, inner.lstrip("/")), target)
    remove_tree(aside)
    os.utime(target, ns=its_times)
    if not source.digs_holes():
        _dig_holes(target, fds)


def _dig_holes(root: str, fds: t.Sequence[int]) -> None:
    """Files that are nothing but zeros for a while take no room for that, as before; and were not changed by it."""
    for folder, dummy, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size > _WITH_HOLES_BYTES:
                command.run(["fallocate", "--dig-holes", path], keep_fds=fds)
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _move(source: str, target: str) -> tuple[int, int]:
    """What is in the folder *source* comes to be in *target*, on the same file system, with the owner and the attributes of *source*.

    Returns when *source* was read and changed.
    """
    status = os.stat(source)
    for name in os.listdir(source):
        os.rename(os.path.join(source, name), os.path.join(target, name))
    os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)
    return status.st_atime_ns, status.st_mtime_ns


def define(
    spec: Spec, state: State, source: Source, own: Ownership, work: Work
) -> t.Generator[Step, None, t.Sequence[str]]:
    """Make the container of the root that is in its place. All of it comes back.

    :raises ApplyError:
    """
    manifest, volume = state.of_backup(), state.volumes[ROOTFS]
    driver = drivers_of(work.host)[volume.pool]
    place, its = driver.location(volume), manifest.volumes[ROOTFS]
    os.chmod(place, int(its["mode"]))
    if its.get("size") and driver.obstacle(LIMIT) is None:
        driver.resize(volume, int(its["size"]), keep_fds=work.held.fds)
    config = _config(Config.parse(manifest.definition), spec, state, own)
    config = config.set("lxc.rootfs.path", driver.lxc_root(volume))
    if spec.is_renamed:
        _rename_inside(place, spec, own)
    for program, lay_down in (
        (MOUNT_PROGRAM, mounting.lay_down),
        (RATE_PROGRAM, rate.lay_down),
        (DEVICE_PROGRAM, plugging.lay_down),
    ):
        if program in config.text:
            lay_down()
    check_loads(spec.name, config)
    write_config(spec.name, config)
    yield Step("configuration written")
    return ()


def lay_beside(spec: Spec, state: State, source: Source, name: str, host: Host) -> dict[str, t.Any]:
    """A container has nothing beside its volumes."""
    return {}


def _config(config: Config, spec: Spec, state: State, own: Ownership) -> Config:
    """The configuration of the backup for the guest that comes of it."""
    manifest, ids = state.of_backup(), own.record.idmap
    if ids and ids != manifest.idmap:
        config = config.set_all("lxc.idmap", idmap.lines(idmap.Range(*ids)))
    if spec.is_renamed and config.get(_LXC_HOSTNAME) == spec.source:
        config = config.set(_LXC_HOSTNAME, spec.name)
    names = {mac.lower(): name for name, mac in manifest.macs.items()}
    for number, net in config.nets().items():
        name = names.get(net.get("hwaddr", "").lower())
        if name is None:
            continue
        if state.macs[name] != manifest.macs[name]:
            config = config.set(f"lxc.net.{number}.hwaddr", state.macs[name])
        if spec.is_renamed and "veth.pair" in net:
            config = config.set(f"lxc.net.{number}.veth.pair", link_name(spec.name, name, ()))
        if spec.network and "link" in net:
            config = config.set(f"lxc.net.{number}.link", spec.network)
    return config


def _rename_inside(root: str, spec: Spec, own: Ownership) -> None:
    """Another guest has another name, and asks for other addresses."""
    start = own.record.idmap[0] if own.record.idmap else 0
    tree = WritableTree(root, (start, start))
    if (tree.read(_HOSTNAME) or "").strip() == spec.source:
        tree.write(_HOSTNAME, f"{spec.name}\n")
    if tree.has(MACHINE_ID):
        tree.write(MACHINE_ID, "", mode=0o444)


def forget(name: str) -> None:
    """Take the configuration of one that was begun away; it was never started."""
    path = config_path(name)
    atomic.remove_file(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(path))


def start(name: str) -> None:
    """Start it.

    :raises ApplyError:
    """
    power.start(name)
