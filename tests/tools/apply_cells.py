# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a change of each option reaches a resource, by asking ``decide`` itself: for more, less and another value."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".build")]
UTILS = "ansible_collections.homelab.hybrid.plugins.module_utils"

from unit.tree import room

decide = importlib.import_module(f"{UTILS}._core.decide")
options = importlib.import_module(f"{UTILS}._core.options")
How = importlib.import_module(f"{UTILS}._core.plan").How

# The modules of the kinds, and the room of each.
FOLDERS = {kind.module: room(kind) for kind in importlib.import_module(f"{UTILS}._layout.kinds").KINDS}
# What no layout has.
ACTIONS = {"guest_snapshot": "_snapshot", "guest_restore": "_backup.restore"}
MODULES = {**FOLDERS, **ACTIONS}
RUNNING, STOPPED = decide.Power(True, True), decide.Power(False, False)
# A module that keeps two kinds of a thing: what each is called, its rows, and what becomes of a change that waits for a start.
NEXT_BOOT = "next boot"
KINDS = {"bridge": (("nat, routed, isolated", "NETWORK", "a restart of the bridge"), ("ports", "LINK", NEXT_BOOT))}
# What neither runs nor rests: each change of it takes effect at once.
ALWAYS_LIVE = ("storage_pool", "image")
# The ways in which a value can differ from the declared one.
GROW, SHRINK, OTHER, ADD, REMOVE, ON, OFF = "grow", "shrink", "other", "add", "remove", "on", "off"


def rows(module: str) -> list[t.Any]:
    """The compared rows of *module*, in the order of its documentation."""
    return [row for row in all_rows(module) if row.is_compared]


def all_rows(module: str) -> list[t.Any]:
    return list(_options(module).OPTIONS)


def _options(module: str) -> t.Any:
    place = f"{UTILS}.{MODULES[module]}"
    file = "options" if importlib.util.find_spec(f"{place}.options") else "spec"
    return importlib.import_module(f"{place}.{file}")


def samples(row: t.Any) -> tuple[t.Any, t.Any]:
    """Two canonical values of *row*, the lesser first where one is less."""
    if row.type == "item" or row.path.endswith("[]"):
        return False, True
    if row.type == "bool":
        return False, True
    if row.choices and row.type != "list":
        return row.choices[0], row.choices[1] if len(row.choices) > 1 else row.choices[0]
    if row.check is not None:
        first, second = row.check.samples
        return row.parse(row.path, first), row.parse(row.path, second)
    return {"int": (1, 2), "float": (1.0, 2.0), "list": (("a",), ("b",))}.get(row.type, ("a", "b"))


def directions(row: t.Any) -> dict[str, tuple[t.Any, t.Any]]:
    """Before and after for each way in which the option can change."""
    low, high = samples(row)
    if row.type == "item" or row.path.endswith("[]"):
        return {ADD: (low, high), REMOVE: (high, low)}
    if isinstance(low, bool):
        return {ON: (low, high), OFF: (high, low)}
    if isinstance(low, (int, float)):
        return {GROW: (low, high), SHRINK: (high, low)}
    return {OTHER: (low, high)} if low != high else {}


def outcome(row: t.Any, before: t.Any, after: t.Any, power: t.Any) -> tuple[str, str | None]:
    """What ``decide`` answers, and the word of ``allow`` where it refuses."""
    verdict = decide.decide(row, after, before, before, power=power, allow=())
    permit = row.loss(before, after) if verdict is How.REFUSED else None
    return verdict.value, None if permit == options.NEVER_PERMITTED else permit


def cells(row: t.Any, power: t.Any) -> dict[str, tuple[str, str | None]]:
    """The outcome for each way in which the option can change."""
    return {way: outcome(row, before, after, power) for way, (before, after) in directions(row).items()}


WORDS = {"live": "live", "offline": "written", "refused": "refused"}


def kinds(module: str) -> list[tuple[str, dict[str, t.Any], str]]:
    """The kinds of thing that a module keeps: what each is called, its rows, what a change that waits for a start waits for."""
    options = _options(module)
    return [
        (word, {row.path: row for row in getattr(options, rows)}, waits)
        for word, rows, waits in KINDS.get(module, (("", "OPTIONS", NEXT_BOOT),))
    ]


def power_of(module: str, power: t.Any) -> t.Any:
    """The power by which the plan of *module* decides for a thing that runs or rests."""
    return RUNNING if module in ALWAYS_LIVE else power


def told_of(module: str, row: t.Any, power: t.Any) -> str:
    """The cell of the table for each kind of thing that the module keeps, one answer where all are the same."""
    power = power_of(module, power)
    answers = {word: told(rows[row.path], power, waits) for word, rows, waits in kinds(module) if row.path in rows}
    if len(set(answers.values())) == 1:
        return next(iter(answers.values()))
    return "; ".join(f"{word}: {answer}" for word, answer in answers.items())


def told(row: t.Any, power: t.Any, waits: str = NEXT_BOOT) -> str:
    """The cell of the table in words, one answer where all are the same."""
    found = {way: _words(*answer, waits) for way, answer in cells(row, power).items()}
    if len(set(found.values())) <= 1:
        return next(iter(found.values()), "")
    return "; ".join(f"{way}: {answer}" for way, answer in found.items())


def _words(how: str, permit: str | None, waits: str) -> str:
    return f"needs ``allow: [{permit}]``" if permit else waits if how == "next_boot" else WORDS[how]


def off_value(row: t.Any) -> str | None:
    """The value that ``unset`` stands for as the user writes it, ``None`` where it cannot be taken off."""
    if row.off is options.NO_OFF:
        return None
    shown = row.show(row.off)
    return "nothing" if shown in (None, "", [], ()) else "no" if shown is False else str(shown)
