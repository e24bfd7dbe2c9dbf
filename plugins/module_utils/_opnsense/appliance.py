# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""An OPNsense that runs: its health, what its API has, and its updates."""

from __future__ import annotations

import json
import posixpath
import time
import typing as t
from xml.etree import ElementTree

from .._appliance.errors import Stranger
from .._appliance.run import Outcome, Run, read_fingerprint
from .._core import atomic, paths
from .._core.errors import ApplyError, HybridError, NotConverged, ObserveError, SpecError, WaitTimeout
from .compare import FILTER, KINDS, Item, Request, difference, requests, search_path, update_step
from .first_start import differences, interfaces_of, settings_of
from .password import opens
from .users import KIND, PLACE, ROOT, accounts, user_requests

if t.TYPE_CHECKING:
    from .api import Api

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "ask": {"type": "str", "choices": ["health", "items", "updates", "update"], "default": "items"},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 443},
    "key": {"type": "str", "required": True, "no_log": True},
    "secret": {"type": "str", "required": True, "no_log": True},
    "ca": {"type": "str"},
    "fingerprint": {"type": "str"},
    "items": {"type": "dict", "default": {}},
    "passwords": {"type": "str", "no_log": True},
    "declared": {"type": "dict", "default": {}},
    "password": {"type": "str", "no_log": True},
    "wait": {"type": "int", "default": 300},
}
# What opens it, for its administrator.
_SECRETS = paths.STATE + "/secrets/opnsense"
_EVERY_SECONDS = 3.0
# So long one that is in the same network takes to accept a connection at most.
_PROBE_SECONDS = 5.0


def converge_opnsense(params: t.Mapping[str, t.Any], *, dry_run: bool, report: t.Any = None) -> Outcome:
    """One run of the private module ``_opnsense``."""
    outcome = Outcome(difference)
    try:
        run = OPNsense(params, outcome, dry_run=dry_run)
        asks = {"health": run.look, "items": run.converge, "updates": run.look_for_updates, "update": run.update}
        asks[params["ask"]]()
    except HybridError as exc:
        outcome.error = exc
    return outcome


