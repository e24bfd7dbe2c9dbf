# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Files that are whole or not there: written beside the target, synced, renamed."""

from __future__ import annotations

import errno
import os
import typing as t

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def write_file(path: str, content: str | bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace *path* by *content* so that a reader or a crash sees the old or the new file, never a part.

    Creates the folder where it is missing. *owner* is (uid, gid).
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.new")
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    sync_folder(folder)


def rename_new(source: str, target: str) -> None:
    """Rename *source*, a file or a folder, to *target* on the same file system.

    :raises FileExistsError: when something is there, which ``os.rename`` would replace.
    """
    import ctypes  # Python has no name for it; only who publishes a volume pays

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), source, None, target)
    # NFS knows no such flag. A link never replaces a file; for a folder the caller's lock is all there is.
    if os.path.isdir(source):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)
        os.rename(source, target)
        return
    os.link(source, target)
    os.unlink(source)


def sync_folder(folder: str) -> None:
    """Make the names in *folder* survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_file(path: str) -> bool:
    """Remove *path*. Returns whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def read_text(path: str) -> str | None:
    """The text of *path*, ``None`` where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", opener=_open_without_waiting) as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_bytes(path: str) -> bytes | None:
    """What is in *path*, ``None`` where there is no such file."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe in the place of a file is empty, and nobody waits for who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def half_written(path: str) -> t.Iterator[str]:
    """The files that runs of ``write_file`` for *path* left when they were killed."""
    folder, name = os.path.split(path)
    for left in left_overs(folder, f".{name}."):
        pid, dummy, end = left[len(folder) + len(name) + 3 :].partition(".")
        if pid.isdecimal() and end == "new":
            yield left


def left_overs(folder: str, prefix: str) -> t.Iterator[str]:
    """The paths in *folder* whose names begin with *prefix*: what an attempt that was killed left there."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in sorted(names):
        if name.startswith(prefix):
            yield os.path.join(folder, name)
