# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts of a monitoring, as amtool prints them, become what somebody is told."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._notify.alerts import AlertsError, of_alerts, of_silence


def alert(fingerprint: str = "0a1b", summary: str | None = "web does not run", **labels: str) -> dict[str, t.Any]:
    notes = {} if summary is None else {"summary": summary}
    return {"fingerprint": fingerprint, "annotations": notes, "labels": {"alertname": "GuestDown", **labels}}


def told(*alerts: dict[str, t.Any]) -> dict[str, str]:
    return {its.key: its.text for its in of_alerts("watch", json.dumps(alerts))}


def test_an_alert_is_its_summary_and_is_known_again_by_its_fingerprint() -> None:
    assert told(alert(), alert("2c3d", "the pool main fills up")) == {
        "alert watch 0a1b": "web does not run",
        "alert watch 2c3d": "the pool main fills up",
    }


def test_an_alert_without_a_summary_is_its_labels() -> None:
    assert told(alert(summary=None, guest="web")) == {"alert watch 0a1b": "GuestDown (guest=web)"}


def test_what_the_host_tells_itself_is_not_told_twice() -> None:
    assert told(alert(told_by_host="true")) == {}


def test_a_guest_can_say_no_more_than_a_line() -> None:
    (text,) = told(alert(summary="a\nb\x1b[31m" + "c" * 1000)).values()
    assert text.startswith("a b [31mc") and text.endswith("...") and len(text) == 300
    many = told(*(alert(str(number)) for number in range(103)))
    assert len(many) == 101 and many["alert watch more"] == "watch has 3 more alerts"


@pytest.mark.parametrize("text", ["", "no alerts", "{}", '[{"labels": {}}]', "[1]", '{"a": 1}'])
def test_what_is_no_list_of_alerts_is_refused(text: str) -> None:
    if text == "{}":
        text = '{"status": "error"}'
    with pytest.raises(AlertsError):
        list(of_alerts("watch", text))


def test_a_monitoring_that_is_silent_is_told() -> None:
    assert of_silence("watch", "it does not run").text == "The monitoring in watch does not answer: it does not run"
