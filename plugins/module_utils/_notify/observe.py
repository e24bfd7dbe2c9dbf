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
from .spec import SECRETS, Spec
from .state import State
from .targets import read_targets
from .units import FOLDER, PROGRAM, TIMER, texts

_SENDMAIL = "/usr/sbin/sendmail"


def observe(spec: Spec, host: Host) -> State:
    """Read whom the host tells.

    :raises ObserveError:
    """
    targets = read_targets()
    return State(
        targets=targets,
        broken=frozenset(name for name, its in targets.items() if not _has_secrets(name, its)),
        has_units=_has_units(targets),
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


def _has_units(targets: t.Iterable[str]) -> bool:
    wanted = texts(files_of(targets))
    if any(atomic.read_text(f"{FOLDER}/{path}") != text for path, text in wanted.items()):
        return False
    return not has_systemd() or is_started(TIMER)
