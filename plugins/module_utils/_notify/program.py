# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""homelab-hybrid-notify: tells what is wrong on this host to whom hypervisor_notify names. It lies on the host as one file.

``look [--dry-run]``, ``test``, ``drift``, ``alerts``, ``measure``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import typing as t

from .._core import atomic, lock, paths
from .._core.errors import HybridError, ObserveError
from .._host.snapshot import Host
from .._run.program import say, status_of
from .alerts import SILENT_SECONDS, AlertsError, of_alerts, of_silence
from .asking import ask
from .conditions import Condition
from .delivery import deliver
from .figures import figures
from .look import Well, look
from .measure import measure
from .spec import ALERTS
from .targets import read_kept, read_targets
from .telling import Memory, Notice, Target, notice_for
from .units import NAME


def main(argv: t.Sequence[str] | None = None) -> int:
    """Do what *argv* says, and answer the status that the program ends with."""
    return status_of(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description="Tell what is wrong on this host.")
    verbs = parser.add_subparsers(required=True)
    looking = verbs.add_parser("look", help="look, and tell what is new, lasts for a day, or is over")
    looking.add_argument("--dry-run", action="store_true", help="only print what is wrong")
    looking.set_defaults(act=_look)
    verbs.add_parser("test", help="send a word to all targets").set_defaults(act=_test)
    verbs.add_parser("drift", help="take from stdin, a line each, what is not as it is declared").set_defaults(
        act=_drift
    )
    verbs.add_parser("alerts", help="tell of the alerts of the monitoring of the lab").set_defaults(act=_alerts)
    verbs.add_parser("measure", help="write what the host measures for Prometheus").set_defaults(act=_measure)
    return parser


def _look(words: t.Any) -> bool:
    if words.dry_run:
        for its in look(Host())[0]:
            sys.stdout.write(its.text + "\n")
        return True
    with lock.notifying():
        return _tell_all()


def _tell_all() -> bool:
    conditions, well = look(Host())
    return _tell(conditions, well, paths.TOLD)


def _tell(conditions: t.Sequence[Condition], well: Well, path: str) -> bool:
    """Whether all targets took what there was to tell; the next look tries again with the others. What they were told is in *path*."""
    targets, memories, now = read_targets(), _memory(path), time.time()
    all_took = True
    kept: dict[str, Memory] = {}
    for name, values in targets.items():
        before = memories.get(name, {})
        notice, after = notice_for(Target(values["on"], name, targets), conditions, well, before, now)
        kept[name] = after if notice is None or _deliver(name, values, notice) else before
        all_took = all_took and (notice is None or kept[name] is after)
    _write(path, kept)
    return all_took


def _test(dummy: t.Any) -> bool:
    notice = Notice(well=("This is a test: nothing happened.",))
    took = {name: _deliver(name, values, notice) for name, values in read_targets().items()}
    return all(took.values())


def _drift(dummy: t.Any) -> bool:
    _write(paths.DRIFT, [line for line in sys.stdin.read().splitlines() if line.strip()])
    with lock.notifying():
        return _tell_all()


def _alerts(dummy: t.Any) -> bool:
    with lock.notifying():
        silent, now, host = _memory(paths.ALERTS_SILENT), time.time(), Host()
        found: list[Condition] = []
        since: dict[str, float] = {}
        for guest in read_kept()[ALERTS]:
            try:
                found.extend(of_alerts(guest, ask(guest, host)))
            except (HybridError, AlertsError) as exc:
                since[guest] = silent.get(guest, now)
                # Nobody knows whether what it told last is over.
                found.extend(_told_last(guest))
                if now - since[guest] >= SILENT_SECONDS:
                    found.append(of_silence(guest, str(exc)))
        _write(paths.ALERTS_SILENT, since)
        return _tell(found, {}, paths.ALERTS_TOLD)


def _told_last(guest: str) -> t.Iterator[Condition]:
    """The alerts of *guest* that some target knows of."""
    known = {key: its for memory in _memory(paths.ALERTS_TOLD).values() for key, its in memory["conditions"].items()}
    return (Condition(key, its["text"]) for key, its in known.items() if key.startswith(f"alert {guest} "))


def _measure(dummy: t.Any) -> bool:
    if not os.path.isdir(paths.METRICS):
        raise ObserveError(f"there is no {paths.METRICS}: Debian's prometheus-node-exporter brings it")
    atomic.write_file(paths.host_metrics_file(), figures(measure(Host(), say)))
    return True


def _deliver(name: str, values: t.Mapping[str, t.Any], notice: Notice) -> bool:
    try:
        deliver(values, notice, platform.node())
    except HybridError as exc:
        say(f"<3>{name} was not told: {exc.message}")
        return False
    say(f"{name} was told: {len(notice.lines)} line{'' if len(notice.lines) == 1 else 's'} ({notice.word})")
    return True


def _memory(path: str) -> dict[str, t.Any]:
    try:
        found = json.loads(atomic.read_text(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: str, values: t.Any) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    atomic.write_file(path, json.dumps(values, indent=1, sort_keys=True) + "\n", mode=0o600)
