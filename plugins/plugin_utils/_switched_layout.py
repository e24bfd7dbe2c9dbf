# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A layout whose bridges can cut the host off: each of these is switched and confirmed by itself, before anything else is changed."""

from __future__ import annotations

import secrets
import typing as t

from ..module_utils._bridge.switch.state import VARIABLE
from ..module_utils._layout.plan import empty
from ._kept import Result, Vars
from ._switch import SwitchingAction, with_port_items
from ._watched import WatchedAction

_BRIDGE = "bridge"
_CONFIRMED = "confirmed"
_LEFT = "the network of the host was not changed as it is declared"


class SwitchedLayoutAction(WatchedAction, SwitchingAction):
    """Runs the module ``layout`` on a host whose network is as it is declared already, or becomes so before."""

    def run(self, tmp: str | None = None, task_vars: Vars | None = None) -> Result:
        bridges = self._task.args.get("bridges")
        if isinstance(bridges, list):
            self._task.args = {**self._task.args, "bridges": [with_port_items(bridge) for bridge in bridges]}
        return super().run(tmp, task_vars)

    def _rehearse(self, task_vars: Vars) -> Result:
        # The host is told that somebody can confirm; a plan arms nothing.
        with self._environment(VARIABLE, secrets.token_hex(8)):
            self._planned = super()._rehearse(task_vars)
        return self._planned

    def _run_watched(self, task_vars: Vars) -> Result:
        switched: dict[str, Result] = {}
        for options in find_switched(self._task.args, self._planned):
            name = str(options["name"])
            self.show(f"{self.host}: the bridge {name} is changed, and changed back unless that is confirmed")
            switched[name] = self.switch(options, task_vars)
            if switched[name].get("failed"):
                return refused(self._planned, switched)
        return joined(super()._run_watched(task_vars), switched)


def find_switched(options: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The options of each bridge of a layout whose change has to be confirmed, as *planned* has it, in their order."""
    names = [
        item["name"]
        for item in planned.get("resources") or ()
        if item["kind"] == _BRIDGE and any(change["how"] == _CONFIRMED for change in item["plan"])
    ]
    return [
        {key: value for key, value in bridge.items() if value is not None}
        for bridge in options.get("bridges") or ()
        if bridge.get("name") in names
    ]


def refused(planned: t.Mapping[str, t.Any], switched: t.Mapping[str, Result]) -> Result:
    """The result of a layout that ended because its last switch was taken back: nothing but the switches before it was done."""
    last = list(switched)[-1]
    resources = []
    for item in planned["resources"]:
        if (item["kind"], item["name"]) == (_BRIDGE, last):
            resources.append({**item, "changed": False, "failed": True, "msg": switched[last]["msg"]})
        elif item["changed"] and not (item["kind"] == _BRIDGE and item["name"] in switched):
            resources.append({**item, **empty(), "changed": False, "skipped": _LEFT})
        else:
            resources.append({**item, "changed": False})
    kept = {key: value for key, value in planned.items() if key not in ("changed", "diff")}
    msg = f"bridges[{last}]: {switched[last]['msg']}. Nothing that comes after it was changed"
    result = {**kept, **empty(), "resources": resources, "changed": False, "failed": True, "msg": msg}
    return joined(result, {name: told for name, told in switched.items() if name != last})


def joined(result: Result, switched: t.Mapping[str, Result]) -> Result:
    """The *result* of a layout with what was switched before it, which it found as it is declared."""
    if not switched or "resources" not in result:
        return result
    resources = []
    for item in result["resources"]:
        told = switched.get(item["name"]) if item["kind"] == _BRIDGE else None
        if told is None:
            resources.append(item)
            continue
        own = {key: told[key] for key in ("plan", "diff", "switch") if key in told}
        resources.append({**item, **own, "changed": bool(told.get("changed")) or item["changed"]})
    plan, diff, warnings = [], result.get("diff") or {"before": {}, "after": {}}, list(result.get("warnings") or ())
    for name, told in switched.items():
        plan += [{**change, "path": f"bridges[{name}].{change['path']}"} for change in told.get("plan") or ()]
        for side in ("before", "after"):
            values = (told.get("diff") or {}).get(side) or {}
            diff[side] = {**{f"bridges[{name}].{path}": value for path, value in values.items()}, **diff[side]}
        warnings += told.get("warnings") or ()
    changed = bool(result.get("changed")) or any(told.get("changed") for told in switched.values())
    found = {**result, "changed": changed, "plan": [*plan, *result["plan"]], "diff": diff, "resources": resources}
    return {**found, "warnings": warnings} if warnings else found
