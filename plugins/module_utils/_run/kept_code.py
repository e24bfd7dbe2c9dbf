# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The code of a module, compiled and kept on the host until it restarts: a later run with the same code need not be sent it again.

Most of what a run without changes costs is to pack its files on the control node and to compile them on the host, Ansible's own among
them. The module ``_kept`` runs what is kept: one archive, open while it runs, so whoever removes it, a run has all of its code. With a folder,
code that is imported late would be missing in the middle of a change.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._core import paths

# The control node puts the path of the code that it would send into the environment of the module.
VARIABLE = "HOMELAB_HYBRID_CODE"
_UNUSED_SECONDS = 24 * 3600


def file(digest: str, module: str) -> str:
    """Where the code of *module* (``layout``) is kept. Its files have the *digest*, a hexadecimal number."""
    return os.path.join(paths.CODE, f"{digest}.{module}")


def keep(environment: t.Mapping[str, str]) -> None:
    """Keep the code that runs, where the control node asks for it. What cannot be kept is sent again."""
    place = environment.get(VARIABLE, "")
    # Code that is kept already runs from a file that is open.
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    if archive is None or archive.startswith("/proc/") or os.path.dirname(place) != paths.CODE:
        return
    with contextlib.suppress(OSError):
        os.makedirs(paths.CODE, mode=0o700, exist_ok=True)
        _remove_unused()
        if not _is_archive(place):
            _pack(archive, place)


def _is_archive(place: str) -> bool:
    import zipfile

    return zipfile.is_zipfile(place)


def _pack(archive: str, place: str) -> None:
    import compileall
    import py_compile
    import shutil
    import tempfile
    import zipfile

    attempt = tempfile.mkdtemp(dir=paths.CODE)
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(attempt)
        # Beside its source, where zipimport looks for it.
        compileall.compile_dir(
            attempt, ddir=place, quiet=2, legacy=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        names = [os.path.join(folder, name) for folder, dummy, names in os.walk(attempt) for name in names]
        packed = os.path.join(attempt, "packed")
        with zipfile.ZipFile(packed, "w") as target:
            for name in names:
                target.write(name, os.path.relpath(name, attempt))
        os.rename(packed, place)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _remove_unused() -> None:
    import shutil
    import time

    before = time.time() - _UNUSED_SECONDS
    for entry in os.scandir(paths.CODE):
        # Another run may remove it at the same time.
        with contextlib.suppress(OSError):
            if entry.stat(follow_symlinks=False).st_mtime < before:
                shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
