# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of the disks and drives of a virtual machine: their volumes and images, who else stands on them, its seed."""

from __future__ import annotations

import contextlib
import typing as t

from .._core import libraries
from .._core.errors import ObserveError
from .._core.options import Item
from .._core.reference import Reference
from .._guest.record import Run
from .._guest.recorded import load_file
from .._guest.removal import kept_snapshots
from .._host import place, remote
from .._host.libvirt import errors_of
from .._host.snapshot import IMAGE, Host
from .._host.uses import obstacle
from .._image import copies
from .._image.presets import Presets
from .._image.store import stored
from .._storage import volume as volumes
from .._storage.choice import absence
from .._storage.driver import Driver
from .._storage.volume import Volume
from . import process, seed
from .options import SEED_DISK
from .spec import ISO, Spec, is_shared, reads_only, root_image
from .state import FoundVolume, State, seed_values
from .volumes import Drivers, read_volume, volume_of
from .xml.domain import Domain


def declared_sources(spec: Spec) -> list[str]:
    items = (*spec.items("disks"), *spec.items("cdroms"))
    return [path for item in items if (path := item.text("source"))]


def missing_sources(spec: Spec, state: State) -> list[str]:
    """The sources of drives and the new ones of disks that are not there. Those of images are required by their names."""
    media = [its.text("source") for its in spec.wanted("cdroms") if "image" not in its.values]
    disks = [its.text("source") for its in spec.wanted("disks") if _has_new_source(its, state)]
    return [path for path in dict.fromkeys((*media, *disks)) if path and not remote.is_there(path)]


def missing_copies(spec: Spec, drivers: Drivers) -> dict[tuple[str, str], Volume]:
    """The copies of images in pools that new disks would be cloned from, and that are not there yet."""
    found = {}
    for item in spec.wanted("disks"):
        driver = drivers.get(item.text("pool") or "")
        for image in {item.text("image"), spec.image} - {None} if driver else ():
            copy = copies.copy_in(str(image), "vm", t.cast(Driver, driver))
            if copy is not None and driver is not None and not driver.exists(copy):
                found[driver.pool, str(image)] = copy
    return found


def out_of_reach(name: str, state: State, host: Host, used: t.Mapping[str, str]) -> dict[str, t.Any]:
    """What a removal says of our volumes and snapshots: of those whose pool is not there, or not mounted, it deletes none."""
    lost = {item: its.volume for item, its in state.record.volumes.items() if item not in state.owned}
    why = {item: reason for item, volume in lost.items() if (reason := absence(host, volume.pool))}
    told = {item: f"{lost[item]} ({reason})" for item, reason in why.items()}
    snapshots, held = kept_snapshots(name, state.record, host)
    return {"owned": {**state.owned, **told}, "used": {**used, **why, **held}, "snapshots": snapshots}


def used(host: Host, name: str, owned: t.Mapping[str, str]) -> dict[str, str]:
    """Why our volumes cannot be deleted, as a sentence, of those that somebody else or another file stands on."""
    ours = owned.values()
    found = {item: _obstacle(host, name, path, ours) for item, path in owned.items()}
    return {item: why for item, why in found.items() if why}


def find_volumes(spec: Spec, state: State, drivers: Drivers, host: Host) -> dict[str, FoundVolume]:
    found = {}
    plugged = state.persistent.disks if state.exists else {}
    for item in spec.wanted("disks"):
        if item.name in plugged:
            continue
        volume = volume_of(spec.name, item)
        driver = drivers.get(volume.pool) if volume else None
        if volume is not None and driver is not None and driver.exists(volume):
            path = driver.location(volume)
            size, format_ = read_volume(path)
            is_ours = path in state.owned.values()
            found[item.name] = FoundVolume(path, format_, size, is_ours, _obstacle(host, spec.name, path))
    return found


def source_obstacles(spec: Spec, state: State, host: Host) -> dict[str, str]:
    """Why the new sources of disks cannot be used. What is only read others may have too."""
    plugged = state.persistent.disks if state.exists else {}
    found = {}
    for item in spec.wanted("disks"):
        source, there = item.text("source"), plugged.get(item.name)
        if source is None or not _has_new_source(item, state):
            continue
        sharing = _sharing(host, source) if is_shared(item, there) else ()
        why = None if reads_only(item, there) else _obstacle(host, spec.name, source, sharing=sharing)
        if why is not None:
            found[item.name] = why
    return found


def _has_new_source(item: Item, state: State) -> bool:
    there = state.persistent.disks.get(item.name) if state.exists else None
    return there is None or there.place != state.places.get(item.text("source") or "")


