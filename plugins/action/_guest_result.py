# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends as one guest ended in the layout of its host. Works on the control node alone."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.homelab.hybrid.plugins.plugin_utils._diff import shown_diff
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_warnings import guest_warnings, slips
from ansible_collections.homelab.hybrid.plugins.plugin_utils._inventory_words import GUESTS, of_guest, of_layout

Result = dict[str, t.Any]

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "layout": {"type": "dict"},
    "name": {"type": "str", "required": True},
    "hypervisor": {"type": "str", "required": True},
    "error": {"type": "str"},
}
_OWN_WORDS = ("kind", "name", "skipped", "facts")


class ActionModule(ActionBase):
    """Tells a guest its own item."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(ARGUMENTS)
        name, hypervisor = arguments["name"], arguments["hypervisor"]
        result.update(guest_result(arguments["layout"], name, hypervisor, arguments["error"]))
        known = task_vars or {}
        host = known if name == hypervisor else known["hostvars"].get(hypervisor, {})
        found = slips(name, known, "hypervisor_") if name == hypervisor else guest_warnings(name, known, host)
        result.setdefault("warnings", []).extend(found)
        return result


def guest_result(layout: t.Mapping[str, t.Any] | None, name: str, hypervisor: str, error: str | None = None) -> Result:
    """How the guest *name* ended, from the result of the *layout* of its host; or how the host itself did.

    With an *error* of its options the guest was in no layout.
    """
    if error is not None:
        return _failed(error)
    if name == hypervisor and (layout is None or "msg" not in layout):
        return {"changed": False}
    if layout is None:
        return _failed(f"{hypervisor} failed before its guests were looked at")
    if layout.get("unreachable_host"):
        return _failed(f"{hypervisor} is unreachable: {layout.get('msg', '')}".rstrip(": "))
    guests = [item for item in layout.get("resources") or () if item["kind"] in GUESTS]
    if name == hypervisor:
        return _failed(of_layout(layout))
    items = [item for item in guests if item["name"] == name]
    if not items:
        return _failed(of_layout(layout) or f"the layout of {hypervisor} has no guest {name}")
    item = items[0]
    if item.get("skipped"):
        return _failed(str(item["skipped"]))
    told = {key: value for key, value in item.items() if key not in _OWN_WORDS}
    if (diff := shown_diff(told.pop("diff", None))) is not None:
        told["diff"] = diff
    return {**told, "msg": of_guest(str(told["msg"]))} if "msg" in told else told


def _failed(why: str) -> Result:
    return {"changed": False, "failed": True, "msg": why}
