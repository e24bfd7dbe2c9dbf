# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No option without a reader and a writer: the rows and the tables of functions have the same paths."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import (
    card,
    definition,
    device,
    inside,
    mount,
    running,
    values,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._container.options import OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import (
    DEFINITION,
    INSIDE,
    RECORD,
    VOLUME,
    always,
    as_written,
    never,
)

KEYS = {"networks": card.KEYS, "mounts": mount.SEEN, "devices": device.KEYS}
COMPARED = set(OPTIONS.compared())
RECORDED = set(OPTIONS.compared(RECORD))
# What is said once, when the root is made; a volume has its own writer.
MADE = {*OPTIONS.compared(VOLUME), "unprivileged"}


def test_every_option_is_read() -> None:
    assert set(values.READ) == COMPARED - RECORDED - set(OPTIONS.compared(VOLUME))


def test_every_option_is_written_where_it_lives() -> None:
    assert {*definition.WRITE, *inside.WRITE} == COMPARED - RECORDED - MADE
    assert set(OPTIONS.compared(INSIDE)) <= set(inside.WRITE)
    assert set(OPTIONS.compared(DEFINITION)) - MADE <= set(definition.WRITE)


def test_what_has_a_live_value_is_given_to_the_running_container_and_all_else_counts_as_written() -> None:
    seen = {path for path, reader in values.READ.items() if reader.seen is not None}
    waits = {path for path in values.READ if OPTIONS[path].live is never} - MADE
    assert set(running.LIVE) == seen - waits == {path for path in values.READ if OPTIONS[path].live is always} - MADE
    assert {path for path in values.READ if OPTIONS[path].live is as_written} == set(values.READ) - seen - MADE


@pytest.mark.parametrize("area", KEYS)
def test_every_key_of_an_item_is_read_and_written(area: str) -> None:
    assert set(KEYS[area]) == set(OPTIONS.lists[area])
    assert area in definition.WRITE_ITEM


def test_every_key_of_a_card_that_is_changed_live_has_its_function() -> None:
    keys = OPTIONS.lists["networks"]
    assert set(running.LIVE_CARD) == {key for key, row in keys.items() if row.live is not never}


def test_a_card_of_which_nothing_is_said_makes_no_line() -> None:
    nothing = {key: row.read({}, card.Known()) for key, row in card.KEYS.items()}
    assert not any(value for row in card.KEYS.values() for value in row.lines(nothing).values())
