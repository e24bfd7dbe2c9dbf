# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The options of a container: one row each. How each is read and written stands in ``values``, ``card``, ``mount`` and ``backend``."""

from __future__ import annotations

import re
import typing as t

from .._core.declared import check_path
from .._core.errors import bad_value
from .._core.options import (
    DEFINITION,
    INSIDE,
    NAME,
    RECORD,
    TASK,
    VOLUME,
    Check,
    Option,
    Options,
    always,
    as_written,
    each,
    fixed,
    listed,
    never_shrinks,
    number,
    or_none,
    size,
)
from .._core.units import GIB, KIB, MIB, TIB, parse_size, show_memory_kib, show_size
from .._guest.options import (
    ADDRESS,
    AUTOSTART,
    BACKUP_DATA,
    BACKUP_EXCLUDE,
    BACKUP_HEALTH,
    BACKUP_HOOKS,
    BRIDGE,
    CLONE_FROM,
    CPU_CORES,
    DESCRIPTION,
    DEVICES,
    DHCP,
    FORCE_STOP,
    IMAGE,
    LINK,
    MEMORY,
    NAMED,
    NETWORK,
    NETWORK_GATEWAY,
    NETWORK_GATEWAY6,
    NETWORK_IP,
    NETWORK_IP6,
    NETWORK_MAC,
    NETWORK_MTU,
    NETWORK_RATES,
    NETWORK_VLAN,
    PROTECTION,
    QUARANTINE,
    RESTART_POLICY,
    SHUTDOWN_TIMEOUT,
    SSH_KEYS,
    STARTUP,
    STATE,
    STATES,
    TAGS,
    TEMPLATE,
    UNSET,
    VCPUS,
    WAIT_TIMEOUT,
    words,
)
from . import cpuset

ALLOW = ("adopt",)
DELETE = ("rootfs", "volumes", "snapshots")
EXACT = ("networks", "mounts", "devices")
WAIT_FOR = ("ip", "systemd")
# Each stands for other options, or for nothing.
FEATURES = ("fuse", "tun", "docker", "keyctl", "mknod")

UNLIMITED_SWAP = -1
EVERYBODYS_WEIGHT = 100

