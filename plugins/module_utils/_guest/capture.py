# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a backup asks of a guest of either kind: to show all that it holds in one folder, as of one moment, and to take that back."""

from __future__ import annotations

import typing as t

from .._storage.volume import Volume

# How a guest is brought to one moment: as its pool can, held still, or shut down.
SNAPSHOT, SUSPEND, STOP = "snapshot", "suspend", "stop"
MODES = (SNAPSHOT, SUSPEND, STOP)
# Its programs had written all that they know, or what a power cut would leave.
APPLICATION, CRASH = "application", "crash"


class Hooks(t.NamedTuple):
    """What its owner wants to be run by a shell inside the guest: *before* it is captured, and *after*, whatever became of that."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


# Called with the volumes of a guest at the one moment that all of them are of, to keep them as they are then.
Keep = t.Callable[[t.Mapping[str, Volume]], None]


class Wish(t.NamedTuple):
    """What is to be captured: the *guest*, which is shown in *folder* (there, empty, root's alone).

    What lies at the paths of *exclude* inside it is left out; at *data_paths* lies what the backup is made for. Where *keep* is given, it keeps
    the volumes, which are not shown then.
    """

    guest: str
    folder: str
    mode: str = SNAPSHOT
    hooks: Hooks = Hooks()
    exclude: tuple[str, ...] = ()
    data_paths: tuple[str, ...] = ()
    keep: Keep | None = None


class Captured(t.NamedTuple):
    """What the folder shows until it is left.

    *consistent* is ``application`` or ``crash``. *volumes* says of each item its ``file`` in the folder, the ``pool`` that it lies in, its
    ``kind``, what it holds in bytes (``used``) and what a restore has to know besides. *definition* is the file in the folder with the
    definition of the guest. *left_out* are patterns of paths in the folder that are not stored: of a path without ``*?[\\`` itself, and
    with ``/*`` behind it what lies there. *trouble* is what went wrong in the guest once all was captured. *mounts* has by name what of the host
    is in the folder because the guest sees it: its ``file`` in the folder, its ``source`` on the host, the ``path`` inside, and whether its
    owners are the host's (``mapped``).
    """

    consistent: str
    volumes: t.Mapping[str, t.Mapping[str, t.Any]]
    definition: str
    idmap: tuple[int, int] | None = None
    macs: t.Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    trouble: str = ""
    mounts: t.Mapping[str, t.Mapping[str, t.Any]] = {}


# Writes down, before it is done, what a later run has to take back if this one is killed: values of JSON by name, ``None`` for no more.
Note = t.Callable[..., None]
Begun = t.Mapping[str, t.Any]
