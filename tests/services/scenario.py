# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenario of a service role consists of. Each role has a module beside this one, of its name and with its ``SCENARIO`` or ``SCENARIOS``."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness.service_guest import ROOT, Releases

Variables = dict[str, t.Any]


class Upstream(t.Protocol):
    """Where the versions of a service come from. A version is published when its variables are asked for."""

    # The entry point at which another version is wanted: ``main`` of what is pinned, ``update`` of what is not.
    entry: str

    def first(self, releases: Releases) -> Variables:
        """The variables with which the role installs a version that answers."""

    def turned(self, releases: Releases) -> Variables:
        """Those of a newer version of whose artifact one bit is turned after its checksum was published."""

    def silent(self, releases: Releases) -> Variables:
        """Those of a newer version that starts, changes what it finds, and never answers."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One role, with its ``unit`` and perhaps further ``units``; a ``variant`` of it where there are several.

    ``listens`` is all that the guest listens on beside what it listened on before, as ``tcp 0.0.0.0:1883``; of that ``stays`` is
    of what others may need too, and is left when the role is taken away. ``write`` and ``read`` are
    commands in the guest: what the first wrote the second prints, ``row``. ``logins`` are commands in the guest that log in with what
    upstreams and others ship as a password, or without any; none may succeed. ``judge`` is a client that others wrote, at the address
    of the guest. The guest has ``features``, is privileged where it says so, and has what ``prepare`` brings into it before. ``refusals`` are
    variables that what stands refuses before anything is done, each with a part of the sentence. ``dump`` prints ``row`` too, out of what the
    hook of its backups wrote.
    """

    role: str
    unit: str
    upstream: Upstream
    variables: Variables
    listens: frozenset[str]
    write: tuple[str, ...]
    read: tuple[str, ...]
    row: str
    logins: tuple[tuple[str, ...], ...]
    refusal: str
    units: tuple[str, ...] = ()
    stays: frozenset[str] = frozenset()
    gone: tuple[str, ...] = ()
    judge: t.Callable[[str], None] | None = None
    features: tuple[str, ...] = ()
    variant: str = ""
    prepare: t.Callable[[], None] | None = None
    refusals: tuple[tuple[Variables, str], ...] = ()
    dump: tuple[str, ...] = ()
    is_privileged: bool = False

    @property
    def name(self) -> str:
        return f"{self.role}-{self.variant}" if self.variant else self.role


def roles() -> list[str]:
    """The roles of this collection that keep a service in a Debian. Those of appliances are of tests/appliances."""
    found = []
    for path in sorted((ROOT / "roles").glob("*/vars/main.yml")):
        name, text = path.parents[1].name, path.read_text(encoding="utf-8")
        if f"\n__{name}_service:" in text and "\n  appliance: true" not in text:
            found.append(name)
    return found


@functools.cache
def scenarios_of(role: str) -> tuple[Scenario, ...]:
    """Those of the module of the role's name, if there is one; that of what the role does by default comes first."""
    if not Path(__file__).with_name(f"{role}.py").exists():
        return ()
    module = importlib.import_module(f"{__package__}.{role}")
    found: tuple[Scenario, ...] = getattr(module, "SCENARIOS", ()) or (module.SCENARIO,)
    return found
