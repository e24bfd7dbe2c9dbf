# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a virtual machine: what only it has to be checked for, and what a new one gets."""

from __future__ import annotations

import math
import re
import types
import typing as t

from .._core.declared import check_line, check_name
from .._core.errors import SpecError, bad_value
from .._core.keyed import Thing
from .._core.options import SEED, Item
from .._guest import options as guest_options
from .._guest.auto_address import is_auto, is_of_ipv6
from .._guest.content import Source
from .._guest.device import PCI, USB
from .._guest.spec import GuestSpec, parse_guest
from .._image.presets import Presets
from . import firmware
from .firmware import PATHS, Way, wanted_way
from .installer import check_installer
from .offer import default_tpm
from .options import CLOUD_INIT, IGNORE, OPTIONS, SEED_DISK
from .xml.cpu import TOPOLOGY
from .xml.disk import LIMITS
from .xml.variant import LINUX, PRESETS, WINDOWS

TOPOLOGY_PATHS = tuple(f"cpu.topology.{key}" for key in TOPOLOGY)
# The lists of devices, and what an item of each is called.
WORDS = {
    "disks": "a disk",
    "cdroms": "a CD-ROM drive",
    "networks": "a network card",
    "devices": "a device of the host",
    "shares": "a share",
}
DEVICES = tuple(WORDS)
# By which a device of the host is known.
DEVICE_REFS = ("address", "id", "port")
# The tag of virtio-fs has 36 bytes.
_LONGEST_TAG = 36
# The kind of an image that is a medium.
ISO = "iso"
_LIBVIRT_NAME = re.compile(r"[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,99}")


