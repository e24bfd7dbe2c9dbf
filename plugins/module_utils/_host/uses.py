# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Who stands on what of this host: on a file, a folder or a block device, by whatever name. Only reads.

Asked before anything is deleted, formatted, taken over or given away. What a definition says is taken at its widest: every
path that it names is in use. Of a disk its backing files are too, however long the chain.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import typing as t
from xml.etree import ElementTree

from .._core import atomic, libraries
from . import mounts, place, remote
from .backing import chain_of
from .libvirt import read_each
from .lxc import lxc_path, read_container

if t.TYPE_CHECKING:
    from .snapshot import Host

# What a person wrote about a machine, and what other programs did.
_TOLD = ("title", "description", "metadata")
# Arguments for QEMU: "file=/srv/x,format=raw".
_IN_ARGUMENT = re.compile(r"(?:^|[=,:])(/[^,]*)")
_SNAPSHOTS = "snaps"
_CLONES = "lxc_snapshots"
_FOLDERS = ("dir", "fs", "netfs", "vstorage")


class Use(t.NamedTuple):
    """*who* stands on *path*: a guest by its name, or what of the host it is (not *is_guest*), as a phrase.

    *top* is the disk that *path* is a backing file of, empty where *path* itself is named.
    """

    who: str
    path: str
    is_running: bool = False
    is_guest: bool = True
    top: str = ""


class Uses:
    """What everybody stands on."""

    def __init__(self, found: t.Iterable[Use]) -> None:
        self._found = tuple(found)
        self._known: dict[str, frozenset[place.Identity]] = {}

    def below(self, folder: str) -> list[Use]:
        """The uses of *folder*, and of what is in it."""
        wanted = place.identity(folder)
        return [use for use in self._found if wanted in place.above(use.path, self._known)]

    def named_below(self, folder: str) -> list[Use]:
        """Those of *folder* and of what is in it, by their names alone: nobody is asked for what lies there."""
        return [use for use in self._found if f"{use.path}/".startswith(f"{folder}/")]

    def of(self, path: str) -> list[Use]:
        """The uses of *path* itself: a file, a folder, or a block device with its partitions and the disk that it is a part of."""
        wanted = place.related(path)
        return [use for use in self._found if place.identity(use.path) in wanted]


def uses(host: Host) -> Uses:
    """What everybody on *host* stands on. Errors of libvirt are raised as they are. Read once for each look at the host."""
    return host.derived(_read)


def obstacle(
    host: Host, guest: str, path: str, *, besides: t.Collection[str] = (), sharing: t.Collection[str] = ()
) -> str | None:
    """Why *path*, which belongs to *guest*, can neither be deleted nor be taken by it, as a sentence; ``None`` where nothing is in the way.

    Others stand on it or on what is in it, or another file does: also one of this guest, but for those in *besides*, which go too.
    With the guests in *sharing* it is shared.
    Errors of libvirt are raised as they are.
    """
    for use in [*uses(host).below(path), *uses(host).of(path)]:
        if use.is_guest and use.who in sharing and not use.top:
            continue
        if use.who != guest:
            where = "it" if place.same(use.path, path) else use.path
            return f"{use.who} stands on {where}" + (f" with {use.top}" if use.top else "")
        if use.top and not _is_among(use.top, besides):
            return f"{use.top} stands on it"
    above = next((f"{top} stands on it" for top in _files_on(host, path) if not _is_among(top, besides)), None)
    return above or ("the host has it for itself alone, as ZFS and RAID have their disks" if _is_held(path) else None)


def _is_held(path: str) -> bool:
    """Whether the kernel has the block device *path* for one alone: ZFS and btrfs show their disks nowhere in /sys. QEMU takes none so."""
    try:
        is_block = stat.S_ISBLK(os.stat(path).st_mode)
        if is_block:
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        return exc.errno == errno.EBUSY
    return False


def _is_among(path: str, others: t.Collection[str]) -> bool:
    return any(place.same(path, other) for other in others)


def _files_on(host: Host, path: str) -> list[str]:
    """The files in the pools that have *path* as a backing file: also those that no guest knows."""
    wanted = place.identity(path)
    return [top for top, backing in host.derived(_backed_in_pools) if place.identity(backing) == wanted]


def _read(host: Host) -> Uses:
    return Uses([*_of_machines(host), *_of_containers(host), *_of_host()])


def _backed_in_pools(host: Host) -> list[tuple[str, str]]:
    folders = {pool.path for pool in host.pools.values() if pool.type in _FOLDERS and pool.path}
    return [
        (path, backing)
        for folder in sorted(folders)
        for path in (os.path.join(folder, name) for name in host.entries_in(folder) or ())
        if os.path.isfile(path) and not os.path.islink(path)
        for backing in [*chain_of(path)][1:]
    ]


