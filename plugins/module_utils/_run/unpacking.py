# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The beginning of a program that is one file: its code is unpacked once, and Python keeps there what it has compiled of it.

Out of the file each start would compile all that it imports, and a file that is replaced takes from a program that runs what it imports
late. This text is the first that runs, before anything of the collection can be imported: it stands for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import time

_UNUSED_SECONDS = 24 * 3600
_ATTEMPTS = 5


def enter(folder: str) -> None:
    """Import from now on what is unpacked below *folder*.

    Who cannot unpack, such as a user who only asks for help, imports out of the file.
    """
    with contextlib.suppress(OSError):
        sys.path[0] = unpacked(sys.path[0], folder)


def unpacked(archive: str, folder: str) -> str:
    """Where below *folder* the content of *archive* lies. It stays there as long as this process runs.

    :raises OSError:
    """
    with open(archive, "rb") as stream:
        place = os.path.join(folder, hashlib.sha256(stream.read()).hexdigest())
    for dummy in range(_ATTEMPTS):
        if not os.path.isdir(place):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _remove_unused(folder)
            _unpack(archive, place)
        if _is_held(place):
            return place
    raise OSError(f"{place} goes as soon as it is there")


def _is_held(place: str) -> bool:
    """Whether it is there, and nobody removes it while this process runs: the descriptor stays open."""
    try:
        held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    fcntl.flock(held, fcntl.LOCK_SH)
    # Who removed it held it before.
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(held), os.stat(place)):
            os.utime(place)
            return True
    os.close(held)
    return False


def _unpack(archive: str, place: str) -> None:
    import shutil
    import tempfile
    import zipfile

    attempt = tempfile.mkdtemp(dir=os.path.dirname(place))
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(attempt)
        os.rename(attempt, place)
    except OSError:
        # Another process was quicker.
        if not os.path.isdir(place):
            raise
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _remove_unused(folder: str) -> None:
    """What nobody began within a day, and nobody runs."""
    import shutil

    before = time.time() - _UNUSED_SECONDS
    for entry in os.scandir(folder):
        # Another process may remove it at the same time, or run it.
        with contextlib.suppress(OSError):
            if entry.stat(follow_symlinks=False).st_mtime >= before:
                continue
            held = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # By its name it is whole or not there, also where this process is killed in between.
                aside = f"{entry.path}.gone"
                os.rename(entry.path, aside)
                shutil.rmtree(aside)
            finally:
                os.close(held)
