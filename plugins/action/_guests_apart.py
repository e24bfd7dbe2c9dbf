# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses guests of different hypervisors that cannot be together. Works on the control node alone.

It is the first task of a run that sorts guests, and loads what the filters of the later ones load: Ansible's own process loads an action
before it forks, once, where each task would compile the code of a filter anew (it keeps no bytecode of collections; 0.1 s of 0.14 s).
"""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.homelab.hybrid.plugins.filter import _lab, guest_options, guests_by_hypervisor
from ansible_collections.homelab.hybrid.plugins.plugin_utils._conflicts import guest_conflicts
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import Once, host_of, read_guest
from ansible_collections.homelab.hybrid.plugins.plugin_utils._named import cards_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._networks import network_conflicts

Result = dict[str, t.Any]

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "guests": {"type": "list", "elements": "str", "required": True},
    "hypervisors": {"type": "list", "elements": "str", "default": []},
    "prune": {"type": "bool", "default": False},
    "others": {"type": "list", "elements": "str", "default": []},
}
LOADED = (_lab, guest_options)


class ActionModule(ActionBase):
    """Fails where two of them have one address, where networks and addresses do not agree, and where one that cannot be read would be pruned."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(ARGUMENTS)
        hostvars = (task_vars or {})["hostvars"]
        names, others = arguments["guests"], arguments["others"]
        refused = reasons(names, hostvars, arguments["hypervisors"], others, prune=arguments["prune"])
        result.update({"failed": True, "msg": "; ".join(refused)} if refused else {"changed": False})
        return result


def reasons(
    names: t.Sequence[str],
    hostvars: t.Mapping[str, t.Any],
    hypervisors: t.Iterable[str] = (),
    others: t.Sequence[str] = (),
    *,
    prune: bool,
) -> list[str]:
    """Why the guests *names* cannot be together, nor with the *others* of the inventory, and the networks of all *hypervisors*, as sentences.

    What is wrong with one of the others alone is no business of this run. A guest that does not say where it lives is with none.
    """
    known = Once(hostvars)
    guests, lost = guests_by_hypervisor.sort_by_hypervisor(names, known)
    read = [read_guest(name, known[name], host_of(known[name], known)) for name in names if name not in lost]
    options = [options for options, error in read if error is None]
    # A guest that is in no layout would be taken for one that no inventory names.
    errors = [error for error in (*lost.values(), *(error for dummy, error in read)) if error is not None and prune]
    # To read the whole inventory for a few guests takes its time, and who wants nothing for itself alone is in nobody's way.
    others = others if any(card.mac or card.addresses for its in options for card in cards_of(its)) else ()
    all_guests, all_lost = guests_by_hypervisor.sort_by_hypervisor([*names, *others], known)
    away = [read_guest(name, known[name], host_of(known[name], known)) for name in others if name not in all_lost]
    whole = [*options, *(options for options, error in away if error is None)]
    conflicts = [
        *guest_conflicts(all_guests, known, whole, {*others}),
        *network_conflicts(guests, hypervisors, known, options),
    ]
    return [*conflicts, *errors]
