# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the user wrote of a container: the mother of its options."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from .._core import startup
from .._core.declared import (
    check_choice,
    check_item_name,
    check_items,
    check_line,
    check_name,
    check_number,
    check_path,
    check_text,
)
from .._core.errors import SpecError, bad_value
from .._core.options import NEVER_PERMITTED, Option, always, check_unset, never
from .._core.units import GIB, parse_memory_kib, parse_size, show_memory_kib
from . import cpuset

STATES = ("present", "started", "running", "stopped", "shutdown", "restarted", "paused", "frozen", "absent")
SYNONYMS = {"running": "started", "shutdown": "stopped", "frozen": "paused"}
ALLOW = ("adopt",)
DELETE = ("rootfs", "volumes")
EXACT = ("networks", "mounts")
WAIT_FOR = ("ip", "systemd")

UNLIMITED_SWAP = -1
DEFAULT_WEIGHT = 100

_NETWORK = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "bridge": {"type": "str"},
    "vlan": {"type": "int", "aliases": ["tag"]},
    "mac": {"type": "str", "aliases": ["hwaddr"]},
    "ip": {"type": "str"},
    "gateway": {"type": "str"},
    "mtu": {"type": "int"},
    "link": {"type": "str", "choices": ["up", "down"]},
}
_MOUNT = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "source": {"type": "str"},
    "path": {"type": "str", "aliases": ["mp"]},
    "readonly": {"type": "bool"},
}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "image": {"type": "str", "aliases": ["template", "ostemplate"]},
    "rootfs": {"type": "dict", "options": {"pool": {"type": "str"}, "size": {"type": "str"}}},
    "unprivileged": {"type": "bool"},
    "networks": {"type": "list", "elements": "dict", "options": _NETWORK},
    "mounts": {"type": "list", "elements": "dict", "options": _MOUNT},
    "memory": {"type": "str"},
    "swap": {"type": "str"},
    "vcpus": {"type": "int"},
    "cpu": {
        "type": "dict",
        "options": {
            "cores": {"type": "int"},
            "limit": {"type": "float"},
            "weight": {"type": "int"},
            "pin": {"type": "str"},
        },
    },
    "pids": {"type": "int"},
    "hostname": {"type": "str"},
    "dns": {
        "type": "dict",
        "options": {"servers": {"type": "list", "elements": "str"}, "search": {"type": "list", "elements": "str"}},
    },
    "ssh_keys": {"type": "list", "elements": "str", "no_log": False},
    "autostart": {"type": "bool", "aliases": ["onboot", "start_on_boot"]},
    "startup": startup.ARGUMENT,
    "description": {"type": "str"},
    "tags": {"type": "list", "elements": "str"},
    "protection": {"type": "bool"},
    "wait_for": {"type": "list", "elements": "str", "choices": list(WAIT_FOR), "default": []},
    "wait_timeout": {"type": "int", "default": 300},
    "shutdown_timeout": {"type": "int", "default": 60},
    "force_stop": {"type": "bool", "default": False},
    "restart_policy": {"type": "str", "choices": ["never", "if_needed"], "default": "never"},
    "allow": {"type": "list", "elements": "str", "choices": list(ALLOW), "default": []},
    "delete": {"type": "list", "elements": "str", "choices": list(DELETE), "default": []},
    "exact": {"type": "list", "elements": "str", "choices": list(EXACT), "default": []},
    "unset": {"type": "list", "elements": "str", "default": []},
}
CONSTRAINTS: dict[str, t.Any] = {}


def _never_lost(before: t.Any, after: t.Any) -> str | None:
    return NEVER_PERMITTED if before is not None and before != after else None


def _show_list(value: t.Any) -> t.Any:
    return None if value is None else list(value)


def _show_memory(value: int | None) -> str | None:
    return show_memory_kib(value) if value else None


def _show_swap(value: int | None) -> str | int | None:
    return None if value in (None, UNLIMITED_SWAP) else show_memory_kib(value) if value else 0


def _show_number(value: t.Any) -> t.Any:
    return value or None


