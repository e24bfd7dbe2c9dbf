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
from ..._storage.volume import Volume
from ..manifest import Manifest
from .asking import Patient
from .container import Container
from .health import Answer
from .network import Network


class Scratch(Patient, t.Protocol):
    """A guest that is made of a backup, and goes again.

    *claim* notes in its record what it takes besides its volumes, *services* and *missing* tell what its
    services say of themselves and what of its data came back, both before it runs, *define* makes it, *start* starts
    it in its network, *boot_log* tells what it wrote since, *remove* takes all of it away but the volumes, also of one of which only a part
    was made.
    """

    def claim(self, manifest: Manifest) -> None: ...

    def services(self, volumes: t.Mapping[str, Volume]) -> dict[str, str]: ...

    def missing(self, data_paths: t.Mapping[str, bool], volumes: t.Mapping[str, Volume]) -> list[Answer]: ...

    def define(self, manifest: Manifest, text: str, volumes: t.Mapping[str, Volume]) -> tuple[str, ...]: ...

    def start(self) -> None: ...

    def boot_log(self) -> str: ...

    def remove(self) -> None: ...


Making = t.Callable[[str, Network, Ownership, t.Mapping[str, Driver]], Scratch]
SCRATCHES: dict[str, Making] = {"container": Container}
