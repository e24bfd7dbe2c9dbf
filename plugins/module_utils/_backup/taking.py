# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""One guest into a repository: captured, stored, and all that was done to it taken back, now or by the next run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import typing as t

from .._core import atomic, lock, paths
from .._core.errors import ApplyError, HybridError, LockTimeout
from .._core.reference import Reference
from .._core.removal import remove_tree
from .._guest.capture import Captured, Hooks, Wish
from .._guest.hooks import HookError
from .._guest.options import BACKUP_DATA, BACKUP_EXCLUDE, BACKUP_HOOKS
from .._guest.record import GuestRecord
from .._guest.recorded import load_file
from .._host.snapshot import GUEST, Host
from .config import Job
from .kinds import KINDS
from .manifest import FILE, Manifest, made_of
from .repository import Added, Repository
from .stored import short, tags_of

# A guest that another job backs up over a slow line is waited for.
WAIT_SECONDS = 12 * 3600.0


class Taken(t.NamedTuple):
    """A backup that was made."""

    added: Added
    consistent: str
    warnings: tuple[str, ...]


class Shown(t.NamedTuple):
    """A guest that is captured: what it holds is in *folder*, and *fds* are the descriptors of the lock under which it is there."""

    folder: str
    manifest: Manifest
    captured: Captured
    fds: t.Sequence[int]


# Says, under the lock, what is asked of a guest by its record, to be shown in a folder.
Asking = t.Callable[[str, GuestRecord, t.Sequence[int]], Wish]


def take(guest: str, job: Job, host: Host) -> Taken:
    """Back up *guest* as *job* says.

    :raises HybridError: when it could not be; nothing of it is left then.
    """

    def asked(folder: str, record: GuestRecord, dummy: t.Sequence[int]) -> Wish:
        before, after = (record.value(row) for row in BACKUP_HOOKS)
        hooks, without, data = Hooks(before, after), record.value(BACKUP_EXCLUDE), record.value(BACKUP_DATA)
        return Wish(guest, folder, job.mode, hooks, without, data)

    stored = None
    try:
        with captured(guest, host, asked) as its:
            tags = tags_of(guest, its.manifest.kind, job.name, its.captured.consistent)
            repository = Repository(job.repository, its.fds, is_append_only=job.is_append_only)
            stored = repository.back_up(its.folder, platform.node(), tags, its.captured.left_out, job.bandwidth)
    except HookError as exc:
        if stored is None:
            raise
        raise HookError(_whole(exc.message, stored)) from exc
    except HybridError as exc:
        left = ""
        if stored is not None:
            # It is of no one moment, and must not be taken for the newest.
            with contextlib.suppress(HybridError):
                left = Repository(job.repository, is_append_only=job.is_append_only).let_go(stored.id)
        if left:
            raise ApplyError(f"{exc.message}. And {left}") from exc
        raise
    if its.captured.trouble:
        raise HookError(_whole(its.captured.trouble, stored))
    return Taken(stored, its.captured.consistent, its.captured.warnings)


@contextlib.contextmanager
def captured(guest: str, host: Host, asked: Asking) -> t.Iterator[Shown]:
    """What *guest* holds as it is *asked* for, with its manifest beside, under its lock. Afterwards all of it is taken back.

    :raises HybridError: also on the way out, when what was shown is not of one moment.
    """
    with lock.backing_up(guest, wait_seconds=WAIT_SECONDS) as held:
        clear(guest, host, held.fds)
        host.drop()
        record = load_file(host.record("guests", guest))
        if record.kind not in KINDS:
            raise ApplyError(f"{guest} is a guest of a kind that cannot be backed up yet ({record.kind or 'unknown'})")
        try:
            folder, note = paths.capture_folder(guest), _Note(guest, record.kind)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            note()
            wish = asked(folder, record, held.fds)
            with KINDS[record.kind].captured(wish, host, note, held.fds) as its:
                manifest = made_of(
                    its,
                    guest=guest,
                    kind=record.kind,
                    host=platform.node(),
                    made=round(time.time(), 3),
                    mode=wish.mode,
                    definition=atomic.read_text(os.path.join(folder, its.definition)) or "",
                    record=dict(host.record("guests", guest).data),
                )
                _write(os.path.join(folder, FILE), manifest.dump())
                yield Shown(folder, manifest, its, held.fds)
        finally:
            _forget(guest)


def _whole(trouble: str, stored: Added) -> str:
    return f"{trouble}. The backup {short(stored.id)} is whole, and stored"


def clear(guest: str, host: Host, fds: t.Sequence[int]) -> bool:
    """Take back what a run that was killed has done to *guest*. Returns whether there was anything.

    :raises HybridError: when it cannot be; the next run tries again.
    """
    text = atomic.read_text(paths.capture_note(guest))
    if text is None:
        return False
    begun = json.loads(text)
    with lock.hold((Reference(GUEST, guest),), ()):
        host.drop()
        try:
            KINDS[begun["kind"]].take_back(guest, paths.capture_folder(guest), begun, host, fds)
        except HookError:
            # All else is taken back. It is told, and not tried for ever: the next backup runs these hooks anyway.
            _forget(guest)
            raise
    _forget(guest)
    return True


def clear_all(host: Host) -> list[str]:
    """Take back what runs that were killed have done to any guest. Returns the guests; those that are being backed up are left."""
    found = []
    folder = os.path.dirname(paths.capture_note(""))
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        guest = name.removesuffix(".json")
        if name.startswith(".") or guest == name:
            continue
        with contextlib.suppress(LockTimeout), lock.backing_up(guest, wait_seconds=0) as held:
            if clear(guest, host, held.fds):
                found.append(guest)
    return found


class _Note:
    """See ``_guest.capture.Note``."""

    def __init__(self, guest: str, kind: str) -> None:
        self._path = paths.capture_note(guest)
        self._begun: dict[str, t.Any] = {"kind": kind}

    def __call__(self, **begun: t.Any) -> None:
        merged = {**self._begun, **begun}
        self._begun = {key: value for key, value in merged.items() if value is not None}
        _write(self._path, self._begun)


def _write(path: str, values: t.Mapping[str, t.Any]) -> None:
    atomic.write_file(path, json.dumps(values, indent=1, sort_keys=True) + "\n", mode=0o600)


def _forget(guest: str) -> None:
    """All is taken back: the folder and the note go."""
    folder = paths.capture_folder(guest)
    if os.path.isdir(folder):
        remove_tree(folder)
    atomic.remove_file(paths.capture_note(guest))
