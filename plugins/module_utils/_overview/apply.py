# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Writes to which pages a host tells how its guests are, the program, and the units with their timer."""

from __future__ import annotations

import contextlib
import json
import typing as t

from .._core import atomic, command, paths
from .._core.command import systemctl
from .._core.converge import Work
from .._core.plan import Change, Plan, Step
from .._host.systemd import has_systemd
from .._run.packing import packed
from .observe import units_of
from .packing import load
from .plan import after_all
from .spec import Spec
from .state import State
from .units import FOLDER, PROGRAM, TIMER


def apply_overview(spec: Spec, state: State, plan: Plan, dummy: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises CommandError: when systemd refuses a step.
    """
    after = after_all(spec, state)
    if plan.has("program"):
        atomic.write_file(PROGRAM, packed(load()), mode=0o755)
        yield Step("program written")
    if after:
        config = json.dumps({"schema": 1, "guests": after}, indent=1, sort_keys=True) + "\n"
        atomic.write_file(paths.OVERVIEW_CONFIG, config, mode=0o600)
        yield Step("guests written")
        _write_units(after)
    else:
        _remove_all()
    yield from plan.changes


def _write_units(guests: t.Iterable[str]) -> None:
    for path, text in units_of(guests).items():
        if atomic.read_text(f"{FOLDER}/{path}") != text:
            atomic.write_file(f"{FOLDER}/{path}", text)
    if has_systemd():
        systemctl("daemon-reload")
        systemctl("enable", "--quiet", "--now", TIMER)


def _remove_all() -> None:
    """No guest is told anything any more."""
    if has_systemd():
        with contextlib.suppress(command.CommandError):  # it was never there
            systemctl("disable", "--quiet", "--now", TIMER)
    for path in (*(f"{FOLDER}/{name}" for name in units_of(())), PROGRAM, paths.OVERVIEW_CONFIG):
        atomic.remove_file(path)
    if has_systemd():
        systemctl("daemon-reload")
