# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A virtual machine as it is tried: its own disks and cards, and nothing of the host that it could reach or write to."""

from __future__ import annotations

import typing as t

from ..._vm import firmware
from ..._vm.firmware import NVRAM, TPM
from ..._vm.xml import cdrom, channel, disk, nic, serial
from ..._vm.xml.node import Node, attribute, child, make, name_of, remove, set_attribute
from .health import COMMAND, Check

# Of a card all else is of its end on the host: where that is plugged in, what is filtered and limited there, who runs it.
_KEPT_OF_CARD = ("mac", "model", "driver", "link", "mtu", "boot", "rom", "alias", "address")
_CARDS_OF_HOST = ("hostdev", "vdpa")
# Each reaches nothing but the machine. What else there may be, also in a libvirt that is newer, is left out.
_KEPT = (
    "audio",
    "channel",
    "console",
    "controller",
    "crypto",
    "disk",
    "emulator",
    "hub",
    "input",
    "interface",
    "iommu",
    "memballoon",
    "memory",
    "panic",
    "parallel",
    "rng",
    "serial",
    "sound",
    "tpm",
    "video",
    "watchdog",
)
# What only shows or hears: no guest is another one without it.
_UNTOLD = ("audio", "channel", "lease", "pstore", "redirdev", "redirfilter")
_WORDS = {
    "graphics": "its screen",
    "hostdev": "a device of the host",
    "input": "an input device of the host",
    "memory": "a memory module that is a file of the host",
    "rng": "random numbers that somebody else gives it",
    "shmem": "memory that it shares with others",
    "smartcard": "a smart card of the host",
    "tpm": "the TPM of the host",
    "vsock": "its socket to the host",
}
_LINES = ("parallel", "serial", "console")
_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}commandline"


class Card(t.NamedTuple):
    """A card with the MAC *mac*, whose end *tap* goes into the *segment*, by number."""

    mac: str
    tap: str
    segment: int


class IsolatedMachine(t.NamedTuple):
    """The *cards* of a machine that is tried, in *left_out* what it has to do without, and in *beside* where it has its UEFI variables and
    its TPM.
    """

    cards: tuple[Card, ...]
    left_out: tuple[str, ...]
    beside: t.Mapping[str, str]


def isolate(
    root: Node, *, name: str, kept: t.Collection[str], console: str, tap: t.Callable[[int], str]
) -> IsolatedMachine:
    """Let the definition *root* be that of the machine *name*, which writes what its serial console shows to *console*.

    *kept* says of which of the words of ``firmware`` the backup had what it remembers; *tap* names the end of a card by its number.
    """
    left_out = [told for told in _without_the_host(root) if told]
    cards = tuple(_plugged_apart(root, tap))
    _listened_to(root, console)
    # libvirt takes none but that of the machine, which is another one here.
    for node in root.findall("sysinfo/system/entry[@name='uuid']"):
        remove(node)
    for word in ("on_poweroff", "on_crash"):
        child(root, word).text = "destroy"
    return IsolatedMachine(cards, tuple(dict.fromkeys(left_out)), _beside(root, name, kept))


def _without_the_host(root: Node) -> t.Iterator[str]:
    for node in root.findall(_QEMU):
        remove(node)
        yield "what its definition tells QEMU itself"
    for node in [*root.findall("memoryBacking/hugepages"), *root.findall("memoryBacking/locked")]:
        remove(node)  # the host keeps no such memory for a guest that is only tried
    for node in list(root.find("devices")):
        tag = node.tag if isinstance(node.tag, str) else ""
        if tag and (tag not in _KEPT or _is_of_host(tag, node)):
            remove(node)
            yield _told(tag, node)
        elif tag == "disk" and cdrom.is_drive(node) and node.get("type") not in ("file", "block"):
            cdrom.WRITE["source"](node, "")
            yield f"the medium of its drive {attribute(node, 'target', 'dev')}"
        elif tag == "audio":
            for key in [key for key in node.attrib if key != "id"]:
                del node.attrib[key]
            for inner in list(node):
                remove(inner)
            node.set("type", "none")
        elif tag == "video":
            # Both are done by a screen.
            for inner in [*node.findall("driver"), *node.findall("model/acceleration")]:
                remove(inner)
        elif tag == "watchdog" and node.get("action") == "dump":
            node.set("action", "reset")


