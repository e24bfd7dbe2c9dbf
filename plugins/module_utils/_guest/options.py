# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The options that virtual machines and containers share: one row each. A backend says with ``but`` what only it knows."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import typing as t

from .._core.declared import check_line, check_text
from .._core.errors import SpecError, bad_value
from .._core.options import (
    CREATION,
    FLAG,
    ITEM_NAME,
    LINE,
    LINK_NAME,
    MAC,
    MTU,
    NAME,
    PATH,
    RECORD,
    SECONDS,
    TASK,
    VLAN,
    Check,
    Option,
    always,
    each,
    listed,
    matching,
    never,
    number,
    or_none,
)
from .._core.units import KIB, MIB, RATES_ALLOWED, parse_rate, parse_size, show_memory_kib, show_rate
from .auto_address import AUTO, is_auto, is_of_ipv6, read_offer
from .device import NODE, SERIAL, USB

STATES = ("present", "started", "running", "stopped", "shutdown", "restarted", "paused", "absent")
SYNONYMS = {"running": "started", "shutdown": "stopped", "frozen": "paused"}
RESTART_POLICIES = ("never", "if_needed")
LINKS = ("up", "down")
CLONE_MODES = ("linked", "full")
NO_ORDER = -1
# What a card has in the place of an address: one that it asks for, and none that anybody gives it.
DHCP, NO_ADDRESS = "dhcp", "none"
# The guest gives itself an address from what a router announces, as systems do unless they are told otherwise.
SLAAC = "slaac"
# Why there is no gateway6.
NEEDS_IP6 = "needs a fixed address in ip6"

_ENDS = re.compile("\r\n?")
_KEY = re.compile(r"(^|\s)(ssh-|ecdsa-|sk-)\S+ AAAA\S*")
_MEMORY = "whole MiB, 16 MiB to 64 TiB"
_IP6 = "an IPv6 address with its prefix length such as 2001:db8::10/64, slaac, or auto"
_GATEWAY6 = "an IPv6 address, such as 2001:db8::1 or fe80::1"
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{0,15}")
# They become words of a shell's command line: liblxc runs a hook through one.
_DEVICE_PATH = re.compile(r"/dev/[A-Za-z0-9_.:@+#=/-]{1,200}")
_GLOB = frozenset("*?[]\\")
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# What every guest has of its own.
_OWN_NODES = "console fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()


def _parse_description(key: str, value: str) -> str:
    # XML knows no other end of a line: libvirt gives back this one, and a record needs no other.
    return _ENDS.sub("\n", t.cast(str, check_text(key, value)))


def parse_memory(key: str, value: t.Any) -> int:
    """Memory in KiB. A bare number counts in MiB.

    :raises SpecError: for what QEMU (whole MiB) or the kernel (whole pages) would round: the next run would see a difference.
    """
    size = parse_size(key, value, unit=MIB)
    if size % MIB or not 16 * MIB <= size <= 64 * 1024**2 * MIB:
        raise bad_value(key, value, _MEMORY)
    return size // KIB


def _parse_commands(key: str, values: t.Sequence[t.Any]) -> tuple[str, ...]:
    found = tuple(LINE.parse(key, value) for value in values)
    if not all(line.strip() for line in found):
        raise SpecError(f"{key}: an empty line is no command", key=key)
    return found


def _parse_excluded(key: str, value: t.Any) -> str:
    path = t.cast(str, PATH.parse(key, value))
    if set(path) & _GLOB:
        raise bad_value(key, value, EXCLUDED.allowed)
    return path


def _parse_ssh_key(key: str, value: str) -> str:
    line = t.cast(str, check_line(key, value)).strip()
    if not _KEY.search(line):
        raise bad_value(key, value, SSH_KEY.allowed)
    return line


def _parse_device_path(key: str, value: str) -> str:
    if not _DEVICE_PATH.fullmatch(value) or posixpath.normpath(value) != value or value.split("/")[2] in _OWN_NODES:
        raise bad_value(key, value, DEVICE_PATH.allowed)
    return value


def _parse_group(key: str, value: t.Any) -> str | int:
    text = str(value)
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    if not _GROUP.fullmatch(text):
        raise bad_value(key, value, GROUP.allowed)
    return text


def _parse_address(key: str, value: t.Any) -> str:
    try:
        address = ipaddress.ip_address(str(value))
    except ValueError:
        raise bad_value(key, value, ADDRESS.allowed) from None
    # Python takes anything behind the % for the name of a link, line ends too.
    if not _SCOPE.fullmatch(getattr(address, "scope_id", None) or ""):
        raise bad_value(key, value, ADDRESS.allowed)
    return str(address)


def parse_gateway(key: str, value: t.Any) -> str:
    found = _parse_address(key, value)
    if "%" in found:
        raise bad_value(key, value, ADDRESS.allowed)
    return found


