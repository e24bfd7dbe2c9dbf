# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Where the playbooks keep the results of the layouts of a run."""

from __future__ import annotations

import typing as t

Vars = t.Mapping[str, t.Any]


def layout_of(hypervisor: str, run: Vars, variables_of: t.Callable[[str], Vars]) -> Vars | None:
    """The result of the layout that had the guests of *hypervisor*: its own, or the one that the first of its guests carried."""
    if hypervisor not in run["guests_hypervisors"]:
        guests = run["guests_sorted"]["by_hypervisor"].get(hypervisor)
        return variables_of(guests[0]).get("guest_layout") if guests else None
    return layout_of_host(variables_of(hypervisor))


def layout_of_host(known: Vars) -> Vars | None:
    """The result of the layout of a hypervisor with these variables. Where the role could not reach it, it came to none."""
    read = known.get("__hypervisor_read") or {}
    if read.get("unreachable") and "hypervisor_layout" not in known:
        return {"unreachable_host": True, "msg": read.get("msg", "")}
    return known.get("hypervisor_layout")
