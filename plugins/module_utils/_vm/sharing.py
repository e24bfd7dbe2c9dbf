# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the host has for the shares of a machine: their folders, and the program that serves them. Only reads."""

from __future__ import annotations

import glob
import json
import os
import typing as t

from .._core import atomic
from .._core.errors import ObserveError
from .._host import remote
from .._host.libvirt import dotted, errors_of
from .._host.snapshot import SERVICE_LIBVIRT, Host
from .spec import Spec
from .xml.filesystem import Share

# Where programs for QEMU's vhost-user say of themselves what they are; libvirt looks there too.
DESCRIPTIONS = ("/etc/qemu/vhost-user/*.json", "/usr/share/qemu/vhost-user/*.json")
LEAST_LIBVIRT_TO_READ_ONLY = 11_000_000


def obstacles(spec: Spec, host: Host, defined: t.Mapping[str, Share]) -> dict[str, str]:
    """Why shares cannot be what is declared, by option path, as a part of a sentence; that a folder is not there is no reason."""
    found: dict[str, str | None] = {}
    for item in spec.wanted("shares"):
        its, path = defined.get(item.name), f"shares[{item.name}]"
        source = item.text("source")
        is_new = its is None or source not in (None, its.value("source"))
        if source is not None and is_new and remote.is_there(source) and not os.path.isdir(source):
            found[path] = f"{source} is no folder, and virtiofs shares folders"
        elif its is None and not _has_server():
            found[path] = (
                "this host has no virtiofsd. The role homelab.hybrid.hypervisor installs it (Debian 13: the package virtiofsd)"
            )
        elif item.get("readonly") and not (its is not None and its.value("readonly")):
            found[f"{path}.readonly"] = _too_old_to_read_only(host)
    return {path: why for path, why in found.items() if why}


def missing_folders(spec: Spec) -> tuple[str, ...]:
    """The folders to be shared that are not there (yet)."""
    sources = (item.text("source") for item in spec.wanted("shares"))
    return tuple(dict.fromkeys(path for path in sources if path and not remote.is_there(path)))


def _has_server() -> bool:
    for path in (path for pattern in DESCRIPTIONS for path in sorted(glob.glob(pattern))):
        try:
            told = json.loads(atomic.read_text(path) or "{}")
        except ValueError:
            continue
        if told.get("type") == "fs" and os.access(str(told.get("binary")), os.X_OK):
            return True
    return False


def _too_old_to_read_only(host: Host) -> str | None:
    if host.missing(SERVICE_LIBVIRT):
        return None
    with errors_of("ask libvirt for its version", ObserveError):
        version = host.connection.getLibVersion()
    if version >= LEAST_LIBVIRT_TO_READ_ONLY:
        return None
    return (
        f"libvirt {dotted(version)} of this host shares no folder read-only; 11.0 or newer does, as Debian 13 has it. "
        "Share a folder that is bound read-only on the host (mount -o bind,ro), and leave readonly away"
    )
