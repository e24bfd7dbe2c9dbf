# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_parts
short_description: Which hosts of a play take care of which guests
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Divides the guests of the inventory among the hosts of a play, in one pass over the inventory.
  - A hypervisor that is in the play takes care of all its guests. Where the hypervisor is not in it, the first of its guests that are takes care of
    those that are. So a limit to a guest means that guest, and one to a hypervisor means the whole host. A guest that the limit leaves out by name
    is in no part.
positional: _input, play, guests, hypervisors
options:
  _input:
    description: The variable C(hostvars). Of a guest C(guest_hypervisor) and C(guest_kind) are read.
    type: dict
    required: true
  play:
    description: The hosts of the play, usually the variable C(ansible_play_hosts_all).
    type: list
    elements: str
    required: true
  guests:
    description: All guests of the inventory.
    type: list
    elements: str
    required: true
  hypervisors:
    description: All hypervisors of the inventory.
    type: list
    elements: str
    required: true
  names:
    description:
      - Only these guests. One that is no guest of the inventory, or in no part of the play, is refused.
      - Text is taken for names with commas between them.
    type: list
    elements: str
  left_out:
    description: None of these guests, usually what P(homelab.hybrid.left_out#filter) tells.
    type: list
    elements: str
    default: []
seealso:
  - plugin: homelab.hybrid.guest_options
    plugin_type: filter
"""

EXAMPLES = r"""
lab_parts: "{{ hostvars | homelab.hybrid.lab_parts(ansible_play_hosts_all, groups['guests'], groups['hypervisors']) }}"
"""

RETURN = r"""
_value:
  description:
    - For each host of the play that has a part, the C(hypervisor) and the names of the C(guests) that it takes care of, and whether that is the
      whole host (C(is_whole)).
  type: dict
  sample: {alpha: {hypervisor: alpha, is_whole: true, guests: [resolver, proxy]}}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._fleet import FleetError, share


def lab_parts(
    hostvars: t.Mapping[str, t.Any],
    play: t.Sequence[str],
    guests: t.Sequence[str],
    hypervisors: t.Sequence[str],
    names: t.Sequence[str] | None = None,
    left_out: t.Collection[str] = (),
) -> dict[str, dict[str, t.Any]]:
    """The parts by the host that has them.

    :raises AnsibleFilterError: for an inventory that does not say what a guest is or where.
    """
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",") if name.strip()]
    try:
        return share(hostvars, play, guests, hypervisors, names, left_out)
    except FleetError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"lab_parts": lab_parts}
