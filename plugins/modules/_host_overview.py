#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _host_overview
short_description: (private) Let a hypervisor tell an overview page how its guests are
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.reverse_proxy#role); it may change at any time.
  - Writes which containers are told, the program C(homelab-hybrid-overview), and the units of systemd that start it each minute.
  - What they are told has the names of all guests of the host, whether they run, their memory, disks, backups and drills, and what waits for
    a restart. It has no address and no path of the host.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
options:
  guest:
    description:
      - The container that is told. It is required unless O(state) is V(absent), where without it those are meant that are not there any more.
    type: str
  host:
    description:
      - The name by which the page knows this host. It is required unless O(state) is V(absent).
    type: str
  state:
    description: Whether it is told anything. A container that is not named stays as it is.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: homelab.hybrid.guest_info
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Tell the page in the container proxy how the guests of this host are
  homelab.hybrid._host_overview:
    guest: proxy
    host: alpha
"""

RETURN = r"""
plan:
  description: What the run changes, or in check mode would change, with C(path), C(before), C(after), C(how) and whether it is C(done).
  type: list
  elements: dict
  returned: always
guests:
  description: The containers that are told, each with the name by which it knows this host.
  type: dict
  returned: success
  sample: {proxy: alpha}
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._overview.resource import HostOverview
from ..module_utils._overview.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._run.module import run


def main() -> None:
    run(HostOverview(), ARGUMENTS, host=Host, libraries=("libvirt", "lxc"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
