# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of options with their apply paths: each cell is what ``decide`` answers for a row.

``apply_paths.py`` prints it, ``apply_paths.py --write`` puts it between the comments in docs/docsite/rst/apply_paths.rst.
"""

from __future__ import annotations

import sys
import typing as t

import apply_cells
from pages import PAGES, list_table, replaced

PAGE = PAGES / "apply_paths.rst"
BEGIN, END = "apply paths: written by make docs", "end of apply paths"
HEAD = ("option", "on a running one", "on a stopped one", "unset", "allowed", "note")


def table() -> str:
    """One table a module, as reStructuredText."""
    parts = []
    for module in apply_cells.FOLDERS:
        rows = [_line(module, row) for row in apply_cells.rows(module)]
        title = f":ansplugin:`homelab.hybrid.{module}#module`"
        parts.append(f"{title}\n{'-' * len(title)}\n\n{list_table(HEAD, rows)}")
    return "\n".join(parts)


def _line(module: str, row: t.Any) -> tuple[str, ...]:
    off = apply_cells.off_value(row)
    return (
        f"``{row.path}``",
        apply_cells.told_of(module, row, apply_cells.RUNNING),
        apply_cells.told_of(module, row, apply_cells.STOPPED),
        "" if off is None else off if off in ("nothing", "no") else f"``{off}``",
        _allowed(row),
        row.note,
    )


def _allowed(row: t.Any) -> str:
    if row.choices:
        return ", ".join(f"``{choice}``" for choice in row.choices)
    return row.check.allowed if row.check is not None else ""


def with_table(page: str) -> str:
    """*page* with the table as it should be between the comments."""
    return replaced(page, BEGIN, END, table())


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
