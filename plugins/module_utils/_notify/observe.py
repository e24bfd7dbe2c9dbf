# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of whom a host tells: their file, their secrets, the units and the program. Only reads."""

from __future__ import annotations

import json
import os
import typing as t

from .._core import atomic, paths
from .._host.snapshot import Host
from .._host.systemd import has_systemd, is_started
from .._run.packing import packed
from .packing import load
from .spec import ALERTS, METRICS, SECRETS, TARGETS, Spec
from .state import Kept, State
from .targets import read_kept
from .units import FOLDER, PROGRAM, texts_of, timers

_SENDMAIL = "/usr/sbin/sendmail"


def observe(spec: Spec, host: Host) -> State:
    """Read whom the host tells.

    :raises ObserveError:
    """
    found = read_kept()
    kept = Kept(found[TARGETS], frozenset(found[ALERTS]), found[METRICS])
    return State(
        kept=kept,
        broken=frozenset(name for name, its in kept.targets.items() if not _has_secrets(name, its)),
        has_units=_has_units(kept),
        has_program=atomic.read_bytes(PROGRAM) == packed(load()),
        has_sendmail=os.access(_SENDMAIL, os.X_OK),
    )


def secrets_of(values: t.Mapping[str, t.Any]) -> str:
    """What is in the file of the secrets of a target."""
    return json.dumps({key: values[key] for key in SECRETS if key in values}, sort_keys=True) + "\n"


def files_of(targets: t.Iterable[str]) -> dict[str, str]:
    """The files of the secrets of *targets*, by the names of these."""
    return {name: paths.notify_secrets(name) for name in sorted(targets)}


def _has_secrets(name: str, values: t.Mapping[str, t.Any]) -> bool:
    path = paths.notify_secrets(name)
    return atomic.read_text(path) == secrets_of(values) and not os.stat(path).st_mode & 0o077


def _has_units(kept: Kept) -> bool:
    wanted = texts_of(kept, files_of(kept.targets))
    if any(atomic.read_text(f"{FOLDER}/{path}") != text for path, text in wanted.items()):
        return False
    return not has_systemd() or all(is_started(timer) for timer in timers(wanted))
