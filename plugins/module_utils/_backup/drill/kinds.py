# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How each kind of guest is tried, by its word."""

from __future__ import annotations

import typing as t

from ..._guest.ownership import Ownership
from ..._storage.driver import Driver
from ..manifest import Manifest
from ..repository import Repository
from ..restore.state import State
from .asking import Patient
from .container import Container
from .health import Check
from .machine import Machine
from .network import Network


class Scratch(Patient, t.Protocol):
    """A guest that is made of a backup, and goes again.

    *obstacle* says why it cannot be tried, by what its definition is and what is asked of it, *claim* notes in its record what it takes besides
    its volumes, *define* makes it from that definition and tells what it has to do without, *start* starts it in its network, *boot_log* tells
    what it wrote since, *remove* takes all of it away but the volumes, also of one of which only a part was made. *is_open*: what is in it can
    be seen before it runs.
    """

    is_open: bool

    def obstacle(self, manifest: Manifest, checks: t.Sequence[Check]) -> str | None: ...

    def claim(self, manifest: Manifest) -> None: ...

    def define(self, state: State, repository: Repository) -> tuple[str, ...]: ...

    def start(self) -> None: ...

    def boot_log(self) -> str: ...

    def remove(self) -> None: ...


Making = t.Callable[[str, Network, Ownership, t.Mapping[str, Driver]], Scratch]
SCRATCHES: dict[str, Making] = {"container": Container, "vm": Machine}
