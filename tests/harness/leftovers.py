# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes away everything of a prefix that a test or a benchmark made, with libvirt's and the kernel's own means."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import libvirt

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image import downloads

LXC = Path("/var/lib/lxc")


def remove_guests(prefix: str) -> None:
    """Every guest whose name begins with *prefix*, its record, and what it remembers; its disks and its root stay in their pool."""
    for place in LXC.glob(f"{prefix}*"):
        subprocess.run(["lxc-stop", "-n", place.name, "-k"], capture_output=True, check=False)
        shutil.rmtree(place)
    connection = libvirt.open("qemu:///system")
    _undefine(connection.listAllDomains(), prefix)
    connection.close()
    for record in Path(paths.record_folder("guests")).glob(f"{prefix}*.json"):
        for file in json.loads(record.read_text()).get("files", {}).values():
            subprocess.run(["rm", "-rf", file["path"]], check=True)
    _forget("guests", prefix)


def remove_host(prefix: str, folder: Path) -> None:
    """Guests, images, pools and bridges of *prefix*, and the *folder* that they lie in."""
    remove_guests(prefix)
    connection = libvirt.open("qemu:///system")
    _undefine(connection.listAllNetworks(), prefix)
    _undefine(connection.listAllStoragePools(), prefix)
    connection.close()
    for kind in ("images", "pools", "bridges"):
        _forget(kind, prefix)
    for pattern in (f"{prefix}*", f".attempts/{prefix}*"):
        for path in Path(paths.IMAGES).glob(pattern):
            shutil.rmtree(path)
    remove_downloads()
    shutil.rmtree(folder, ignore_errors=True)


def remove_bridges(prefix: str) -> None:
    """The networks of libvirt of that *prefix*, all links that have it, and the records of bridges; first the machines that hang on them."""
    connection = libvirt.open("qemu:///system")
    _undefine(connection.listAllDomains(), prefix)
    _undefine(connection.listAllNetworks(), prefix)
    connection.close()
    for link in Path("/sys/class/net").glob(f"{prefix}*"):
        # The other end of a cable goes with the first.
        subprocess.run(["ip", "link", "delete", link.name], capture_output=True, check=False)
    _forget("bridges", prefix)


def remove_downloads() -> None:
    """What was fetched for images whose records are gone."""
    known = "".join(record.read_text() for record in Path(paths.record_folder("images")).glob("*.json"))
    for path in Path(downloads.FOLDER).glob("*"):
        if path.name.partition(".")[0] not in known:
            path.unlink()


def _undefine(things: t.Iterable[t.Any], prefix: str) -> None:
    for thing in things:
        if thing.name().startswith(prefix):
            if thing.isActive():
                thing.destroy()
            # With the variables of its UEFI a machine is not taken away without a word for them.
            if isinstance(thing, libvirt.virDomain):
                thing.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_TPM)
            else:
                thing.undefine()


def _forget(kind: str, prefix: str) -> None:
    for record in Path(paths.record_folder(kind)).glob(f"{prefix}*"):
        record.unlink()
