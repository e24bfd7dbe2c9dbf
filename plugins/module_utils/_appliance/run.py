# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""One run at an appliance through its API: how it ended, and what its host remembers of the appliance."""

from __future__ import annotations

import json
import typing as t

from .._core import atomic, paths
from .._core.errors import HybridError

Steps = t.Sequence[t.Any]


class Outcome:
    """How a run ended. Each step that is *planned* has a word for it in ``says``; *difference* is what Ansible shows of them with ``--diff``."""

    def __init__(self, difference: t.Callable[[Steps], dict[str, str]]) -> None:
        self._difference = difference
        self.warnings: list[str] = []
        self.error: HybridError | None = None
        self.planned: Steps = []
        self.notes: list[str] = []
        self.facts: dict[str, t.Any] = {}
        self.changed = False

    def result(self) -> dict[str, t.Any]:
        return {
            "changed": self.changed,
            "plan": [*self.notes, *(step.says for step in self.planned)],
            "diff": self._difference(self.planned),
            **self.facts,
        }


class Run:
    """What all appliances have: the parameters of the module, and a record on the host, which root alone reads."""

    def __init__(self, params: t.Mapping[str, t.Any], outcome: Outcome, *, dry_run: bool) -> None:
        self.params, self.outcome, self.dry_run = params, outcome, dry_run
        self._path = paths.record_path("appliances", params["name"])
        self._record: dict[str, t.Any] = json.loads(atomic.read_text(self._path) or "{}")

    def _remember(self, **values: t.Any) -> None:
        record = {**self._record, **values}
        if record == self._record or self.dry_run:
            return
        atomic.write_file(self._path, json.dumps(record), mode=0o600)
        self._record = record


def read_fingerprint(written: str | None) -> str:
    """A fingerprint as it is compared, whether or not a person wrote it with colons; "" for none."""
    return (written or "").replace(":", "").replace(" ", "").lower()
