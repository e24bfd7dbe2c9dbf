# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The journal of a host: one JSON line for each resource that was changed, by whom and when. It never fails a run."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import pwd
import typing as t

from .._core import atomic, lock, paths
from .._core.errors import HybridError

MOST_BYTES = 4 * 2**20
OLD_FILES = 4
_FILE = "journal.jsonl"
_NO_LOGIN = str(2**32 - 1)

Entry = dict[str, t.Any]


def note(module: str, name: str, result: t.Mapping[str, t.Any]) -> list[str]:
    """Write that *module* changed *name*. *result* is what the module returns, its secrets masked already.

    Returns the warnings: one where the journal cannot be written.
    """
    error = result.get("msg")
    entry: Entry = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        **who(os.environ),
        "module": module,
        "name": name,
        "plan": result.get("plan", []),
        "restart_required": result.get("restart_required", []),
        "result": "failed" if error else "ok",
        **({"msg": error} if error else {}),
    }
    try:
        _append(json.dumps(entry, default=str, separators=(",", ":")).encode() + b"\n")
    except (OSError, HybridError) as exc:
        return [f"the journal {os.path.join(paths.JOURNAL, _FILE)} could not be written: {exc}"]
    return []


def who(environment: t.Mapping[str, str]) -> Entry:
    """Who runs this: the user, who became that user by sudo, who logged in, and from which address; what is not known is left out."""
    uid = os.getuid()
    login = (atomic.read_text("/proc/self/loginuid") or _NO_LOGIN).strip()
    found = {
        "user": _user_name(uid),
        "uid": uid,
        "sudo_user": environment.get("SUDO_USER"),
        "login_user": None if login == _NO_LOGIN else _user_name(int(login)),
        "from": (environment.get("SSH_CLIENT") or "").partition(" ")[0] or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def read(count: int) -> list[Entry]:
    """The last *count* entries, the oldest first. A line that a power cut left broken is passed over."""
    found: list[Entry] = []
    seen: set[tuple[int, int]] = set()
    for path in _files():
        if len(found) >= count:
            break
        older = [entry for line in _read_once(path, seen).splitlines() if (entry := _parse(line)) is not None]
        found = older[max(0, len(older) - (count - len(found))) :] + found
    return found


def _read_once(path: str, seen: set[tuple[int, int]]) -> str:
    """The text of a file, by its inode: a run that rotates the journal meanwhile gives one that was read the next name."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            status = os.fstat(stream.fileno())
            if (status.st_dev, status.st_ino) in seen:
                return ""
            seen.add((status.st_dev, status.st_ino))
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _parse(line: str) -> Entry | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _files() -> list[str]:
    """The files of the journal, the newest first."""
    path = os.path.join(paths.JOURNAL, _FILE)
    return [path, *(f"{path}.{number}" for number in range(1, OLD_FILES + 1))]


def _append(line: bytes) -> None:
    os.makedirs(paths.JOURNAL, mode=0o700, exist_ok=True)
    with lock.journal():
        files = _files()
        if os.path.exists(files[0]) and os.path.getsize(files[0]) + len(line) > MOST_BYTES:
            for newer, older in reversed(list(itertools.pairwise(files))):
                if os.path.exists(newer):
                    os.replace(newer, older)
        descriptor = os.open(files[0], os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            is_broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if is_broken else b"") + line)
        finally:
            os.close(descriptor)