def _sharing(host: Host, path: str) -> set[str]:
    """The machines of which each disk that stands on *path* is shared too."""
    wanted = place.identity(path)
    found: set[str] = set()
    others: set[str] = set()
    for name, definition in host.definitions.items() if host.domains else ():
        for node in definition.root.iterfind("devices/disk"):
            source = node.find("source")
            if source is not None and place.identity(source.get("file") or source.get("dev") or "") == wanted:
                (others if node.find("shareable") is None else found).add(name)
    return found - others


def _obstacle(
    host: Host, name: str, path: str, besides: t.Collection[str] = (), sharing: t.Collection[str] = ()
) -> str | None:
    if not host.domains:
        # A bare host has not even the library whose errors would be read.
        return obstacle(host, name, path, besides=besides)
    with errors_of("read the domains", ObserveError):
        return obstacle(host, name, path, besides=besides, sharing=sharing)


def sizes_of(domain: t.Any, model: Domain, known: t.Mapping[str, int]) -> dict[str, int]:
    """The virtual sizes of the disks by path, as *known* or asked for; of one whose file is gone there is none."""
    library = libraries.libvirt()
    sizes = {}
    for disk in model.disks:
        if not disk.source:
            continue
        if disk.source in known:
            sizes[disk.source] = known[disk.source]
            continue
        try:
            sizes[disk.source] = domain.blockInfo(disk.source, 0)[0]
        except library.libvirtError:
            # Of a running machine libvirt tells only of the disks that are plugged in now.
            if remote.is_there(disk.source):
                # A drive of the host without a medium is there, and cannot be read.
                with contextlib.suppress(ObserveError):
                    sizes[disk.source] = read_volume(disk.source)[0]
    return sizes


def images(spec: Spec, host: Host) -> dict[str, t.Any]:
    """The sizes of the images that are named, and what is known of the systems in them."""
    names = {spec.image, *(item.text("image") for item in spec.items("disks"))} - {None}
    sizes, presets = {}, {}
    for name in sorted(t.cast("set[str]", names)):
        image = stored(host.record("images", name))
        kind = image.kind if image else host.promised(Reference(IMAGE, name), "kind") or "vm"
        if kind != "vm":
            what = "an ISO" if kind == "iso" else "an image for containers"
            raise ObserveError(f"image: {name} is {what}; a virtual machine needs one of kind vm")
        told = (image.presets if image else Presets())._replace(
            **host.promised(Reference(IMAGE, name), "presets") or {}
        )
        if image is not None:
            sizes[name] = image.size_bytes
            told = told._replace(disk=told.disk if (told.disk or 0) > image.size_bytes else None)
        presets[name] = told
    return {"image_sizes": sizes, "image_presets": presets}


def presets_of(spec: Spec, state: State, host: Host) -> Presets:
    """What is known of the system in the machine: since it was made, or of what it is made of."""
    if state.exists:
        return state.record.presets
    if spec.origin is not None:
        return load_file(host.record("guests", spec.origin)).presets
    return state.image_presets.get(root_image(spec) or "", Presets())


def check_media(spec: Spec, host: Host) -> None:
    for item in spec.wanted("cdroms"):
        name = item.text("image")
        image = stored(host.record("images", name)) if name else None
        kind = image.kind if image else host.promised(Reference(IMAGE, name or ""), "kind") or ISO
        if kind != ISO:
            raise ObserveError(
                f"cdroms[{item.name}].image: {name} is an image of the kind {kind}; a drive needs one of the kind {ISO}"
            )


def foreign_seed(spec: Spec, state: State, drivers: Drivers) -> str | None:
    driver = drivers.get(state.seed_pool(spec) or "")
    if not spec.has_seed or driver is None:
        return None
    seed_volume = volumes.of_guest(driver.pool, spec.name, SEED_DISK, volumes.BLOCK)
    path = driver.location(seed_volume)
    return path if driver.exists(seed_volume) and path not in state.owned.values() else None


def live_seed(run: Run | None, path: str | None, lasting: t.Mapping[str, t.Any] | None, guest: str) -> dict[str, t.Any]:
    """What the running machine read; one that was saved, or has a seed that cannot be read, reads what lies there."""
    if run is None or path is None:
        return seed_values(lasting)
    seen = read_seed(process.read_open_file(run, path), guest)
    if seen is None and lasting is not None:
        return dict.fromkeys(seed_values(None))
    return seed_values(seen)


def read_file(path: str | None) -> bytes | None:
    try:
        with open(path or "", "rb") as stream:
            return stream.read()
    except OSError:
        return None


def read_seed(data: bytes | None, guest: str) -> dict[str, str | tuple[str, ...]] | None:
    """What a seed says, by option path; ``None`` where there is none."""
    files = None if data is None else seed.unpack(data)
    return None if data is None or files is None else seed.read(files, guest, seed.label_of(data))
