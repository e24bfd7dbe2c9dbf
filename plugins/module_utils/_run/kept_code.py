# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The code of a module, compiled and kept on the host until it restarts: a later run with the same code need not be sent it again.

Most of what a run without changes costs is to pack its files on the control node and to compile them on the host, Ansible's own among
them. The module ``_kept`` runs what is kept.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._core import paths

# The control node puts the folder of the code that it would send into the environment of the module.
VARIABLE = "HOMELAB_HYBRID_CODE"
_UNUSED_SECONDS = 24 * 3600


def folder(digest: str, module: str) -> str:
    """Where the code of *module* (``layout``) is kept. Its files have the *digest*, a hexadecimal number."""
    return os.path.join(paths.CODE, f"{digest}.{module}")


def keep(environment: t.Mapping[str, str]) -> None:
    """Keep the code that runs, where the control node asks for it. What cannot be kept is sent again."""
    place = environment.get(VARIABLE, "")
    # Code that is kept already is in no archive.
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    if archive is None or os.path.dirname(place) != paths.CODE or os.path.isdir(place):
        return
    with contextlib.suppress(OSError):
        os.makedirs(paths.CODE, mode=0o700, exist_ok=True)
        _remove_unused()
        _unpack(archive, place)


def _unpack(archive: str, place: str) -> None:
    import compileall
    import py_compile
    import shutil
    import tempfile
    import zipfile

    attempt = tempfile.mkdtemp(dir=paths.CODE)
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(attempt)
        compileall.compile_dir(
            attempt, ddir=place, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        os.rename(attempt, place)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _remove_unused() -> None:
    import shutil
    import time

    before = time.time() - _UNUSED_SECONDS
    for entry in os.scandir(paths.CODE):
        if entry.stat(follow_symlinks=False).st_mtime < before:
            shutil.rmtree(entry.path, ignore_errors=True)
