# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A mount of the host made, changed or taken away: its record, its credentials, its units. What is mounted is not waited for."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._core import atomic, command, paths
from .._core.command import systemctl
from .._core.converge import Work
from .._core.plan import Change, Plan, Step
from .._core.record import Owned
from .._host import mounts
from .._host.mount_record import MountRecord
from .plan import DEFINED, values_after
from .spec import Spec
from .state import State
from .units import credentials_text, name_of, texts


def apply_mount(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises CommandError: when systemd refuses a step.
    """
    own = Owned(work.host.record("mounts", name_of(spec.path)), MountRecord)
    if spec.state == "absent":
        yield from _remove(spec.path, own, plan)
        return
    wanted = values_after(spec, state)
    owns_folder = own.content.owns_folder if own.exists else not os.path.isdir(spec.path)
    is_new = not state.exists
    kept = {key: wanted[key] for key in ("type", "source")}
    own.save(
        is_building=is_new,
        path=spec.path,
        owns_folder=owns_folder,
        options=tuple(wanted.get("options") or ()),
        wait_for_guest=wanted.get("wait_for_guest") or "",
        wait_timeout=wanted.get("wait_timeout") or 0,
        **kept,
    )
    yield Step("record written")
    if is_new or not state.is_whole or any(change.path in DEFINED for change in plan.changes):
        yield from _write(spec.path, wanted)
    if is_new:
        own.save(is_building=False)
    yield from plan.changes


def _write(path: str, wanted: t.Mapping[str, t.Any]) -> t.Iterator[Step]:
    name = name_of(path)
    automount, mount = f"{name}.automount", f"{name}.mount"
    # What was mounted before, with other words, lets go first.
    _end(automount, mount)
    if not _is_mounted(path):
        os.makedirs(path, mode=0o755, exist_ok=True)
    secret = credentials_text(wanted)
    file = paths.credentials_path(name)
    if secret is None:
        atomic.remove_file(file)
    else:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        atomic.write_file(file, secret, mode=0o600)
    for unit, text in texts(path, wanted, file if secret else None).items():
        atomic.write_file(unit, text, mode=0o644)
    yield Step("units written")
    systemctl("daemon-reload")
    systemctl("enable", "--quiet", automount)
    systemctl("start", automount)
    yield Step("mounted when it is asked for")


def _remove(path: str, own: Owned[MountRecord], plan: Plan) -> t.Iterator[Change | Step]:
    name = name_of(path)
    automount, mount = f"{name}.automount", f"{name}.mount"
    with contextlib.suppress(command.CommandError):  # a unit that was never written is in no list
        systemctl("disable", "--quiet", automount)
    _end(automount, mount)
    yield Step("unmounted")
    for unit in (*texts(path, {"type": "nfs", "source": ""}, None), paths.credentials_path(name)):
        atomic.remove_file(unit)
    systemctl("daemon-reload")
    if own.content.owns_folder and not _is_mounted(path):
        with contextlib.suppress(OSError):  # somebody has put something there
            os.rmdir(path)
    own.remove()
    yield from plan.changes


def _is_mounted(path: str) -> bool:
    """Whether something is, without asking whoever serves it."""
    return any(its.point == path for its in mounts.read_mounts())


def _end(automount: str, mount: str) -> None:
    for unit in (automount, mount):
        with contextlib.suppress(command.CommandError):  # there is none that runs
            systemctl("stop", unit)
        with contextlib.suppress(command.CommandError):
            systemctl("reset-failed", unit)
