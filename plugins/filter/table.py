# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: table
short_description: A list of dictionaries as a table of text
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Lays out a list of dictionaries in columns, one line for each, under a line with the names of the columns.
  - A list in a cell is joined by commas, C(true) and C(false) are C(yes) and C(no), and what is missing is C(-).
positional: _input, columns
options:
  _input:
    description: The dictionaries.
    type: list
    elements: dict
    required: true
  columns:
    description: The keys to show, in this order.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the guests
  ansible.builtin.debug:
    msg: "{{ lab_guests | homelab.hybrid.table(['name', 'kind', 'state', 'addresses']) }}"
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: str
"""

import typing as t

GAP = "  "


def cell(value: t.Any) -> str:
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return " ".join(str(value).split())


def table(entries: t.Iterable[t.Mapping[str, t.Any]], columns: t.Sequence[str]) -> str:
    """The entries below their column names, each column as wide as its widest cell."""
    rows = [[column.replace("_", " ") for column in columns]]
    rows += [[cell(entry.get(column)) for column in columns] for entry in entries]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"table": table}
