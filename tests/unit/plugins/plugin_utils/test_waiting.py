# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for a restart is one sentence for each guest."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.plugin_utils._waiting import waiting


def guest(name: str, *paths: str, plan: t.Sequence[dict[str, t.Any]] = ()) -> dict[str, t.Any]:
    return {"name": name, "kind": "vm", "restart_required": list(paths), "plan": list(plan)}


def test_each_guest_that_waits_has_one_sentence_with_what_this_run_wrote() -> None:
    memory = {"path": "memory", "before": "4GiB", "after": "8GiB"}
    layouts = [
        {"resources": [guest("web"), guest("builder", "memory", "cpu.cores", plan=[memory])]},
        {"skipped": True},
        None,
        {"resources": [guest("a", "memory"), guest("builder", "memory", "cpu.cores", plan=[memory])]},
    ]
    first, second = waiting(layouts)
    assert first.startswith("a runs without memory until it is restarted")
    assert second.startswith("builder runs without memory 8GiB, cpu.cores until it is restarted")
    assert "restart_policy: if_needed" in second and "state: restarted" in second


def test_where_nothing_waits_nothing_is_said() -> None:
    assert waiting([{"resources": [guest("web")]}, {"msg": "no"}]) == []
