# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._overview.plan import after_all, plan_overview
from ansible_collections.homelab.hybrid.plugins.module_utils._overview.spec import Spec, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._overview.state import State
from ansible_collections.homelab.hybrid.plugins.module_utils._overview.units import SERVICE, TIMER, texts

STANDS = State({"proxy": "alpha"}, has_units=True, has_program=True)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"guest": "proxy"}, "host: is needed"),
        ({"host": "alpha"}, "guest: is needed"),
        ({"guest": "../x", "host": "alpha"}, "guest"),
        ({"guest": "proxy", "host": "a/b"}, "host"),
    ],
)
def test_what_is_refused(params: dict[str, t.Any], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse({"state": "present", **params})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "state", "paths"),
    [
        (Spec("proxy", "alpha"), State(), ["guests[proxy]", "program"]),
        (Spec("proxy", "alpha"), STANDS, []),
        (Spec("proxy", "beta"), STANDS, ["guests[proxy]"]),
        (Spec("other", "alpha"), STANDS, ["guests[other]"]),
        (Spec("proxy", "alpha"), STANDS._replace(has_program=False), ["program"]),
        (Spec("proxy", "alpha"), STANDS._replace(has_units=False), ["units"]),
        (Spec("proxy", is_wanted=False), STANDS, ["guests[proxy]"]),
        (Spec("other", is_wanted=False), STANDS, []),
        (Spec(is_wanted=False), STANDS, []),
        (Spec(is_wanted=False), STANDS._replace(gone=frozenset({"proxy"})), ["guests[proxy]"]),
        (Spec(is_wanted=False), State(), []),
    ],
)
def test_what_differs_is_planned(spec: Spec, state: State, paths: list[str]) -> None:
    assert [change.path for change in plan_overview(spec, state).changes] == paths


def test_the_last_page_takes_the_program_with_it_and_others_stay() -> None:
    two = STANDS._replace(guests={"proxy": "alpha", "other": "alpha"})
    assert after_all(Spec("proxy", is_wanted=False), two) == {"other": "alpha"}
    assert after_all(Spec(is_wanted=False), two._replace(gone=frozenset(two.guests))) == {}


def test_the_units_do_nothing_where_no_container_is_told() -> None:
    found = texts(["/var/lib/lxc/a/config", "/var/lib/lxc/b/config"])
    assert "ConditionPathExists=|/var/lib/lxc/a/config\nConditionPathExists=|/var/lib/lxc/b/config\n" in found[SERVICE]
    assert "OnCalendar=minutely" in found[TIMER]
