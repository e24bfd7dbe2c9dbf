# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._progress_text import Narrator


def said(*messages: t.Any, seconds: t.Sequence[float] = (0.0,) * 9) -> list[str]:
    ticks = iter(seconds)
    text = "".join(json.dumps(message) + "\n" for message in messages)
    return list(Narrator("alpha", lambda: next(ticks)).lines(text))


def test_the_plan_is_announced_as_a_whole():
    plan = [{"path": "bridges[br0].state"}, {"path": "vms[a].memory"}, {"path": "vms[a].networks[lan].link"}]
    assert said({"plan": plan}) == ["  alpha: 3 changes: bridges[br0] (1), vms[a] (2)"]
    assert said({"plan": plan[:1]}) == ["  alpha: 1 change: bridges[br0] (1)"]
    assert said({"plan": []}) == ["  alpha: nothing to change"]


def test_an_item_tells_how_long_it_took_and_how_much_it_was():
    stands = {"item": "vms[a]", "stands": "memory"}
    messages = [{"item": "vms[a]", "started": True}, stands, stands, {"item": "vms[a]", "finished": True}]
    lines = ["  alpha: vms[a] begins", "  alpha: vms[a] done in 2.5 s (2 changes)"]
    assert said(*messages, seconds=[5.0, 7.5]) == lines


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"item": "images[d]", "step": "unpacked"}, "  alpha: images[d]: unpacked"),
        ({"item": "vms[a]", "waiting": True}, "  alpha: vms[a] waits for the guest"),
        ({"item": "vms[a]", "finished": True, "msg": "no"}, "  alpha: vms[a] failed: no"),
        ({"item": "vms[a]", "skipped": "depends on x"}, "  alpha: vms[a] is left alone: depends on x"),
    ],
    ids=["step", "wait", "failure", "skip"],
)
def test_each_moment_has_its_line(message: dict[str, t.Any], line: str):
    assert said(message, seconds=[0.0, 0.0]) == [line]


def test_what_is_no_message_is_passed_over():
    assert list(Narrator("alpha", lambda: 0.0).lines('half a li\n[1]\n{"other": 1}\n')) == []
