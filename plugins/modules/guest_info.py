#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_info
short_description: Tell what virtual machines and containers a host has
version_added: 0.1.0
description:
  - Tells of each guest of the host what it is, whether it runs, what it has and where it is reached, in one shape for virtual machines and
    containers.
  - Guests that somebody made by hand are among them.
  - A host without libvirt has no virtual machines and one without LXC no containers; neither is an error.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes.info
  - homelab.hybrid._requirements
options:
  name:
    description:
      - The names of the guests to tell about. One that is not there is left out. All of them, unless this says otherwise.
    type: list
    elements: str
  kind:
    description:
      - Only guests of this kind.
    type: str
    choices: [vm, container]
seealso:
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.guest_snapshot
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Look at all guests
  homelab.hybrid.guest_info:
  register: lab

- name: Print where they are reached
  ansible.builtin.debug:
    msg: "{{ item.name }} ({{ item.kind }}, {{ item.state }}): {{ item.addresses | join(', ') }}"
  loop: "{{ lab.guests }}"

- name: Look at two containers
  homelab.hybrid.guest_info:
    name: [adguard, jellyfin]
    kind: container
"""

RETURN = r"""
guests:
  description: The guests, by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    kind:
      description: V(vm) or V(container).
      type: str
      returned: always
    state:
      description: V(started), V(stopped), V(paused) or V(suspended); V(unknown) for one that cannot be read.
      type: str
      returned: always
    problem:
      description: Why it cannot be read or changed, and what mends it. Null where there is nothing.
      type: str
      returned: always
    description:
      description: Its description, empty where it has none.
      type: str
      returned: always
    tags:
      description: Its tags.
      type: list
      elements: str
      returned: always
    autostart:
      description: Whether it starts with the host.
      type: bool
      returned: always
    startup:
      description: When it starts and stops among the others, with C(order), C(up_delay) and C(down_delay). The order is null where it has none.
      type: dict
      returned: always
    vcpus:
      description: How many CPUs it has now. Those of the host for a container without a limit.
      type: int
      returned: always
    memory_kib:
      description: Its memory in KiB. Null for a container without a limit.
      type: int
      returned: always
    memory:
      description: Its memory, for a person to read.
      type: str
      returned: always
    networks:
      description: Its interfaces, with their name, their C(bridge), C(vlan), C(mac), C(addresses) and whether the C(link) is up.
      type: list
      elements: dict
      returned: always
    disks:
      description: Its disks, or the root of a container, with their name, C(pool), C(path), C(size_bytes) and C(size).
      type: list
      elements: dict
      returned: always
    cdroms:
      description: Its CD-ROM drives, with their name, their C(bus) and the C(path) of their medium. That is null for an empty drive.
      type: list
      elements: dict
      returned: for virtual machines
    mounts:
      description: What is mounted into it, each with C(name), C(source), C(path), C(readonly), C(mapped), C(map_ids) and C(backup).
      type: list
      elements: dict
      returned: for containers
    devices:
      description:
        - The devices of the host that it has, each with C(name) and C(type).
        - Those of a container have C(path), C(mode) and C(gid), the group inside. Those of a virtual machine have the C(address) on PCI, or the
          C(id) on USB, vendor and product.
      type: list
      elements: dict
      returned: always
    shares:
      description: The folders of the host that it shares, each with C(name), C(source) and C(readonly).
      type: list
      elements: dict
      returned: for virtual machines
    unprivileged:
      description: Whether its root is an ordinary user of the host.
      type: bool
      returned: for containers
    addresses:
      description: The addresses of all its interfaces.
      type: list
      elements: str
      returned: always
    uptime_seconds:
      description: For how long it runs. Null while it does not.
      type: int
      returned: always
    pid:
      description: The process on the host that it is, or that its init is. Null while it does not run.
      type: int
      returned: always
    os_variant:
      description: The system in it, V(linux), V(windows), V(freebsd) or V(other), as its definition says.
      type: str
      returned: for virtual machines
    installing:
      description: Whether it has an installer that has not come to its end.
      type: bool
      returned: for a virtual machine
    image:
      description: The image that it was made from. Null where this collection did not make it of one.
      type: str
      returned: always
    clone_from:
      description: What it was cloned from, as C(guest), C(snapshot) (or null) and C(linked). Null for any other guest.
      type: dict
      returned: always
    clones:
      description: The linked clones that stand on what it holds, by name. Those that stand on a snapshot of it are not among them.
      type: list
      elements: str
      returned: always
    template:
      description: Whether it is a template.
      type: bool
      returned: always
    snapshots:
      description:
        - Its snapshots that M(homelab.hybrid.guest_snapshot) made, the oldest first, each with C(name), C(created), C(consistency),
          C(volumes) and C(beside).
      type: list
      elements: dict
      returned: always
    managed:
      description: Whether this collection keeps a record of it.
      type: bool
      returned: always
  sample:
    - name: adguard
      kind: container
      state: started
      autostart: true
      vcpus: 1
      memory_kib: 524288
      memory: 512MiB
      addresses: [10.20.0.5]
      managed: true
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._listing.read import read_guests
from ..module_utils._listing.spec import ARGUMENTS
from ..module_utils._run.module import run_info


def main() -> None:
    run_info(read_guests, ARGUMENTS, host=Host, libraries=("libvirt", "lxc"))


if __name__ == "__main__":
    main()
