#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of this name, on the control node.
from __future__ import annotations

DOCUMENTATION = r"""
module: _guests_apart
short_description: (private) Refuse guests of different hypervisors that cannot be together
version_added: 0.1.0
description:
  - Private to the playbooks of this collection; it may change at any time.
  - Fails where guests of different hypervisors have one MAC address or one address. On one host M(homelab.hybrid.layout) refuses the same.
  - Fails where the networks of hypervisors (C(hypervisor_networks)) do not agree with each other, or a guest's address not with them.
  - Connects to nothing and changes nothing.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
options:
  guests:
    description: The names of the guests.
    type: list
    elements: str
    required: true
  hypervisors:
    description: The names of all hypervisors, whose networks are compared whatever the guests are.
    type: list
    elements: str
    default: []
  prune:
    description:
      - Whether what no inventory names is taken away. Then a guest whose options cannot be read is refused too, since it is in no layout.
    type: bool
    default: false
  others:
    description:
      - The names of the guests of the inventory that are not in this run. O(guests) are compared with these, also on one hypervisor, as no layout
        knows one that is not in the run before it is made.
    type: list
    elements: str
    default: []
seealso:
  - module: homelab.hybrid.layout
"""

EXAMPLES = r"""
- name: Refuse guests that cannot be together
  homelab.hybrid._guests_apart:
    guests: [jellyfin, paperless]
"""

RETURN = r"""
"""
