# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the guests of a host lay claim to: those of the layout as declared, all others as they are."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import typing as t
from xml.etree import ElementTree

from .._bridge.spec import Spec as BridgeSpec
from .._container import cgroup
from .._container.config import Config
from .._container.observe import configs
from .._core.errors import ObserveError, SpecError
from .._core.options import Item as CardItem
from .._core.units import parse_size
from .._guest.record import load
from .._guest.spec import GuestSpec
from .._host.libvirt import errors_of
from .._host.probe import read_memory
from .._host.snapshot import Host
from .._image.store import stored
from .._vm.spec import Spec as VmSpec
from .._vm.spec import with_create_defaults
from .._vm.volumes import recorded_volumes, volume_paths
from .plan import Item
from .refusals import Claim, NewVolume, Place, Subnet
from .spec import Declared

Specs = t.Mapping[int, t.Any]
_CONTAINER, _VM = "container", "vm"


def host_memory_kib() -> int:
    return read_memory() // 1024


def read_claims(items: t.Sequence[Item], specs: Specs, host: Host) -> list[Claim]:
    """The claims of all guests that will be there, and of the bridges of the layout for themselves.

    *specs* has what an item declares by its identity; an item without one could not be read and claims nothing new.

    :raises ObserveError:
    """
    declared = {(item.declared.kind.word, item.declared.name): item for item in items if item.declared.kind.is_guest}
    claims = []
    for name, config in host.derived(configs).items():
        claims.append(_container(name, config, declared.pop((_CONTAINER, name), None), specs, host))
    for name, domain in host.domains.items():
        with errors_of(f"read the domain {name}", ObserveError):
            claims.append(_vm(name, domain, declared.pop((_VM, name), None), specs, host))
    claims += [_claim_of(item.declared, item, specs, host) for item in declared.values()]
    found = [claim for claim in claims if claim is not None]
    return found + _bridges(items, specs, {mac: claim for claim in found for mac in claim.macs})


def is_of_other_kind(item: Item, host: Host) -> bool:
    """Whether the name of the guest *item* is that of a guest of the other kind: nothing is made or taken away then."""
    return item.declared.name in (host.domains if item.declared.kind.word == _CONTAINER else host.containers)


def inheritances(
    items: t.Iterable[Item], going: t.Sequence[Item], specs: Specs, host: Host
) -> t.Iterator[tuple[Item, str]]:
    """Each guest of the layout that gets an address or a MAC of a guest that goes, with the name of that one.

    :raises ObserveError:
    """
    left = [(item.declared.name, _claim_of(item.declared, None, specs, host)) for item in going]
    for item in items:
        if not left or not item.declared.kind.is_guest or item.is_removed or item.has_failed:
            continue
        wanted = _claim_of(item.declared, item, specs, host)
        for name, claim in left:
            if claim and wanted and (claim.macs & wanted.macs or claim.addresses & wanted.addresses):
                yield item, name


def _claim_of(guest: Declared, item: Item | None, specs: Specs, host: Host) -> Claim | None:
    if guest.kind.word == _CONTAINER:
        return _container(guest.name, host.derived(configs).get(guest.name), item, specs, host)
    domain = host.domains.get(guest.name)
    if domain is None:
        return _vm(guest.name, None, item, specs, host)
    with errors_of(f"read the domain {guest.name}", ObserveError):
        return _vm(guest.name, domain, item, specs, host)


def links_of(item: Item, host: Host) -> set[str]:
    """The links of the host that go when the guest goes."""
    if item.declared.kind.word == _CONTAINER:
        networks = item.told.get("guest", {}).get("networks", ())
        return {net["host_device"] for net in networks if net.get("host_device")}
    domain = host.domains.get(item.declared.name)
    if domain is None:
        return set()
    with errors_of(f"read the domain {item.declared.name}", ObserveError):
        targets = ElementTree.fromstring(domain.XMLDesc(0)).iterfind("devices/interface/target")
    return {target.get("dev", "") for target in targets}


