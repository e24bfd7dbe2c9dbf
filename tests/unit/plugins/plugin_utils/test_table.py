# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text in columns."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils import _table
from ansible_collections.homelab.hybrid.plugins.plugin_utils._table import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    entries = [{"name": "web", "last_seen": ["a", "b"], "ok": True}, {"name": "printer", "ok": False, "more": 1}]
    assert table(entries, ["name", "last_seen", "ok"]).splitlines() == [
        "name     last seen  ok",
        "-------  ---------  ---",
        "web      a, b       yes",
        "printer  -          no",
    ]


def test_a_cell_is_one_line() -> None:
    assert table([{"answer": "two\n  lines"}], ["answer"]).splitlines()[-1] == "two lines"


def test_no_entries_leave_the_names_of_the_columns() -> None:
    assert table([], ["name"]) == "name\n----"


@pytest.mark.parametrize(("written", "result"), [("json", ["name", "----", "web"]), ("yaml", "name\n----\nweb")])
def test_a_table_is_shown_line_by_line(monkeypatch: pytest.MonkeyPatch, written: str, result: t.Any) -> None:
    monkeypatch.setattr(_table, "result_format", lambda: written)
    assert _table.shown(table([{"name": "web"}], ["name"])) == result
    assert _table.shown("No guest runs.") == "No guest runs."