def _is_of_host(tag: str, node: Node) -> bool:
    if tag == "interface":
        return node.get("type") in _CARDS_OF_HOST
    if tag == "channel":
        return attribute(node, "target", "name") != channel.AGENT
    if tag == "tpm":
        return attribute(node, "backend", "type") != "emulator"
    if tag == "rng":
        return attribute(node, "backend", "model") not in ("random", "builtin")
    if tag == "memory":
        return node.find("source/path") is not None
    return tag == "input" and node.get("type") in ("passthrough", "evdev")


def _told(tag: str, node: Node) -> str:
    if tag in _UNTOLD:
        return ""
    if tag == "interface":
        return f"the card {nic.READ['mac'](node)}, which is a device of the host"
    if tag == "filesystem":
        source = node.find("source")
        shared = "" if source is None else next(iter(source.attrib.values()), "")
        return f"{attribute(node, 'target', 'dir')}, which is {shared} of the host"
    if tag == "hostdev" and name_of(node):
        return f"{name_of(node)}, which is a device of the host"
    return _WORDS.get(tag, f"its {tag}")


def _plugged_apart(root: Node, tap: t.Callable[[int], str]) -> t.Iterator[Card]:
    """The end of each card goes into a segment of the drill; those that shared a bridge and a VLAN share one."""
    segments: dict[tuple[str, ...], int] = {}
    for number, node in enumerate(root.findall("devices/interface")):
        source = node.find("source")
        names = (
            () if source is None else tuple(source.get(key, "") for key in ("bridge", "network", "dev", "portgroup"))
        )
        place = (*names, str(nic.READ["vlan"](node))) if any(names) else (str(number),)
        for inner in list(node):
            if inner.tag not in _KEPT_OF_CARD:
                remove(inner)
        node.set("type", "ethernet")
        for key in ("managed", "trustGuestRxFilters"):
            node.attrib.pop(key, None)
        set_attribute(node, "target", "dev", tap(number))
        yield Card(nic.READ["mac"](node), tap(number), segments.setdefault(place, len(segments)))


def _listened_to(root: Node, console: str) -> None:
    """Its first serial line is written to a file; what else it has of such lines ends nowhere."""
    if root.find("devices/serial") is None:
        serial.write(root, True)
    for node in [node for tag in (*_LINES, "channel") for node in root.findall(f"devices/{tag}")]:
        for inner in [inner for inner in node if inner.tag not in ("target", "address", "alias")]:
            remove(inner)
        if node.tag == "channel":
            node.set("type", "unix")  # of libvirt's own, where it has no source
        else:
            node.set("type", "null")
        node.attrib.pop("tty", None)
    first = root.find("devices/serial")
    first.set("type", "file")
    first.append(make("source", path=console, append="off"))
    for node in root.findall("devices/console"):
        # libvirt itself makes that which is the same as the first serial line.
        if attribute(node, "target", "type", "serial") == "serial":
            remove(node)


def _beside(root: Node, name: str, kept: t.Collection[str]) -> dict[str, str]:
    """Where it has what it remembers: nothing of that is where the machine has it that was backed up."""
    variables, backend = root.find("os/nvram"), root.find("devices/tpm/backend[@type='emulator']")
    if variables is not None and NVRAM not in kept:
        path = firmware.own_nvram(name, firmware.places(root)[NVRAM])
        source = variables.find("source")
        if source is None:
            variables.text = path
        else:
            remove(source)
            variables.set("type", "file")
            variables.append(make("source", file=path))
    if backend is not None and TPM not in kept:
        remove(backend.find("source"))
    return firmware.places(root)


def is_mute(root: Node, checks: t.Sequence[Check]) -> bool:
    """Whether nobody could tell if it is well, of which *checks* are asked: QEMU runs also when nothing in it does."""
    return channel.find(root) is None and all(check.kind == COMMAND for check in checks)


def disks_of(root: Node) -> dict[str, str]:
    """What its disks and drives are on, by their targets."""
    return {attribute(node, "target", "dev"): disk.source_of(node) for node in root.iterfind("devices/disk")}
