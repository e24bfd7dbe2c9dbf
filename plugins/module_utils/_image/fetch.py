# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Files that are fetched: kept by what they must be until the last image made of them goes, and gone on with after a cut."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import time
import typing as t
import urllib.error

from .._core import atomic, lock
from .._core.errors import ApplyError
from .._core.plan import Step
from . import downloads, upstream
from .state import Remote

_CHUNK = 1 << 20
# A line that breaks again and again, and brings less than this each time, is given up.
_PROGRESS = 1 << 20
_TRIES = 5
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
# How often it is told how far it is: at each tenth, or where the size is not known each time so much came.
_TOLD_PARTS, _TOLD_BYTES = 10, 64 << 20


def fetch(remote: Remote, limit: int, *, key: str = "url") -> t.Generator[Step, None, str]:
    """Fetch what *remote* names and return its path, unless it was fetched before. The caller holds its ``lock.fetching``.

    :raises ApplyError: when it cannot be had (what came is kept, and the next run goes on), is larger than *limit* bytes,
        or is not what it must be (nothing of it is kept then).
    """
    name = downloads.name_of(remote)
    path = downloads.path_of(name)
    os.makedirs(downloads.FOLDER, mode=0o700, exist_ok=True)
    # One that was damaged on the host is replaced by what is fetched.
    if remote.digest is not None and os.path.exists(path) and downloads.digest(path, remote.digest) == remote.digest:
        yield Step(f"{name} was fetched before")
        return path
    is_new = not os.path.exists(downloads.part_of(name))
    yield from _transfer(remote, name, limit, key)
    found = _digest_of_part(remote, name)
    if remote.digest not in (None, found) and not is_new:
        # What was there of an earlier run may be of another file than what came behind it.
        remove(name)
        yield from _transfer(remote, name, limit, key)
        found = _digest_of_part(remote, name)
    if remote.digest not in (None, found):
        remove(name)
        raise ApplyError(f"checksum: {remote.url} is {found}, and must be {remote.digest}. Nothing of it was kept")
    os.rename(downloads.part_of(name), path)
    atomic.remove_file(downloads.note_of(name))
    atomic.sync_folder(downloads.FOLDER)
    yield Step(f"{name} fetched")
    return path


def _digest_of_part(remote: Remote, name: str) -> str:
    return downloads.digest(downloads.part_of(name), remote.digest or "sha256:")


def _transfer(remote: Remote, name: str, limit: int, key: str) -> t.Iterator[Step]:
    """Bring the part of the file *name* to its end, with as many requests as it takes."""
    tries = 0
    told = _Told(remote.size)
    while True:
        before = _size(downloads.part_of(name))
        try:
            yield from _request(remote, name, limit, told)
            return
        except urllib.error.HTTPError as exc:
            if exc.code == 416:
                remove(name)  # what is there is not the beginning of it
            elif exc.code not in _TEMPORARY:
                raise ApplyError(upstream.said(key, remote.url, exc)) from exc
            problem: BaseException = exc
        except (OSError, http.client.HTTPException, _CutError) as exc:
            problem = exc
        gained = _size(downloads.part_of(name)) - before
        tries = 0 if gained >= _PROGRESS else tries + 1
        if tries >= _TRIES:
            raise ApplyError(
                f"{upstream.said(key, remote.url, problem)}. What came is kept: the next run goes on from there"
            ) from problem
        if gained <= 0:
            time.sleep(0.25 * 2**tries)


class _CutError(Exception):
    """The answer ended before the file did."""


class _Told:
    """Which parts of a file were told to have come."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._part = -1

    def steps(self, done: int) -> t.Iterator[Step]:
        part = done * _TOLD_PARTS // self._size if self._size else done // _TOLD_BYTES
        if part > max(self._part, 0) and done >= _PROGRESS:
            whole = f" of {_mib(self._size)}" if self._size else ""
            yield Step(f"{_mib(done)}{whole} fetched")
        self._part = max(self._part, part)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _request(remote: Remote, name: str, limit: int, told: _Told) -> t.Iterator[Step]:
    """One request, for what is not there yet."""
    part = downloads.part_of(name)
    have, validator = _resumable(remote, name)
    if have and have == remote.size:
        return  # the run was killed behind the last byte; what it is, is seen next
    headers = {"Range": f"bytes={have}-"} if have else {}
    if validator and have:
        headers["If-Range"] = validator
    with contextlib.closing(upstream.ask(remote.url, headers=headers, mirrors=remote.mirrors)) as answer:
        size, its = upstream.size_of(answer), upstream.validator_of(answer)
        start = re.match(rf"bytes {have}-", answer.headers.get("Content-Range", ""))
        if answer.status == 206 and (not start or remote.size not in (None, size)):
            remove(name)
            raise _CutError("the server sent another part than was asked for")
        if answer.status != 206:
            have = 0
        if remote.size is not None and size not in (None, remote.size):
            raise ApplyError(f"url: {remote.url} has {size} bytes now, and had {remote.size}. Run again")
        atomic.write_file(downloads.note_of(name), json.dumps({"url": remote.url, "validator": its}), mode=0o600)
        # Without a buffer: what was told to be here is here.
        with open(part, "ab" if have else "wb", buffering=0) as stream:
            while chunk := answer.read(_CHUNK):
                have += len(chunk)
                if have > limit or have > (remote.size or have):
                    remove(name)
                    raise ApplyError(
                        f"url: {remote.url} is larger than {_least(limit, remote.size)} bytes. Nothing of it was kept"
                    )
                rest = memoryview(chunk)
                while rest:
                    rest = rest[stream.write(rest) :]
                yield from told.steps(have)
            os.fsync(stream.fileno())
        if size is not None and have < size:
            raise _CutError(f"it was cut after {have} of {size} bytes")


def _least(limit: int, size: int | None) -> int:
    return min(limit, size) if size is not None else limit


def _resumable(remote: Remote, name: str) -> tuple[int, str | None]:
    """How much of the file is there, and by what the server knows that it is still the same."""
    have = _size(downloads.part_of(name))
    try:
        note = json.loads(atomic.read_text(downloads.note_of(name)) or "{}")
    except ValueError:
        note = {}
    is_same = note.get("url") == remote.url
    # From another mirror only the digest says in the end whether the parts belong together.
    if have and not (remote.digest is not None or (is_same and note.get("validator"))):
        return 0, None
    return have, note.get("validator") if is_same else None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def remove(name: str) -> None:
    """Remove the download *name* and its beginning. The caller holds its ``lock.fetching``."""
    for path in (downloads.path_of(name), downloads.part_of(name), downloads.note_of(name)):
        atomic.remove_file(path)


def remove_unused(name: str | None) -> None:
    """Remove the download *name*, unless a record names it."""
    if name is None:
        return
    with lock.fetching(name):
        if not downloads.is_used(name):
            remove(name)
