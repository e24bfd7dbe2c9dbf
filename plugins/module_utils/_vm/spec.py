# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the user wrote of a virtual machine: the mother of its options."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._core import startup
from .._core.declared import (
    NAME,
    check_choice,
    check_items,
    check_line,
    check_name,
    check_number,
    check_path,
    check_secret,
    check_text,
)
from .._core.errors import SpecError, bad_value
from .._core.options import NEVER_PERMITTED, Option, always, check_unset, grows, is_added, never
from .._core.units import GIB, parse_memory_kib, parse_size, show_memory_kib, show_size

STATES = ("present", "started", "running", "stopped", "shutdown", "restarted", "paused", "suspended", "absent")
SYNONYMS = {"running": "started", "shutdown": "stopped"}
ALLOW = ("adopt", "replace_disk")
DELETE = ("disks", "seed")
EXACT = ("disks", "networks")
WAITS = ("agent", "ip", "ssh")
RESTART_POLICIES = ("never", "if_needed")
FORMATS = ("qcow2", "raw")
BUSES = ("virtio", "scsi", "sata")
CACHES = ("default", "none", "writeback", "writethrough", "directsync", "unsafe")
NIC_MODELS = ("virtio", "e1000", "e1000e", "rtl8139")
LINKS = ("up", "down")
GRAPHICS = ("none", "vnc")
SEED = "seed"

Value: t.TypeAlias = "str | int | bool | tuple[str, ...]"
Values = t.Mapping[str, Value]

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "description": {"type": "str"},
    "tags": {"type": "list", "elements": "str"},
    "protection": {"type": "bool"},
    "autostart": {"type": "bool", "aliases": ["onboot", "start_on_boot"]},
    "startup": startup.ARGUMENT,
    "vcpus": {"type": "int"},
    "cpu": {"type": "dict", "options": {"cores": {"type": "int"}, "max_cores": {"type": "int"}}},
    "memory": {"type": "str"},
    "memory_max": {"type": "str"},
    "image": {"type": "str", "aliases": ["ostemplate"]},
    "disks": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "pool": {"type": "str"},
            "size": {"type": "str"},
            "format": {"type": "str", "choices": list(FORMATS)},
            "image": {"type": "str"},
            "source": {"type": "str"},
            "bus": {"type": "str", "choices": list(BUSES)},
            "serial": {"type": "str"},
            "cache": {"type": "str", "choices": list(CACHES)},
            "discard": {"type": "bool"},
            "readonly": {"type": "bool"},
        },
    },
    "networks": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "bridge": {"type": "str"},
            "vlan": {"type": "int", "aliases": ["tag"]},
            "mac": {"type": "str", "aliases": ["hwaddr"]},
            "model": {"type": "str", "choices": list(NIC_MODELS)},
            "link": {"type": "str", "choices": list(LINKS)},
            "mtu": {"type": "int"},
        },
    },
    "cloud_init": {
        "type": "dict",
        "options": {
            "user": {"type": "str"},
            "ssh_keys": {"type": "list", "elements": "str", "no_log": False},
            "packages": {"type": "list", "elements": "str"},
            "user_data": {"type": "str", "no_log": True},
            "meta_data": {"type": "str"},
            "network_config": {"type": "str"},
        },
    },
    "boot": {
        "type": "dict",
        "options": {
            "order": {"type": "list", "elements": "str"},
            "kernel": {"type": "str"},
            "initrd": {"type": "str"},
            "cmdline": {"type": "str"},
        },
    },
    "graphics": {"type": "str", "choices": list(GRAPHICS)},
    "serial": {"type": "bool"},
    "agent": {"type": "bool"},
    "wait_for": {"type": "list", "elements": "str", "choices": list(WAITS), "default": []},
    "wait_timeout": {"type": "int", "default": 300},
    "shutdown_timeout": {"type": "int", "default": 60},
    "force_stop": {"type": "bool", "default": False},
    "restart_policy": {"type": "str", "choices": list(RESTART_POLICIES), "default": "never"},
    "allow": {"type": "list", "elements": "str", "choices": list(ALLOW), "default": []},
    "delete": {"type": "list", "elements": "str", "choices": list(DELETE), "default": []},
    "exact": {"type": "list", "elements": "str", "choices": list(EXACT), "default": []},
    "unset": {"type": "list", "elements": "str", "default": []},
}
CONSTRAINTS: dict[str, t.Any] = {"mutually_exclusive": [("vcpus", "cpu")]}


