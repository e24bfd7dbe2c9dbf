#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_quarantine
short_description: Take a deleted guest back from the quarantine
version_added: 0.1.0
description:
  - What O(ignore:state=absent) of M(homelab.hybrid.kvm_vm) or M(homelab.hybrid.lxc_container) deletes lies in the quarantine of its storage
    pools for a time. This takes it back as it was, with its definition, its disks or root, snapshots, UEFI variables and TPM, each by a new name
    in its pool, so that nothing is copied.
  - The guest is stopped then, as any that was just made. A run that says so starts it.
  - What was kept when the guest was deleted stays its own.
  - It is refused where there is a guest of that name, or where another one has a MAC or an address of it by now.
  - M(homelab.hybrid.host_info) tells what lies in the quarantine, until when, and how much room it takes.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.lxc
options:
  name:
    description:
      - The name of the guest.
      - 'B(In short:) Allowed: the name of a guest.'
    type: str
    required: true
  moment:
    description:
      - Which of what lies there of this guest. V(latest) is what was deleted last; each is known by the moment of that, in UTC.
      - V(all) goes with O(state=absent).
      - 'B(In short:) Allowed: latest, all, or a moment such as 20261127T221500Z.'
    type: str
    default: latest
  state:
    description:
      - V(restored) takes it back. The same again changes nothing.
      - V(absent) deletes it for good before its time is over.
    type: str
    choices: [restored, absent]
    default: restored
seealso:
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Take back what was deleted last of a guest
  homelab.hybrid.guest_quarantine:
    name: jellyfin
    moment: latest

- name: Take back what was deleted at one moment
  homelab.hybrid.guest_quarantine:
    name: truenas
    moment: 20261127T221500Z

- name: Make room at once
  homelab.hybrid.guest_quarantine:
    name: paperless
    moment: all
    state: absent
"""

RETURN = r"""
plan:
  description: What the run changes, or in check mode would change, with C(path), C(before), C(after), C(how) and whether it is C(done).
  type: list
  elements: dict
  returned: always
restored:
  description: What the guest was taken back from, by its name and its moment. Null for a guest that was not.
  type: str
  returned: success
  sample: jellyfin@20261127T221500Z
quarantine:
  description: What lies in the quarantine of this guest, the oldest first, as M(homelab.hybrid.host_info) tells it.
  type: list
  elements: dict
  returned: success
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._quarantine.resource import GuestQuarantine
from ..module_utils._quarantine.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._run.module import run


def main() -> None:
    run(GuestQuarantine(), ARGUMENTS, host=Host, libraries=("lxc", "libvirt"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
