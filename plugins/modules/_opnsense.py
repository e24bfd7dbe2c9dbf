#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _opnsense
short_description: (private) Ask an OPNsense, and change it through its API
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.opnsense#role); it may change at any time.
  - Runs on the hypervisor. What of the items of OPNsense says in its description that it is ours is compared and changed. All others are
    left alone.
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
    description:
      - What is asked. Its V(health) alone, that its O(items) are as they should be, whether there are V(updates) of its series, or to V(update)
        itself to the newest of them.
    type: str
    choices: [health, items, updates, update]
    default: items
  address:
    description: Where its API answers.
    type: str
    required: true
  port:
    description: The port of it.
    type: int
    default: 443
  key:
    description: The key of the API.
    type: str
    required: true
  secret:
    description: The secret of the key.
    type: str
    required: true
  ca:
    description: The authority of its certificate (PEM). Without one the certificate of the first contact is the only one that counts.
    type: str
  fingerprint:
    description: The SHA-256 fingerprint of its certificate, in the place of that of the first contact.
    type: str
  items:
    description: The items by their kinds, each with the fields of the API, and its C(users). What is not named is not looked at.
    type: dict
    default: {}
  passwords:
    description: The passwords of users by their names, as JSON. It keeps hashes, with which they are compared.
    type: str
  declared:
    description:
      - What its API does not change, as C(settings) by their paths, and the C(names) of its interfaces by what its configuration calls them.
      - What stands otherwise is told, with the page on which it is changed.
    type: dict
    default: {}
  password:
    description: Root's password, which is kept with the key and the secret in a file on the hypervisor that root alone reads. It is not asked with.
    type: str
  wait:
    description: How many seconds it may take until it answers, or is done with its updates.
    type: int
    default: 300
seealso:
  - module: homelab.hybrid.kvm_vm
"""

EXAMPLES = r"""
- name: Ask for its health
  homelab.hybrid._opnsense:
    name: firewall
    ask: health
    address: 192.168.1.1
    key: w86XNZob/8Oq8aC5r0kbNarNtdpoQU781fyoeaOBQsBwkXUt
    secret: XeD26XVrJ5ilAc/EmglCRC+0j2e57tRsjHwFepOseySWLM53pJASeTA3
"""

RETURN = r"""
plan:
  description: What would be changed, or was, in words.
  returned: always
  type: list
  elements: str
health:
  description: What it says of itself, C(status) and C(message).
  returned: when it answers
  type: dict
differs:
  description: What is declared and stands otherwise, each with C(path), C(declared), C(stands), and the C(page) on which it is changed.
  returned: when items are asked for, and it has kept a configuration
  type: list
  elements: dict
version:
  description: The version of it.
  returned: when updates are asked for
  type: str
is_due:
  description: Whether there is, or was, a newer version of its series.
  returned: when updates are asked for
  type: bool
"""

from ..module_utils._opnsense.appliance import ARGUMENTS, converge_opnsense
from ..module_utils._run.module import run_whole


def main() -> None:
    run_whole(converge_opnsense, ARGUMENTS)


if __name__ == "__main__":
    main()
