# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is known of the system in an image: a machine that is made of it gets that where its user wrote nothing."""

from __future__ import annotations

import typing as t

from .._core.options import RECORD, Option, always, matching, size
from .._core.units import GIB, MIB, TIB, show_size

GROUP = "presets"
FIRMWARE = ("bios", "uefi")
# What reads the seed in it.
CLOUD_INIT, NUAGEINIT, CLOUDBASE_INIT, NO_SEED = "cloud-init", "nuageinit", "cloudbase-init", "none"
SEEDS = (CLOUD_INIT, NUAGEINIT, CLOUDBASE_INIT, NO_SEED)
SYSTEMS = ("linux", "windows", "freebsd", "other")
BUSES = ("virtio", "scsi", "sata")

_USER = matching(r"[A-Za-z_][A-Za-z0-9_-]{0,31}", "the name of a user", ("debian", "fedora"))
_NOTE = "for the machines that are made of it from then on"


def _row(key: str, **more: t.Any) -> Option:
    return Option(f"{GROUP}.{key}", home=RECORD, live=always, note=_NOTE, **more)


ROWS = (
    _row("firmware", choices=FIRMWARE),
    _row("os_variant", choices=SYSTEMS),
    _row("seed", choices=SEEDS),
    _row("bus", choices=BUSES),
    _row("user", check=_USER),
    _row("memory", check=size(MIB, TIB, unit=MIB, allowed="1MiB to 1TiB; a bare number counts in MiB"), show=show_size),
    _row(
        "disk",
        check=size(MIB, 64 * TIB, unit=GIB, allowed="1MiB to 64TiB; a bare number counts in GiB"),
        show=show_size,
    ),
)


class Presets(t.NamedTuple):
    """What an image says of itself. ``None`` is not known. *memory* and *disk* are the least that it runs with, in bytes; *user* is
    the one whom its own defaults let in.
    """

    firmware: str | None = None
    os_variant: str | None = None
    seed: str | None = None
    bus: str | None = None
    user: str | None = None
    memory: int | None = None
    disk: int | None = None

    def known(self) -> dict[str, t.Any]:
        """What is known, by key."""
        return {key: value for key, value in self._asdict().items() if value is not None}


def from_record(data: t.Mapping[str, t.Any]) -> Presets:
    """The presets of the JSON values *data*, which a newer version may have written."""
    return Presets(**{key: value for key, value in data.items() if key in Presets._fields})


def shown(presets: Presets) -> dict[str, t.Any]:
    """The presets as the user writes them; those that are not known too."""
    rows = {row.path.rpartition(".")[2]: row for row in ROWS}
    return {key: None if value is None else rows[key].show(value) for key, value in presets._asdict().items()}
