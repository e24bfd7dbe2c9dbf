# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_steps
short_description: The steps in which guests start, stop or go
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Groups guests that are to be started or stopped by C(order) of their C(guest_startup), and makes of each group the lists for
    M(homelab.hybrid.layout).
  - They start from the lowest order to the highest and then those without one, and stop the other way round.
  - A guest that is not there, or that is as it should be, is in no step. Only guests that the inventory wants to run are started, that is those with
    C(state=started), which is what a C(guest_spec) without a state means, and those with C(state=present) that start with the host.
  - Guests that are to go are one step, whether they are there or not. Something may be kept of one that is not.
  - Of the options of a guest only those are in a step that say how long it may take, what to wait for, and what may be deleted in this run.
positional: _input, hostvars, state
options:
  _input:
    description: The names of the guests.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - The variable C(hostvars). Of a guest those variables are read that P(homelab.hybrid.guest_options#filter) reads.
    type: dict
    required: true
  state:
    description: What they are brought to.
    type: str
    choices: [started, stopped, absent]
    required: true
  seen:
    description: The guests that are there, as M(homelab.hybrid.guest_info) returns them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
# host_vars/resolver.yml: the first to start, and the last to stop
guest_startup: {order: 1, up_delay: 5}

# in a play
steps: "{{ groups['guests'] | homelab.hybrid.lab_steps(hostvars, 'started', seen=guests_there) }}"
"""

RETURN = r"""
_value:
  description:
    - The steps, the first to do first. Each has its C(rank), by which the steps of several hosts can be brought into one order, its C(vms)
      and C(containers) for M(homelab.hybrid.layout), and as C(delay) the longest of the guests'
      C(startup.up_delay) or C(startup.down_delay) in seconds.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._fleet import STATES, FleetError, steps
from .guest_spec import options_of


def lab_steps(
    names: t.Iterable[str],
    hostvars: t.Mapping[str, t.Any],
    state: str,
    seen: t.Iterable[t.Mapping[str, t.Any]] | None = None,
) -> list[dict[str, t.Any]]:
    """The steps.

    :raises AnsibleFilterError: for another state, and for what cannot stand in inventory.
    """
    if state not in STATES:
        raise AnsibleFilterError(f"lab_steps: state is {state!r}; it must be one of {', '.join(STATES)}")
    try:
        guests = [(name, hostvars[name], options_of(name, hostvars[name])) for name in names]
        return steps(guests, state, seen)
    except FleetError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"lab_steps": lab_steps}
