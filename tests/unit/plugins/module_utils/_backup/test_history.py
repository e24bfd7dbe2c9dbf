# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.history import loaded, remembered

GOOD = {"guest": "web", "result": "ok", "when": "2026-11-27T02:30:00Z", "backup": "12345678"}
BAD = {"guest": "web", "result": "failed", "when": "2026-11-28T02:30:00Z", "error": "no room"}


def test_a_run_that_fails_does_not_forget_the_one_that_went_well() -> None:
    before = {"last": remembered({}, [GOOD])}
    assert remembered(before, [BAD]) == {"web": {"ok": GOOD, "failed": BAD}}


def test_a_guest_that_a_run_does_not_come_to_keeps_what_is_known_of_it() -> None:
    before = {"last": remembered({}, [GOOD, {**GOOD, "guest": "mail"}])}
    assert remembered(before, [BAD])["mail"] == {"ok": {**GOOD, "guest": "mail"}}


@pytest.mark.parametrize("text", [None, "", "half of {", "[]", '{"last": 5}'])
def test_a_report_that_cannot_be_read_is_begun_anew(text: str | None) -> None:
    assert remembered(loaded(text), [GOOD]) == {"web": {"ok": GOOD}}
