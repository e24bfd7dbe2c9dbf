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
from ansible_collections.homelab.hybrid.plugins.plugin_utils._layouts import Vars, layout_of, layout_of_host

Result = dict[str, t.Any]

ARGUMENTS: dict[str, dict[str, t.Any]] = {"layout": {"type": "dict"}}
_OWN_WORDS = ("kind", "name", "skipped", "facts")


class ActionModule(ActionBase):
    """Tells a guest its own item. What it needs it reads by itself: to template the result of a host for each of its guests is most of the work."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        given = self.validate_argument_spec(ARGUMENTS)[1]["layout"]
        known = task_vars or {}
        name = str(known["inventory_hostname"])
        template: t.Callable[[t.Any], t.Any] = self._templar.template
        groups = [template(known.get(f"hybrid_{each}", each)) for each in ("hypervisors", "guests")]
        if is_of_host(name, known, *groups):
            result.update(guest_result(given or layout_of_host(known), name, name))
            found: t.Iterable[str] = slips(name, known, "hypervisor_")
        else:
            variables_of = known["hostvars"].raw_get
            # What the playbooks know of the whole run (tasks/guests_of.yml).
            run = variables_of("localhost")
            error = run["guests_sorted"]["errors"].get(name)
            hypervisor = str(template(known.get("guest_hypervisor", "")))
            if error is not None:  # it was in no layout
                result.update(guest_result(None, name, hypervisor, error))
                return result
            result.update(guest_result(given or layout_of(hypervisor, run, variables_of), name, hypervisor))
            found = guest_warnings(name, known, known["hostvars"].get(hypervisor, {}))
        result.setdefault("warnings", []).extend(found)
        return result


def is_of_host(name: str, known: Vars, hypervisors: str, guests: str) -> bool:
    """Whether the host *name* tells what became of it as a hypervisor: a guest that is one itself does so where its own layout failed."""
    groups = known["groups"]
    if name not in groups.get(hypervisors, ()):
        return False
    return "msg" in (layout_of_host(known) or {}) or name not in groups.get(guests, ())


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
    if item.get("deferred"):
        return {"changed": False, "msg": str(item["deferred"]), "_ansible_verbose_always": True}
    told = {key: value for key, value in item.items() if key not in _OWN_WORDS}
    if (diff := shown_diff(told.pop("diff", None))) is not None:
        told["diff"] = diff
    return {**told, "msg": of_guest(str(told["msg"]))} if "msg" in told else told


def _failed(why: str) -> Result:
    return {"changed": False, "failed": True, "msg": why}