def _never_shrinks(before: t.Any, after: t.Any) -> str | None:
    return NEVER_PERMITTED if before is not None and after is not None and after < before else None


def _is_fixed(before: t.Any, after: t.Any) -> str | None:
    return NEVER_PERMITTED if before is not None and before != after else None


def _replaces_disk(before: t.Any, after: t.Any) -> str | None:
    return "replace_disk" if before is not None and before != after else None


def _listed(value: t.Any) -> t.Any:
    return list(value) if isinstance(value, tuple) else value


def _show_vlan(value: t.Any) -> t.Any:
    return value or None


OPTIONS = (
    Option("description", live=always, off=""),
    Option("tags", live=always, show=_listed, off=()),
    Option("protection", live=always, off=False),
    Option("autostart", live=always),
    *startup.OPTIONS,
    Option("vcpus", live=grows, note="growing beyond cpu.max_cores waits for a restart"),
    Option("cpu.cores", live=grows, note="growing beyond cpu.max_cores waits for a restart"),
    Option("cpu.max_cores", live=never),
    Option(
        "memory",
        live=always,
        show=show_memory_kib,
        note="through the balloon, up to memory_max; more waits for a restart",
    ),
    Option("memory_max", live=never, show=show_memory_kib),
    Option("disks[]", live=always, note="sata waits for a restart, and so does what the guest does not let go"),
    Option("disks[].pool", live=never, loss=_is_fixed, note="a disk is not moved: give the new disk another name"),
    Option("disks[].size", live=grows, loss=_never_shrinks, show=show_size, note="a shrink is always refused"),
    Option("disks[].format", live=never, loss=_is_fixed),
    Option("disks[].source", live=never, loss=_replaces_disk),
    Option("disks[].bus", live=never),
    Option("disks[].serial", live=never, off=""),
    Option("disks[].cache", live=never, off="default"),
    Option("disks[].discard", live=never, off=False),
    Option("disks[].readonly", live=never, off=False),
    Option("networks[]", live=always, note="what the guest does not let go waits for a restart"),
    Option("networks[].bridge", live=always, note="a card that is on no bridge waits for a restart"),
    Option(
        "networks[].vlan",
        live=always,
        show=_show_vlan,
        off=0,
        note="the bridge has to know VLANs, and libvirt to be 11.0 or newer",
    ),
    Option("networks[].mac", live=never),
    Option("networks[].model", live=never),
    Option("networks[].link", live=always, off="up"),
    Option("networks[].mtu", live=never, off=0),
    Option("cloud_init.user", live=never, off=""),
    Option("cloud_init.ssh_keys", live=never, show=_listed, off=()),
    Option("cloud_init.packages", live=never, show=_listed, off=()),
    Option("cloud_init.user_data", live=never, off="", secret=True),
    Option("cloud_init.meta_data", live=never, off=""),
    Option("cloud_init.network_config", live=never, off=""),
    Option("boot.order", live=never, show=_listed, off=()),
    Option("boot.kernel", live=never, off=""),
    Option("boot.initrd", live=never, off=""),
    Option("boot.cmdline", live=never, off=""),
    Option("graphics", live=never, off="none"),
    Option("serial", live=never, off=False),
    Option("agent", live=is_added, off=False, note="live where it has a virtio-serial controller"),
)
CREATE_ONLY = ("image", "disks[].image")
SCALARS = tuple(
    option.path for option in OPTIONS if "[]" not in option.path and not option.path.startswith("cloud_init.")
)
CLOUD_INIT = tuple(option.path for option in OPTIONS if option.path.startswith("cloud_init."))

