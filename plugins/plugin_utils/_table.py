# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A list of dictionaries as a table of text, and text as the output of Ansible can show it."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.errors import AnsibleError

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


def shown(text: str) -> str | list[str]:
    """*text*, or its lines where the callback would write them as one."""
    return text if "\n" not in text or result_format() == "yaml" else text.splitlines()


def result_format() -> str:
    """How results are written; JSON where the default callback is not loaded, and so cannot say it."""
    try:
        return str(constants.config.get_config_value("result_format", plugin_type="callback", plugin_name="default"))
    except AnsibleError:
        return "json"
