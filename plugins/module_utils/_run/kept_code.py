# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The code of a run, compiled and kept on the host until it restarts: a later run with the same code need not be sent it again.

Most of what a run without changes costs is to pack its files on the control node and to compile them on the host: twelve layouts without
changes took 3.7 to 5.3 s of processor time with kept code and 6.9 to 7.0 s without (both ends on one host of 2 cores, ansible-core 2.19).
That is why this file, and no other, imports by a name that is made up while it runs.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import typing as t

from .._core import paths

# The control node puts the folder of the code that it would send into the environment of the module.
VARIABLE = "HOMELAB_HYBRID_CODE"
# The options of a module that has no code of its own: those of the kept code are checked by the kept code.
ARGUMENTS: dict[str, t.Any] = {}
_PACKAGE = __name__.rpartition("._run.")[0]
_UNUSED_SECONDS = 24 * 3600


def folder(digest: str) -> str:
    """Where code is kept whose files have the *digest*, a hexadecimal number."""
    return os.path.join(paths.CODE, digest)


def run(entry: str, environment: t.Mapping[str, str]) -> None:
    """Call ``main`` of the file *entry* of the shared code (``_layout.entry``) as it is kept; nothing happens where it is not."""
    place = environment.get(VARIABLE, "")
    if not place or not os.path.isdir(place):
        return
    with contextlib.suppress(OSError):
        os.utime(place)
    # These are in the archive of the module that runs, with this file and what it imports in them.
    for package, path in ((_PACKAGE, ""), (f"{_PACKAGE}._core", "_core"), (f"{_PACKAGE}._run", "_run")):
        sys.modules[package].__path__.append(os.path.join(place, path).rstrip("/"))
    importlib.import_module(f"{_PACKAGE}.{entry}").main()


def keep(environment: t.Mapping[str, str]) -> None:
    """Keep the code that runs, where the control node asks for it. What cannot be kept is sent again."""
    place = environment.get(VARIABLE, "")
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    if archive is None or os.path.dirname(place) != paths.CODE or os.path.isdir(place):
        return
    # Kept code runs beside an archive with little in it: where its folder went away meanwhile, that is not all of the code.
    if place in sys.modules[_PACKAGE].__path__:
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

    shared = _PACKAGE.replace(".", "/") + "/"
    attempt = tempfile.mkdtemp(dir=paths.CODE)
    try:
        with zipfile.ZipFile(archive) as source:
            for name in source.namelist():
                if name.startswith(shared):
                    path = os.path.join(attempt, name[len(shared) :])
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as stream:
                        stream.write(source.read(name))
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
