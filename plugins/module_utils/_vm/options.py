# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The options of a virtual machine, one row each: those it shares with containers, and its own."""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t

from .._core import options as core
from .._core.declared import check_name, check_path, check_text
from .._core.errors import SpecError, bad_value
from .._core.options import (
    CREATION,
    NAME,
    NETWORK,
    PATH,
    SECONDS,
    SECRET,
    SEED,
    TASK,
    VOLUME,
    Check,
    Option,
    Options,
    always,
    as_written,
    each,
    fixed,
    grows,
    is_added,
    listed,
    matching,
    never,
    never_shrinks,
    number,
    or_none,
    size,
)
from .._core.units import show_memory_kib, show_size
from .._guest import options as guest
from .._guest.device import PCI, USB
from .xml.cdrom import SEED_NAME
from .xml.cpu import TOPOLOGY
from .xml.graphics import LOOPBACK
from .xml.variant import LINUX, PRESETS
from .xml.vsock import AUTO
from .xml.watchdog import DEFAULT_ACTION

ALLOW = ("adopt", "eject", "recreate", "replace_disk")
DELETE = ("disks", "nvram", "seed", "snapshots", "tpm")
EXACT = ("disks", "cdroms", "networks", "devices", "shares")
SHARE_CACHES = ("auto", "none", "always")
WAITS = ("agent", "ip", "ssh")
FORMATS = ("qcow2", "raw")
BUSES = ("virtio", "scsi", "sata", "usb", "ide")
IO_MODES = ("default", "threads", "native", "io_uring")
DRIVE_BUSES = ("sata", "scsi", "ide", "usb")
CACHES = ("default", "none", "writeback", "writethrough", "directsync", "unsafe")
# Those that are no cards of PCI Express.
PCI_MODELS = ("e1000", "rtl8139")
NIC_MODELS = ("virtio", "e1000", "e1000e", "igb", "rtl8139", "vmxnet3")
GRAPHICS = ("none", "vnc", "spice")
VIDEOS = ("none", "virtio", "vga", "qxl", "bochs", "cirrus")
WATCHDOGS = ("i6300esb",)
WATCHDOG_ACTIONS = ("reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi")
CPU_SYNONYMS = {"host": "host-passthrough", "max": "maximum"}
FIRMWARE = ("bios", "uefi")
TPM_VERSIONS = ("1.2", "2.0")
TPM_MODELS = ("crb", "tis")
# What another seed does to a machine that stands: nothing, what is done at every start, or all of it again.
IGNORE, NEXT_BOOT, NEW_INSTANCE = "ignore", "next_boot", "new_instance"
ON_CHANGE = (IGNORE, NEXT_BOOT, NEW_INSTANCE)
# The answer to an installer, and how the end of one is seen.
ANSWERS = ("preseed", "kickstart", "autoinstall", "autounattend", "config", "truenas")
ENDS = ("powered_off", "agent", "port", "serial")
# The disk that cloud_init makes.
SEED_DISK = SEED_NAME

# What cloud-init looks for.
SEED_LABEL = "cidata"

_SECTOR = 512
_FILE_OF_MEDIUM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(/[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}){0,3}")
# The numbers below are the host's own.
_LEAST_CID, _MOST_CID = 3, (1 << 32) - 2
_GROWS = "growing beyond cpu.max_cores waits for a restart"


def _replaces_disk(before: t.Any, after: t.Any) -> str | None:
    """Another source is another disk."""
    return "replace_disk" if before is not None and before != after else None


def _leaves_it(live: t.Any, declared: t.Any) -> bool:
    """A running guest keeps the address that it has until it starts again, or asks again, unless any will do."""
    return not guest.is_fixed(declared)


def _parse_order(key: str, names: t.Sequence[str]) -> tuple[str, ...]:
    for name in names:
        check_name(key, name)
    if len(set(names)) != len(names):
        raise SpecError(f"{key}: a name is there twice", key=key)
    return tuple(names)