# ---- virtual machines --------------------------------------------------------------------------------------------------------


def _of_machines(host: Host) -> t.Iterator[Use]:
    for name, definition in host.definitions.items():
        roots = [definition.root, *_further_definitions(host, name)]
        for path in dict.fromkeys(path for root in roots for path in _paths_in(root, host)):
            yield Use(name, path, definition.is_running)
            if remote.away(path) is None and os.path.isfile(path):
                for backing in [*chain_of(path)][1:]:
                    yield Use(name, backing, definition.is_running, top=path)


def _further_definitions(host: Host, name: str) -> t.Iterator[ElementTree.Element]:
    """What a running machine will be at its next start, and what its snapshots name."""
    domain, library = host.domains[name], libraries.libvirt()
    texts: list[str] = []
    if name in host.listings.active:
        texts += read_each([domain], lambda its: its.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE))
    if name in host.listings.with_snapshots:
        texts += [snapshot.getXMLDesc() for snapshot in domain.listAllSnapshots()]
    for text in texts:
        yield ElementTree.fromstring(text)


def _paths_in(root: ElementTree.Element, host: Host) -> t.Iterator[str]:
    for part in root:
        for element in () if part.tag in _TOLD else part.iter():
            text = element.text
            values = (*element.attrib.values(), text.strip()) if text and "/" in text else element.attrib.values()
            if element.tag.endswith("}arg"):
                yield from (path for value in values for path in _IN_ARGUMENT.findall(value))
                continue
            yield from (value for value in values if value.startswith("/"))
            if element.tag == "source" and element.get("pool") and element.get("volume"):
                yield from _volume_path(host, element.get("pool", ""), element.get("volume", ""))


def _volume_path(host: Host, pool: str, volume: str) -> t.Iterator[str]:
    """Where a disk of the type ``volume`` lies; libvirt alone knows it of pools that are no folders."""
    its = host.pools.get(pool)
    if its is not None and its.path:
        yield os.path.join(its.path, volume)
    if its is not None and its.is_active and its.type not in _FOLDERS:
        library = libraries.libvirt()
        try:
            yield its.handle.storageVolLookupByName(volume).path()
        except library.libvirtError:
            return


# ---- containers --------------------------------------------------------------------------------------------------------------


def _of_containers(host: Host) -> t.Iterator[Use]:
    for name, container in host.containers.items():
        folder = os.path.join(lxc_path(), name)
        for path in (folder, *container.paths):
            yield Use(name, path, container.is_running)
        for clone, its in _further_configurations(folder):
            if clone not in host.containers or its != os.path.join(lxc_path(), clone, "config"):
                found = read_container(clone, its)
                yield from (Use(clone, path) for path in (found.paths if found else ()))


def _further_configurations(folder: str) -> t.Iterator[tuple[str, str]]:
    """The snapshots of a container, and the clones that ``lxc-copy -s`` noted with it, each with its configuration."""
    snapshots = os.path.join(folder, _SNAPSHOTS)
    for name in sorted(os.listdir(snapshots)) if os.path.isdir(snapshots) else ():
        yield f"{os.path.basename(folder)}/{name}", os.path.join(snapshots, name, "config")
    noted = (atomic.read_text(os.path.join(folder, _CLONES)) or "").splitlines()
    for where, name in zip(noted[::2], noted[1::2], strict=False):
        yield name, os.path.join(where, name, "config")


# ---- the host itself ---------------------------------------------------------------------------------------------------------


def _of_host() -> t.Iterator[Use]:
    known = mounts.read_mounts()
    for mount in known:
        who = f"the mount at {mount.point}"
        yield Use(who, f"/dev/block/{mount.device}", is_running=True, is_guest=False)
        if mount.source.startswith("/dev/"):
            yield Use(who, mount.source, is_running=True, is_guest=False)
        path = mounts.bound_from(mount, known)
        if path is not None:
            yield Use(who, path, is_running=True, is_guest=False)
    for line in (atomic.read_text("/proc/swaps") or "").splitlines()[1:]:
        path = mounts.plain(line.partition(" ")[0].partition("\t")[0])
        yield Use("the swap of the host", path, is_running=True, is_guest=False)
    for name in sorted(os.listdir("/sys/class/block")) if os.path.isdir("/sys/class/block") else ():
        folder = f"/sys/class/block/{name}"
        backing = (atomic.read_text(f"{folder}/loop/backing_file") or "").strip()
        if backing:
            yield Use(f"the loop device /dev/{name}", backing, is_running=True, is_guest=False)
        # LVM, RAID and device-mapper.
        for holder in os.listdir(f"{folder}/holders") if os.path.isdir(f"{folder}/holders") else ():
            yield Use(f"the device /dev/{holder}", f"/dev/{name}", is_running=True, is_guest=False)
