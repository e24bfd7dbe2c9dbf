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

from .._appliance.errors import Stranger
from .._appliance.run import Outcome, Run, read_fingerprint
from .._core import atomic, paths
from .._core.errors import ApplyError, HybridError, NotConverged, ObserveError, SpecError, WaitTimeout
from .compare import FILTER, KINDS, Request, difference, requests, search_path, update_step

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
    "password": {"type": "str", "no_log": True},
    "wait": {"type": "int", "default": 300},
}
# What opens it, for its administrator.
_SECRETS = paths.STATE + "/secrets/opnsense"
_EVERY_SECONDS = 3.0


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
    """One appliance, with what is remembered of it: the fingerprint of its certificate, and what was saved and is not in force yet."""

    def __init__(self, params: t.Mapping[str, t.Any], outcome: Outcome, *, dry_run: bool) -> None:
        from .api import Api  # a client of TLS is read by who asks

        super().__init__(params, outcome, dry_run=dry_run)
        self.api = Api(
            params["address"],
            params["port"],
            key=params["key"],
            secret=params["secret"],
            fingerprint=read_fingerprint(params["fingerprint"]) or self._record.get("fingerprint"),
            authority=params["ca"] or None,
        )

    def look(self) -> None:
        """Its health."""
        told = self.api.wait(0 if self.dry_run else self.params["wait"])
        system = told.get("metadata", {}).get("system", {}) if isinstance(told, dict) else {}
        self.outcome.facts["health"] = {
            "status": str(system.get("status", "")),
            "message": str(system.get("message", "")),
        }
        self._remember(fingerprint=self.api.fingerprint)

    def converge(self) -> None:
        """Make its items what they should be, each kind saved and put into force together."""
        unknown = sorted(set(self.params["items"]) - {kind.name for kind in KINDS})
        if unknown:
            raise SpecError(f"items: {unknown[0]} is not allowed. Allowed: {', '.join(kind.name for kind in KINDS)}")
        self.look()
        self.outcome.planned = self._planned()
        waiting = [path for path in self._record.get("waiting", ()) if path not in self._applies(self.outcome.planned)]
        self._keep_secrets()
        self.outcome.changed = bool(self.outcome.notes or self.outcome.planned or waiting)
        if self.dry_run or not (self.outcome.planned or waiting):
            return
        due = [*waiting, *self._applies(self.outcome.planned)]
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
        found = []
        for kind in KINDS:
            wanted = self.params["items"].get(kind.name)
            if wanted is not None:
                found += requests(kind, wanted, self.api.rows(search_path(kind)))
        return found

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
