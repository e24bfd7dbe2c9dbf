# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How each kind of guest comes out of a backup, by its word."""

from __future__ import annotations

import typing as t

from ..._core.converge import Work
from ..._core.plan import Step
from ..._guest.ownership import Ownership
from ..._host.snapshot import Host
from ..._storage.driver import Attempt, Driver
from ..._storage.volume import Volume
from . import container, machine
from .source import Source
from .spec import Spec
from .state import State


class Kind(t.NamedTuple):
    """*claim* writes the record of a guest that is begun, *fill* begins a volume with what the backup has of it, *define* makes the guest of
    the volumes that are in their places and returns what did not come back, *forget* takes the definition of one away that was begun, and
    *start* starts it.

    *lay_beside* brings what the backup has beside the volumes to a snapshot of a guest that is there, and returns what that says of it.
    """

    claim: t.Callable[[Spec, State, Ownership], None]
    fill: t.Callable[[State, str, Volume, Driver, Source, Ownership, t.Sequence[int]], Attempt]
    define: t.Callable[[Spec, State, Source, Ownership, Work], t.Generator[Step, None, t.Sequence[str]]]
    forget: t.Callable[[str], None]
    start: t.Callable[[str], None]
    lay_beside: t.Callable[[Spec, State, Source, str, Host], dict[str, t.Any]]


KINDS = {
    "container": Kind(
        container.claim, container.fill, container.define, container.forget, container.start, container.lay_beside
    ),
    "vm": Kind(machine.claim, machine.fill, machine.define, machine.forget, machine.start, machine.lay_beside),
}
