#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_snapshot
short_description: Keep snapshots of a guest, and bring it back to one
version_added: 0.1.0
description:
  - A snapshot keeps what the root of a container holds, or what all disks of a virtual machine hold that this collection made. In a storage
    pool of type C(btrfs) it takes no time and no room, and has the subvolumes that a container made in its root. In a pool of type C(dir) it
    is a copy, whose size the plan says before; on a file system that can (XFS, btrfs) it shares its blocks.
  - What a guest is (its size, networks and mounts) is declared and stays as it is. What is mounted into a container is in no snapshot, nor
    are the disks of others in a virtual machine, which are told.
  - All of a snapshot is of one moment. The agent in a virtual machine freezes the file systems for that moment. Where none answers, and of a
    container that runs, a snapshot holds what a power cut would leave.
  - A virtual machine goes on while its disks are copied; a disk that stands on an image is whole by itself in the copy. It stands still for
    the moment in which several disks on btrfs are kept. A container stands still while its root is copied, or while the subvolumes in it
    are kept.
  - Snapshots are in no chain. Each is deleted by itself, in any order, and a revert to one takes no other away. Those of LXC and of libvirt are
    not used.
  - What the UEFI and the emulated TPM of a virtual machine remember is kept and brought back with its disks, and with O(memory=true) what is in
    its memory. They lie in C(/var/lib/homelab_hybrid/snapshots), for the administrator alone.
  - A virtual machine that is saved to disk is refused. Wake it up, or stop it, first.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.lxc
  - homelab.hybrid._stop
attributes:
  idempotent:
    support: partial
    description: A second run with the same options changes nothing, but for O(state=reverted), which is done by each run.
options:
  guest:
    description:
      - The name of the guest.
      - 'B(In short:) Allowed: the name of a guest.'
    type: str
    required: true
  name:
    description:
      - The name of the snapshot, of which one guest has one.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
    type: str
    required: true
  state:
    description:
      - V(present) makes the snapshot unless it is there. It is never made anew.
      - V(absent) deletes it, also when its guest is no more.
      - V(reverted) brings the guest back to it, on each run. That takes away what the guest has written since, which needs O(allow=[revert]).
        What is there before becomes a snapshot itself, C(before-revert-1) and so on. A guest that runs is shut down for it and started again.
      - O(state=absent) of the guest keeps its snapshots, and lists them in RV(ignore:kept).
    type: str
    choices: [present, absent, reverted]
    default: present
  keep:
    description:
      - Of the series that the snapshot belongs to keep so many, this one included, and delete the oldest beyond.
      - A series are the snapshots of this guest that this module made and whose names differ only in the number or date at their end, behind
        C(-) or C(_), as C(nightly-2026-11-25) and C(nightly-2026-11-26) do.
      - 'B(In short:) Allowed: 1 to 1000.'
    type: int
  memory:
    description:
      - Whether the memory of a virtual machine that runs is kept too. It goes on while that is written, all but the last of it, and a revert
        brings it back running, where it was; its clock is then that of the snapshot until it is set. Of one that is stopped there is none.
      - With O(state=reverted), V(false) brings the disks back alone, and starts the machine as after a power cut.
      - It is woken up with the hardware and networks that it had, and gets what was declared since at its next restart. Where one of its
        disks or networks is gone, that is refused.
      - A container is refused; so is a machine that a device or folder of the host is given to, or that writes to a disk which is in no
        snapshot.
      - When it is not set, no memory is kept, and a revert wakes the machine up where there is some.
    type: bool
  allow:
    description:
      - Losses that this run may cause. V(revert) permits O(state=reverted).
    type: list
    elements: str
    choices: [revert]
    default: []
seealso:
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.guest_info
"""

EXAMPLES = r"""
- name: Keep what is there before an upgrade
  homelab.hybrid.guest_snapshot:
    guest: jellyfin
    name: before-upgrade

- name: Bring it back
  homelab.hybrid.guest_snapshot:
    guest: jellyfin
    name: before-upgrade
    state: reverted
    allow: [revert]

- name: Keep that of tonight, and those of the six nights before
  homelab.hybrid.guest_snapshot:
    guest: paperless
    name: nightly-2026-11-26
    keep: 7

- name: Keep all disks of a virtual machine as they are
  homelab.hybrid.guest_snapshot:
    guest: truenas
    name: fresh

- name: Keep it as it runs
  homelab.hybrid.guest_snapshot:
    guest: truenas
    name: running
    memory: true

- name: Delete one
  homelab.hybrid.guest_snapshot:
    guest: jellyfin
    name: before-upgrade
    state: absent
"""

RETURN = r"""
plan:
  description: What the run changes, or in check mode would change, with C(path), C(before), C(after), C(how) and whether it is C(done).
  type: list
  elements: dict
  returned: always
snapshot:
  description: The snapshot.
  type: dict
  returned: success
  contains:
    guest:
      description: The guest that it is of.
      type: str
      returned: always
    name:
      description: Its name.
      type: str
      returned: always
    state:
      description: V(present) or V(absent).
      type: str
      returned: always
    created:
      description: When it was made. Null where it is not there.
      type: str
      returned: always
      sample: "2026-11-26T12:00:00Z"
    consistency:
      description:
        - V(clean) when the guest did not run, V(frozen) when its agent had frozen its file systems, V(live) when its memory is kept too, V(crash)
          when it holds what a power cut would have left. Null where it is not there.
      type: str
      returned: always
    volumes:
      description: Its volumes, by their pool and name.
      type: list
      elements: str
      returned: always
      sample: [main/jellyfin.rootfs@before-upgrade]
    beside:
      description: What of a virtual machine is kept with them, of V(memory), V(nvram) (the variables of its UEFI) and V(tpm).
      type: list
      elements: str
      returned: always
      sample: [nvram]
snapshots:
  description: All snapshots of the guest, the oldest first, each as in RV(snapshot).
  type: list
  elements: dict
  returned: success
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run
from ..module_utils._snapshot.resource import GuestSnapshot
from ..module_utils._snapshot.spec import ARGUMENTS, CONSTRAINTS


def main() -> None:
    run(GuestSnapshot(), ARGUMENTS, host=Host, libraries=("lxc", "libvirt"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
