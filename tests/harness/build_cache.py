# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests build once and keep, each in a folder whose name says what went in: built by the first, awaited by the others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import typing as t
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".build" / "cache"


def built_once(folder: Path, build: t.Callable[[Path], None]) -> Path:
    """*folder*, which *build* fills under another name if it is not there. It is never seen half-done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                build(work)
                work.chmod(0o755)
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _lock(path: Path) -> t.Iterator[None]:
    """A lock of the kernel: it holds between cells, whose processes cannot see each other."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
