# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a guest starts and stops among the others: what is written, what the record keeps, what is told."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import startup


def test_what_is_not_written_is_not_declared():
    assert startup.parse(None) == startup.parse({"order": None}) == {}
    assert startup.parse({"order": 0, "up_delay": None}) == {"startup.order": 0}


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (None, {"order": None, "up_delay": 0, "down_delay": 0}),
        ({"order": 0}, {"order": 0, "up_delay": 0, "down_delay": 0}),
        ({"order": 3, "up_delay": 5, "down_delay": 7}, {"order": 3, "up_delay": 5, "down_delay": 7}),
        ({"up_delay": 5}, {"order": None, "up_delay": 5, "down_delay": 0}),
    ],
)
def test_the_record_keeps_what_is_on_and_all_of_it_is_told(kept, told):
    values = startup.recorded({"startup": kept})
    assert startup.to_record(values) == kept
    assert startup.facts(values) == told


def test_the_record_takes_its_own_options_alone():
    assert startup.to_record({"startup.order": 1, "memory": 1024}) == {"order": 1}
