# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The machine that a new one is cloned from."""

from __future__ import annotations

import os
import typing as t
from xml.etree import ElementTree

from .._core import paths
from .._core.errors import ObserveError
from .._guest.content import Part, Source
from .._guest.origin import read_source
from .._guest.plan import origin_of
from .._guest.record import GuestRecord
from .._guest.recorded import load_file
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .._storage.choice import drivers_of
from .._storage.volume import BLOCK
from . import firmware
from .content import copied_by_qemu, look
from .observe import firmwares
from .options import CLOUD_INIT, OPTIONS, SEED_DISK
from .seen_disks import read_seed
from .spec import Spec
from .volumes import Drivers, read_volume
from .xml import domain as domain_xml
from .xml import firmware as firmware_xml
from .xml import machine as machine_xml
from .xml import tpm as tpm_xml
from .xml import variant

# Of the seed of its origin. Its meta data has the name of the instance, its network the MACs of the cards, and files may have either.
_OWN = ("meta_data", "network_config", "files", "label")
_INHERITED = tuple(path for path in CLOUD_INIT if path.partition(".")[2] not in _OWN)


def observe_source(spec: Spec, host: Host) -> Source | None:
    """What *spec* is cloned from; ``None`` where there is no such guest, and for a machine that stands or is cloned from none.

    :raises ObserveError:
    """
    name = spec.origin
    if name is None or spec.state == "absent" or _stands(spec.name, host):
        return None
    if name in host.containers:
        return Source("container")
    if name not in host.domains:
        return None
    record, drivers = load_file(host.record("guests", name)), drivers_of(host)
    content = look(name, record, host)
    pools = {item.name: pool for item in spec.wanted("disks") if (pool := item.text("pool"))}
    source = read_source(name, spec.get("clone_from.snapshot"), "vm", record, content, host, pools=pools)
    if source.obstacle is not None:
        return source
    root = host.definition(name).root
    beside = _beside(root, name, spec.get("clone_from.snapshot"))
    obstacle = _obstacle_to_firmware(spec.name, beside, host) or _other_firmware(spec, root, record)
    if obstacle is not None:
        return source._replace(obstacle=obstacle)
    parts = {item: _as_copied(part, source, drivers) for item, part in source.parts.items() if _is_wanted(item, spec)}
    disks = {item: read_volume(drivers[part.volume.pool].location(part.volume)) for item, part in parts.items()}
    source = source._replace(
        parts=parts,
        sizes={item: size for item, (size, dummy) in disks.items()},
        values={**_hardware_of(root, host), **_seed_of(name, record, drivers), "os_variant": _variant(name, host)},
        beside=beside,
    )
    origin, buses = origin_of(spec, source), _buses(name, record, host, drivers)
    found = {}
    for item, part in parts.items():
        size, form = disks[item]
        bus = buses.get(item, OPTIONS["disks[].bus"].create)
        found[item] = {"pool": part.volume.pool, "size": size, "bus": bus}
        if pools.get(item, part.volume.pool) == part.volume.pool:
            is_overlay = origin is not None and origin.is_linked
            found[item]["format"] = drivers[part.volume.pool].formats[0] if is_overlay else form
    return source._replace(items=found)


def _beside(root: ElementTree.Element, name: str, snapshot: str | None) -> dict[str, str]:
    """See ``Source.beside``. No two machines have the same TPM: it says who they are, as virt-clone and libvirt see it too."""
    places = firmware.places(root)
    found = {}
    if firmware_xml.read_type(root) == "uefi":
        place = places.get(firmware.NVRAM, "")
        kept = place if snapshot is None else os.path.join(paths.snapshot_folder(name, snapshot), firmware.NVRAM)
        found[firmware.NVRAM] = kept if os.path.isfile(kept) else ""
    if firmware.TPM in places:
        found[firmware.TPM] = ""
    return found