_LIBVIRT_NAME = re.compile(r"[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,99}")
_BRIDGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SERIAL = re.compile(r"[A-Za-z0-9 _.+-]{1,20}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.:~=-]{0,127}")


@dataclasses.dataclass(frozen=True)
class Item:
    """One disk or network card as declared. *values* has what was written, by key, in canonical form (sizes in bytes)."""

    name: str
    is_wanted: bool
    values: Values = dataclasses.field(default_factory=dict)

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None


@dataclasses.dataclass(frozen=True)
class Spec:
    """A virtual machine as declared.

    *values* has what was written by option path (``boot.kernel``), in canonical form: memory in KiB, lists as tuples.
    *disks* and *networks* are ``None`` where the list is not written. Timeouts in seconds.
    """

    name: str
    state: str = "present"
    values: Values = dataclasses.field(default_factory=dict)
    image: str | None = None
    disks: tuple[Item, ...] | None = None
    networks: tuple[Item, ...] | None = None
    wait_for: tuple[str, ...] = ()
    wait_timeout: int = 300
    shutdown_timeout: int = 60
    force_stop: bool = False
    restart_policy: str = "never"
    allow: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()

    @property
    def cores_path(self) -> str:
        """How the user writes the number of CPUs."""
        return "vcpus" if "vcpus" in self.values else "cpu.cores"

    @property
    def has_seed(self) -> bool:
        return any(path in self.values for path in CLOUD_INIT)

    def items(self, kind: str) -> tuple[Item, ...]:
        """The declared items of ``disks`` or ``networks``."""
        return (self.disks if kind == "disks" else self.networks) or ()


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared virtual machine from a module's parameters.

    :raises SpecError:
    """
    state = params.get("state") or "present"
    values = _parse_values(params)
    disks = _parse_disks(params.get("disks"))
    networks = _parse_networks(params.get("networks"))
    both = {item.name for item in disks or ()} & {item.name for item in networks or ()}
    if both:
        raise SpecError(shared_name(sorted(both)[0]), key="networks")
    exact = tuple(params.get("exact") or ())
    for kind, items in (("disks", disks), ("networks", networks)):
        if kind in exact and items is None:
            raise SpecError(
                f"exact: {kind} is named and not declared. Write the list, an empty one takes all off", key="exact"
            )
    spec = Spec(
        name=check_guest_name(params["name"]),
        state=SYNONYMS.get(state, state),
        values=values,
        image=None if params.get("image") is None else check_name("image", params["image"]),
        disks=disks,
        networks=networks,
        wait_for=tuple(params.get("wait_for") or ()),
        wait_timeout=_seconds("wait_timeout", params, 300),
        shutdown_timeout=_seconds("shutdown_timeout", params, 60),
        force_stop=bool(params.get("force_stop")),
        restart_policy=params.get("restart_policy") or "never",
        allow=tuple(params.get("allow") or ()),
        delete=tuple(params.get("delete") or ()),
        exact=exact,
    )
    return dataclasses.replace(spec, unset=_check_unset(spec, params.get("unset") or ()))


def shared_name(name: str) -> str:
    """Why a disk and a network card cannot have the same name."""
    return f"networks: {name!r} is the name of a disk too. boot.order names both, so that each needs a name of its own"


def check_guest_name(name: t.Any) -> str:
    """A name that a domain can have: one that was made by hand may have spaces. A new guest needs a plain name.

    :raises SpecError:
    """
    check_line("name", name if isinstance(name, str) else None)
    if not isinstance(name, str) or not _LIBVIRT_NAME.fullmatch(name):
        check_name("name", name)
        raise bad_value("name", name, "text without '/', not beginning with a dot")
    return name


def _seconds(key: str, params: t.Mapping[str, t.Any], default: int) -> int:
    value = params.get(key)
    return t.cast(int, check_number(key, default if value is None else value, least=0, most=86400))


def _check_unset(spec: Spec, unset: t.Sequence[str]) -> tuple[str, ...]:
    def declared(path: str) -> Value | None:
        match = re.fullmatch(r"(disks|networks)\[([^\]]*)\]\.(\w+)", path)
        if match is None:
            return spec.values.get(path)
        item = next((item for item in spec.items(match[1]) if item.name == match[2]), None)
        if item is not None and not item.is_wanted:
            raise SpecError(f"unset: {path}: its item is declared absent", key="unset")
        return None if item is None else item.values.get(match[3])

    return check_unset(unset, OPTIONS, declared)


def _parse_values(params: t.Mapping[str, t.Any]) -> dict[str, Value]:
    cpu, boot = params.get("cpu") or {}, params.get("boot") or {}
    found: dict[str, Value | None] = {
        "description": _description(params.get("description")),
        "tags": _tags(params.get("tags")),
        "protection": params.get("protection"),
        "autostart": params.get("autostart"),
        **startup.parse(params.get("startup")),
        "vcpus": check_number("vcpus", params.get("vcpus"), least=1, most=710),
        "cpu.cores": check_number("cpu.cores", cpu.get("cores"), least=1, most=710),
        "cpu.max_cores": check_number("cpu.max_cores", cpu.get("max_cores"), least=1, most=710),
        "memory": _memory("memory", params.get("memory")),
        "memory_max": _memory("memory_max", params.get("memory_max")),
        "boot.order": _boot_order(boot.get("order")),
        "boot.kernel": check_path("boot.kernel", boot.get("kernel")),
        "boot.initrd": check_path("boot.initrd", boot.get("initrd")),
        "boot.cmdline": check_line("boot.cmdline", boot.get("cmdline")),
        "graphics": check_choice("graphics", params.get("graphics"), GRAPHICS),
        "serial": params.get("serial"),
        "agent": params.get("agent"),
        **_parse_cloud_init(params.get("cloud_init") or {}),
    }
    values = {path: value for path, value in found.items() if value is not None}
    for least, most in (("memory", "memory_max"), ("cpu.cores", "cpu.max_cores")):
        if least in values and most in values and t.cast(int, values[least]) > t.cast(int, values[most]):
            raise SpecError(f"{most}: is less than {least}", key=most)
    return values


def _description(text: str | None) -> str | None:
    checked = check_text("description", text)
    # XML knows no other end of a line: libvirt gives back this one.
    return None if checked is None else checked.replace("\r\n", "\n").replace("\r", "\n")


def _memory(key: str, value: t.Any) -> int | None:
    if value is None:
        return None
    kib = parse_memory_kib(key, value)
    # QEMU takes whole MiB; libvirt would round up, and the next run would see a difference.
    if kib % 1024 or not 16 * 1024 <= kib <= 64 * 1024**3:
        raise bad_value(key, value, "whole MiB, 16 MiB to 64 TiB")
    return kib


def _tags(tags: t.Sequence[str] | None) -> tuple[str, ...] | None:
    if tags is None:
        return None
    for tag in tags:
        if not NAME.fullmatch(tag):
            raise bad_value("tags", tag, "words of letters, digits, '_', '.' and '-'")
    return tuple(sorted(set(tags)))


def _boot_order(order: t.Sequence[str] | None) -> tuple[str, ...] | None:
    if order is None:
        return None
    for name in order:
        check_name("boot.order", name)
    if len(set(order)) != len(order):
        raise SpecError("boot.order: a name is there twice", key="boot.order")
    return tuple(order)


def _parse_cloud_init(options: t.Mapping[str, t.Any]) -> dict[str, Value | None]:
    user, keys, packages = options.get("user"), options.get("ssh_keys"), options.get("packages")
    if user is not None and not _USER.fullmatch(user):
        raise bad_value("cloud_init.user", user, "a Unix user name: 1 to 32 lower case letters, digits, '_' and '-'")
    for key in keys or ():
        check_line("cloud_init.ssh_keys", key)
        if len(key.split()) < 2:
            raise bad_value("cloud_init.ssh_keys", key, "lines as in an .ssh/authorized_keys")
    for package in packages or ():
        if not _PACKAGE.fullmatch(package):
            raise bad_value("cloud_init.packages", package, "names of packages")
    return {
        "cloud_init.user": user,
        "cloud_init.ssh_keys": None if keys is None else tuple(keys),
        "cloud_init.packages": None if packages is None else tuple(packages),
        "cloud_init.user_data": check_secret("cloud_init.user_data", options.get("user_data")),
        "cloud_init.meta_data": _rendered("cloud_init.meta_data", options.get("meta_data")),
        "cloud_init.network_config": _rendered("cloud_init.network_config", options.get("network_config")),
    }


def _rendered(key: str, text: str | None) -> str | None:
    if text is not None and text.startswith(("{'", "[{'", "['")):
        raise SpecError(
            f"{key}: must be text. Render a dictionary to YAML on the control node (filter to_nice_yaml)", key=key
        )
    return check_text(key, text)


def _parse_disks(items: t.Any) -> tuple[Item, ...] | None:
    checked = check_items("disks", items)
    if checked is None:
        return None
    return tuple(_parse_disk(item) for item in checked)


def _parse_disk(item: t.Mapping[str, t.Any]) -> Item:
    name = item["name"]
    key = f"disks[{name}]"
    if name == SEED:
        raise SpecError(f"{key}: this name belongs to the disk that cloud_init makes", key=key)
    serial, size = item.get("serial"), item.get("size")
    if serial is not None and not _SERIAL.fullmatch(serial):
        raise bad_value(f"{key}.serial", serial, "1 to 20 letters, digits, blanks, '_', '.', '+' and '-'")
    source = check_path(f"{key}.source", item.get("source"))
    bytes_ = None if size is None else parse_size(f"{key}.size", size, unit=GIB)
    if bytes_ is not None and bytes_ % 512:
        raise bad_value(f"{key}.size", size, "whole sectors of 512 bytes")
    found: dict[str, Value | None] = {
        "pool": None if item.get("pool") is None else check_name(f"{key}.pool", item["pool"]),
        "size": bytes_,
        "format": check_choice(f"{key}.format", item.get("format"), FORMATS),
        "image": None if item.get("image") is None else check_name(f"{key}.image", item["image"]),
        "source": source,
        "bus": check_choice(f"{key}.bus", item.get("bus"), BUSES),
        "serial": serial,
        "cache": check_choice(f"{key}.cache", item.get("cache"), CACHES),
        "discard": item.get("discard"),
        "readonly": item.get("readonly"),
    }
    values = {option: value for option, value in found.items() if value is not None}
    if source is not None and any(option in values for option in ("pool", "image", "size")):
        raise SpecError(
            f"{key}: source is a file that is there already; pool, image and size belong to disks that are made",
            key=key,
        )
    return Item(name, item.get("state") != "absent", values)


def _parse_networks(items: t.Any) -> tuple[Item, ...] | None:
    checked = check_items("networks", items)
    if checked is None:
        return None
    found = tuple(_parse_network(item) for item in checked)
    macs = [item.values["mac"] for item in found if "mac" in item.values]
    if len(set(macs)) != len(macs):
        raise SpecError("networks: a mac is there twice", key="networks")
    return found


def _parse_network(item: t.Mapping[str, t.Any]) -> Item:
    key = f"networks[{item['name']}]"
    mtu = check_number(f"{key}.mtu", item.get("mtu"), least=68, most=65535)
    found: dict[str, Value | None] = {
        "bridge": check_bridge(f"{key}.bridge", item.get("bridge")),
        "vlan": check_number(f"{key}.vlan", item.get("vlan"), least=1, most=4094),
        "mac": check_mac(f"{key}.mac", item.get("mac")),
        "model": check_choice(f"{key}.model", item.get("model"), NIC_MODELS),
        "link": check_choice(f"{key}.link", item.get("link"), LINKS),
        "mtu": mtu,
    }
    return Item(
        item["name"],
        item.get("state") != "absent",
        {option: value for option, value in found.items() if value is not None},
    )


def check_bridge(key: str, name: str | None) -> str | None:
    """A name that the kernel takes for a link. ``None`` stays ``None``.

    :raises SpecError:
    """
    if name is not None and not _BRIDGE.fullmatch(name):
        raise bad_value(key, name, "1 to 15 letters, digits, '_', '.' and '-'")
    return name


def check_mac(key: str, mac: str | None) -> str | None:
    """A unicast MAC address in lower case with colons. ``None`` stays ``None``.

    :raises SpecError:
    """
    if mac is None:
        return None
    plain = mac.lower().replace("-", ":")
    if not _MAC.fullmatch(plain) or int(plain[:2], 16) & 1 or plain == "00:00:00:00:00:00":
        raise bad_value(key, mac, "a unicast MAC address such as 52:54:00:12:34:56")
    return plain


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new virtual machine gets where the user wrote nothing. The image goes to the first disk.

    :raises SpecError: for a name that a new guest cannot have, and for an image without a disk to stand on.
    """
    check_name("name", spec.name)
    values: dict[str, Value] = {"memory": 1024 * 1024, "graphics": "none", "serial": True, "agent": True, **spec.values}
    if "vcpus" not in values and "cpu.cores" not in values:
        values["cpu.cores"] = 1
    values.setdefault("cpu.max_cores", values[spec.cores_path if spec.cores_path in values else "cpu.cores"])
    values.setdefault("memory_max", values["memory"])
    if t.cast(int, values["memory"]) > t.cast(int, values["memory_max"]):
        raise SpecError("memory_max: is less than memory", key="memory_max")
    disks = tuple(with_disk_defaults(item) for item in spec.disks or () if item.is_wanted)
    networks = tuple(with_network_defaults(item) for item in spec.networks or () if item.is_wanted)
    if spec.image is not None:
        disks = _with_image(spec.image, disks)
    return dataclasses.replace(spec, values=values, disks=disks, networks=networks)


