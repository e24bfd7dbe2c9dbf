# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guests_by_hypervisor
short_description: Which guests each hypervisor has
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Sorts guests of the inventory by their variable C(guest_hypervisor), in one pass over all of them.
  - Asked once for all hypervisors, it takes as long as there are guests. Filtering all guests for each hypervisor takes guests times hypervisors.
positional: _input, hostvars
options:
  _input:
    description: The names of the guests.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars). Of a guest C(guest_hypervisor) is read.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Know which guests each hypervisor has
  ansible.builtin.set_fact:
    guests_of: "{{ groups['guests'] | homelab.hybrid.guests_by_hypervisor(hostvars) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The names of the guests by the name of their hypervisor, in the order given.
  type: dict
  sample: {alpha: [adguard, jellyfin]}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._guest_options import variables_of


def guests_by_hypervisor(names: t.Iterable[str], hostvars: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The names of *names* by hypervisor.

    :raises AnsibleFilterError: for a guest that does not say where it lives.
    """
    found, lost = sort_by_hypervisor(names, hostvars)
    if lost:
        raise AnsibleFilterError(next(iter(lost.values())))
    return found


def sort_by_hypervisor(
    names: t.Iterable[str], hostvars: t.Mapping[str, t.Any]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The names of *names* by hypervisor, and a sentence for each that does not say where it lives."""
    found: dict[str, list[str]] = {}
    lost = {}
    for name in names:
        hypervisor = variables_of(name, hostvars).get("guest_hypervisor")
        if hypervisor is None or hypervisor not in hostvars:
            lost[name] = f"{name}: guest_hypervisor is {hypervisor!r}, it must be an inventory host"
        else:
            found.setdefault(str(hypervisor), []).append(name)
    return found, lost


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"guests_by_hypervisor": guests_by_hypervisor}
