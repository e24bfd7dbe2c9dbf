# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run against a TrueNAS: who is let in, what is kept of it on this host, and what a check leaves as it is."""

from __future__ import annotations

import json
import ssl
import subprocess
import typing as t
from pathlib import Path

import pytest
from unit.json_rpc import Rpc, serving

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._truenas import api, appliance

PASSWORD = "pressed-cider"
USER: dict[str, t.Any] = {"username": "alice", "full_name": "Alice"}


class Middleware(Rpc):
    def __init__(self) -> None:
        super().__init__()
        self.keys: list[dict[str, t.Any]] = []
        self.users: list[dict[str, t.Any]] = []
        self.passwords: dict[str, str] = {}
        self.ready = 0
        self.version = "25.10.7"
        self.takes = True

    async def answer(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
        action = getattr(self, method.replace(".", "_"))
        return action(*params)

    def core_ping(self) -> str:
        return "pong"

    def auth_login_ex(self, asked: dict[str, t.Any]) -> t.Any:
        by_key = asked["mechanism"] == "API_KEY_PLAIN"
        is_known = (
            asked.get("api_key") in [key["key"] for key in self.keys] if by_key else asked["password"] == PASSWORD
        )
        return {"response_type": "SUCCESS" if is_known else "AUTH_ERR"}

    def system_ready(self) -> bool:
        self.ready += 1
        return self.ready > 1

    def system_info(self) -> t.Any:
        return {"version": self.version}

    def api_key_query(self, filters: t.Any) -> t.Any:
        return [key for key in self.keys if ["name", "=", key["name"]] in filters]

    def api_key_create(self, asked: dict[str, t.Any]) -> t.Any:
        self.keys.append({"id": 1, **asked, "key": "1-first"})
        return self.keys[-1]

    def api_key_update(self, number: int, asked: t.Any) -> t.Any:
        assert asked == {"reset": True}
        self.keys[0]["key"] = "1-again"
        return self.keys[0]

    def user_query(self, filters: t.Any = None) -> t.Any:
        return self.users

    def group_query(self) -> t.Any:
        return []

    def user_create(self, asked: dict[str, t.Any]) -> t.Any:
        if asked["password"] == "weak-weak":
            raise self.error(f"{asked['password']} is weak")
        if self.takes:
            self.passwords[asked["username"]] = asked.pop("password")
            self.users.append(
                {"id": 9, "group": {"id": 9}, **{key: value for key, value in asked.items() if key != "group_create"}}
            )

    def user_update(self, number: int, asked: dict[str, t.Any]) -> t.Any:
        self.passwords["alice"] = asked.pop("password")


@pytest.fixture
def nas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Middleware]:
    monkeypatch.setattr(paths, "STATE", str(tmp_path))
    (tmp_path / "appliances").mkdir()
    monkeypatch.setattr(api.time, "sleep", lambda seconds: None)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*command, "-subj", "/CN=nas", "-keyout", "a", "-out", "b"], cwd=tmp_path, check=True, capture_output=True
    )
    (tmp_path / "both").write_text((tmp_path / "a").read_text() + (tmp_path / "b").read_text())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "both")
    its = Middleware()
    with serving(its, "/api/current", context) as port:
        its.port = port
        yield its


def run(nas: Middleware, *, dry_run: bool = False, users: t.Sequence[t.Any] = (), **more: t.Any) -> appliance.Outcome:
    params = {
        "name": "nas", "ask": "items", "address": "127.0.0.1", "port": nas.port, "username": "truenas_admin",
        "password": PASSWORD, "certificate": None, "items": {"users": list(users)}, "passwords": "{}", "wait": 5, **more,
    }  # fmt: skip
    nas.calls.clear()
    return appliance.converge_truenas(params, dry_run=dry_run)


def record() -> Path:
    return Path(paths.record_path("appliances", "nas"))


def logins(nas: Middleware) -> list[str]:
    return [params[0]["mechanism"] for method, params in nas.calls if method == "auth.login_ex"]


def test_a_key_is_made_once_and_the_password_is_not_needed_any_more(nas: Middleware) -> None:
    checked = run(nas, dry_run=True)
    assert checked.error is None and not record().exists() and not nas.keys
    first = run(nas)
    assert first.error is None and not first.changed and first.facts["version"] == "25.10.7"
    assert record().stat().st_mode & 0o777 == 0o600 and json.loads(record().read_text())["key"] == "1-first"
    again = run(nas, password=None)
    assert again.error is None and logins(nas) == ["API_KEY_PLAIN"] and len(nas.keys) == 1


def test_a_key_that_was_lost_or_is_not_let_in_any_more_is_made_anew(nas: Middleware) -> None:
    run(nas)
    record().unlink()
    assert run(nas).error is None
    assert json.loads(record().read_text())["key"] == "1-again" and len(nas.keys) == 1
    nas.keys[0]["key"] = "1-revoked"
    refused = run(nas, password=None)
    assert refused.error is not None and "It needs truenas_password" in refused.error.message
    assert run(nas).error is None and logins(nas) == ["API_KEY_PLAIN", "PASSWORD_PLAIN"]


def test_who_is_not_let_in_is_told(nas: Middleware) -> None:
    outcome = run(nas, password="wrong-cider")
    assert (
        outcome.error is not None and "AUTH_ERR" in outcome.error.message and "wrong-cider" not in outcome.error.message
    )


def test_nothing_is_said_to_another_one(nas: Middleware) -> None:
    run(nas)
    kept = json.loads(record().read_text())
    record().write_text(json.dumps({**kept, "certificate": "0" * 64}))
    outcome = run(nas)
    assert outcome.error is not None and "Nothing was said to it" in outcome.error.message and not nas.calls
    # The user says that it was renewed.
    assert run(nas, certificate=":".join([kept["certificate"][:2], kept["certificate"][2:]]).upper()).error is None


def test_a_password_is_told_once(nas: Middleware) -> None:
    given = {"users": [USER], "passwords": json.dumps({"alice": "another-cider"})}
    assert run(nas, **given).changed and nas.passwords == {"alice": "another-cider"}
    assert "another-cider" not in record().read_text()
    again = run(nas, **given)
    assert not again.changed and again.error is None
    other = run(nas, users=[USER], passwords=json.dumps({"alice": "third-cider"}))
    assert other.changed and nas.passwords == {"alice": "third-cider"}
    assert not run(nas, users=[USER]).changed


def test_what_it_refuses_is_told_without_the_password_and_changed_nothing(nas: Middleware) -> None:
    outcome = run(nas, users=[USER], passwords=json.dumps({"alice": "weak-weak"}))
    assert outcome.error is not None and outcome.error.message == "user.create: (secret) is weak"
    assert not outcome.changed


def test_what_it_took_and_did_not_do_is_told(nas: Middleware) -> None:
    nas.takes = False
    outcome = run(nas, users=[USER], passwords=json.dumps({"alice": "another-cider"}))
    assert outcome.error is not None and "did not take what it was told: user alice: made" in outcome.error.message


def test_what_is_no_kind_of_item_is_refused(nas: Middleware) -> None:
    outcome = run(nas, items={"virtual_machines": []})
    assert outcome.error is not None and "virtual_machines is not allowed" in outcome.error.message and not nas.calls