def _wish(item: Item | None, specs: Specs) -> t.Any:
    """What is declared of an item and comes true: one whose plan failed stays as it is."""
    return None if item is None or item.has_failed else specs.get(id(item))


def volumes_of(item: Item) -> set[str]:
    """The files and folders that are deleted when the guest goes."""
    gone = {change["before"] for change in item.told["plan"] if change["path"] != "state" and change["after"] is None}
    return {path for path in gone if isinstance(path, str) and os.path.lexists(path)}


def _container(name: str, config: Config | None, item: Item | None, specs: Specs, host: Host) -> Claim | None:
    spec: GuestSpec | None = _wish(item, specs)
    if spec is not None and spec.state == "absent":
        return None
    nets = list(config.nets().values()) if config else []
    is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    kept = cgroup.read_memory(cgroup.defined(config.get, is_v2=is_v2)) if config else 0
    names = _names_by_mac(name, host)
    given = spec.wanted("networks") if spec else ()
    gone = _names_that_go(spec, names.values(), {net.name for net in given})
    replaced = gone | {net.name for net in given if net.get("mac")}
    readdressed = gone | {net.name for net in given if net.get("ip")}
    # LXC makes a digit by chance of each x.
    macs = {net["hwaddr"].lower() for net in nets if "x" not in net.get("hwaddr", "x").lower()}
    addresses = {
        (_segment(net.get("link", ""), net.get("veth.vlan.id")), address)
        for net in nets
        if names.get(net.get("hwaddr", "").lower()) not in readdressed
        for address in _addresses(net.get("ipv4.address"), net.get("ipv6.address"))
    }
    there = {names.get(net.get("hwaddr", "").lower()): net for net in nets}
    declared = {
        (_declared_segment(net, there.get(net.name, {}), spec), address)
        for net in given
        for address in _addresses(net.text("ip"))
    }
    memory = kept if spec is None or spec.get("memory") is None else spec.get("memory")
    if spec is not None and "memory" in spec.unset:
        memory = 0
    given_macs = {str(net.get("mac")) for net in given if net.get("mac")}
    return Claim(
        label=f"container {name}",
        is_listed=item is not None,
        macs=frozenset({mac for mac in macs if names.get(mac) not in replaced} | given_macs),
        addresses=frozenset(addresses | declared),
        memory=memory,
        memory_before=kept,
    )


def _declared_segment(net: CardItem, there: t.Mapping[str, str], spec: GuestSpec | None) -> str:
    is_unset = spec is not None and f"networks[{net.name}].vlan" in spec.unset
    vlan = net.get("vlan") or (None if is_unset else there.get("veth.vlan.id"))
    return _segment(net.text("bridge") or there.get("link", ""), vlan)


def _segment(bridge: str, vlan: str | int | None) -> str:
    """Where an address must be alone: VLANs of one bridge do not see each other."""
    return f"{bridge} in VLAN {vlan}" if vlan else bridge


def _vm(name: str, domain: t.Any, item: Item | None, specs: Specs, host: Host) -> Claim | None:
    spec: VmSpec | None = _wish(item, specs)
    if spec is not None and spec.state == "absent":
        return None
    nets: tuple[CardItem, ...] = spec.items("networks") if spec else ()
    names = _names_by_mac(name, host)
    gone = _names_that_go(spec, names.values(), {net.name for net in nets if net.is_wanted})
    replaced = gone | {net.name for net in nets if net.is_wanted and "mac" in net.values}
    root = host.definitions[name].root if name in host.definitions else None
    found = (
        {mac.get("address", "").lower() for mac in root.iterfind("devices/interface/mac")} if root is not None else ()
    )
    given = {str(net.values["mac"]) for net in nets if net.is_wanted and "mac" in net.values}
    # Libvirt writes it in KiB, whatever unit it was defined in.
    kept = int(root.findtext("memory", "0")) if root is not None else 0
    return Claim(
        label=f"vm {name}",
        is_listed=item is not None,
        macs=frozenset({mac for mac in found if mac and names.get(mac) not in replaced} | given),
        memory=_vm_memory(spec, kept, is_new=domain is None),
        memory_before=kept,
    )