_SWAP = "0, or whole MiB, 64 TiB at most"
_KINDS = {"uid": ("uid",), "gid": ("gid",), "both": ("gid", "uid")}
_OWNER = re.compile(r"0|[1-9][0-9]{0,9}|[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def _show_memory(memory_kib: int | None) -> str | None:
    return show_memory_kib(memory_kib or None)


def _parse_swap(key: str, value: t.Any) -> int:
    """Swap in KiB. The kernel keeps whole pages: what it would round is refused."""
    if str(value).strip() == "0":
        return 0
    found = parse_size(key, value, unit=MIB)
    if found % MIB or found > 64 * TIB:
        raise bad_value(key, value, _SWAP)
    return found // KIB


def _show_swap(swap_kib: int | None) -> str | int | None:
    return None if swap_kib in (None, UNLIMITED_SWAP) else show_memory_kib(swap_kib) if swap_kib else 0


def _parse_limit(key: str, value: float) -> float:
    if not 0.01 <= value <= 8192:
        raise bad_value(key, value, LIMIT.allowed)
    return round(value, 2)


def _parse_pin(key: str, value: str) -> str:
    cpus = cpuset.parse(value)
    if not cpus:
        raise bad_value(key, value, PIN.allowed)
    return cpuset.show(cpus)


def _parse_hostname(key: str, value: str) -> str:
    if len(value) > 64 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise bad_value(key, value, HOSTNAME.allowed)
    return value


def _parse_mount_path(key: str, value: str) -> str:
    path = t.cast(str, check_path(key, value))
    # liblxc ends a line at any of these, and takes quotes around a value off.
    if not path.isprintable():
        raise bad_value(key, value, "a path of printable characters")
    return path


def _parse_ids(key: str, values: t.Any) -> tuple[str, ...]:
    """``both`` is the two of that name or number."""
    found: dict[str, None] = {}
    for value in values:
        words = value.split() if isinstance(value, str) else []
        if len(words) != 3 or words[0] not in _KINDS or not all(_OWNER.fullmatch(word) for word in words[1:]):
            raise bad_value(key, value, IDS.allowed)
        if any(word.isdecimal() and int(word) > 4294967294 for word in words[1:]):
            raise bad_value(key, value, IDS.allowed)
        found.update(dict.fromkeys(f"{kind} {words[1]} {words[2]}" for kind in _KINDS[words[0]]))
    return tuple(sorted(found))


def _loss_of_root(before: int, after: int) -> str | None:
    """What takes the limit off makes nothing smaller."""
    return never_shrinks(before, after) if after else None


def _show_root(size_bytes: int | None) -> str | None:
    return show_size(size_bytes or None)


SWAP = Check(_parse_swap, _SWAP, ("512MiB", "1GiB"))
LIMIT = Check(_parse_limit, "0.01 to 8192 CPUs", (0.5, 1.5))
PIN = Check(_parse_pin, "CPU numbers and ranges of them such as 0-1,3", ("0", "0-1"))
HOSTNAME = Check(_parse_hostname, "labels of letters, digits and '-' between dots, 64 characters at most")
IDS = Check(
    _parse_ids,
    "uid, gid or both, then the user or group of the host, then that inside, by name or number",
    (["uid 1000 105"], ["both 1000 105"]),
)
MOUNT_PATH = Check(_parse_mount_path, "an absolute path other than /, without '..'", ("/srv/a", "/srv/b"))
ROOT_SIZE = size(16 * MIB, 64 * TIB, unit=GIB, step=MIB, allowed="whole MiB, 16 MiB to 64 TiB")

OPTIONS = Options(
    NAMED,
    STATE.but(choices=(*STATES[:-1], "frozen", STATES[-1])),
    IMAGE,
    *CLONE_FROM,
    Option("rootfs.pool", check=NAME, home=VOLUME, live=always, loss=fixed),
    Option("rootfs.size", check=ROOT_SIZE, home=VOLUME, off=0, live=always, loss=_loss_of_root, show=_show_root),
    Option("unprivileged", "bool", create=True, live=always, loss=fixed),
    NETWORK,
    BRIDGE,
    NETWORK_VLAN,
    NETWORK_MAC,
    NETWORK_IP.but(create=DHCP, live=always),
    NETWORK_GATEWAY.but(live=always),
    NETWORK_IP6.but(live=always),
    NETWORK_GATEWAY6.but(live=always),
    NETWORK_MTU.but(live=always),
    LINK,
    *NETWORK_RATES,
    Option("mounts[]", "item", live=always),
    Option("mounts[].source", check=MOUNT_PATH, live=always),
    Option("mounts[].path", check=MOUNT_PATH, live=always, aliases=("mp",)),
    Option("mounts[].readonly", "bool", create=False, off=False, live=always),
    Option("mounts[].mapped", "bool", live=always),
    Option("mounts[].map_ids", "list", IDS, off=(), live=always, show=listed),
    # The record keeps it: LXC has no word for it.
    Option("mounts[].backup", "bool", off=False, live=as_written),
    *DEVICES,
    Option("features.nesting", "bool", off=False, note="the guest has the mounts for it from its start on"),
    *(Option(f"features.{word}", "bool", home=TASK) for word in FEATURES),
    MEMORY.but(off=0, show=_show_memory, note="a limit below what is in use is refused while it runs"),
    Option("swap", check=SWAP, off=UNLIMITED_SWAP, live=always, show=_show_swap, note="on top of memory"),
    VCPUS,
    CPU_CORES.but(off=0),
    Option("cpu.limit", "float", LIMIT, off=0.0, live=always, show=or_none),
    Option("cpu.weight", "int", number(1, 10000), off=EVERYBODYS_WEIGHT, live=always),
    Option("cpu.pin", check=PIN, off="", live=always, show=or_none),
    Option("pids", "int", number(1, 4_194_304), off=0, live=always, show=or_none),
    Option("hostname", check=HOSTNAME, live=always),
    Option("dns.servers", "list", each(ADDRESS), home=INSIDE, off=(), live=as_written, show=listed),
    Option("dns.search", "list", each(HOSTNAME), home=INSIDE, off=(), live=as_written, show=listed),
    SSH_KEYS.but(home=INSIDE, live=as_written),
    # LXC has it as a line of the configuration.
    AUTOSTART.but(home=DEFINITION, live=as_written),
    *STARTUP,
    *BACKUP_HOOKS,
    BACKUP_EXCLUDE,
    BACKUP_DATA,
    BACKUP_HEALTH,
    DESCRIPTION.but(home=RECORD),
    TAGS,
    PROTECTION,
    TEMPLATE,
    words("wait_for", WAIT_FOR),
    WAIT_TIMEOUT,
    SHUTDOWN_TIMEOUT,
    FORCE_STOP,
    RESTART_POLICY,
    words("allow", ALLOW),
    words("delete", DELETE),
    QUARANTINE,
    words("exact", EXACT),
    UNSET,
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