class OPNsense(Run):
    """One appliance, with what is remembered of it.

    That is the fingerprint of its certificate, where it answered, those of root's keys that are ours, and what was saved and is not in force yet.
    """

    def __init__(self, params: t.Mapping[str, t.Any], outcome: Outcome, *, dry_run: bool) -> None:
        super().__init__(params, outcome, dry_run=dry_run)
        self.api = self._api_at(params["address"])
        self._config: ElementTree.Element | None = None

    def _api_at(self, address: str) -> Api:
        from .api import Api  # a client of TLS is read by who asks

        return Api(
            address,
            self.params["port"],
            key=self.params["key"],
            secret=self.params["secret"],
            fingerprint=read_fingerprint(self.params["fingerprint"]) or self._record.get("fingerprint"),
            authority=self.params["ca"] or None,
        )

    def look(self) -> None:
        """Its health."""
        self._find()
        told = self.api.wait(0 if self.dry_run else self.params["wait"])
        system = told.get("metadata", {}).get("system", {}) if isinstance(told, dict) else {}
        self.outcome.facts["health"] = {
            "status": str(system.get("status", "")),
            "message": str(system.get("message", "")),
        }
        self._remember(fingerprint=self.api.fingerprint, address=self.api.address)

    def _find(self) -> None:
        """Ask at the address of before where it has not the declared one: to take that is for its own pages."""
        before = self._record.get("address", self.params["address"])
        if before == self.params["address"]:
            return
        for address in (self.params["address"], before):
            candidate = self._api_at(address)
            usual, candidate.timeout = candidate.timeout, _PROBE_SECONDS
            try:
                candidate.get("core/system/status")
            except ObserveError:
                continue
            candidate.timeout = usual
            self.api = candidate
            return

    def converge(self) -> None:
        """Make its items what they should be, each kind saved and put into force together, and tell what is for its own pages."""
        known = {*(kind.name for kind in KINDS), KIND}
        if unknown := sorted(set(self.params["items"]) - known):
            raise SpecError(f"items: {unknown[0]} is not allowed. Allowed: {', '.join(sorted(known))}")
        self.look()
        self.outcome.planned = self._planned()
        self._tell_differences()
        waiting = [path for path in self._record.get("waiting", ()) if path not in self._applies(self.outcome.planned)]
        self._keep_secrets()
        self.outcome.changed = bool(self.outcome.notes or self.outcome.planned or waiting)
        if self.dry_run:
            return
        if self.outcome.planned or waiting:
            self._change([*waiting, *self._applies(self.outcome.planned)])
        if KIND in self.params["items"]:
            self._remember(root_keys=self._declared_root_keys())

    def _change(self, due: list[str]) -> None:
        revision = self._savepoint() if f"{FILTER}/apply" in due else None
        # Of a run that is killed the next one puts into force what was saved.
        self._remember(waiting=due)
        for request in self.outcome.planned:
            self._send(request)
        for path in due:
            self._apply(path, revision)
            self._remember(waiting=[each for each in self._record["waiting"] if each != path])
        if left := self._planned():
            raise NotConverged(f"OPNsense did not take what it was told: {', '.join(request.says for request in left)}")

    def _tell_differences(self) -> None:
        """What is declared, stands otherwise, and is changed on its own pages alone: told on every run."""
        declared = self.params["declared"]
        if not declared:
            return
        if self._config is None:
            self.outcome.warnings.append(
                f"OPNsense of {self.params['name']}: it has kept no configuration yet. Its users and its interfaces are compared when it has"
            )
            return
        found = differences(declared["settings"], settings_of(self._config), declared["names"])
        self.outcome.facts["differs"] = [
            {"path": each.path, "declared": each.declared, "stands": each.stands, "page": each.page} for each in found
        ]
        self.outcome.warnings += [f"OPNsense of {self.params['name']}: {each.says}" for each in found]

    def _keep_secrets(self) -> None:
        path = posixpath.join(_SECRETS, f"{self.params['name']}.json")
        wanted = {word: self.params[word] for word in ("key", "secret", "password") if self.params[word]}
        text = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
        if atomic.read_text(path) == text:
            return
        self.outcome.notes.append("what opens it is kept on its hypervisor")
        if not self.dry_run:
            atomic.write_file(path, text, mode=0o600)

    def _planned(self) -> list[Request]:
        self._config = self._read_config()
        found = []
        for kind in KINDS:
            wanted = self.params["items"].get(kind.name)
            if wanted is not None:
                found += requests(kind, self._ready(kind.name, wanted), self.api.rows(search_path(kind)))
        return [*found, *self._planned_users()]

    def _read_config(self) -> ElementTree.Element | None:
        """Its configuration, which it keeps at each change; ``None`` before the first."""
        content = self.api.file("core/backup/download/this")
        try:
            return ElementTree.fromstring(content) if content.strip() else None
        except ElementTree.ParseError as exc:
            raise ObserveError(
                f"core/backup/download/this: it answers with something else than its configuration: {exc}"
            ) from exc

    def _ready(self, kind: str, wanted: t.Sequence[Item]) -> list[Item]:
        """Those of *wanted* whose interface it has: another one is for its pages first, and it would take none of that."""
        if self._config is None:
            return list(wanted)
        there = interfaces_of(self._config)
        names = self.params["declared"].get("names", {})
        for item in wanted:
            if item.get("interface", "lan") not in there:
                said = f"OPNsense of {self.params['name']}: {kind} of {names.get(item['interface'], item['interface'])} wait for that interface"
                self.outcome.warnings += [] if said in self.outcome.warnings else [said]
        return [item for item in wanted if item.get("interface", "lan") in there]

    def _planned_users(self) -> list[Request]:
        wanted = list(self.params["items"].get(KIND) or ())
        if KIND not in self.params["items"] or self._config is None:
            return []
        known = accounts(self._config, self.api.rows(f"{PLACE}/search"))
        kept = self._record.get("root_keys")
        if ROOT in known and kept and not self._declared_root_keys() and known[ROOT].keys == kept.splitlines():
            # They are ours, and declared no more. Those that somebody gave on its pages stay.
            root = next((item for item in wanted if item["name"] == ROOT), {"name": ROOT})
            wanted = [*(item for item in wanted if item is not root), {**root, "authorizedkeys": ""}]
        return user_requests(wanted, json.loads(self.params["passwords"] or "{}"), known, opens)

    def _declared_root_keys(self) -> str:
        users = self.params["items"].get(KIND) or ()
        return next((str(item.get("authorizedkeys") or "") for item in users if item["name"] == ROOT), "")

    def _applies(self, planned: t.Sequence[Request]) -> list[str]:
        kinds = {request.kind for request in planned}
        return list(dict.fromkeys(kind.apply for kind in KINDS if kind.name in kinds))

    def _send(self, request: Request) -> None:
        told = self.api.post(request.path, request.body)
        if not isinstance(told, dict) or told.get("result") not in ("saved", "deleted"):
            said = told.get("validations") or told if isinstance(told, dict) else told
            raise ApplyError(f"{request.says}: OPNsense does not take it: {said}")

    def _savepoint(self) -> str | None:
        """Of rules that cut us off, series up to 26.1 take back what is not confirmed in time; 26.7 has no such door any more."""
        told = self.api.has(f"{FILTER}/savepoint")
        return str(told["revision"]) if isinstance(told, dict) and told.get("revision") else None

    def _apply(self, path: str, revision: str | None) -> None:
        is_guarded = revision is not None and path == f"{FILTER}/apply"
        told = self.api.post(f"{path}/{revision}" if is_guarded else path)
        status = str(told.get("status", "") if isinstance(told, dict) else told).strip().lower()
        if not status.startswith("ok"):
            raise ApplyError(f"/api/{path}: OPNsense did not put it into force: {told}")
        # By a connection of its own: one that stood before may go on under the old rules.
        try:
            self.api.wait(self.params["wait"])
        except WaitTimeout as exc:
            back = (
                "It takes the rules back by itself"
                if is_guarded
                else "Its own rule against lock-outs must have been switched off"
            )
            raise ApplyError(f"{exc.message}, since it has the new rules. {back}") from exc
        if is_guarded:
            self.api.post(f"{FILTER}/cancelRollback/{revision}")

    def look_for_updates(self) -> bool:
        """Whether there is a newer version of its series."""
        self.look()
        step = self._next_step()
        if step == "upgrade":
            self.outcome.warnings.append(
                "The next series of OPNsense is there. It is for its own pages, after its notes were read"
            )
        self.outcome.facts["version"] = self._version()
        self.outcome.facts["is_due"] = step == "update"
        self.outcome.changed = self.dry_run and step == "update"
        return step == "update"

    def update(self) -> None:
        """Bring it to the newest version of its series."""
        if not self.look_for_updates() or self.dry_run:
            return
        self.outcome.changed = True
        told = self.api.post("core/firmware/update")
        if told.get("status") != "ok":
            raise ApplyError(f"/api/core/firmware/update: OPNsense does not begin: {told}")
        self._await_firmware("the update")
        self.look()
        self.outcome.facts["version"] = self._version()

    def _next_step(self) -> str:
        # A look for updates is a job of its own there: in check mode it counts what the last one found.
        if not self.dry_run:
            self.api.post("core/firmware/check")
            self._await_firmware("the look for updates")
        told = self.api.get("core/firmware/status")
        step = update_step(told)
        if step == "error":
            raise ObserveError(f"OPNsense finds no updates: {told.get('status_msg') or told}")
        return step

    def _version(self) -> str:
        told = self.api.get("core/firmware/status")
        product = told.get("product") or {}
        return str(product.get("product_version") or told.get("product_version") or "")

    def _await_firmware(self, what: str) -> None:
        """Until its own log says that it is done. It may restart on its way."""
        deadline = time.monotonic() + self.params["wait"]
        status, is_away = "running", False
        while time.monotonic() < deadline:
            time.sleep(_EVERY_SECONDS)
            try:
                status = str(self.api.get("core/firmware/upgradestatus").get("status", ""))
            except Stranger:
                raise
            except ObserveError:
                is_away = True
                continue
            # What it wrote lies in its memory, and is empty behind a restart.
            if status == "done" or (status in ("error", "reboot") and is_away):
                return
        raise WaitTimeout(f"waited {self.params['wait']} s for {what} of OPNsense: it is at {status}")