def _hardware_of(root: ElementTree.Element, host: Host) -> dict[str, t.Any]:
    """What its disks expect of a machine: the chipset, by what it starts where it is known, and a TPM."""
    kind, version = machine_xml.read(root), tpm_xml.read_version(root)
    way = firmware.way_of(firmware_xml.read(root), kind, host.derived(firmwares))
    found: dict[str, t.Any] = {}
    if machine_xml.family(kind) in ("q35", "pc"):
        found["machine"] = machine_xml.family(kind)
    if way is not None and way.is_uefi:
        found |= way.values
    if version in OPTIONS["tpm.version"].choices:
        found |= {"tpm.version": version, "tpm.model": tpm_xml.read_model(root)}
    return found


def _obstacle_to_firmware(clone: str, beside: t.Mapping[str, str], host: Host) -> str | None:
    """Why no clone can have UEFI variables."""
    own = firmware.own_nvram(clone, beside.get(firmware.NVRAM, ""))
    recorded = {its.path for its in load_file(host.record("guests", clone)).files.values()}
    if firmware.NVRAM in beside and os.path.lexists(own) and own not in recorded:
        return f"{own} is there already, and was not made for this guest. Move it away"
    return None


def _other_firmware(spec: Spec, root: ElementTree.Element, record: GuestRecord) -> str | None:
    """Why the UEFI variables of a snapshot are none for what its guest starts by now."""
    snapshot = record.snapshots.get(spec.get("clone_from.snapshot") or "")
    place = firmware.places(root).get(firmware.NVRAM, "")
    if snapshot is None or not snapshot.nvram or snapshot.nvram == place:
        return None
    return (
        f"its snapshot has the UEFI variables of another firmware ({snapshot.nvram}) than {spec.origin} starts by now"
    )


def _stands(name: str, host: Host) -> bool:
    return name in host.domains and not load_file(host.record("guests", name)).is_building


def _is_wanted(item: str, spec: Spec) -> bool:
    """Whether a disk of the origin is cloned: not one that is declared to go, or to be made of something else."""
    its = spec.item("disks", item)
    return its is None or (its.is_wanted and not {"image", "source"} & its.values.keys())


def _as_copied(part: Part, source: Source, drivers: Drivers) -> Part:
    disk = drivers[part.volume.pool].disk_source(part.volume)
    is_copied = source.content.copies_itself and not source.is_snapshot and part.copied_bytes
    # A guest writes what it likes to the beginning of a raw disk: there it names no file that the disk stands on.
    return part._replace(copied_bytes=copied_by_qemu(disk.path)) if is_copied and disk.format == "qcow2" else part


def _seed_of(name: str, record: GuestRecord, drivers: Drivers) -> dict[str, t.Any]:
    recorded = record.volumes.get(SEED_DISK)
    driver = drivers.get(recorded.volume.pool) if recorded else None
    if recorded is None or driver is None or not driver.exists(recorded.volume):
        return {}
    with open(driver.location(recorded.volume), "rb") as stream:
        told = read_seed(stream.read(), name) or {}
    return {path: told[path] for path in _INHERITED if told.get(path, OPTIONS[path].off) != OPTIONS[path].off}


def _variant(name: str, host: Host) -> str:
    return variant.read(domain_xml.parse(host.definition(name).xml))


def _buses(name: str, record: GuestRecord, host: Host, drivers: Drivers) -> dict[str, str]:
    """The buses that the disks of the origin are on, by their names: an image may have no driver for another one."""
    with errors_of(f"read the domain {name}", ObserveError):
        disks = domain_xml.read(domain_xml.parse(host.definition(name).xml)).disks
    places = {
        os.path.realpath(driver.location(its.volume)): item
        for item, its in record.volumes.items()
        if its.volume.kind == BLOCK and (driver := drivers.get(its.volume.pool)) is not None
    }
    found = {places.get(os.path.realpath(disk.source)): disk.bus for disk in disks if disk.source}
    return {item: bus for item, bus in found.items() if item is not None and bus in OPTIONS["disks[].bus"].choices}
