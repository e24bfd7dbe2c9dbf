# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is kept that nobody uses: no function, class, method, field or constant of the shared code, and no file of it.

What only a test uses is not used. A name counts wherever it stands, so two things of one name can hide each other.
"""

from __future__ import annotations

import ast
import collections
import io
import re
import tokenize
import typing as t
from pathlib import Path

from unit.tree import PLUGIN_FILES, PLUGINS, ROOT, SHARED, SHARED_FILES, files, imports, parse, path_of, relative

# Ansible and ctypes look for these by their names.
USED_BY_OTHERS = {"reset", "has_pipelining", "has_tty", "_supports_async", "_fields_"}
OWN_FILES = [*SHARED_FILES, *files(PLUGINS / "plugin_utils")]
# Programs that are sent to a hypervisor by the name of their file.
ENTRIES = {SHARED / "_vm" / "agent_session.py", SHARED / "_listing" / "listing.py"}


def words(path: Path) -> t.Iterator[str]:
    """Every name in a Python file, also in the fields of its f-strings and as a text by itself (``getattr``)."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            yield token.string
        elif token.type == tokenize.STRING:
            prefix, text = re.fullmatch(r"(?s)(\w*)(.*)", token.string).groups()  # type: ignore[union-attr]  # it always matches
            if "f" in prefix.lower():  # Python 3.11 has one token for the whole f-string
                yield from re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"{(.*?)}", text, re.DOTALL)))
            elif re.fullmatch(r"""(['"])[A-Za-z_]\w*\1""", text):
                yield text[1:-1]


def definitions(path: Path) -> t.Iterator[tuple[int, str]]:
    """What a file defines at its top and in its classes, with the line."""
    for node in parse(path).body:
        yield from defined(node)
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield from defined(inner)


def defined(node: ast.stmt) -> t.Iterator[tuple[int, str]]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.lineno, node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from ((node.lineno, name.id) for name in ast.walk(target) if isinstance(name, ast.Name))


def test_nothing_is_defined_that_nobody_uses() -> None:
    used = collections.Counter(
        word for path in [*PLUGIN_FILES, *files(ROOT / "tools"), *files(ROOT / "roles")] for word in words(path)
    )
    found = [(path, line, name) for path in OWN_FILES for line, name in definitions(path)]
    times = collections.Counter(name for _path, _line, name in found)
    assert not [
        f"{relative(path)}:{line}: {name}"
        for path, line, name in found
        if used[name] <= times[name] and not name.startswith("__") and name not in USED_BY_OTHERS
    ]


def test_every_shared_file_is_imported_by_another() -> None:
    users = [*PLUGIN_FILES, *files(ROOT / "tools")]
    imported = {path_of(found.module) for path in users for found in imports(path)}
    assert not [relative(path) for path in OWN_FILES if path not in imported and path not in ENTRIES]
