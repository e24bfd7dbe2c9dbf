#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_pool
short_description: Keep a storage pool for virtual machines and containers
version_added: 0.1.0
description:
  - Makes, changes and removes a storage pool that virtual machines and containers share.
  - The pool is registered with libvirt, so that C(virsh) and virt-manager see it too.
  - Content is never lost by this module unless O(allow=delete_data) says so.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.libvirt
  - homelab.hybrid._plan
options:
  name:
    description:
      - The name of the pool.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
    required: true
  state:
    description:
      - V(present) makes the pool or changes it, and leaves a pool that is there started or stopped as it is. A new pool is started.
      - V(started) and V(stopped) also say whether it is active. Stopping is refused while running guests use it.
      - V(absent) takes the pool away. It is refused while guests use it. A folder with content stays, and is named in RV(ignore:kept),
        unless this module made the folder and O(allow=delete_data) is set. An empty folder that this module made goes.
        The same is true of the file system that this module made on O(source); without it the source is unmounted and left as it is.
    type: str
    choices: [present, started, stopped, absent]
    default: present
  type:
    description:
      - What the pool is made of.
      - V(dir) is a folder on any file system. Disks are qcow2 or raw files, and linked disks stand on the file of their image.
        The root of each container is unpacked. A root can have a size where the file system is ext4 or XFS and mounted with C(prjquota).
      - V(btrfs) is a folder on btrfs. The first guest of an image makes a copy of it in the pool, and each root and disk is a clone of that
        in the fraction of a second. Roots are subvolumes whose size is enforced; disks are raw files that are never copied on write.
        The quotas of the file system are enabled. Those that are enabled already stay as they are, full or simple; a file system that is
        made for the pool gets simple quotas where Linux (6.7) and btrfs-progs (6.7) know them. With simple quotas a size counts what the
        container wrote, and a subvolume that is made inside belongs to it from birth; with full quotas it counts what the image brought
        too, and the next run for the container takes such a subvolume in.
      - A new pool is of type V(dir) unless another is written. The type of a pool cannot be changed.
      - 'B(In short:) fixed once it stands. A new one has V(dir).'
    type: str
    choices: [dir, btrfs]
  path:
    description:
      - The folder of the pool, an absolute path. Needed to make a pool. It is made when it is missing.
      - With O(type=btrfs) it lies on btrfs, or is where O(source) is mounted. A folder that is made there is a subvolume of its own.
      - The folder of a pool cannot be changed; give the new pool another name.
      - 'B(In short:) fixed once it stands. Allowed: an absolute path other than /, without ''..''.'
    type: str
  source:
    description:
      - For O(type=btrfs), a block device or an image file that is there. It is mounted at O(path), now and whenever the host starts,
        by a line in C(/etc/fstab).
      - One that holds a btrfs is used as it is, and never formatted. One that is blank is formatted.
        What holds anything else, with a signature or without, is formatted with O(allow=format) alone.
      - The source of a pool cannot be changed; give the new pool another name.
      - 'B(In short:) fixed once it stands. Allowed: an absolute path other than /, without ''..''.'
    type: str
  autostart:
    description:
      - Whether the pool is started with the host. A new pool is, unless this says otherwise.
      - 'B(In short:) live. A new one has V(true).'
    type: bool
  warn_free:
    description:
      - Warn on every run while less than this is free, a percentage such as V(10%) or a size such as V(20G) (a bare number is in GiB).
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: a percentage from 0% to 99%, or a size such as 20G.'
    type: str
  allow:
    description:
      - The losses that are permitted in this run.
      - V(delete_data) lets O(state=absent) delete the folder with all its content, if this module made the folder,
        or wipe O(source), if this module formatted it.
      - V(format) lets a new pool format an O(source) that holds something else than a btrfs.
    type: list
    elements: str
    choices: [delete_data, format]
    default: []
seealso:
  - module: homelab.hybrid.image
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
"""

EXAMPLES = r"""
- name: Keep a pool for all guests, and warn when it gets full
  homelab.hybrid.storage_pool:
    name: main
    path: /srv/guests
    warn_free: 10%

- name: Keep a pool of snapshots on a disk of its own
  homelab.hybrid.storage_pool:
    name: fast
    type: btrfs
    source: /dev/disk/by-id/nvme-example
    path: /srv/fast

- name: Keep a pool in a folder of a btrfs that is mounted already
  homelab.hybrid.storage_pool:
    name: guests
    type: btrfs
    path: /data/guests

- name: Take the warning off again
  homelab.hybrid.storage_pool:
    name: main
    unset: [warn_free]

- name: Take a pool away and keep what is in it
  homelab.hybrid.storage_pool:
    name: old
    state: absent

- name: Take a pool away with all its content
  homelab.hybrid.storage_pool:
    name: scratch
    state: absent
    allow: [delete_data]
"""

RETURN = r"""
plan:
  description: What the run does, or with C(--check) would do, in the order of its steps.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The option, as it is written.
      type: str
      returned: always
    before:
      description: Its value before.
      type: raw
      returned: always
    after:
      description: Its value after.
      type: raw
      returned: always
    how:
      description: One of V(live), V(offline), V(next_boot), V(restart) and V(refused).
      type: str
      returned: always
    permit:
      description: The word for O(allow) that permits it.
      type: str
      returned: when the change is refused
    done:
      description: Whether it stands. Always false with C(--check).
      type: bool
      returned: always
  sample: [{path: autostart, before: false, after: true, how: live, done: true}]
restart_required:
  description: The options that only a restart brings into force. Always empty for a storage pool.
  returned: always
  type: list
  elements: str
kept:
  description: What O(state=absent) left on the host.
  returned: always
  type: list
  elements: str
  sample: ["/srv/guests (3 entries)"]
unmanaged:
  description: What is there and not declared. Always empty for a storage pool.
  returned: always
  type: list
  elements: str
assumed:
  description: What does not exist yet and was taken as given. Only with C(--check).
  returned: always
  type: list
  elements: str
needed:
  description: The words for O(allow) that would permit what was refused.
  returned: when a change was refused
  type: list
  elements: str
storage_pool:
  description: The pool as it is after the run, or with C(--check) as it is now.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    state:
      description: V(started), V(stopped) or V(absent).
      type: str
      returned: always
    type:
      description: Its type.
      type: str
      returned: always
    path:
      description: Its folder.
      type: str
      returned: always
    source:
      description: The device or image file that is mounted there.
      type: str
      returned: always
    autostart:
      description: Whether it starts with the host.
      type: bool
      returned: always
    warn_free:
      description: The threshold of the warning.
      type: str
      returned: always
    capacity_bytes:
      description: The size of the file system that it lies on.
      type: int
      returned: always
    available_bytes:
      description: What is free there.
      type: int
      returned: always
    available:
      description: What is free there, for a person to read.
      type: str
      returned: always
    users:
      description: The guests that stand on it, by whatever name it has, and what of the host does (a mount, a loop device, swap).
      type: list
      elements: str
      returned: always
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run
from ..module_utils._storage.resource import StoragePool
from ..module_utils._storage.spec import ARGUMENTS, CONSTRAINTS


def main() -> None:
    run(StoragePool(), ARGUMENTS, host=Host, libraries=("libvirt",), **CONSTRAINTS)


if __name__ == "__main__":
    main()