def _parse_rotation(key: str, value: t.Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not (value == 1 or 1025 <= value <= 65534):
        raise bad_value(key, value, ROTATION.allowed)
    return value


def _parse_rendered(key: str, text: str) -> str:
    if not isinstance(text, str) or text.startswith(("{'", "[{'", "['")):
        raise SpecError(
            f"{key}: must be text. Render a dictionary to YAML on the control node (filter to_nice_yaml)", key=key
        )
    return t.cast(str, check_text(key, text))


def _parse_files(key: str, text: str) -> str:
    try:
        files = json.loads(text)
    except (TypeError, ValueError):
        files = None
    if not isinstance(files, dict) or not files or not all(isinstance(its, str) for its in files.values()):
        raise SpecError(
            f"{key}: must be a dictionary of paths and texts, as JSON. Render it on the control node (filter to_json)",
            key=key,
        )
    for path in files:
        if not _FILE_OF_MEDIUM.fullmatch(path) or set(path.split("/")) & {".", ".."}:
            raise SpecError(f"{key}: {path!r} is no path on a medium, such as network/lan", key=key)
    return shown_files(files)


def shown_files(files: t.Mapping[str, str]) -> str:
    """The *files* of a medium, by their paths on it, as they are declared and compared."""
    return json.dumps(files, sort_keys=True)


def _parse_address(key: str, value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as exc:
        raise bad_value(key, value, ADDRESS.allowed) from exc


def _parse_vsock(key: str, value: str) -> str | int:
    if value == AUTO:
        return value
    if not value.isdecimal() or not _LEAST_CID <= int(value) <= _MOST_CID:
        raise bad_value(key, value, VSOCK.allowed)
    return int(value)


def _is_replaced(live: t.Any, declared: t.Any) -> bool:
    """One value takes the place of another while it runs; none comes or goes."""
    return bool(live) and bool(declared)


def _parse_cpu_type(key: str, value: str) -> str:
    return t.cast(str, CPU_TYPE_NAME.parse(key, CPU_SYNONYMS.get(value, value)))


def _parse_flags(key: str, flags: t.Sequence[str]) -> tuple[str, ...]:
    found = {CPU_FLAG.parse(key, flag) for flag in flags}
    both = sorted({flag[1:] for flag in found if flag[0] == "+"} & {flag[1:] for flag in found if flag[0] == "-"})
    if both:
        raise SpecError(f"{key}: {both[0]} is there with + and with -", key=key)
    return tuple(sorted(found))


def _parse_install_medium(key: str, value: t.Any) -> str:
    if isinstance(value, str) and value.startswith("/"):
        return t.cast(str, check_path(key, value))
    return t.cast(str, NAME.parse(key, value))


def _parse_pattern(key: str, value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise SpecError(f"{key}: {value!r} is no regular expression of Python: {exc}", key=key) from None
    return t.cast(str, core.LINE.parse(key, value))


CPU_TYPE_NAME = matching(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
    "host-passthrough (or host), host-model, maximum (or max), or a model that virsh cpu-models x86_64 names",
    ("Nehalem", "host-model"),
)
CPU_TYPE = Check(_parse_cpu_type, CPU_TYPE_NAME.allowed, CPU_TYPE_NAME.samples)
CPU_FLAG = matching(r"[+-][a-z0-9][a-z0-9_.-]{0,31}", "features of CPUs after a + or a -, such as +aes and -vmx")
CPU_FLAGS = Check(_parse_flags, CPU_FLAG.allowed, (["+aes"], ["+aes", "-vmx"]))
ADDRESS = Check(_parse_address, "an IPv4 or IPv6 address", ("127.0.0.1", "::1"))
VSOCK = Check(_parse_vsock, f"auto, or a number from {_LEAST_CID} to {_MOST_CID}", ("3", "4"))
ORDER = Check(_parse_order, "names of disks, cdroms and networks, each once", (["root"], ["lan", "root"]))
MEDIUM = Check(
    lambda key, path: path and PATH.parse(key, path),
    f"{PATH.allowed}, or empty text for an empty drive",
    PATH.samples,
)
RENDERED = Check(_parse_rendered, "YAML as text", ("version: 1", "version: 2"))
FILES = Check(_parse_files, "paths and texts, as JSON", ('{"authorized_keys": ""}', '{"network/lan": "[ipv4]"}'))
VOLUME_LABEL = matching(r"[A-Za-z0-9_]{1,16}", "1 to 16 letters, digits and '_'", ("CONFIG", "cidata"))
USER = matching(r"[a-z_][a-z0-9_-]{0,31}", "a Unix user name: 1 to 32 lower case letters, digits, '_' and '-'")
PACKAGE = matching(r"[a-z0-9][a-z0-9+.:~=-]{0,127}", "names of packages", ("htop", "vim"))
MACHINE = matching(
    r"(q35|pc)|pc-(q35|i440fx)-[A-Za-z0-9.+-]{1,32}",
    "q35, pc, or one of a version such as pc-q35-9.0",
    ("pc-q35-7.1", "pc-q35-7.2"),
)
INSTALL_MEDIUM = Check(
    _parse_install_medium, "an absolute path on the host, or the name of an image", ("/srv/iso/a.iso", "/srv/iso/b.iso")
)
PATTERN = Check(_parse_pattern, "a regular expression of Python, in one line")
PORT = number(1, 65535)
SERIAL = matching(r"[A-Za-z0-9 _.+-]{1,20}", "1 to 20 letters, digits, blanks, '_', '.', '+' and '-'")
DISK_SIZE = size(_SECTOR, 1 << 60, step=_SECTOR, allowed="whole sectors of 512 bytes")
CORES = number(1, 710)
QUEUES = number(1, 256)
IO_THREAD = number(1, 64)
ROTATION = Check(_parse_rotation, "1 for a disk that does not turn, or 1025 to 65534 turns a minute", (1, 7200))

# libvirt and QEMU take no more.
_MOST_A_SECOND = 1_000_000_000_000_000
IOPS = number(1, 1_000_000_000)
BYTES = size(1, _MOST_A_SECOND, unit=1, allowed="bytes a second, as a number or such as 50MiB")


def _parse_pci_address(key: str, text: str) -> str:
    match = _PCI_ADDRESS.fullmatch(text.lower()) if isinstance(text, str) else None
    if match is None:
        raise bad_value(key, text, PCI_ADDRESS.allowed)
    return f"{match[1] or '0000'}:{match[2]}"


def _parse_device_id(key: str, text: str) -> str:
    vendor, dummy, rest = text.partition(":")
    product, colon, serial = rest.partition(":")
    if not _USB_ID.fullmatch(text):
        raise bad_value(key, text, DEVICE_ID.allowed)
    return f"{vendor}:{product}".lower() + colon + serial


_PCI_ADDRESS = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])")
_USB_ID = re.compile(r"(?!0000)[0-9A-Fa-f]{4}:(?!0000)[0-9A-Fa-f]{4}(?::[A-Za-z0-9_.:@+#=-]{1,126})?")
PCI_ADDRESS = Check(
    _parse_pci_address,
    "the address of a PCI device as lspci shows it, such as 0000:03:00.0",
    ("03:00.0", "0000:03:00.1"),
)
DEVICE_ID = Check(
    _parse_device_id,
    "vendor:product as lspci -nn and lsusb show it, such as 8086:1533, and of a USB device also vendor:product:serial",
    ("10c4:ea60", "10c4:ea60:0001"),
)
USB_PORT = matching(
    r"[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(?:\.[1-9][0-9]{0,2}){0,5}",
    "the bus and the port of a USB device as the kernel names them, such as 1-2 or 1-2.4",
    ("1-2", "1-2.4"),
)


def _limits() -> t.Iterator[Option]:
    """What a disk may read and write in a second: all of it together, or reads and writes each."""
    for way in ("", "read_", "write_"):
        yield Option(f"disks[].limits.{way}iops", "int", IOPS, off=0, live=always, show=or_none)
        yield Option(
            f"disks[].limits.{way}bytes", check=BYTES, off=0, live=always, show=lambda size: show_size(size or None)
        )


OPTIONS = Options(
    guest.NAMED,
    guest.STATE.but(choices=(*guest.STATES[:-1], "suspended", "absent")),
    guest.DESCRIPTION,
    guest.TAGS,
    guest.PROTECTION,
    guest.TEMPLATE,
    guest.AUTOSTART,
    *guest.STARTUP,
    *guest.BACKUP_HOOKS,
    guest.BACKUP_EXCLUDE.but(home=TASK),
    guest.BACKUP_DATA,
    guest.BACKUP_HEALTH,
    Option("os_variant", choices=tuple(PRESETS), create=LINUX, off=LINUX),
    guest.VCPUS.but(live=grows, note=_GROWS),
    guest.CPU_CORES.but(live=grows, note=_GROWS),
    Option("cpu.max_cores", "int", CORES),
    Option("cpu.type", check=CPU_TYPE, show=or_none),
    Option("cpu.flags", "list", CPU_FLAGS, off=(), show=listed),
    *(
        Option(f"cpu.topology.{key}", "int", CORES, off=0, show=or_none, note="unset is all of cpu.topology")
        for key in TOPOLOGY
    ),
    guest.MEMORY.but(create=1 << 20, note="through the balloon, up to memory_max; more waits for a restart"),
    Option("memory_max", check=guest.MEMORY_SIZE, show=show_memory_kib),
    Option("machine", check=MACHINE, create="q35", note="q35 does not become pc, nor pc q35"),
    Option("firmware.type", choices=FIRMWARE, off="bios"),
    Option("firmware.secure_boot", "bool", off=False),
    Option("firmware.enrolled_keys", "bool", off=False),
    Option("tpm.version", choices=TPM_VERSIONS, off="", show=or_none),
    Option("tpm.model", choices=TPM_MODELS, off="", show=or_none),
    guest.IMAGE,
    *guest.CLONE_FROM,
    Option("install.media", check=INSTALL_MEDIUM, home=CREATION),
    Option("install.extra_media", "list", each(INSTALL_MEDIUM), home=CREATION),
    Option("install.kernel", check=PATH, home=CREATION),
    Option("install.initrd", check=PATH, home=CREATION),
    Option("install.cmdline", check=core.LINE, home=CREATION),
    Option("install.answer", choices=ANSWERS, home=CREATION),
    Option("install.answer_text", check=SECRET, home=CREATION, secret=True),
    Option("install.done_when", choices=ENDS, home=CREATION),
    Option("install.port", "int", PORT, home=CREATION),
    Option("install.pattern", check=PATTERN, home=CREATION),
    Option("install.timeout", "int", SECONDS, home=CREATION),
    Option(
        "disks[]",
        "item",
        live=always,
        note="sata and ide wait for a restart, and so does what the guest does not let go",
    ),
    Option(
        "disks[].pool", check=NAME, home=VOLUME, loss=fixed, note="a disk is not moved: give the new disk another name"
    ),
    Option(
        "disks[].size",
        check=DISK_SIZE,
        home=VOLUME,
        live=grows,
        loss=never_shrinks,
        show=show_size,
        note="a shrink is always refused",
    ),
    Option("disks[].format", choices=FORMATS, loss=fixed),
    Option("disks[].image", check=NAME, home=CREATION),
    Option("disks[].source", check=PATH, loss=_replaces_disk),
    Option("disks[].bus", choices=BUSES, create="virtio", note="ide is only on a machine of the type pc"),
    Option("disks[].serial", check=SERIAL, off=""),
    Option("disks[].cache", choices=CACHES, off="default"),
    Option("disks[].io", choices=IO_MODES, off="default", note="native needs the cache none or directsync"),
    Option("disks[].iothread", "int", IO_THREAD, off=0, show=or_none, note="only on virtio"),
    Option("disks[].discard", "bool", off=False),
    Option("disks[].readonly", "bool", off=False),
    Option("disks[].shareable", "bool", off=False, note="only a disk of the format raw"),
    Option("disks[].rotation_rate", "int", ROTATION, off=0, show=or_none, note="only on scsi, sata and ide"),
    *_limits(),
    Option("cdroms[]", "item", live=always, note="sata, ide and an empty drive wait for a restart"),
    Option(
        "cdroms[].source",
        check=MEDIUM,
        off="",
        live=always,
        show=or_none,
        note="a medium that the guest holds stays in until a restart, or until allow: [eject]",
    ),
    Option(
        "cdroms[].image", check=NAME, home=TASK, note="the same as source, with the file of an image of the kind iso"
    ),
    Option(
        "cdroms[].bus",
        choices=DRIVE_BUSES,
        create="sata",
        note="ide is only on a machine of the type pc, and a drive on usb never empty",
    ),
    guest.NETWORK.but(note="what the guest does not let go waits for a restart"),
    guest.BRIDGE.but(note="a card that is on no bridge waits for a restart"),
    guest.NETWORK_VLAN.but(note="the bridge has to know VLANs, and libvirt to be 11.0 or newer"),
    guest.NETWORK_MAC,
    Option("networks[].model", choices=NIC_MODELS, create="virtio", note="igb needs QEMU 8.0 and libvirt 9.3"),
    Option("networks[].queues", "int", QUEUES, off=0, show=or_none, note="only on virtio"),
    guest.NETWORK_IP.but(
        home=NETWORK,
        off=guest.DHCP,
        live=_leaves_it,
        note="the bridge keeps it at once, a running guest has it from its next start on",
    ),
    guest.NETWORK_GATEWAY.but(home=SEED),
    guest.NETWORK_IP6.but(home=SEED),
    guest.NETWORK_GATEWAY6.but(home=SEED),
    Option("networks[].dns", "list", each(guest.ADDRESS), home=SEED, off=(), show=listed),
    guest.LINK,
    *guest.NETWORK_RATES,
    guest.NETWORK_MTU,
    guest.DEVICE.but(
        note="what the guest does not let go waits for a restart, and so does a device for which it has no free port"
    ),
    guest.DEVICE_TYPE.but(choices=(PCI, USB), create=None),
    Option("devices[].address", check=PCI_ADDRESS, live=always),
    guest.DEVICE_REF.but(check=DEVICE_ID),
    Option("devices[].port", check=USB_PORT, live=always),
    guest.DEVICE_OPTIONAL.but(live=as_written, note="it counts at the next start"),
    Option(
        "shares[]",
        "item",
        live=always,
        note="a machine whose memory is not shared yet, or without a free port, gets it with the next start",
    ),
    Option("shares[].source", check=PATH),
    Option("shares[].readonly", "bool", create=False, off=False),
    Option("shares[].cache", choices=SHARE_CACHES, off="auto"),
    Option("cloud_init.user", check=USER, home=SEED, off=""),
    guest.SSH_KEYS.but(path="cloud_init.ssh_keys", home=SEED, live=never),
    Option("cloud_init.packages", "list", each(PACKAGE), home=SEED, off=(), show=listed),
    Option("cloud_init.user_data", check=SECRET, home=SEED, off="", secret=True),
    Option("cloud_init.meta_data", check=RENDERED, home=SEED, off=""),
    Option("cloud_init.network_config", check=RENDERED, home=SEED, off=""),
    Option("cloud_init.files", check=FILES, home=SEED, off="", secret=True),
    Option("cloud_init.label", check=VOLUME_LABEL, home=SEED, off=SEED_LABEL),
    Option("cloud_init.on_change", home=TASK, choices=ON_CHANGE),
    Option("boot.order", "list", ORDER, off=(), show=listed),
    Option("boot.once", check=core.ITEM_NAME, home=TASK),
    Option("boot.kernel", check=PATH, off=""),
    Option("boot.initrd", check=PATH, off=""),
    Option("boot.cmdline", check=core.LINE, off=""),
    Option("graphics.type", choices=GRAPHICS, create="none", off="none"),
    Option("graphics.listen", check=ADDRESS, off=LOOPBACK),
    Option("graphics.port", "int", number(5900, 65535), off=0, show=or_none),
    Option(
        "graphics.password",
        check=SECRET,
        off="",
        live=_is_replaced,
        secret=True,
        note="live where the machine started with one",
    ),
    Option("video", choices=VIDEOS, off="none"),
    Option("tablet", "bool", off=False, live=is_added),
    Option("serial", "bool", create=True, off=False),
    Option("rng", "bool", create=True, off=False, live=is_added, note="live where a port is free"),
    Option("watchdog.model", choices=WATCHDOGS, off="", show=or_none),
    Option("watchdog.action", choices=WATCHDOG_ACTIONS, off=DEFAULT_ACTION),
    Option("vsock", check=VSOCK, off=0, live=is_added, show=or_none, note="a first one is live where a port is free"),
    Option("agent", "bool", create=True, off=False, live=is_added, note="live where it has a virtio-serial controller"),
    guest.words("wait_for", WAITS),
    guest.WAIT_TIMEOUT,
    guest.SHUTDOWN_TIMEOUT,
    guest.FORCE_STOP,
    guest.RESTART_POLICY,
    guest.words("allow", ALLOW),
    guest.words("delete", DELETE),
    guest.QUARANTINE,
    guest.words("exact", EXACT),
    guest.UNSET,
)
CLOUD_INIT = OPTIONS.compared(SEED)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {}
