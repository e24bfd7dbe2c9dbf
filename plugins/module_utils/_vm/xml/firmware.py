# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""By what the machine starts, as its definition says it."""

from __future__ import annotations

from ..firmware import Seen, Way
from .node import Node, attribute, child, is_set, make, remove, text_of

FEATURES = {"secure_boot": "secure-boot", "enrolled_keys": "enrolled-keys"}


def read(root: Node) -> Seen:
    found = {its.get("name"): its.get("enabled") == "yes" for its in root.iterfind("os/firmware/feature")}
    wanted = {key: found.get(word) for key, word in FEATURES.items()}
    loader, template = text_of(root, "os/loader").strip(), attribute(root, "os/nvram", "template")
    return Seen(read_type(root) == "uefi", loader, template, **wanted, has_acpi=is_set(root, "features/acpi"))


def read_type(root: Node) -> str:
    """``uefi``, also where libvirt has not chosen the file yet, or ``bios``."""
    is_flash = attribute(root, "os/loader", "type") == "pflash"
    is_uefi = is_flash or attribute(root, "os", "firmware") == "efi" or root.find("os/nvram") is not None
    return "uefi" if is_uefi else "bios"


def write(root: Node, way: Way, nvram: str) -> None:
    """Start by *way*, with the UEFI variables in the file *nvram*. The file of the firmware, and what it needs, libvirt chooses."""
    system = child(root, "os")
    for tag in ("firmware", "loader", "nvram"):
        for node in system.findall(tag):
            remove(node)
    system.attrib.pop("firmware", None)
    if not way.is_uefi:
        return
    system.set("firmware", "efi")
    wanted = make("firmware")
    for key, word in FEATURES.items():
        wanted.append(make("feature", enabled="yes" if getattr(way, key) else "no", name=word))
    system.append(wanted)
    system.append(make("nvram", nvram))
