# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Where the disks of a machine lie, and what is in them."""

from __future__ import annotations

import json
import os
import typing as t

from .._core import command
from .._core.errors import ObserveError
from .._core.options import Item
from .._core.paths import volume_name
from .._guest.record import GuestRecord

EXTENSIONS = {"qcow2": "qcow2", "raw": "raw", "iso": "iso"}


def volume_paths(guest: str, item: Item, pools: t.Mapping[str, str]) -> list[str]:
    """Where the volume of a declared disk lies or would lie, the likeliest first; nowhere while its pool is not known."""
    folder = pools.get(item.text("pool") or "")
    if folder is None or "source" in item.values:
        return []
    wanted = item.text("format") or "qcow2"
    return [
        volume_path(folder, guest, item.name, format_) for format_ in (wanted, *(set(EXTENSIONS) - {wanted, "iso"}))
    ]


def volume_path(folder: str, guest: str, disk: str, format_: str) -> str:
    return os.path.join(folder, f"{volume_name(guest, disk)}.{EXTENSIONS[format_]}")


def format_of(path: str) -> str:
    """The format of a volume of ours, by its name."""
    return "qcow2" if path.endswith(".qcow2") else "raw"


def recorded_volumes(record: GuestRecord) -> dict[str, str]:
    """Our volumes that are there, by disk."""
    return {name: volume.path for name, volume in record.volumes.items() if os.path.exists(volume.path)}


def read_volume(path: str) -> tuple[int, str]:
    """The virtual size in bytes and the format of a disk file.

    :raises ObserveError: when it is no disk file.
    """
    try:
        # -U: QEMU may have it open.
        said = json.loads(command.run(["qemu-img", "info", "-U", "--output=json", path]))
    except (command.CommandError, ValueError) as exc:
        raise ObserveError(f"{path} cannot be read as a disk: {exc}") from exc
    return said["virtual-size"], said["format"]