OPTIONS = (
    Option("rootfs.pool", loss=_never_lost, note="only at creation"),
    Option("unprivileged", loss=_never_lost, note="only at creation"),
    Option(
        "memory", live=always, show=_show_memory, off=0, note="a limit below what is in use is refused while it runs"
    ),
    Option("swap", live=always, show=_show_swap, off=UNLIMITED_SWAP),
    Option("vcpus", live=always, show=_show_number, note="the same as cpu.cores"),
    Option("cpu.cores", live=always, show=_show_number, off=0),
    Option("cpu.limit", live=always, show=_show_number, off=0.0),
    Option("cpu.weight", live=always, off=DEFAULT_WEIGHT),
    Option("cpu.pin", live=always, show=_show_number, off=""),
    Option("pids", live=always, show=_show_number, off=0),
    Option("hostname", live=always),
    Option("dns.servers", live=always, show=_show_list, off=()),
    Option("dns.search", live=always, show=_show_list, off=()),
    Option("ssh_keys", live=always, show=_show_list, off=()),
    Option("autostart", live=always),
    *startup.OPTIONS,
    Option("description", live=always, show=_show_number, off=""),
    Option("tags", live=always, show=_show_list, off=()),
    Option("protection", live=always, off=False),
    Option("networks[]", live=always),
    Option("networks[].bridge", live=always),
    Option("networks[].vlan", live=always, show=_show_number, off=0, note="the bridge has to know VLANs"),
    Option("networks[].mac", live=never),
    Option("networks[].ip", live=always),
    Option("networks[].gateway", live=always, show=_show_number, off=""),
    Option("networks[].mtu", live=always, show=_show_number, off=0),
    Option("networks[].link", live=always, off="up"),
    Option("mounts[]", live=always),
    Option("mounts[].source", live=always),
    Option("mounts[].path", live=always),
    Option("mounts[].readonly", live=always, off=False),
)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network interface as declared. *ip* is ``dhcp``, ``none`` or an address with its prefix length; *mtu* in bytes."""

    name: str
    is_present: bool = True
    bridge: str | None = None
    vlan: int | None = None
    mac: str | None = None
    ip: str | None = None
    gateway: str | None = None
    mtu: int | None = None
    link: str | None = None


@dataclasses.dataclass(frozen=True)
class Mount:
    """A folder or file of the host that is seen inside at *path*."""

    name: str
    is_present: bool = True
    source: str | None = None
    path: str | None = None
    readonly: bool | None = None


@dataclasses.dataclass(frozen=True)
class Spec:
    """A container as declared. ``None`` is not written. Memory in KiB, swap comes on top of it, *limit* in CPUs, times in seconds.

    *startup* has what was written of it, by option path (``startup.order``).
    """

    name: str
    state: str = "present"
    image: str | None = None
    pool: str | None = None
    size: int | None = None
    unprivileged: bool | None = None
    networks: tuple[Network, ...] | None = None
    mounts: tuple[Mount, ...] | None = None
    memory: int | None = None
    swap: int | None = None
    cores: int | None = None
    cores_path: str = "cpu.cores"
    limit: float | None = None
    weight: int | None = None
    pin: str | None = None
    pids: int | None = None
    hostname: str | None = None
    servers: tuple[str, ...] | None = None
    search: tuple[str, ...] | None = None
    ssh_keys: tuple[str, ...] | None = None
    autostart: bool | None = None
    startup: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    description: str | None = None
    tags: tuple[str, ...] | None = None
    protection: bool | None = None
    wait_for: tuple[str, ...] = ()
    wait_timeout: int = 300
    shutdown_timeout: int = 60
    force_stop: bool = False
    restart_policy: str = "never"
    allow: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared container from a module's parameters.

    :raises SpecError:
    """
    for name in params.get("exact") or ():
        if params.get(check_choice("exact", name, EXACT)) is None:
            raise SpecError(f"exact: {name} is not written. Write {name}: [] to take all of them away", key="exact")
    state = check_choice("state", params.get("state") or "present", STATES)
    rootfs = params.get("rootfs") or {}
    dns = params.get("dns") or {}
    pool = rootfs.get("pool")
    image = params.get("image")
    return Spec(
        name=check_name("name", params["name"]),
        state=SYNONYMS.get(state, state),
        image=None if image is None else check_name("image", image),
        pool=None if pool is None else check_name("rootfs.pool", pool),
        size=None if rootfs.get("size") is None else parse_size("rootfs.size", rootfs["size"], unit=GIB),
        unprivileged=params.get("unprivileged"),
        networks=_parse_networks(params),
        mounts=_parse_mounts(params),
        memory=None if params.get("memory") is None else parse_memory_kib("memory", params["memory"]),
        swap=_parse_swap(params.get("swap")),
        **_parse_cpu(params),
        pids=check_number("pids", params.get("pids"), least=1, most=4_194_304),
        hostname=check_hostname("hostname", params.get("hostname")),
        servers=_parse_list("dns.servers", dns.get("servers"), _check_address),
        search=_parse_list("dns.search", dns.get("search"), check_hostname),
        ssh_keys=_parse_list("ssh_keys", params.get("ssh_keys"), _check_ssh_key),
        autostart=params.get("autostart"),
        startup=startup.parse(params.get("startup")),
        description=check_text("description", params.get("description")),
        tags=_parse_tags(params.get("tags")),
        protection=params.get("protection"),
        wait_for=tuple(check_choice("wait_for", item, WAIT_FOR) for item in params.get("wait_for") or ()),
        wait_timeout=_parse_seconds("wait_timeout", params.get("wait_timeout"), 300),
        shutdown_timeout=_parse_seconds("shutdown_timeout", params.get("shutdown_timeout"), 60),
        force_stop=bool(params.get("force_stop")),
        restart_policy=check_choice("restart_policy", params.get("restart_policy") or "never", ("never", "if_needed")),
        allow=tuple(check_choice("allow", item, ALLOW) for item in params.get("allow") or ()),
        delete=tuple(check_choice("delete", item, DELETE) for item in params.get("delete") or ()),
        exact=tuple(check_choice("exact", item, EXACT) for item in params.get("exact") or ()),
        unset=check_unset(params.get("unset") or (), OPTIONS, lambda path: _lookup(params, path)),
    )


