# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A TrueNAS that runs: its health, what it has, and its updates."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
import typing as t

from .._appliance.errors import Stranger
from .._appliance.run import Outcome, Run, read_fingerprint
from .._core.errors import ApplyError, HybridError, NotConverged, ObserveError, RefusedError, SpecError, WaitTimeout
from .api import Api
from .compare import Call, dataset_calls, difference, pool_calls, service_calls, share_calls, user_calls

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "ask": {"type": "str", "choices": ["health", "items", "update"], "default": "items"},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 443},
    "username": {"type": "str", "default": "truenas_admin"},
    "password": {"type": "str", "no_log": True},
    "certificate": {"type": "str"},
    "items": {"type": "dict", "default": {}},
    "passwords": {"type": "str", "no_log": True},
    "wait": {"type": "int", "default": 600},
}
_KINDS = ("pools", "datasets", "users", "smb_shares", "nfs_shares", "services")
# What its key is called on its pages.
_KEY = "homelab.hybrid"
_SUCCESS = "SUCCESS"
_POLL_SECONDS = 5.0
# So long a check waits for one that starts: of one that is not there yet it says so.
_CHECK_SECONDS = 30


def converge_truenas(params: t.Mapping[str, t.Any], *, dry_run: bool, report: t.Any = None) -> Outcome:
    """One run of the private module ``_truenas``."""
    outcome = Outcome(difference)
    run = TrueNAS(params, outcome, dry_run=dry_run)
    try:
        {"health": run.look, "items": run.converge, "update": run.update}[params["ask"]]()
    except HybridError as exc:
        outcome.error = exc
    finally:
        run.leave()
    return outcome