def parse_ip(key: str, value: str) -> str:
    """How a card comes to its address: a word, or the address with the length of its prefix.

    :raises SpecError:
    """
    if value in (DHCP, NO_ADDRESS):
        return value
    try:
        if is_auto(value):
            read_offer(value)
            return value
        interface = ipaddress.ip_interface(value if "/" in value else "")
    except ValueError:
        raise bad_value(key, value, IP.allowed) from None
    address = interface.ip
    network = interface.network
    is_all = network.version == 4 and network.prefixlen < 31 and address in (network[0], network[-1])
    if (
        is_all
        or address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or getattr(interface, "scope_id", None)
    ):
        raise bad_value(key, value, IP.allowed)
    return interface.with_prefixlen


def show_ip(ip: str | None) -> str | None:
    return AUTO if ip is not None and is_auto(ip) else ip


def parse_ip6(key: str, value: str) -> str:
    """An address of IPv6, beside what ``networks[].ip`` says; slaac, which leaves it to the guest and its router, becomes ""."""
    if value == SLAAC:
        return ""
    address = parse_ip(key, value)
    if address == AUTO:
        return AUTO
    if not is_of_ipv6(address) or (not is_auto(address) and ipaddress.ip_interface(address).is_link_local):
        raise bad_value(key, value, _IP6)
    return address


def _show_ip6(ip6: str | None) -> str | None:
    return t.cast("str | None", or_none(show_ip(ip6)))


def parse_gateway6(key: str, value: t.Any) -> str:
    found = parse_gateway(key, value)
    if ":" not in found:
        raise bad_value(key, value, _GATEWAY6)
    return found


def is_fixed(address: str) -> bool:
    """Whether ``networks[].ip`` is an address, and neither ``dhcp`` nor ``none``."""
    return address not in (DHCP, NO_ADDRESS)


def is_reachable(gateway: str, address: str) -> bool:
    """Whether *gateway* is in the network of *address*, or beside it on the link. What is no address can be anything."""
    try:
        there, interface = ipaddress.ip_address(gateway), ipaddress.ip_interface(address)
        network = interface.network
        if there == interface.ip or (
            network.version == 4 and network.prefixlen < 31 and there in (network[0], network[-1])
        ):
            return False
        return there in network or (there.version == network.version == 6 and there.is_link_local)
    except ValueError:
        return True


def _show_order(order: int | None) -> int | None:
    return None if order == NO_ORDER else order


DESCRIPTION_TEXT = Check(_parse_description, "text without control characters")
MEMORY_SIZE = Check(parse_memory, _MEMORY, ("512MiB", "1GiB"))
SSH_KEY = Check(
    _parse_ssh_key,
    "a public key as in authorized_keys, such as 'ssh-ed25519 AAAA... me@there'",
    ("ssh-ed25519 AAAA1 a", "ssh-ed25519 AAAA2 b"),
)
COMMANDS = Check(_parse_commands, "lines for a shell", (["sync"], ["sync", "true"]))
HEALTH = matching(
    r"(tcp|https?):([1-9]\d{0,4})(/\S*)?|(command):(.*\S.*)",
    "tcp:PORT, http:PORT/PATH, https:PORT/PATH or command:LINE FOR A SHELL",
    ("tcp:22", "http:8080/health"),
)
EXCLUDED = Check(_parse_excluded, f"{PATH.allowed} and without patterns", PATH.samples)
RATE = Check(parse_rate, RATES_ALLOWED, ("50Mbit", "100Mbit"))
CORES = number(1, 710)
ADDRESS = Check(_parse_address, "an IPv4 or IPv6 address", ("192.0.2.1", "192.0.2.2"))
GATEWAY = Check(parse_gateway, ADDRESS.allowed, ADDRESS.samples)
IP = Check(
    parse_ip,
    "dhcp, none, auto, or an address with its prefix length such as 192.0.2.10/24",
    ("192.0.2.10/24", "192.0.2.11/24"),
)
IP6 = Check(parse_ip6, _IP6, ("2001:db8::10/64", "2001:db8::11/64"))
GATEWAY6 = Check(parse_gateway6, _GATEWAY6, ("2001:db8::1", "2001:db8::2"))
DEVICE_PATH = Check(
    _parse_device_path,
    "a path below /dev of letters, digits and _.:@+#=/-, and none that every guest has of its own",
    ("/dev/dri/renderD128", "/dev/net/tun"),
)
DEVICE_ID = matching(
    r"[A-Za-z0-9_.:@+#=-]{1,200}",
    "a name in /dev/serial/by-id, or vendor:product or vendor:product:serial of a USB device, both numbers as lsusb shows them",
    ("10c4:ea60", "usb-1a86_USB_Serial-if00-port0"),
)
DEVICE_MODE = matching(r"0[0-7]{3}", "four octal digits in quotes such as '0660'", ("0600", "0660"))
GROUP = Check(_parse_group, "the name of a group of the guest, or a number from 0 to 65535", ("render", "video"))