def _lookup(params: t.Mapping[str, t.Any], path: str) -> t.Any:
    """What the user wrote at *path* (``dns.servers``, ``networks[lan].mtu``)."""
    value: t.Any = params
    for part in path.split("."):
        name, dummy, item = part.partition("[")
        value = (value or {}).get(name)
        if item:
            value = next((each for each in value or () if each.get("name") == item.removesuffix("]")), None)
    if path == "cpu.cores" and value is None:
        return params.get("vcpus")
    return value


Item = t.TypeVar("Item")


def _parse_items(
    key: str, params: t.Mapping[str, t.Any], parse_item: t.Callable[[t.Mapping[str, t.Any]], Item]
) -> tuple[Item, ...] | None:
    items = check_items(key, params.get(key))
    return None if items is None else tuple(parse_item(item) for item in items)


def _parse_list(key: str, values: t.Any, check: t.Callable[[str, t.Any], t.Any]) -> tuple[str, ...] | None:
    return None if values is None else tuple(dict.fromkeys(check(key, value) for value in values))


def _parse_tags(values: t.Any) -> tuple[str, ...] | None:
    """The order of tags says nothing."""
    tags = _parse_list("tags", values, check_item_name)
    return None if tags is None else tuple(sorted(tags))


def _parse_seconds(key: str, value: int | None, default: int) -> int:
    return t.cast(int, check_number(key, default if value is None else value, least=0, most=86400))


def _parse_swap(value: t.Any) -> int | None:
    if value is None:
        return None
    return 0 if str(value).strip() == "0" else parse_memory_kib("swap", value)