def _vm_memory(spec: VmSpec | None, kept: int, *, is_new: bool) -> int:
    if spec is None:
        return kept
    if is_new:
        with contextlib.suppress(SpecError):
            spec = with_create_defaults(spec)
    if "memory_max" in spec.values:
        return t.cast(int, spec.values["memory_max"])
    return max(kept, t.cast(int, spec.values.get("memory", 0)))


def _names_that_go(spec: GuestSpec | None, known: t.Collection[str], given: t.Collection[str]) -> set[str]:
    """Of the interfaces that a guest has by the names *known*, those that the run takes away."""
    nets = spec.items("networks") if spec is not None else ()
    listed = {net.name for net in nets}
    takes_others = spec is not None and "networks" in spec.exact
    return {name for name in {*known, *listed} if name not in given and (name in listed or takes_others)}


def _names_by_mac(guest: str, host: Host) -> dict[str, str]:
    record = host.guest_records.get(guest)
    macs = (record.data.get("macs") or {}) if record else {}
    return {str(mac).lower(): name for name, mac in macs.items()}


def _addresses(*texts: str | None) -> list[str]:
    found = []
    for text in texts:
        try:
            found.append(str(ipaddress.ip_interface((text or "").split(" ")[0]).ip))
        except ValueError:
            continue
    return found


def _bridges(items: t.Sequence[Item], specs: Specs, owners: t.Mapping[str, Claim]) -> list[Claim]:
    """A bridge claims its own address, and those that it keeps for MAC addresses of no guest that is known."""
    claims = []
    for item in items:
        spec: BridgeSpec | None = specs.get(id(item))
        if item.declared.kind.word != "bridge" or spec is None or item.is_removed:
            continue
        claims.append(
            Claim(
                item.label,
                True,
                addresses=frozenset((spec.name, address) for address in _addresses(spec.address, spec.address6)),
            )
        )
        for host in spec.hosts or ():
            if host.is_absent or not host.ip:
                continue
            owner = owners.get(host.mac or "")
            label = f"the DHCP host {host.name} of {item.label}"
            if owner is None or (spec.name, host.ip) not in owner.addresses:
                claims.append(Claim(label, True, addresses=frozenset({(spec.name, host.ip)})))
    return claims


def read_subnets(items: t.Iterable[Item], specs: Specs) -> list[Subnet]:
    """The subnets of the bridges that the layout has."""
    found = []
    for item in items:
        spec: BridgeSpec | None = _wish(item, specs)
        if item.declared.kind.word != "bridge" or spec is None or item.is_removed:
            continue
        # "none" and "dhcp" are no subnets.
        with contextlib.suppress(ValueError):
            network = ipaddress.IPv4Interface(spec.address or "none").network
            found.append(Subnet(item.label, network, "address" in item.told["diff"]["after"]))
    return found


def read_folders(items: t.Iterable[Item], specs: Specs) -> list[tuple[str, str]]:
    """The pools that the layout has, and where they lie."""
    pools = [item for item in items if item.declared.kind.word == "storage_pool" and not item.is_removed]
    wishes = [(item.label, _wish(item, specs)) for item in pools]
    return [(label, spec.path) for label, spec in wishes if spec is not None and spec.path is not None]


def expected_vlans(items: t.Sequence[Item], specs: Specs, host: Host) -> dict[str, bool]:
    """Of the bridges that the layout makes or changes before their guests, whether they will know VLANs then."""
    found = {}
    for item in items:
        spec: BridgeSpec | None = specs.get(id(item))
        if item.declared.kind.word != "bridge" or spec is None or item.is_removed:
            continue
        if spec.vlan_aware is not None or "vlan_aware" in spec.unset or spec.name not in host.links:
            found[spec.name] = bool(spec.vlan_aware)
    return found


