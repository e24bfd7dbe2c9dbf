# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of the diff of a plan."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.plugin_utils._diff import shown_diff

DIFF: dict[str, t.Any] = {
    "before": {"vms[a].state": "absent", "vms[a].memory": None, "bridges[b].mtu": 1500, "bridges[b].vlan": 7},
    "after": {"vms[a].state": "started", "vms[a].memory": "1GiB", "bridges[b].mtu": 1400, "bridges[b].vlan": None},
}


def test_what_is_not_there_has_no_line() -> None:
    assert shown_diff(DIFF) == {
        "before": {"vms[a].state": "absent", "bridges[b].mtu": 1500, "bridges[b].vlan": 7},
        "after": {"vms[a].state": "started", "vms[a].memory": "1GiB", "bridges[b].mtu": 1400},
    }


def test_guests_that_show_their_own_are_left_to_them() -> None:
    assert shown_diff(DIFF, has_guests=False) == {
        "before": {"bridges[b].mtu": 1500, "bridges[b].vlan": 7},
        "after": {"bridges[b].mtu": 1400},
    }
    guests = {side: {path: value for path, value in DIFF[side].items() if path.startswith("vms")} for side in DIFF}
    assert shown_diff(guests, has_guests=False) is None


def test_what_is_no_diff_of_a_plan_stays_as_it_is() -> None:
    assert shown_diff({"prepared": "text"}) == {"prepared": "text"}
    assert shown_diff(None) is None
