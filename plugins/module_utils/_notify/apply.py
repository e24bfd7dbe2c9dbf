# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Writes whom a host tells: their file and their secrets, the program, and the units with their timer."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._core import atomic, paths
from .._core.command import systemctl
from .._core.converge import Work
from .._core.options import split
from .._core.plan import Change, Plan, Step
from .._host.systemd import has_systemd
from .._run.packing import packed
from .observe import files_of, secrets_of
from .packing import load
from .plan import after_all
from .spec import ALERTS, METRICS, SECRETS, TARGETS, Spec
from .state import Kept, State
from .units import FOLDER, PROGRAM, all_paths, folders, texts_of, timers


def apply_notices(spec: Spec, state: State, plan: Plan, dummy: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises CommandError: when systemd refuses a step.
    """
    kept = after_all(spec, state)
    after = kept.targets
    touched = {split(change.path)[1] for change in plan.changes if change.path.startswith(f"{TARGETS}[")}
    for name, values in after.items():
        if name in touched:
            os.makedirs(paths.NOTIFY, mode=0o700, exist_ok=True)
            atomic.write_file(paths.notify_secrets(name), secrets_of(values), mode=0o600)
    yield Step("secrets written")
    if plan.has("program"):
        atomic.write_file(PROGRAM, packed(load()), mode=0o755)
        yield Step("program written")
    open_values = {name: {key: it for key, it in its.items() if key not in SECRETS} for name, its in after.items()}
    if not kept.is_empty:
        os.makedirs(paths.NOTIFY, mode=0o700, exist_ok=True)
        its = {"schema": 1, TARGETS: open_values, ALERTS: sorted(kept.alerts), METRICS: kept.measures}
        config = json.dumps(its, indent=1, sort_keys=True) + "\n"
        atomic.write_file(paths.NOTIFY_CONFIG, config, mode=0o600)
        yield Step("targets written")
        _write_units(kept)
    else:
        _remove_all()
    for name in state.kept.targets:
        if name not in after:
            atomic.remove_file(paths.notify_secrets(name))
    if not kept.measures:
        atomic.remove_file(paths.host_metrics_file())
    yield from plan.changes


def _write_units(kept: Kept) -> None:
    wanted = texts_of(kept, files_of(kept.targets))
    _remove_units(path for path in all_paths() if path not in wanted)
    for path, text in wanted.items():
        if atomic.read_text(f"{FOLDER}/{path}") != text:
            atomic.write_file(f"{FOLDER}/{path}", text)
    if has_systemd():
        systemctl("daemon-reload")
        for timer in timers(wanted):
            systemctl("enable", "--quiet", "--now", timer)


def _remove_units(gone: t.Iterable[str]) -> None:
    for path in gone:
        if has_systemd() and path.endswith(".timer") and os.path.exists(f"{FOLDER}/{path}"):
            systemctl("disable", "--quiet", "--now", path)
        atomic.remove_file(f"{FOLDER}/{path}")
    for folder in folders():
        with contextlib.suppress(OSError):  # somebody else has something there
            os.rmdir(f"{FOLDER}/{folder}")


def _remove_all() -> None:
    """Nobody is told anything any more."""
    _remove_units(all_paths())
    for path in (PROGRAM, paths.NOTIFY_CONFIG, paths.TOLD, paths.ALERTS_TOLD, paths.ALERTS_SILENT, paths.DRIFT):
        atomic.remove_file(path)
    if has_systemd():
        systemctl("daemon-reload")