class TrueNAS(Run):
    """One appliance, with what is remembered of it: its certificate, our key, and what tells a password that it was given."""

    def __init__(self, params: t.Mapping[str, t.Any], outcome: Outcome, *, dry_run: bool) -> None:
        super().__init__(params, outcome, dry_run=dry_run)
        self._passwords: dict[str, str] = json.loads(params["passwords"] or "{}")
        self._open: Api | None = None

    @property
    def api(self) -> Api:
        if self._open is None:
            raise ObserveError("there is no connection")
        return self._open

    def leave(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    # ---- the way in

    def look(self) -> None:
        """Its health: it lets us in, and has started as a whole."""
        wait = min(self.params["wait"], _CHECK_SECONDS) if self.dry_run else self.params["wait"]
        given = read_fingerprint(self.params["certificate"])
        self.leave()
        self._open = Api(self.params["address"], self.params["port"], given or self._record.get("certificate"), wait)
        self.api.secrets += [*self._passwords.values()]
        self._log_in()
        self.api.wait_until_ready(wait)
        self.outcome.facts["version"] = str(self.api.call("system.info").get("version", ""))

    def _log_in(self) -> None:
        username, key = self.params["username"], self._record.get("key")
        said = None
        if key and self._record.get("username") == username:
            said = self.api.log_in("API_KEY_PLAIN", username, api_key=key)
            if said == _SUCCESS:
                return
        password = self.params["password"]
        where = f"TrueNAS at {self.params['address']}"
        if not password:
            why = f"the key that is kept on this host ({said})" if said else "anybody without a password"
            raise Stranger(f"{where} does not let {why} in. It needs truenas_password")
        said = self.api.log_in("PASSWORD_PLAIN", username, password=password)
        if said != _SUCCESS:
            raise Stranger(f"{where} does not let {username} in with truenas_password: {said}")
        if not self.dry_run:
            self._take_key(username)

    def _take_key(self, username: str) -> None:
        """A key of our own, which it says only once: of one that was lost on the way another is made."""
        wanted = [["name", "=", _KEY], ["username", "=", username]]
        found = self.api.call("api_key.query", wanted)
        if found:
            told = self.api.call("api_key.update", found[0]["id"], {"reset": True})
        else:
            told = self.api.call("api_key.create", {"name": _KEY, "username": username})
        # With the certificate of the connection on which it came.
        self._remember(key=told["key"], username=username, certificate=self.api.certificate)
        self.api.secrets.append(told["key"])

    # ---- what it has

    def converge(self) -> None:
        """Make what it has what it should be: its pools first, then what lies in them."""
        items = self.params["items"]
        unknown = sorted(set(items) - set(_KINDS))
        if unknown:
            raise SpecError(f"items: {unknown[0]} is not allowed. Allowed: {', '.join(_KINDS)}")
        self.look()
        pools = self._pools()
        self.outcome.planned = [*pools, *self._rest()]
        if self.dry_run or not self.outcome.planned:
            self.outcome.changed = bool(self.outcome.planned)
            return
        for call in pools:
            self._do(call)
        # What lay in an imported pool is known by now.
        rest = self._rest()
        self.outcome.planned = [*pools, *rest]
        for call in rest:
            self._do(call)
        if left := [*self._pools(), *self._rest()]:
            raise NotConverged(f"TrueNAS did not take what it was told: {', '.join(call.says for call in left)}")

    def _wanted(self, kind: str) -> t.Any:
        return self.params["items"].get(kind) or []

    def _pools(self) -> list[Call]:
        if not self._wanted("pools"):
            return []
        disks = self.api.call("disk.details", {"join_partitions": True, "type": "BOTH"})
        return pool_calls(self._wanted("pools"), self.api.call("pool.query"), [*disks["used"], *disks["unused"]])

    def _rest(self) -> list[Call]:
        calls: list[Call] = []
        if wanted := self._wanted("datasets"):
            calls += dataset_calls(wanted, self.api.call("pool.dataset.query"))
        if self._wanted("users"):
            users = [self._with_password(user) for user in self._wanted("users")]
            told = (self.api.call("user.query"), self.api.call("group.query"))
            calls += user_calls(users, *told, has_password=self._has_password)
        for kind in ("smb", "nfs"):
            if wanted := self._wanted(f"{kind}_shares"):
                calls += share_calls(kind, wanted, self.api.call(f"sharing.{kind}.query"))
        if wanted := self._wanted("services"):
            calls += service_calls(wanted, self.api.call("service.query"))
        return calls

    def _with_password(self, user: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        password = self._passwords.get(str(user["username"]))
        return {**user, **({"password": password} if password else {})}

    def _has_password(self, user: str, password: str) -> bool:
        known = self._record.get("passwords", {}).get(user)
        return known is not None and hmac.compare_digest(known, self._digest(user, password))

    def _digest(self, user: str, password: str) -> str:
        salt = str(self._record.get("salt") or "")
        return hashlib.scrypt(f"{user}\0{password}".encode(), salt=salt.encode(), n=2**12, r=8, p=1).hex()

    def _do(self, call: Call) -> None:
        params = call.params
        if call.method == "pool.import_pool":
            params = ({"guid": self._guid(params[0])},)
        if call.method == "service.control":
            self._control(*params)
            self.outcome.changed = True
            return
        told = self.api.call(call.method, *params)
        self.outcome.changed = True
        if call.is_job:
            self.api.end_of(call.method, told)
        values = params[-1]
        if call.method.startswith("user.") and values.get("password"):
            name = values.get("username") or self._name_of(params[0])
            if not self._record.get("salt"):
                self._remember(salt=secrets.token_hex(16))
            known = {**self._record.get("passwords", {}), name: self._digest(name, values["password"])}
            self._remember(passwords=known)

    def _name_of(self, number: t.Any) -> str:
        return str(self.api.call("user.query", [["id", "=", number]])[0]["username"])

    def _guid(self, name: str) -> str:
        found = [pool for pool in self.api.job("pool.import_find") or () if pool["name"] == name]
        if len(found) != 1:
            raise RefusedError(f"pools[{name}]: {len(found)} pools of that name can be imported")
        return str(found[0]["guid"])

    def _control(self, verb: str, name: str, options: t.Mapping[str, t.Any]) -> None:
        number = self.api.has("service.control", verb, name, options)
        if number is None:
            # TrueNAS before 25.10.
            self.api.call(f"service.{verb.lower()}", name)
        else:
            self.api.end_of("service.control", number)

    # ---- updates

    def update(self) -> None:
        """Bring it to the version that its profile offers, through a restart."""
        self.look()
        before = self.outcome.facts["version"]
        told = self.api.has("update.status")
        if told is None:
            raise ObserveError(
                f"TrueNAS {before} has no update.status: it is there from 25.10 on. Update it on its pages"
            )
        if told.get("code") == "ERROR":
            raise ObserveError(f"TrueNAS finds no updates: {(told.get('error') or {}).get('reason')}")
        offered = ((told.get("status") or {}).get("new_version") or {}).get("version")
        self.outcome.facts["offered"] = offered
        self.outcome.changed = offered is not None
        if offered is None or self.dry_run:
            return
        number = self.api.call("update.run", {"reboot": True})
        try:
            self.api.end_of("update.run", number)
        except ObserveError:
            # It restarts before it says that it is through.
            pass
        self._await_restart(before)

    def _await_restart(self, before: str) -> None:
        deadline = time.monotonic() + self.params["wait"]
        while True:
            try:
                self.look()
                if self.outcome.facts["version"] != before:
                    return
            except Stranger:
                raise
            except (ApplyError, ObserveError, WaitTimeout):
                self.leave()
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"waited {self.params['wait']} s for TrueNAS to be another version than {before}")
            # A login each time, of which it takes 20 in a minute.
            time.sleep(_POLL_SECONDS)