class Spec(GuestSpec):
    """A virtual machine as declared."""

    __slots__ = ()

    @property
    def has_seed(self) -> bool:
        return any(path in self.values for path in CLOUD_INIT)

    @property
    def leaves_seed(self) -> bool:
        """Whether the seed of a machine that stands is left as it is."""
        return bool(self.get("cloud_init.on_change") == IGNORE)


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared virtual machine from a module's parameters.

    :raises SpecError:
    """
    spec = parse_guest(OPTIONS, params, check_guest_name=check_guest_name, spec=Spec)
    for least, most in (("memory", "memory_max"), (spec.cores_path, "cpu.max_cores")):
        if least in spec.values and most in spec.values and spec.values[least] > spec.values[most]:
            raise SpecError(f"{most}: is less than {least}", key=most)
    _check_firmware(spec)
    _check_tpm(spec)
    _check_backup(spec)
    for item in spec.items("disks"):
        _check_disk(item)
    check_installer(spec.values)
    taken_off = [path for path in TOPOLOGY_PATHS if path in spec.unset]
    if taken_off and len(taken_off) < len(TOPOLOGY_PATHS):
        raise SpecError(
            f"unset: {taken_off[0]}: how the cores lie together goes as a whole. Write cpu.topology", key="unset"
        )
    for item in spec.wanted("networks"):
        if is_of_ipv6(ip := item.text("ip") or ""):
            reason = f"must be an address of IPv4, not {ip}. Write one of IPv6 as ip6"
            raise SpecError(f"networks[{item.name}].ip: {reason}", key="networks")
        _check_gateway(item)
        _check_gateway6(item)
    cards = [(item.get("bridge"), item.text(key) or "") for item in spec.wanted("networks") for key in ("ip", "ip6")]
    places = [(bridge, ip.partition("/")[0]) for bridge, ip in cards if "/" in ip and not is_auto(ip)]
    if len(set(places)) != len(places):
        raise SpecError("networks: an ip is there twice on one bridge", key="networks")
    if spec.get("cloud_init.on_change") == IGNORE and (
        kept := [path for path in spec.unset if OPTIONS[path].home == SEED]
    ):
        raise SpecError(f"unset: {kept[0]} is not taken off, as cloud_init.on_change says ignore", key="unset")
    for item in spec.items("cdroms"):
        _check_drive(item, spec.unset)
    _check_names(spec)
    for item in spec.wanted("shares"):
        if len(item.name) > _LONGEST_TAG:
            raise SpecError(
                f"shares[{item.name}]: a name has at most {_LONGEST_TAG} characters, as virtio-fs has it", key="shares"
            )
    return _with_types(spec)


def _check_backup(spec: Spec) -> None:
    if spec.get("backup.exclude"):
        raise SpecError(
            "backup.exclude: a backup has the disks of a machine whole, and nothing of what is on them is left out. Leave it out of a "
            "container, or give what is not to be in a backup a place elsewhere (shares)",
            key="backup.exclude",
        )
    if spec.get("os_variant") == WINDOWS and any(spec.get(row.path) for row in guest_options.BACKUP_HOOKS):
        raise SpecError(
            "backup.hooks: Windows has no /bin/sh that would run them. Its agent lets the programs that take part in its shadow copies "
            "(VSS) write down what they know",
            key="backup.hooks",
        )


def _with_types(spec: Spec) -> Spec:
    """*spec* with the type of each device that says it by how it is known.

    :raises SpecError:
    """
    items = tuple(_with_type(item) if item.is_wanted else item for item in spec.items("devices"))
    return spec.replace(lists={**spec.lists, "devices": items}) if items else spec


def _with_type(item: Item) -> Item:
    key = f"devices[{item.name}]"
    known_by = [word for word in DEVICE_REFS if word in item.values]
    if len(known_by) > 1:
        raise SpecError(f"{key}: {' and '.join(known_by)} each say which device it is. Write one of them", key=key)
    if not known_by:
        return item
    meant = {"address": PCI, "port": USB}.get(known_by[0], item.text("type"))
    if meant is None:
        raise SpecError(f"{key}.type: write pci or usb, as both have an id", key=f"{key}.type")
    if item.get("type", meant) != meant:
        what = "a PCI device has an address" if meant == PCI else "a USB device has a port"
        raise SpecError(f"{key}.{known_by[0]}: {what}, and its type is {item.get('type')}", key=f"{key}.type")
    if meant == PCI and item.get("optional"):
        raise SpecError(f"{key}.optional: no machine starts without its PCI device", key=f"{key}.optional")
    if meant == PCI and (item.text("id") or "").count(":") > 1:
        raise SpecError(f"{key}.id: only USB devices have a serial: write vendor:product", key=f"{key}.id")
    return item.with_values({**item.values, "type": meant})


def with_media(spec: Spec, file_of: t.Callable[[str, str], str]) -> Spec:
    """*spec* with the files of images as the sources of drives. *file_of* says where the one of a name and a kind lies."""
    items = spec.lists.get("cdroms")
    if items is None:
        return spec
    named = [(item, item.text("image")) for item in items]
    found = [
        item.with_values({**item.values, "source": file_of(image, ISO)}) if image else item for item, image in named
    ]
    return spec.replace(lists={**spec.lists, "cdroms": tuple(found)})


def _check_gateway(item: Item) -> None:
    path, ip, gateway = f"networks[{item.name}].gateway", item.text("ip"), item.text("gateway")
    if not gateway or ip is None:
        return
    if not guest_options.is_fixed(ip):
        raise SpecError(f"{path}: needs a fixed address in ip, not {ip!r}", key=path)
    if ":" in gateway:
        raise SpecError(f"{path}: must be of IPv4, not {gateway}. Write one of IPv6 as gateway6", key=path)
    if not guest_options.is_reachable(gateway, ip):
        raise bad_value(path, gateway, f"an address in the network of {ip}")


def _check_gateway6(item: Item) -> None:
    path, ip6, gateway6 = f"networks[{item.name}].gateway6", item.text("ip6"), item.text("gateway6")
    if not gateway6 or ip6 is None:
        return
    if not ip6:
        raise SpecError(f"{path}: {guest_options.NEEDS_IP6}", key=path)
    if not guest_options.is_reachable(gateway6, ip6):
        raise bad_value(path, gateway6, f"an address in the network of {ip6}, or one of the link")


def _check_names(spec: Spec) -> None:
    """Disks, drives and cards share their names, as ``boot.order`` names all of them."""
    areas: dict[str, str] = {}
    for area in DEVICES:
        for item in spec.items(area):
            if item.name == SEED_DISK:
                key = f"{area}[{item.name}]"
                raise SpecError(f"{key}: this name belongs to the disk that cloud_init makes", key=key)
            if areas.setdefault(item.name, area) != area:
                raise SpecError(shared_name(area, item.name, areas[item.name]), key=area)


def cpus_of(topology: t.Mapping[str, int]) -> int:
    """How many CPUs there are where sockets, dies, cores and threads lie together as in *topology*, by option path."""
    return math.prod(topology.get(path) or 1 for path in TOPOLOGY_PATHS)


def _check_firmware(spec: Spec) -> None:
    kind, secure, enrolled = (OPTIONS[path].off if path in spec.unset else spec.get(path) for path in PATHS)
    if kind == "bios" and (secure or enrolled):
        path = PATHS[1] if secure else PATHS[2]
        raise SpecError(f"{path}: a BIOS has no secure boot. Write firmware.type: uefi", key=path)
    if enrolled and secure is False:
        raise SpecError(f"{PATHS[2]}: the keys are those of secure boot. Write {PATHS[1]}: true", key=PATHS[2])


def _check_tpm(spec: Spec) -> None:
    if spec.get("tpm.model") == "crb" and spec.get("tpm.version") == "1.2":
        raise SpecError("tpm.model: crb is a TPM 2.0. Write tis for 1.2", key="tpm.model")
    if ("tpm.version" in spec.unset) != ("tpm.model" in spec.unset):
        raise SpecError("unset: a TPM is taken off as a whole. Write unset: [tpm]", key="unset")


def check_guest_name(key: str, name: t.Any) -> str:
    """A name that a domain can have: one that was made by hand may have spaces. A new guest needs a plain name.

    :raises SpecError:
    """
    check_line(key, name if isinstance(name, str) else None)
    if not isinstance(name, str) or not _LIBVIRT_NAME.fullmatch(name):
        check_name(key, name)
        raise bad_value(key, name, "text without '/', not beginning with a dot")
    return name


def topology_error(whole: int, most: int) -> SpecError:
    return SpecError(
        f"cpu.topology: sockets, dies, cores and threads multiply to {whole}, and cpu.max_cores is {most}. Write the same for both",
        key="cpu.topology",
    )


Formats = t.Mapping[str, tuple[str, ...]]
NO_FORMATS: Formats = types.MappingProxyType({})
ImagePresets = t.Mapping[str, Presets]
NO_PRESETS: ImagePresets = types.MappingProxyType({})


# What may ask the network for something before cloud-init's last stages, as cloud-init 24.4 itself sees it.
_ASKS_EARLY = re.compile(r"\b(bootcmd|mounts|random_seed|source)[\"']?\s*:")


def acts_early(values: t.Mapping[str, t.Any]) -> bool:
    """Whether cloud-init can do all but its last stages before the network is up: nothing that is written for it may need that."""
    user_data = values.get("cloud_init.user_data") or "#cloud-config\n"
    is_plain = user_data.startswith("#cloud-config") and not user_data.startswith("#cloud-config-")
    return is_plain and not _ASKS_EARLY.search(user_data) and not values.get("cloud_init.meta_data")


def _check_disk(item: Item) -> None:
    key = f"disks[{item.name}]"
    if item.name in firmware.WORDS:
        raise SpecError(f"{key}: this name belongs to the {firmware.WORDS[item.name]}", key=key)
    if (item.text("source") or "").lower().endswith(".iso"):
        raise SpecError(
            f"{key}.source: {item.text('source')} is a medium of a CD-ROM drive. Write it under cdroms", key=key
        )
    if "source" in item.values and any(option in item.values for option in ("pool", "image", "size")):
        raise SpecError(
            f"{key}: source is a file that is there already; pool, image and size belong to disks that are made",
            key=key,
        )
    check_limits(item)


def _check_drive(item: Item, unset: t.Collection[str]) -> None:
    path = f"cdroms[{item.name}].source"
    if "image" in item.values and ("source" in item.values or path in unset):
        raise SpecError(f"{path}: image is written too. A drive has one medium: write one of the two", key=path)


def check_limits(item: Item, before: Thing | None = None, unset: t.Collection[str] = ()) -> None:
    """A disk is limited as a whole, or in what it reads and writes.

    :raises SpecError: for both.
    """
    path = f"disks[{item.name}]"
    for what in ("iops", "bytes"):
        kept = {} if before is None else {key: before.value(key) for key in LIMITS}
        off = {key: 0 for key in LIMITS if f"{path}.{key}" in unset}
        values = {**kept, **item.values, **off}
        parts = [key for key in (f"limits.read_{what}", f"limits.write_{what}") if values.get(key)]
        if parts and values.get(f"limits.{what}"):
            raise SpecError(
                f"{path}.limits.{what}: it counts reads and writes together, and {parts[0]} is set too. Take one of them off",
                key=path,
            )


def reads_only(item: Item, before: Thing | None) -> bool:
    """Whether a disk on a source is never written to."""
    return bool(item.get("readonly", before is not None and before.value("readonly")))


def is_shared(item: Item, before: Thing | None) -> bool:
    """Whether other machines may have the disk too."""
    return bool(item.get("shareable", before is not None and before.value("shareable")))


def shared_name(area: str, name: str, other: str) -> str:
    """Why a device of the list *area* cannot have the *name* of one of the list *other*."""
    why = "libvirt and boot.order know all of them by their names, so that each needs one of its own"
    return f"{area}: {name!r} is the name of {WORDS[other]} too. {why}"


def with_source(spec: Spec, source: Source | None) -> Spec:
    """*spec* with what a clone has of its origin where nothing else is written: its disks, and what its seed said.

    A disk that is declared to go is not cloned.
    """
    if source is None:
        return spec
    declared = {item.name: item for item in spec.items("disks")}
    disks = [_cloned(declared.get(name, Item(name)), values) for name, values in source.items.items()]
    rest = [item for item in spec.items("disks") if item.name not in source.items]
    lists = {**spec.lists, "disks": (*disks, *rest)}
    return spec.replace(values={**source.values, **spec.values}, lists=lists)


def _cloned(item: Item, values: t.Mapping[str, t.Any]) -> Item:
    is_its_own = not item.is_wanted or "image" in item.values or "source" in item.values
    return item if is_its_own else item.with_values({**values, **item.values})


def root_image(spec: GuestSpec) -> str | None:
    """The image that the system of a new machine is in: that of its first disk."""
    images = (item.text("image") for item in spec.wanted("disks"))
    return spec.image or next((image for image in images if image is not None), None)


def with_presets(spec: Spec, presets: Presets) -> Spec:
    """*spec* of a new machine with what suits the system in its image. A clone has that of its origin."""
    if spec.origin is not None:
        return spec
    told = {"os_variant": presets.os_variant}
    if presets.firmware == "uefi" and not any(path in spec.values for path in PATHS):
        told[PATHS[0]] = presets.firmware
    return spec.replace(values={**{path: value for path, value in told.items() if value is not None}, **spec.values})


def with_create_defaults(spec: Spec, formats: Formats = NO_FORMATS, presets: ImagePresets = NO_PRESETS) -> Spec:
    """*spec* with what a new virtual machine gets where the user wrote nothing. The image goes to the first disk.

    *presets* are those of images by name.

    :raises SpecError: for a name that a new guest cannot have, and for an image without a disk to stand on.
    """
    check_name("name", spec.name)
    variant = spec.get("os_variant", LINUX)
    declared = {**_preset(variant), **spec.values, **default_tpm(spec.values)}
    if any(path in declared for path in PATHS):
        declared |= wanted_way(declared, Way()).values
    values = OPTIONS.created(declared)
    if values["graphics.type"] != "none":
        values.setdefault("tablet", True)
    if "memory" not in spec.values:
        values["memory"] = max(values["memory"], (_presets_of(root_image(spec), presets).memory or 0) // 1024)
    whole = cpus_of(values)
    values.setdefault(spec.cores_path, min(whole, values.get("cpu.max_cores", whole)))
    has_topology = any(path in values for path in TOPOLOGY_PATHS)
    values.setdefault("cpu.max_cores", max(whole, values[spec.cores_path]))
    if has_topology and whole != values["cpu.max_cores"]:
        raise topology_error(whole, values["cpu.max_cores"])
    values.setdefault("memory_max", values["memory"])
    if values["memory"] > values["memory_max"]:
        raise SpecError("memory_max: is less than memory", key="memory_max")
    lists = {area: tuple(spec.wanted(area)) for area in spec.lists}
    if spec.image is not None:
        lists["disks"] = _with_image(spec.image, lists.get("disks", ()))
    lists = {
        area: tuple(new_item(area, item, formats, variant, presets) for item in items) for area, items in lists.items()
    }
    return spec.replace(values=values, lists=lists)


def _with_image(image: str, disks: tuple[Item, ...]) -> tuple[Item, ...]:
    for position, item in enumerate(disks):
        if "image" not in item.values and "source" not in item.values:
            linked = item.with_values({**item.values, "image": image})
            return (*disks[:position], linked, *disks[position + 1 :])
    raise SpecError("image: needs a disk to stand on, such as disks: [{name: root, pool: main}]", key="image")


def _preset(variant: str, area: str = "") -> dict[str, t.Any]:
    """What suits the system inside, of options or of the keys of an item of *area*."""
    beginning = f"{area}[]." if area else ""
    own = PRESETS[variant].items()
    return {
        path[len(beginning) :]: value
        for path, value in own
        if path.startswith(beginning) and bool(area) == ("[]" in path)
    }


def default_of(variant: str, path: str) -> t.Any:
    """What a new machine or item gets that suits the system inside."""
    return PRESETS[variant].get(path, OPTIONS[path].create)


def _presets_of(image: str | None, presets: ImagePresets) -> Presets:
    return presets.get(image or "", Presets())


def new_item(
    area: str, item: Item, formats: Formats = NO_FORMATS, variant: str = LINUX, presets: ImagePresets = NO_PRESETS
) -> Item:
    """What a new disk, drive, network card, device or share gets where the user wrote nothing. A MAC is derived by the plan.

    *formats* are those that the disks of each pool can have; a new one gets the first. *variant* is the system inside, *presets* are those
    of images by name.

    :raises SpecError: for a disk that nothing says where it comes from, for a card without a bridge, for a device that is none.
    """
    known = _presets_of(item.text("image"), presets) if area == "disks" else Presets()
    told = {key: value for key, value in (("bus", known.bus), ("size", known.disk)) if value is not None}
    created = OPTIONS.created_item(area, item.with_values({**_preset(variant, area), **told, **item.values}))
    if area == "networks" and "bridge" not in item.values:
        key = f"networks[{item.name}]"
        raise SpecError(f"{key}.bridge: is needed to add the network card", key=key)
    if area == "devices" and not any(word in item.values for word in DEVICE_REFS):
        key = f"devices[{item.name}]"
        raise SpecError(f"{key}: write which one it is: an address or an id (PCI), an id or a port (USB)", key=key)
    if area == "shares" and "source" not in item.values:
        key = f"shares[{item.name}].source"
        raise SpecError(f"{key}: is needed to share a folder", key=key)
    if area != "disks":
        return created
    source = item.text("source")
    if source is not None:
        found = {"format": "qcow2" if source.endswith(".qcow2") else "raw", "readonly": reads_only(item, None)}
    elif "pool" in item.values:
        found = {"format": formats.get(item.values["pool"], ("qcow2",))[0], "readonly": False}
    else:
        key = f"disks[{item.name}]"
        raise SpecError(f"{key}: a new disk needs a pool to be made in, or a source that is there", key=key)
    return created.with_values({"discard": source is None, **found, **created.values})
