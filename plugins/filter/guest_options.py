# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guest_options
short_description: The options of many guests of one kind, from their inventory
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Makes the list for O(homelab.hybrid.layout#module:vms) or O(homelab.hybrid.layout#module:containers) of the guests of the inventory.
  - Each item is what P(homelab.hybrid.guest_spec#filter) makes of the guest's variables C(guest_spec), C(guest_profiles), C(guest_profile_catalog),
    C(guest_startup), C(guest_allow), C(guest_delete) and C(guest_quarantine).
positional: _input, hostvars, kind, others
options:
  _input:
    description: The names of the guests. Those of another kind are left out.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  kind:
    description: The kind that a guest's variable C(guest_kind) says.
    type: str
    choices: [vm, container]
    required: true
  others:
    description: The names of further guests of the same hypervisor. What has C(ip) V(auto) gets none of the fixed addresses that they declare.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Converge the containers of this host
  homelab.hybrid.layout:
    containers: "{{ guests_of[inventory_hostname] | homelab.hybrid.guest_options(hostvars, 'container') }}"
"""

RETURN = r"""
_value:
  description: One dictionary of options for each guest, in the order given.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._guest_options import host_of, options_of, read_guest
from ..plugin_utils._named import Address, cards_of
from ..plugin_utils._networks import Network, NetworkError, leaves_choice, networks_of, with_slice
from ..plugin_utils._profiles import dictionaries

KINDS = ("vm", "container")


def guest_options(
    names: t.Iterable[str], hostvars: t.Mapping[str, t.Any], kind: str, others: t.Iterable[str] = ()
) -> list[dict[str, t.Any]]:
    """The options of the guests *names* that are of *kind*. None of them gets a fixed address of the *others* of their hypervisor.

    :raises AnsibleFilterError: for a guest that does not say what it is.
    """
    if kind not in KINDS:
        raise AnsibleFilterError(f"guest_options: kind is {kind!r}, it must be one of {', '.join(KINDS)}")
    found, names = [], list(names)
    for name in names:
        variables = hostvars[name]
        its = variables.get("guest_kind")
        if its not in KINDS:
            raise AnsibleFilterError(f"{name}: guest_kind is {its!r}, it must be one of {', '.join(KINDS)}")
        if its == kind:
            found.append(options_of(name, variables, host_of(variables, hostvars)))
    if not any(leaves_choice(net) for its in found for net in dictionaries(its.get("networks"))):
        return found
    # Whoever has a fixed address on the host, of whatever kind, keeps it.
    declared = declared_by((*names, *others), hostvars)
    try:
        return [with_slice(its, networks_on(hostvars[its["name"]], hostvars), declared, kind) for its in found]
    except NetworkError as exc:
        raise AnsibleFilterError(str(exc)) from exc


def declared_by(names: t.Iterable[str], hostvars: t.Mapping[str, t.Any]) -> set[Address]:
    """The fixed addresses that the guests *names* declare. One that cannot be read has none."""
    read = (read_guest(name, hostvars[name], host_of(hostvars[name], hostvars))[0] for name in names)
    return {address for options in read for card in cards_of(options) for address in card.addresses.values()}


def networks_on(variables: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Any]) -> list[Network]:
    """The networks of the hypervisor of a guest."""
    hypervisor = str(variables.get("guest_hypervisor"))
    return networks_of(hypervisor, hostvars[hypervisor]) if hypervisor in hostvars else []


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"guest_options": guest_options}