STATE = Option("state", choices=STATES, default="present", home=TASK)
DESCRIPTION = Option("description", check=DESCRIPTION_TEXT, off="", live=always, show=or_none)
TAGS = Option("tags", "list", each(NAME, sorts=True), home=RECORD, off=(), live=always, show=listed)
PROTECTION = Option("protection", "bool", home=RECORD, off=False, live=always)
AUTOSTART = Option("autostart", "bool", home=FLAG, create=False, live=always, aliases=("onboot", "start_on_boot"))
STARTUP = (
    Option("startup.order", "int", number(0, 1_000_000), home=RECORD, off=NO_ORDER, live=always, show=_show_order),
    Option("startup.up_delay", "int", SECONDS, home=RECORD, off=0, live=always),
    Option("startup.down_delay", "int", SECONDS, home=RECORD, off=0, live=always),
)
BACKUP_HOOKS = tuple(
    Option(f"backup.hooks.{word}", "list", COMMANDS, home=RECORD, off=(), live=always, show=listed)
    for word in ("before", "after")
)
BACKUP_EXCLUDE = Option(
    "backup.exclude", "list", each(EXCLUDED, sorts=True), home=RECORD, off=(), live=always, show=listed
)
BACKUP_HEALTH = Option("backup.health", "list", each(HEALTH, sorts=True), home=RECORD, off=(), live=always, show=listed)
BACKUP_DATA = Option("backup.data_paths", "list", each(PATH, sorts=True), home=RECORD, off=(), live=always, show=listed)
VCPUS = Option("vcpus", "int", CORES, live=always, show=or_none, note="the same as cpu.cores")
CPU_CORES = Option("cpu.cores", "int", CORES, live=always, show=or_none)
MEMORY = Option("memory", check=MEMORY_SIZE, live=always, show=show_memory_kib)
IMAGE = Option("image", check=NAME, home=CREATION, aliases=("ostemplate",))
CLONE_FROM = (
    Option("clone_from.guest", check=NAME, home=CREATION, required=True),
    Option("clone_from.snapshot", check=ITEM_NAME, home=CREATION),
    Option("clone_from.mode", home=CREATION, choices=CLONE_MODES),
)
TEMPLATE = Option(
    "template", "bool", home=RECORD, off=False, live=always, note="it has to be stopped, and is not started"
)

NETWORK = Option("networks[]", "item", live=always)
BRIDGE = Option("networks[].bridge", check=LINK_NAME, live=always)
NETWORK_VLAN = Option(
    "networks[].vlan",
    "int",
    VLAN,
    off=0,
    live=always,
    show=or_none,
    aliases=("tag",),
    note="the bridge has to know VLANs",
)
NETWORK_MAC = Option("networks[].mac", check=MAC, live=never, aliases=("hwaddr",))
NETWORK_MTU = Option("networks[].mtu", "int", MTU, off=0, show=or_none)
NETWORK_GATEWAY = Option("networks[].gateway", check=GATEWAY, off="", show=or_none, note="of a fixed address")
NETWORK_IP = Option("networks[].ip", check=IP, show=show_ip)
NETWORK_IP6 = Option("networks[].ip6", check=IP6, off="", show=_show_ip6)
NETWORK_GATEWAY6 = Option("networks[].gateway6", check=GATEWAY6, off="", show=or_none, note="of a fixed address")
LINK = Option("networks[].link", choices=LINKS, create="up", off="up", live=always)

# As the guest sees them: what it gets, and what it sends.
NETWORK_RATES = tuple(
    Option(
        f"networks[].rate_limit.{way}",
        check=RATE,
        off=0,
        live=always,
        show=show_rate,
        note="the kernel needs the queues for it",
    )
    for way in ("in", "out")
)

DEVICE = Option("devices[]", "item", live=always)
DEVICE_TYPE = Option("devices[].type", choices=(NODE, SERIAL, USB), create=NODE, live=always)
DEVICE_REF = Option("devices[].id", check=DEVICE_ID, live=always)
DEVICE_OPTIONAL = Option("devices[].optional", "bool", create=False, off=False, live=always)
DEVICES = (
    DEVICE,
    DEVICE_TYPE,
    Option("devices[].path", check=DEVICE_PATH, live=always),
    DEVICE_REF,
    Option("devices[].mode", check=DEVICE_MODE, live=always),
    Option("devices[].gid", check=GROUP, live=always),
    DEVICE_OPTIONAL,
)

SSH_KEYS = Option("ssh_keys", "list", each(SSH_KEY), off=(), show=listed, no_log=False)

WAIT_TIMEOUT = Option("wait_timeout", "int", SECONDS, default=300, home=TASK)
SHUTDOWN_TIMEOUT = Option("shutdown_timeout", "int", SECONDS, default=60, home=TASK)
FORCE_STOP = Option("force_stop", "bool", default=False, home=TASK)
RESTART_POLICY = Option("restart_policy", choices=RESTART_POLICIES, default="never", home=TASK)
QUARANTINE = Option("quarantine", "bool", home=TASK)
UNSET = Option("unset", "list", default=(), home=TASK)
NAMED = Option("name", required=True, home=TASK)


def words(path: str, choices: t.Sequence[str]) -> Option:
    """A list of words of the run: ``wait_for``, ``allow``, ``delete`` and ``exact`` differ in what each kind of guest has."""
    return Option(path, "list", choices=choices, default=(), home=TASK)
