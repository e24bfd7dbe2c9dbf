# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The system inside: what a definition says of it, and what suits it."""

from __future__ import annotations

import types
import typing as t

from ..._core.libraries import etree
from .node import Node, child, make, remove

LINUX, WINDOWS, FREEBSD, OTHER = "linux", "windows", "freebsd", "other"
# What a new machine gets of each where nothing else is written: those rows of the options that differ. Windows and what nobody
# knows have no driver for virtio until somebody installs one, and no console but a screen.
_WITHOUT_VIRTIO = {"disks[].bus": "sata", "graphics.type": "vnc", "rng": False}
PRESETS: t.Mapping[str, t.Mapping[str, t.Any]] = types.MappingProxyType(
    {
        LINUX: {},
        WINDOWS: {**_WITHOUT_VIRTIO, "networks[].model": "e1000e"},
        FREEBSD: {},
        OTHER: {**_WITHOUT_VIRTIO, "networks[].model": "e1000"},
    }
)
# The cards that their screens get.
VIDEO: t.Mapping[str, str] = types.MappingProxyType({LINUX: "virtio"})
PLAIN_VIDEO = "vga"

# libosinfo's words: virt-manager and others read the same.
_SPACE = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
_WORDS = {
    LINUX: "http://libosinfo.org/linux/2022",
    WINDOWS: "http://microsoft.com/win/11",
    FREEBSD: "http://freebsd.org/freebsd/14.0",
    OTHER: "http://libosinfo.org/unknown",
}
_BEGINNINGS = {"http://microsoft.com/": WINDOWS, "http://freebsd.org/": FREEBSD, "http://libosinfo.org/unknown": OTHER}

# What Windows finds in Microsoft's own hypervisor, by what each needs beside it.
HYPERV: t.Mapping[str, tuple[str, ...]] = types.MappingProxyType(
    {
        "relaxed": (),
        "vapic": (),
        "spinlocks": (),
        "vpindex": (),
        "runtime": (),
        "synic": ("vpindex",),
        "stimer": ("synic",),
        "reset": (),
        "frequencies": (),
        "tlbflush": ("vpindex",),
        "ipi": ("vpindex",),
    }
)
# Windows' own number of tries before it tells the hypervisor that it waits.
_SPINS = "8191"


def read(root: Node) -> str:
    """What libosinfo's word for it says. Without one, and for every word of a Linux, it is one."""
    node = root.find(f"metadata/{{{_SPACE}}}libosinfo/{{{_SPACE}}}os")
    word = "" if node is None else str(node.get("id", ""))
    return next((name for beginning, name in _BEGINNINGS.items() if word.startswith(beginning)), LINUX)


def video_of(root: Node) -> str:
    """The card that its screen gets."""
    return VIDEO.get(read(root), PLAIN_VIDEO)


def write(root: Node, value: str, offered: t.Collection[str]) -> None:
    """Another system: its word, its clock, and what of Microsoft's hypervisor is *offered* where it is Windows."""
    _write_word(root, value)
    has_hyperv = _write_hyperv(root, enlightenments(offered) if value == WINDOWS else ())
    # Windows keeps the hardware's clock in local time.
    clock = child(root, "clock")
    if value == WINDOWS or clock.get("offset", "utc") == "localtime":
        clock.set("offset", "localtime" if value == WINDOWS else "utc")
    timer = clock.find("timer[@name='hypervclock']")
    if not has_hyperv:
        remove(timer)
    elif timer is None:
        clock.append(make("timer", name="hypervclock", present="yes"))


def enlightenments(offered: t.Collection[str]) -> tuple[str, ...]:
    """Those that can be had: *offered*, with all that each needs."""
    found: dict[str, None] = {}
    for name, needed in HYPERV.items():
        if name in offered and all(other in found for other in needed):
            found[name] = None
    return tuple(found)


def _write_word(root: Node, value: str) -> None:
    metadata = child(root, "metadata")
    tags = f"{{{_SPACE}}}libosinfo", f"{{{_SPACE}}}os"
    whole = metadata.find(tags[0])
    if whole is None:
        whole = etree().SubElement(metadata, tags[0], nsmap={"libosinfo": _SPACE})
    node = whole.find(tags[1])
    if node is None:
        node = etree().SubElement(whole, tags[1])
    node.set("id", _WORDS[value])


def _write_hyperv(root: Node, names: t.Collection[str]) -> bool:
    """Whether it has any. What somebody else set beside them stays."""
    features = child(root, "features")
    node = features.find("hyperv")
    if (node is None and not names) or (node is not None and node.get("mode") == "passthrough"):
        return bool(names)
    node = child(features, "hyperv")
    for name in HYPERV:
        remove(node.find(name))
    for name in names:
        node.append(make(name, state="on", **({"retries": _SPINS} if name == "spinlocks" else {})))
    if len(node) == 0:
        remove(node)
    return bool(names)
