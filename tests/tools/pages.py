# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made for the pages in docs/docsite/rst: tables, and their place between two comments of a page."""

from __future__ import annotations

import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "docsite" / "rst"


def list_table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    """A table of one line a cell. An empty cell stays empty."""
    lines = [".. list-table::", "  :header-rows: 1", ""]
    for row in (head, *rows):
        lines += [f"  {'* -' if place == 0 else '  -'} {cell}".rstrip() for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def replaced(page: str, begin: str, end: str, text: str) -> str:
    """*page* with *text* between the comments *begin* and *end*.

    :raises ValueError: where the page lacks one of them.
    """
    before, found, rest = page.partition(f".. {begin}\n")
    dummy, closed, after = rest.partition(f".. {end}\n")
    if not found or not closed:
        raise ValueError(f"the page has no comments '{begin}' and '{end}'")
    return f"{before}{found}\n{text}\n{closed}{after}"


def standing_rows(table: str) -> list[tuple[str, ...]]:
    """The rows of a table of three columns as ``list_table`` makes it, without its head."""
    lines = [line.replace("``", "`") for line in table.split("\n")]
    cells = [line[6:] for line in lines if line.startswith(("  * -", "    -"))]
    return list(zip(cells[3::3], cells[4::3], cells[5::3], strict=True))


def merged(before: t.Sequence[tuple[str, ...]], rows: t.Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows of *before* with *rows* in the place of those that name the same before their first colon."""
    same = {row[0].partition(": ")[0] for row in rows}
    places = [place for place, row in enumerate(before) if row[0].partition(": ")[0] in same] or [len(before)]
    left = [row for row in before if row[0].partition(": ")[0] not in same]
    return [*left[: places[0]], *rows, *left[places[0] :]]
