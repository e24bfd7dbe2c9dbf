# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of the pages to which a host tells how its guests are. Only reads."""

from __future__ import annotations

import typing as t

from .._core import atomic
from .._host.lxc import config_path
from .._host.snapshot import Host
from .._host.systemd import has_systemd, is_started
from .._run.packing import packed
from .packing import load
from .spec import Spec
from .state import State
from .told import read_guests
from .units import FOLDER, PROGRAM, TIMER, texts


def observe(spec: Spec, host: Host) -> State:
    """Read to which guests the host tells how it is.

    :raises ObserveError:
    """
    guests = read_guests()
    return State(
        guests=guests,
        gone=frozenset(guest for guest in guests if guest not in host.containers),
        has_units=_has_units(guests),
        has_program=atomic.read_bytes(PROGRAM) == packed(load()),
    )


def units_of(guests: t.Iterable[str]) -> dict[str, str]:
    """The files of the units where *guests* are told."""
    return texts([config_path(guest) for guest in sorted(guests)])


def _has_units(guests: t.Iterable[str]) -> bool:
    if any(atomic.read_text(f"{FOLDER}/{path}") != text for path, text in units_of(guests).items()):
        return False
    return not has_systemd() or is_started(TIMER)
