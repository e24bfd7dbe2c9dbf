# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No option without a reader and a writer: the rows and the tables of functions have the same paths."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import (
    card,
    definition,
    inside,
    mount,
    running,
    values,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._container.options import OPTIONS
from ansible_collections.homelab.hybrid.plugins.module_utils._core.decide import SAME
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import INSIDE, RECORD, VOLUME, never

KEYS = {"networks": card.KEYS, "mounts": mount.KEYS}
# What is said once, when the root is made, and has its own writer in ``rootfs``.
MADE = {path for path in OPTIONS.compared() if OPTIONS[path].home == VOLUME} | {"unprivileged"}


def test_every_option_is_read() -> None:
    volumes = {path for path in OPTIONS.compared() if OPTIONS[path].home == VOLUME}
    assert set(values.READ) == set(OPTIONS.compared()) - volumes


def test_every_option_is_written_where_it_lives() -> None:
    recorded = {path for path in OPTIONS.compared() if OPTIONS[path].home == RECORD}
    written = {**definition.WRITE, **inside.WRITE}
    assert set(written) == set(OPTIONS.compared()) - recorded - MADE
    assert {path for path in OPTIONS.compared() if OPTIONS[path].home == INSIDE} <= set(inside.WRITE)


@pytest.mark.parametrize("area", KEYS)
def test_every_key_of_an_item_is_read_and_written(area: str) -> None:
    assert set(KEYS[area]) == set(OPTIONS.lists[area])
    assert area in definition.WRITE_ITEM


def test_what_has_a_live_value_is_given_to_the_running_container() -> None:
    unseen = values.Reader(lambda state, declared: None).seen
    seen = {path for path, reader in values.READ.items() if reader.seen.__code__ is not unseen.__code__}
    items = {f"{area}[].{key}" for area, keys in KEYS.items() for key in keys} | {f"{area}[]" for area in KEYS}
    assert {path for path in seen | items if OPTIONS[path].live is not never} == running.LIVE_PATHS


def test_a_key_of_a_card_that_says_nothing_makes_no_line() -> None:
    nothing = {key: row.read({}, card.Known()) for key, row in card.KEYS.items()}
    assert not any(value for row in card.KEYS.values() for value in row.lines(nothing).values())
    nic = card.Nic("eth0", "", bridge="br0")
    there = card.Card("lan", 0, "eth0", "", nothing)
    assert all(
        row.seen(None, there, nic) is not None or row.seen(None, there, nic) is SAME for row in card.KEYS.values()
    )