def _parse_cpu(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    cpu = params.get("cpu") or {}
    cores, pin = cpu.get("cores"), cpu.get("pin")
    has_vcpus = params.get("vcpus") is not None
    if has_vcpus:
        if cores is not None:
            raise SpecError("vcpus: cpu.cores is written too. They are the same: write one of the two", key="vcpus")
        cores = params["vcpus"]
    if cores is not None and pin is not None:
        raise SpecError(
            "cpu.pin: cpu.cores is written too. Say how many CPUs, or which: write one of the two", key="cpu.pin"
        )
    limit = cpu.get("limit")
    if limit is not None and not 0.01 <= limit <= 8192:
        raise bad_value("cpu.limit", limit, "0.01 to 8192 CPUs")
    path = "vcpus" if has_vcpus else "cpu.cores"
    return {
        "cores": check_number(path, cores, least=1, most=8192),
        "cores_path": path,
        "limit": None if limit is None else round(limit, 2),
        "weight": check_number("cpu.weight", cpu.get("weight"), least=1, most=10000),
        "pin": None if pin is None else _parse_pin(pin),
    }


def _parse_pin(value: str) -> str:
    cpus = cpuset.parse(value)
    if not cpus:
        raise bad_value("cpu.pin", value, "CPU numbers and ranges of them such as 0-1,3")
    return cpuset.show(cpus)


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def _parse_networks(params: t.Mapping[str, t.Any]) -> tuple[Network, ...] | None:
    networks = _parse_items("networks", params, _parse_network)
    present = [item for item in networks or () if item.is_present]
    macs = [item.mac for item in present if item.mac]
    fixed = [item for item in present if item.ip and "/" in item.ip and item.bridge]
    places = [(str(item.ip).partition("/")[0], item.bridge, item.vlan) for item in fixed]
    if len(set(macs)) != len(macs):
        raise SpecError("networks: a mac is there twice", key="networks")
    if len(set(places)) != len(places):
        raise SpecError("networks: an ip is there twice on one bridge", key="networks")
    return networks


def _parse_network(item: t.Mapping[str, t.Any]) -> Network:
    name = item["name"]
    key = f"networks[{name}]"
    mac = item.get("mac")
    if mac is not None:
        mac = str(mac).lower().replace("-", ":")
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
            raise bad_value(f"{key}.mac", item["mac"], "six bytes such as 00:16:3e:12:34:56, not a multicast address")
    bridge = item.get("bridge")
    if bridge is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", bridge):
        raise bad_value(f"{key}.bridge", bridge, "the name of a bridge: 1 to 15 letters, digits, '_', '.' and '-'")
    address = _parse_ip(f"{key}.ip", item.get("ip"))
    return Network(
        name=name,
        is_present=check_choice(f"{key}.state", item.get("state") or "present", ("present", "absent")) == "present",
        bridge=bridge,
        vlan=check_number(f"{key}.vlan", item.get("vlan"), least=1, most=4094),
        mac=mac,
        ip=address,
        gateway=_parse_gateway(f"{key}.gateway", item.get("gateway"), address),
        mtu=check_number(f"{key}.mtu", item.get("mtu"), least=576, most=65535),
        link=check_choice(f"{key}.link", item.get("link"), ("up", "down")),
    )


def _parse_ip(key: str, value: str | None) -> str | None:
    if value is None or value in ("dhcp", "none"):
        return value
    allowed = "dhcp, none, or an address with its prefix length such as 192.0.2.10/24"
    if "/" not in value:
        raise bad_value(key, value, allowed)
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise bad_value(key, value, allowed) from None
    if (
        interface.ip.is_multicast
        or interface.ip.is_unspecified
        or interface.ip.is_loopback
        or getattr(interface, "scope_id", None)
    ):
        raise bad_value(key, value, allowed)
    return interface.with_prefixlen


def _parse_gateway(key: str, value: str | None, address: str | None) -> str | None:
    if value is None:
        return None
    gateway = _check_address(key, value)
    if address in ("dhcp", "none"):
        raise SpecError(f"{key}: needs a fixed address in ip, not {address!r}", key=key)
    if address is not None:
        network = ipaddress.ip_interface(address).network
        if ipaddress.ip_address(gateway) not in network and not ipaddress.ip_address(gateway).is_link_local:
            raise bad_value(key, value, f"an address in {network}")
    return gateway


def _check_address(key: str, value: t.Any) -> str:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise bad_value(key, value, "an IPv4 or IPv6 address") from None


def _parse_mounts(params: t.Mapping[str, t.Any]) -> tuple[Mount, ...] | None:
    mounts = _parse_items("mounts", params, _parse_mount)
    paths = [mount.path for mount in mounts or () if mount.path and mount.is_present]
    for path in paths:
        if paths.count(path) > 1:
            raise SpecError(f"mounts: two of them have the path {path}. Each needs a path of its own", key="mounts")
    return mounts


def _parse_mount(item: t.Mapping[str, t.Any]) -> Mount:
    name = item["name"]
    key = f"mounts[{name}]"
    return Mount(
        name=name,
        is_present=check_choice(f"{key}.state", item.get("state") or "present", ("present", "absent")) == "present",
        source=_check_mount_path(f"{key}.source", item.get("source")),
        path=_check_mount_path(f"{key}.path", item.get("path")),
        readonly=item.get("readonly"),
    )


def _check_mount_path(key: str, value: str | None) -> str | None:
    path = check_path(key, value)
    # liblxc ends a line at any of these, and takes quotes around a value off.
    if path is not None and not path.isprintable():
        raise bad_value(key, value, "a path of printable characters")
    return path


_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def check_hostname(key: str, value: str | None) -> str | None:
    """A host or domain name. ``None`` stays ``None``.

    :raises SpecError: for what is none.
    """
    if value is not None and (len(value) > 64 or not all(_LABEL.fullmatch(label) for label in value.split("."))):
        raise bad_value(key, value, "labels of letters, digits and '-' between dots, 64 characters at most")
    return value


def _check_ssh_key(key: str, value: str) -> str:
    line = t.cast(str, check_line(key, value)).strip()
    if not re.search(r"(^|\s)(ssh-|ecdsa-|sk-)\S+ AAAA\S+", line):
        raise bad_value(key, value, "a public key as in authorized_keys, such as 'ssh-ed25519 AAAA... me@there'")
    return line


def default_hostname(name: str) -> str:
    """The host name that a new container of that name gets: ``_`` is not allowed in one."""
    return ".".join(label.strip("-") or "x" for label in name.replace("_", "-").split("."))


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new container gets where the user wrote nothing.

    :raises SpecError: without an image and a pool for its root, and for an item that lacks what it needs.
    """
    if spec.image is None:
        raise SpecError(f"image: is needed to make the container {spec.name}", key="image")
    if spec.pool is None:
        raise SpecError(f"rootfs.pool: is needed to make the container {spec.name}", key="rootfs.pool")
    return dataclasses.replace(
        spec,
        unprivileged=True if spec.unprivileged is None else spec.unprivileged,
        hostname=spec.hostname or default_hostname(spec.name),
        autostart=bool(spec.autostart),
        networks=tuple(with_network_defaults(item) for item in spec.networks or () if item.is_present),
        mounts=tuple(with_mount_defaults(item) for item in spec.mounts or () if item.is_present),
    )


def with_network_defaults(item: Network) -> Network:
    """*item* with what a new interface gets where the user wrote nothing.

    :raises SpecError: without a bridge.
    """
    if item.bridge is None:
        raise SpecError(f"networks[{item.name}].bridge: is needed to add this interface", key="networks")
    address = item.ip or "dhcp"
    if item.gateway and address == "dhcp":
        raise SpecError(f"networks[{item.name}].gateway: needs a fixed address in ip", key="networks")
    return dataclasses.replace(item, ip=address, link=item.link or "up")


def with_mount_defaults(item: Mount) -> Mount:
    """*item* with what a new mount gets where the user wrote nothing.

    :raises SpecError: without a source and a path.
    """
    for key, value in (("source", item.source), ("path", item.path)):
        if value is None:
            raise SpecError(f"mounts[{item.name}].{key}: is needed to add this mount", key="mounts")
    return dataclasses.replace(item, readonly=bool(item.readonly))
