#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _lost_guests
short_description: (private) Find the backups of guests that a host has lost
version_added: 0.1.0
description:
  - Private to this collection; it may change at any time.
  - A part of the playbook C(homelab.hybrid.rebuild). M(homelab.hybrid.guest_restore) brings back what this finds.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes.info
  - homelab.hybrid._requirements
options:
  containers:
    description: The containers that the host should have.
    type: list
    elements: str
    default: []
  vms:
    description: The virtual machines that it should have.
    type: list
    elements: str
    default: []
  repositories:
    description: The backup repositories of the host that are looked through, by their names.
    type: list
    elements: str
    required: true
  at:
    description: Look for backups that were made until then. When it is not set, for the newest.
    type: str
  host:
    description: The host that made the backups, by its own name. When it is not set, this one.
    type: str
seealso:
  - module: homelab.hybrid.guest_restore
"""

EXAMPLES = r"""
- name: Know what of a container that is lost there is
  homelab.hybrid._lost_guests:
    containers: [resolver]
    repositories: [disk]
"""

RETURN = r"""
found:
  description: The guests that are not there and have a backup, each with what M(homelab.hybrid.guest_restore) tells of that and its C(repository).
  returned: success
  type: list
  elements: dict
without:
  description: The guests that are not there and have no backup that is meant, each with the reason.
  returned: success
  type: dict
"""

from ..module_utils._backup.restore.lost import ARGUMENTS, read_lost
from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run_info


def main() -> None:
    run_info(read_lost, ARGUMENTS, host=Host, libraries=("lxc", "libvirt"))


if __name__ == "__main__":
    main()
