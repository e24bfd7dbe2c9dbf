# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A program as one file that Python runs: the code of this collection as it is here, the same bytes for the same code."""

from __future__ import annotations

import functools
import io
import os
import typing as t
import zipfile

from .._core import paths
from . import unpacking

# Where the shared code begins, in the name of this module and in the archive that Ansible sends.
_SHARED = __name__.partition("._run.")[0]
_BEGINNING = unpacking.__name__.replace(".", "/") + ".py"
_MAIN = "\n\n{enter}({folder!r})\nfrom {program} import main\n\nraise SystemExit(main())\n"
_SHEBANG = b"#!/usr/bin/python3 -I\n"
# Each run without changes packs it as well, to compare: a third of the time of the default, for a file that is a tenth larger.
_QUICKLY = 1


@functools.cache
def packed(program: str) -> bytes:
    """What lies on the host, where *program* is the name of the module that has ``main``: who asks has sent it along."""
    stream, files = io.BytesIO(), dict(_sources())
    folders = {folder for path in files for folder in _above(path)}
    # zipimport of Python 3.11 sees a folder only with an entry of its own.
    files.update({f"{folder}/__init__.py": b"" for folder in folders if f"{folder}/__init__.py" not in files})
    main = _MAIN.format(enter=unpacking.enter.__name__, folder=paths.RUNNING_CODE, program=program)
    files["__main__.py"] = files[_BEGINNING] + main.encode()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            # Without a date of its own the same text is the same file.
            archive.writestr(zipfile.ZipInfo(path), files[path], zipfile.ZIP_DEFLATED, _QUICKLY)
    return _SHEBANG + stream.getvalue()


def _above(path: str) -> t.Iterator[str]:
    while path := os.path.dirname(path):
        yield path


def _sources() -> t.Iterator[tuple[str, bytes]]:
    """The files of the shared code by their path: out of the archive that Ansible sent, or of the tree of a developer."""
    inside = _SHARED.replace(".", "/") + "/"
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    if archive is not None:
        with zipfile.ZipFile(archive) as source:
            names = [name for name in source.namelist() if name.startswith(inside) and name.endswith(".py")]
            yield from ((name, source.read(name)) for name in names)
        return
    root = os.path.abspath(__file__).partition("/_run/")[0]
    for folder, dummy, names in os.walk(root):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, "rb") as stream:
                    yield inside + os.path.relpath(path, root), stream.read()
