#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _hypervisor_info
short_description: (private) Read at once what the role hypervisor keeps
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.hypervisor#role); it may change at any time.
  - Reads everything that the role compares, so that a host on which nothing is to be done is asked once.
  - Reads only, and works on a bare host too.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes.info
  - homelab.hybrid._requirements
options:
  packages:
    description: Debian packages that are looked for.
    type: list
    elements: str
    default: []
  paths:
    description: Files and folders that are read. All of them are small.
    type: list
    elements: str
    default: []
  sysctl:
    description: Kernel settings that are read, with dots in their names, each with the least value that it should have.
    type: dict
    default: {}
  units:
    description: Units of systemd that are looked for.
    type: list
    elements: str
    default: []
seealso:
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Look at the host
  homelab.hybrid._hypervisor_info:
    packages: [lxc]
    sysctl: {vm.max_map_count: 262144}
  register: hypervisor
"""

RETURN = r"""
host:
  description: What M(homelab.hybrid.host_info) tells of the host.
  returned: always
  type: dict
release:
  description: Which system this is, the C(id) and C(version) of C(/etc/os-release).
  returned: always
  type: dict
  sample: {id: debian, version: "12"}
packages_missing:
  description: Those of O(packages) that are not installed.
  returned: always
  type: list
  elements: str
sysctl:
  description: The values of those of O(sysctl) that the kernel has.
  returned: always
  type: dict
sysctl_low:
  description: Those of O(sysctl) that are lower than they should be.
  returned: always
  type: list
  elements: str
kvm:
  description:
    - The C(mode) and C(gid) of C(/dev/kvm), whether the host C(has_group) of that name, and whether the node C(is_right) with that.
    - Null where there is no such node.
  returned: always
  type: dict
is_container:
  description: Whether the host is a container itself.
  returned: always
  type: bool
paths:
  description: Those of O(paths) that are there, each with C(path), C(mode), C(owner), C(group) and C(content), which is null for a folder.
  returned: always
  type: list
  elements: dict
units_running:
  description: Those of O(units) that run.
  returned: always
  type: list
  elements: str
units_enabled:
  description: Those of O(units) that start with the host, or with what wants them.
  returned: always
  type: list
  elements: str
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._listing.hypervisor import ARGUMENTS, read_hypervisor
from ..module_utils._run.module import run_info


def main() -> None:
    run_info(read_hypervisor, ARGUMENTS, host=Host, libraries=("libvirt",))


if __name__ == "__main__":
    main()
