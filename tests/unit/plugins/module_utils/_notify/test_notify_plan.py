# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.plan import plan_notices
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.spec import headers_of, parse
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.state import Kept, State
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.units import (
    all_paths,
    folders,
    texts,
    texts_of,
    timers,
)

MAIL = {"name": "me", "type": "mail", "to": ["me@example.net"]}
SENT = {**MAIL, "server": "mail.example.net", "username": "me", "password": "correct horse"}
NTFY = {"name": "phone", "type": "ntfy", "url": "https://ntfy.example.net", "topic": "lab"}
HOOK = {"name": "hook", "type": "webhook", "url": "https://example.net/hook/abcdef"}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"name": "me"}, "targets[me].type: is needed"),
        ({"name": "me", "type": "mail"}, "targets[me].to: is needed of the type mail"),
        ({**NTFY, "topic": None}, "targets[phone].topic: is needed of the type ntfy"),
        ({**NTFY, "to": ["a@b.c"]}, "targets[phone].to: is nothing of the type ntfy"),
        ({**MAIL, "on": []}, "targets[me].on: says nothing"),
        ({**MAIL, "on": ["now"]}, "failure, success"),
        ({**MAIL, "to": ["me"]}, "an address such as root@example.net"),
        ({**MAIL, "port": 25}, "targets[me].port: goes with server"),
        ({**SENT, "password": None}, "targets[me].password: goes with username"),
        ({**SENT, "security": "none"}, "would send the password for everybody to read"),
        ({**HOOK, "url": "ftp://example.net/a"}, "an address that begins with http"),
        ({**HOOK, "headers": "no header at all"}, "lines such as"),
    ],
)
def test_what_is_refused(target: dict[str, t.Any], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse({"targets": [target]})
    assert says in str(caught.value)


def test_a_secret_that_is_refused_is_not_shown() -> None:
    with pytest.raises(SpecError) as caught:
        parse({"targets": [{**HOOK, "url": "gopher://hidden"}]})
    assert "hidden" not in str(caught.value)


def test_a_password_may_go_to_the_host_itself_in_the_clear() -> None:
    parse({"targets": [{**SENT, "security": "none", "server": "127.0.0.1"}]})


def test_headers_are_lines() -> None:
    assert headers_of("Authorization: Bearer a:b\n\n X-Kind:  lab \n") == {
        "Authorization": "Bearer a:b",
        "X-Kind": "lab",
    }


def test_a_secret_is_in_no_plan() -> None:
    whole = {**SENT, "state": "present"}
    for target, before in ((whole, {}), ({**whole, "password": "battery staple"}, whole)):
        values = {
            key: tuple(it) if isinstance(it, list) else it for key, it in before.items() if key not in ("name", "state")
        }
        state = State(Kept({"me": {**values, "on": ("failure",)}} if before else {}), has_units=True, has_program=True)
        plan = plan_notices(parse({"targets": [target]}), state)
        assert plan.changes and not [its for its in ("horse", "staple") if its in str(plan.result())]


def test_a_mail_without_a_server_needs_a_program_that_sends_it() -> None:
    spec = parse({"targets": [MAIL]})
    (refused,) = plan_notices(spec, State(has_program=True, has_units=True)).refused
    assert "this host has no sendmail" in str(refused.reason)
    assert not plan_notices(spec, State(has_sendmail=True)).refused


def test_the_units_name_files_and_no_secret() -> None:
    found = texts({"me": "/var/lib/secrets/me.json"})
    assert "LoadCredential=me:/var/lib/secrets/me.json\n" in found["homelab-hybrid-notify@.service"]
    assert {path.rpartition("/")[0] for path in found} == {"", *folders()}


@pytest.mark.parametrize(
    ("kept", "started"),
    [
        (Kept(), []),
        (Kept(alerts=frozenset(["watch"])), []),
        (Kept({"me": {}}), ["homelab-hybrid-notify.timer"]),
        (Kept(measures=True), ["homelab-hybrid-metrics.timer"]),
        (Kept({"me": {}}, frozenset(["watch"])), ["homelab-hybrid-notify.timer", "homelab-hybrid-alerts.timer"]),
    ],
)
def test_what_is_kept_has_its_timers_and_nothing_else(kept: Kept, started: list[str]) -> None:
    found = texts_of(kept, {})
    assert timers(found) == started
    assert set(found) <= set(all_paths())


def test_the_alerts_of_a_guest_are_told_with_the_secrets_of_the_targets() -> None:
    found = texts_of(Kept({"me": {}}, frozenset(["watch"]), measures=True), {"me": "/var/lib/secrets/me.json"})
    assert "LoadCredential=me:/var/lib/secrets/me.json" in found["homelab-hybrid-alerts.service"]
    assert "LoadCredential" not in found["homelab-hybrid-metrics.service"]


def test_what_is_not_written_stays_and_what_is_absent_goes() -> None:
    state = State(Kept({}, frozenset(["watch"]), measures=True), has_units=True, has_program=True)
    assert not plan_notices(parse({}), state).changes
    gone = plan_notices(parse({"alerts": [{"name": "watch", "state": "absent"}], "metrics": False}), state)
    assert {its.path for its in gone.changes} == {"alerts[watch]", "metrics"}
    more = plan_notices(parse({"alerts": [{"name": "watch"}, {"name": "other"}], "metrics": True}), state)
    assert [its.path for its in more.changes] == ["alerts[other]"]
