#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _host_mount
short_description: (private) Mount a folder of another machine on a hypervisor
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.hypervisor#role); it may change at any time.
  - Writes a mount and an automount unit of systemd. What is mounted is mounted when somebody asks for it, so that a host starts and is shut down
    whether or not the other end answers.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._plan
  - homelab.hybrid._requirements
options:
  path:
    description: Where it is mounted. The folder is made where it is missing, and has to be empty.
    type: str
    required: true
  state:
    description: Whether it is mounted when somebody asks for it, or taken away.
    type: str
    choices: [present, absent]
    default: present
  type:
    description: The file system. Is needed to make the mount.
    type: str
    choices: [nfs, cifs]
  source:
    description: What is mounted, C(HOST:/FOLDER) of NFS or C(//HOST/SHARE) of CIFS. Is needed to make the mount.
    type: str
  options:
    description: Options of the mount, besides those that make a server that is gone an error; what they say otherwise counts.
    type: list
    elements: str
  username:
    description: Who asks, of CIFS.
    type: str
  password:
    description: The password of O(username). It is kept in a file for root alone.
    type: str
  domain:
    description: The domain or workgroup of O(username).
    type: str
  wait_for_guest:
    description: The guest of this host that serves it. Guests that stand on the mount start after it, and stop before it.
    type: str
  wait_timeout:
    description: How many seconds what stands on the mount waits for an answer once the guest runs. A new mount gets V(300).
    type: int
  without_client:
    description: What becomes of it on a host whose kernel cannot mount the type.
    type: str
    choices: [refuse, leave_out]
    default: refuse
seealso:
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Mount the films of the NAS
  homelab.hybrid._host_mount:
    path: /srv/media
    type: nfs
    source: 10.0.0.5:/tank/media
    wait_for_guest: nas
"""

RETURN = r"""
mount:
  description: The mount as it is.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is mounted.
      type: str
      returned: always
    unit:
      description: The unit of systemd that mounts it.
      type: str
      returned: always
    has_client:
      description: Whether the kernel of the host can mount the type.
      type: bool
      returned: always
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._mount.resource import HostMount
from ..module_utils._mount.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._run.module import run


def main() -> None:
    run(HostMount(), ARGUMENTS, host=Host, libraries=("libvirt",), **CONSTRAINTS)


if __name__ == "__main__":
    main()
