# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How what is replicated is called, on both hosts."""

from __future__ import annotations

import datetime
import re
import typing as t

from ..._storage.volume import Volume

# No snapshot that a user makes, and no guest, has a plus in its name.
PART = "@+replica+"
_KEPT = re.compile(r"(?P<volume>.+)@\+replica\+(?P<job>[^+]+)\+(?P<moment>\d{8}T\d{9}Z)")
MOMENT = re.compile(r"\d{8}T\d{9}Z")
# What comes to the other host has its own folder in the pool there, for each host that it comes from.
FOLDER = "+replicas"
VOLUMES = "volumes"
BEGUN, GONE = ".new", ".gone"


class Kept(t.NamedTuple):
    """What this host keeps of *origin*, the name of a volume, for a job: the next time only what is new since is sent."""

    volume: Volume
    origin: str
    job: str
    moment: str


def moment_of(seconds: float) -> str:
    """By what a copy is known: when it was made, to the millisecond."""
    whole = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return f"{whole:%Y%m%dT%H%M%S}{int(seconds * 1000) % 1000:03}Z"


def kept_name(job: str, moment: str) -> str:
    """The name of the snapshot of a volume."""
    return f"{PART.removeprefix('@')}{job}+{moment}"


def read_kept(volume: Volume) -> Kept | None:
    """What *volume* is kept of; ``None`` where it is another thing."""
    match = _KEPT.fullmatch(volume.name)
    return None if match is None else Kept(volume, match["volume"], match["job"], match["moment"])


def guest_of(kept: Kept) -> str:
    """The guest whose volume it is of: no item of one has a dot in its name."""
    return kept.origin.rpartition(".")[0]
