#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _truenas
short_description: (private) Ask a TrueNAS, and change it through its API
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.truenas#role); it may change at any time.
  - Runs on the hypervisor. What is written is compared and changed. All else is left alone, and nothing is destroyed.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
options:
  name:
    description: The name of the guest.
    type: str
    required: true
  ask:
    description: What is asked. Its V(health) alone, that its O(items) are as they should be, or that it brings itself to the version that it is offered.
    type: str
    choices: [health, items, update]
    default: items
  address:
    description: Where its API answers.
    type: str
    required: true
  port:
    description: The port of it.
    type: int
    default: 443
  username:
    description: Who logs in.
    type: str
    default: truenas_admin
  password:
    description: The password, until a key is kept.
    type: str
  certificate:
    description: The SHA-256 fingerprint of its certificate, in the place of that of the first contact.
    type: str
  items:
    description: The items by their kinds, each with the fields of the API. What is not named is not looked at.
    type: dict
    default: {}
  passwords:
    description: The passwords of the users, as JSON.
    type: str
  wait:
    description: How many seconds it may take until it answers.
    type: int
    default: 600
seealso:
  - module: homelab.hybrid.kvm_vm
"""

EXAMPLES = r"""
- name: Ask for its health
  homelab.hybrid._truenas:
    name: nas
    ask: health
    address: 192.168.1.20
    password: "{{ nas_password }}"
"""

RETURN = r"""
plan:
  description: What would be changed, or was, in words.
  returned: always
  type: list
  elements: str
version:
  description: The version of it.
  returned: when it answers
  type: str
offered:
  description: The version that it is offered.
  returned: when an update is asked for
  type: str
"""

from ..module_utils._run.module import run_whole
from ..module_utils._truenas.appliance import ARGUMENTS, converge_truenas


def main() -> None:
    run_whole(converge_truenas, ARGUMENTS)


if __name__ == "__main__":
    main()