def _with_image(image: str, disks: tuple[Item, ...]) -> tuple[Item, ...]:
    for position, item in enumerate(disks):
        if "image" not in item.values and "source" not in item.values:
            linked = dataclasses.replace(item, values={**item.values, "image": image})
            return (*disks[:position], linked, *disks[position + 1 :])
    raise SpecError("image: needs a disk to stand on, such as disks: [{name: root, pool: main}]", key="image")


def with_disk_defaults(item: Item) -> Item:
    """What a new disk gets where the user wrote nothing.

    :raises SpecError: for a disk that nothing says where it comes from.
    """
    key = f"disks[{item.name}]"
    source = item.text("source")
    defaults: dict[str, Value] = {
        "bus": "virtio",
        "serial": "",
        "cache": "default",
        "discard": source is None,
        "readonly": False,
    }
    if source is not None:
        defaults.update(format="qcow2" if source.endswith(".qcow2") else "raw", readonly=source.endswith(".iso"))
    elif "pool" not in item.values:
        raise SpecError(f"{key}: a new disk needs a pool to be made in, or a source that is there", key=key)
    else:
        defaults["format"] = "qcow2"
    return dataclasses.replace(item, values={**defaults, **item.values})


def with_network_defaults(item: Item) -> Item:
    """What a new network card gets where the user wrote nothing; its MAC is derived by the plan.

    :raises SpecError: without a bridge.
    """
    if "bridge" not in item.values:
        raise SpecError(
            f"networks[{item.name}].bridge: is needed to add the network card", key=f"networks[{item.name}]"
        )
    return dataclasses.replace(item, values={"model": "virtio", "link": "up", "mtu": 0, **item.values})
