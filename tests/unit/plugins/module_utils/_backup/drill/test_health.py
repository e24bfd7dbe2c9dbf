# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.health import Check, parse, wanted_of
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.options import HEALTH


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:22", Check("tcp", port=22)),
        ("http:8080/health?full=1", Check("http", port=8080, path="/health?full=1")),
        ("http:8080", Check("http", port=8080, path="/")),
        ("https:443/", Check("https", port=443, path="/")),
        ("command: systemctl is-active web", Check("command", command="systemctl is-active web")),
    ],
)
def test_what_a_user_writes_is_a_check(text: str, expected: Check) -> None:
    assert parse(HEALTH.parse("backup.health", text)) == expected


@pytest.mark.parametrize("text", ["", "tcp:", "tcp:0", "tcp:100000", "udp:53", "command:", "command: ", 22])
def test_what_is_no_check_is_refused_with_the_forms_of_one(text: object) -> None:
    with pytest.raises(SpecError, match="tcp:PORT, http:PORT/PATH"):
        HEALTH.parse("backup.health", text)


def test_what_another_version_wrote_is_not_left_out() -> None:
    with pytest.raises(ObserveError, match="no check that this version"):
        parse("ping:once")


def told(**values: t.Any) -> dict[str, str]:
    return {"web": json.dumps({"in_force": "1.0", "told": values})}


def test_a_service_is_asked_where_it_listens() -> None:
    listens = [{"port": 80}, {"port": 53, "protocol": "udp"}, {"port": 5432, "address": "127.0.0.1"}]
    assert wanted_of({}, told(listens=listens)).checks == (
        Check("tcp", port=80, service="web"),
        Check("tcp", port=5432, service="web", is_inner=True),
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8123/health", {"port": 8123, "path": "/health", "is_inner": True, "host": "127.0.0.1"}),
        ("https://photos.lab.test", {"port": 443, "path": "/", "is_inner": False, "host": "photos.lab.test"}),
        ("http://[::1]:81/a", {"port": 81, "path": "/a", "is_inner": True, "host": "[::1]"}),
    ],
)
def test_a_service_is_asked_for_the_page_that_its_role_asks_for(url: str, expected: dict[str, t.Any]) -> None:
    (check,) = wanted_of({}, told(check={"url": url, "status": 204})).checks
    assert {key: getattr(check, key) for key in expected} == expected
    assert check.is_served(204) and not check.is_served(200)


def test_a_command_of_a_service_means_nothing_to_the_shell() -> None:
    asked = {"command": ["sh", "-c", "echo 'it is' $well"], "environment": {"KEY": "a b"}}
    (check,) = wanted_of({}, told(check=asked)).checks
    assert check.command == "env 'KEY=a b' 'sh' '-c' 'echo '\\''it is'\\'' $well'"


def test_the_data_of_the_owner_have_to_hold_something_and_those_of_a_service_have_to_be_there() -> None:
    record = {"backup": {"data_paths": ["/srv/a"]}}
    assert wanted_of(record, told(data=["/srv/a", "/srv/b", "no path"])).data_paths == {"/srv/a": True, "/srv/b": False}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"told": null}', '{"told": {"listens": [{"port": "x"}]}}'])
def test_a_guest_that_says_nothing_sensible_of_itself_is_asked_for_nothing(text: str) -> None:
    assert wanted_of({}, {"web": text}).checks == ()


def test_a_page_that_asks_who_one_is_is_served() -> None:
    check = parse("http:80/")
    assert [status for status in (200, 302, 401, 403, 404, 500) if check.is_served(status)] == [200, 302, 401, 403]
