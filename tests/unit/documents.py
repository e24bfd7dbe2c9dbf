# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user reads beside the documentation of the modules, README.md, the guides and the pages of roles, and the blocks of code in it."""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from pathlib import Path

from antsibull_docutils.rst_code_finder import find_code_blocks
from unit.tree import ROOT, files, relative

DOCUMENTS = [
    ROOT / "README.md",
    *files(ROOT / "docs" / "docsite" / "rst", "*.rst"),
    *files(ROOT / "roles", "README.md"),
]
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of code. Its language is ``yaml``, or ``sh`` and ``console`` for commands."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file of an inventory that it shows, as its first line says: ``# inventory/host_vars/web.yml: ...``."""
        said = re.match(r"# (inventory/[\w/.]+\.yml)\b", self.text)
        return said[1] if said else None

    def __str__(self) -> str:
        return f"{relative(self.document)}:{self.line}"


@functools.cache
def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    if document.suffix == ".md":
        return [Block(document, text.count("\n", 0, it.start()) + 2, it[1], it[2]) for it in _FENCED.finditer(text)]
    with warnings.catch_warnings():
        # The library calls docutils as docutils 2 will not take it any more. That is the library's matter.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        found = list(find_code_blocks(text, path=document))
    return [Block(document, it.row_offset + 1, it.language or "", it.content) for it in found]
