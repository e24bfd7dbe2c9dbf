#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of this name, on the control node.
from __future__ import annotations

DOCUMENTATION = r"""
module: _guest_result
short_description: (private) Show a guest what became of it in the layout of its host
version_added: 0.1.0
description:
  - Private to the playbooks of this collection; it may change at any time.
  - Takes the result that M(homelab.hybrid.layout) had for a whole host, and ends as the item of one guest ended, with its changes, its
    diff and its failure. So each guest of a play shows its own result, and one guest's failure is never another's.
  - Connects to nothing and changes nothing. That the guest is told as changed is the change that the layout made.
  - Fails where the host could not be reached, where the layout was refused as a whole, and where the guest was skipped, with that reason.
  - A hypervisor fails as its layout failed.
  - Reads which guest or hypervisor it is told for, the results of the layouts and what the playbooks found of the guests, from the variables
    that these playbooks set.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
options:
  layout:
    description: The result of the layout, where it is another one than that of the whole host.
    type: dict
seealso:
  - module: homelab.hybrid.layout
"""

EXAMPLES = r"""
- name: Show what became of a guest
  homelab.hybrid._guest_result:
"""

RETURN = r"""
plan:
  description: What was changed of the guest, with the paths of its module.
  returned: when its host was reached
  type: list
  elements: dict
restart_required:
  description: Its options that only a restart brings into force.
  returned: when its host was reached
  type: list
  elements: str
kept:
  description: What was left of it on the host.
  returned: when its host was reached
  type: list
  elements: str
unmanaged:
  description: What is there of it and not declared.
  returned: when its host was reached
  type: list
  elements: str
assumed:
  description: What was taken as given for it. Only with C(--check).
  returned: when its host was reached
  type: list
  elements: str
"""
