# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import enum

from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import UNKNOWN, Change, How, Plan


class Colour(enum.Enum):
    RED = "red"


def test_a_secret_is_never_shown_and_stays_different():
    change = Change("password", "old-secret", "new-secret", secret=True)
    plan = Plan([change])
    assert "old-secret" not in str(plan.result())
    assert "new-secret" not in str(plan.result())
    assert plan.result()["diff"] == {"before": {"password": "(secret)"}, "after": {"password": "(secret, changed)"}}


def test_a_first_secret_has_no_before():
    assert Change("password", None, "new-secret", secret=True).shown() == (None, "(secret)")


def test_the_diff_is_the_plan():
    plan = Plan(
        [Change("memory", "1GiB", "2GiB"), Change("networks[lan]", None, {"bridge": "br0", "kind": Colour.RED})]
    )
    assert plan.result()["diff"] == {
        "before": {"memory": "1GiB", "networks[lan]": None},
        "after": {"memory": "2GiB", "networks[lan]": {"bridge": "br0", "kind": "red"}},
    }


def test_an_unknown_value_is_said_to_be_known_after_apply():
    assert Change("size", None, {"size": UNKNOWN}).report()["after"] == {"size": "(known after apply)"}


def test_what_waits_and_what_was_pending_are_listed_alike():
    plan = Plan([Change("a", 1, 2, How.NEXT_BOOT), Change("b", 1, 2, How.LIVE)], pending=[Change("c", 1, 2)])
    assert plan.restart_required == ["a", "c"]


def test_a_refused_change_tells_its_permit():
    assert Change("size", "2GiB", "1GiB", How.REFUSED, permit="shrink").report()["permit"] == "shrink"