def expected_images(items: t.Sequence[Item], specs: Specs) -> dict[str, str]:
    """Of the images that the layout makes before their guests, for which kind of guest they are."""
    declared = [specs[id(item)] for item in items if item.declared.kind.word == "image" and id(item) in specs]
    return {spec.name: spec.kind for spec in declared if spec.kind is not None}


def expected_pools(items: t.Sequence[Item], specs: Specs) -> dict[str, tuple[str, str]]:
    """Of the pools that the layout makes before their guests, of what type they are and where they will lie."""
    declared = [specs[id(item)] for item in items if item.declared.kind.word == "storage_pool" and id(item) in specs]
    return {
        spec.name: (spec.type or "dir", spec.path)
        for spec in declared
        if spec.path is not None and spec.state != "absent"
    }


def read_volumes(items: t.Sequence[Item], specs: Specs, host: Host) -> tuple[list[NewVolume], dict[str, Place]]:
    """The disks and roots that the layout makes, what others grow by, and the file systems on which its pools lie."""
    folders = host.pool_folders
    volumes = [
        NewVolume(label, place, size)
        for item in items
        if item.is_planned and not item.is_removed and id(item) in specs
        for label, folder, size in _new_volumes(item, specs[id(item)], folders, host)
        if (place := _place_of(folder))
    ]
    places: dict[str, Place] = {}
    for name, folder in sorted(folders.items()):
        key = _place_of(folder)
        if key is not None and any(volume.place == key for volume in volumes):
            known = places.get(key, Place((), _free(key)))
            places[key] = Place((*known.pools, name), known.free)
    return volumes, places


def _new_volumes(
    item: Item, spec: t.Any, folders: t.Mapping[str, str], host: Host
) -> t.Iterator[tuple[str, str | None, int]]:
    """What the item makes: label, folder, size in bytes."""
    before, after = item.told["diff"]["before"], item.told["diff"]["after"]
    if isinstance(spec, GuestSpec):
        pool = spec.get("rootfs.pool")
        if "image" in after and "rootfs" not in after and pool:
            yield item.label, folders.get(pool), spec.get("rootfs.size") or _image_size(spec.image)
        return
    if not isinstance(spec, VmSpec):
        return
    images = [disk.text("image") for disk in spec.items("disks")]
    for disk in spec.items("disks"):
        label, path = f"{disk.name} of {item.label}", f"disks[{disk.name}]"
        pool, size = disk.text("pool"), t.cast("int | None", disk.values.get("size"))
        if size is not None and before.get(f"{path}.size"):
            yield label, _folder_of(disk, spec, host), size - parse_size("size", before[f"{path}.size"], unit=1)
        is_there = any(os.path.exists(volume) for volume in volume_paths(spec.name, disk, folders))
        if pool is None or is_there or not after.get(path):
            continue
        is_root = disk is spec.items("disks")[0] and not any(images)
        image = disk.text("image") or (spec.image if is_root else None)
        yield label, folders.get(pool), size or _image_size(image)


def _folder_of(disk: CardItem, spec: VmSpec, host: Host) -> str | None:
    """Where a disk that is there lies, as far as it is ours."""
    record = host.guest_records.get(spec.name)
    path = recorded_volumes(load(record.data, exists=True)).get(disk.name) if record else None
    return os.path.dirname(path) if path else None


def _image_size(name: str | None) -> int:
    """What is made of the image *name* takes; nothing is known of one that is to be made."""
    image = stored(Host().record("images", name)) if name else None
    return image.size_bytes if image else 0


def _existing(folder: str) -> str:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _place_of(folder: str | None) -> str | None:
    """The file system that *folder* lies on, or will: by a folder on it that is there."""
    if folder is None:
        return None
    folder = _existing(os.path.realpath(folder))
    device = os.stat(folder).st_dev
    while folder != "/" and os.stat(os.path.dirname(folder)).st_dev == device:
        folder = os.path.dirname(folder)
    return folder


def _free(place: str) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize
