# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A part of the shared code as a program for a hypervisor, where nothing of the collection is installed.

The program is an archive of the very files of the collection; it is imported from memory there and leaves nothing behind.
"""

from __future__ import annotations

import ast
import base64
import functools
import io
import os
import typing as t
import zipfile

SHARED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "module_utils")
PACKAGE = "homelab_hybrid"
SYSTEM_PYTHON = "/usr/bin/python3"
# One argument of a command may have 128 KiB on Linux.
LONGEST_ARGUMENT = 96 * 1024

_AS_ROOT = '[ "$(id -u)" -eq 0 ] || exec sudo -n -- "$@"; exec "$@"'
_FROM_ARGUMENT = "data = base64.b64decode(sys.argv.pop(1))"
_FROM_INPUT = "data = sys.stdin.buffer.read(int(sys.argv.pop(1)))"
_START = f"""\
import base64, os, sys
{{source}}
descriptor = os.memfd_create({PACKAGE!r})
with open(descriptor, "wb", closefd=False) as stream:
    stream.write(data)
sys.path.insert(0, f"/proc/self/fd/{{{{descriptor}}}}")
from {PACKAGE}.{{entry}} import main
main()
"""


def by_argument(entry: str, arguments: t.Sequence[str], python: str = SYSTEM_PYTHON) -> list[str]:
    """The command line, for root or who may become root by ``sudo``, that calls ``main`` of the file *entry* (``_vm.agent``).

    The program is in the command line, its standard input is free.
    """
    packed = base64.b64encode(archive(entry)).decode()
    if len(packed) > LONGEST_ARGUMENT:
        raise ValueError(f"{entry} is too large for a command line")
    return [*_python(python, _start(entry, _FROM_ARGUMENT)), packed, *arguments]


def by_input(entry: str, arguments: t.Sequence[str], python: str = SYSTEM_PYTHON) -> tuple[list[str], bytes]:
    """As ``by_argument`` for programs of any size: the command line and what it must read."""
    data = archive(entry)
    return [*_python(python, _start(entry, _FROM_INPUT)), str(len(data)), *arguments], data


def _python(python: str, text: str) -> list[str]:
    return ["/bin/sh", "-c", _AS_ROOT, "sh", python, "-I", "-c", text]


def _start(entry: str, source: str) -> str:
    return _START.format(source=source, entry=entry).replace("{{", "{").replace("}}", "}")


@functools.cache
def archive(entry: str) -> bytes:
    """The file *entry* of the shared code with all that it imports, as a zip archive."""
    paths = needed(entry.replace(".", "/") + ".py")
    folders = {os.path.dirname(path) for path in paths} | {""}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for folder in sorted(folders):
            # zipimport of Python 3.11 sees a folder only with an entry of its own.
            target.writestr(os.path.join(PACKAGE, folder, "__init__.py"), "")
        for path in sorted(paths):
            target.write(os.path.join(SHARED, path), os.path.join(PACKAGE, path))
    return stream.getvalue()


def needed(path: str) -> set[str]:
    """The files of the shared code that *path* needs, itself among them, relative to its folder."""
    found: set[str] = set()
    left = [path]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += imported(path)
    return found


def imported(path: str) -> list[str]:
    """The files of the shared code that the file *path* imports, at its top or later."""
    with open(os.path.join(SHARED, path), encoding="utf-8") as stream:
        tree = ast.parse(stream.read(), path)
    paths = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path
            for dummy in range(node.level):
                folder = os.path.dirname(folder)
            module = os.path.join(folder, *(node.module or "").split("."))
            names = [os.path.join(module, alias.name) + ".py" for alias in node.names]
            paths += [
                name for name in [*names, module.rstrip("/") + ".py"] if os.path.isfile(os.path.join(SHARED, name))
            ]
    return paths
