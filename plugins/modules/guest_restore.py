#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_restore
short_description: Bring a guest back from a backup or a copy
version_added: 0.1.0
description:
  - Makes a guest of one of its backups, which the jobs of the role P(homelab.hybrid.hypervisor#role) make (C(hypervisor_backup_jobs)), under its
    own name or as another guest beside it; or of a copy of it that another hypervisor has sent to this one (C(hypervisor_replication_jobs)).
  - The host needs nothing but the repository and its password (C(hypervisor_backup_repositories)). A host that has lost all its guests gets them
    back this way, and so does another one.
  - A guest that comes back under its name keeps its MACs, and the range of ids that it had where nobody has them by now; else the owners of its
    files are shifted to another range. It has the size, mounts and limits of the backup. Run its own module afterwards to make it what is
    declared now.
  - A virtual machine comes back with its UEFI variables, its TPM and its cloud-init data, and each disk as a volume of its own, which stands on no
    image. Disks that were handed over whole from the host, that the machine only reads or that others write to are in no backup; a machine with
    another name comes back without them and without devices of the host, and a warning names them.
  - A container with another name (O(as)) gets MACs and ids of its own, its host name and an empty machine id. A virtual machine gets a UUID and MACs
    of its own, and what is inside it is as it was. Ssh host keys, and an address that is written in files, are those of the backup; O(network) keeps
    the two apart.
  - Over a guest that is there nothing is brought back without O(allow=[overwrite]). What it holds then becomes a snapshot first
    (C(before-revert-1) and so on, see M(homelab.hybrid.guest_snapshot)), and what it is stays as it is declared.
  - The record of the guest says which backup it came out of. The same backup again changes nothing.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.lxc
  - homelab.hybrid._requirements.libvirt
  - homelab.hybrid._stop
options:
  name:
    description:
      - The name that the guest had when it was backed up.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
    required: true
  repository:
    description:
      - The name of the backup repository, one of those that the host knows. Either this or O(replica) is needed.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
    type: str
  replica:
    description:
      - Whether it comes from the copies that other hypervisors have sent to this host, which C(replicas) of M(homelab.hybrid.host_info) lists. In the
        storage pool of the copies a container comes back without a copy of its data, which it shares until one of the two changes.
      - The copies stay as they are. Make sure that the guest does not run any more where it came from, as it comes back with its MACs and addresses.
    type: bool
    default: false
  backup:
    description:
      - Which backup is meant. V(latest) is the newest; where neither this nor O(at) is written it is that one, too.
      - A job makes a newer one each night. Write the id to have the same guest tomorrow.
      - 'B(In short:) Allowed: latest, or how the id of a backup begins, at least 8 digits of it.'
    type: str
  at:
    description:
      - Take the newest backup that was made until then.
      - 'B(In short:) Allowed: a moment such as 2026-11-27T22:00:00Z.'
    type: str
  host:
    description:
      - The host that made the backup, or the copy, by its own name. Needed where several hosts have made one of a guest of the name.
      - 'B(In short:) Allowed: one line of text.'
    type: str
  as:
    description:
      - The name of the guest that comes of it. When it is not set, that is O(name).
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
  pool:
    description:
      - The storage pool that its volumes come to. When it is not set, those of the names that they were in.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
    type: str
  network:
    description:
      - The bridge that all its network cards are plugged into. When it is not set, those that they were plugged into.
      - 'B(In short:) Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
    type: str
  paths:
    description:
      - Bring only these files and folders back, into the folder O(to), and leave the guest as it is.
      - They are named as the container sees them. What lies in one of its mounts is there where the mount is in the backup (C(backup) of the mount).
      - Those of a virtual machine are read by libguestfs, in a small machine of its own that is started twice for it, and never opened by the
        kernel of the host. That takes Debian's package C(guestfish) on the host (C(hypervisor_packages_extra)). What lies where follows
        from the operating system on its disks and what that mounts; disks that are encrypted, or with several systems, are refused.
      - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
    type: list
    elements: str
  to:
    description:
      - The folder of the hypervisor that they come into, under their whole paths and with the owners that they have inside the guest, in a mount
        with C(map_ids) those of the host. It must not be there, or be empty, and only root may enter it then.
      - A note in it says which backup they came out of. The same again changes nothing.
      - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
    type: str
  start:
    description: Whether a guest that comes out of the backup is started. One that is there and runs is started again in any case.
    type: bool
    default: false
  allow:
    description:
      - Losses that this run may cause. V(overwrite) permits to bring a guest that is there to what is in the backup.
    type: list
    elements: str
    choices: [overwrite]
    default: []
seealso:
  - module: homelab.hybrid.guest_snapshot
  - module: homelab.hybrid.lxc_container
"""

EXAMPLES = r"""
- name: Bring a container back that was lost
  homelab.hybrid.guest_restore:
    name: jellyfin
    repository: disk
    start: true

- name: Look at what it was before the update, beside the one that runs, on a bridge without a way out
  homelab.hybrid.guest_restore:
    name: paperless
    repository: disk
    at: "2026-11-26T12:00:00Z"
    as: paperless-before
    network: br1

- name: Look for a file that somebody has deleted
  homelab.hybrid.guest_restore:
    name: paperless
    repository: disk
    at: "2026-11-26T12:00:00Z"
    paths: [/etc/hostname]
    to: /root/of-paperless

- name: Start a guest of a hypervisor that is gone from the copy that it has sent here
  homelab.hybrid.guest_restore:
    name: paperless
    replica: true
    host: pve1
    pool: main
    start: true

- name: Bring the one that runs back to a backup
  homelab.hybrid.guest_restore:
    name: paperless
    repository: disk
    backup: 4f2a9c01
    allow: [overwrite]
"""

RETURN = r"""
plan:
  description: What the run changes, or in check mode would change, with C(path), C(before), C(after), C(how) and whether it is C(done).
  type: list
  elements: dict
  returned: always
backup:
  description: The backup that is meant.
  type: dict
  returned: success
  contains:
    id:
      description: Its id in the repository, or among the copies.
      type: str
      returned: always
    made:
      description: When it was made.
      type: str
      returned: always
      sample: "2026-11-27T02:30:11Z"
    guest:
      description: The guest that it is of.
      type: str
      returned: always
    kind:
      description: V(container) or V(vm).
      type: str
      returned: always
    job:
      description: The job that made it; empty of a copy.
      type: str
      returned: always
    consistent:
      description: V(application) when the programs in the guest had written all that they knew, V(crash) when it holds what a power cut would have left.
      type: str
      returned: always
    host:
      description: The host that made it.
      type: str
      returned: always
    protected:
      description: Whether it bears the tag C(keep), and no job lets it go.
      type: bool
      returned: always
guest:
  description: The C(name) and the C(state) of the guest that came of it.
  type: dict
  returned: when the guest comes back whole
files:
  description: The C(paths) that came out of it, and the folder C(to).
  type: dict
  returned: when O(paths) is written
"""

from ..module_utils._backup.restore.resource import GuestRestore
from ..module_utils._backup.restore.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run


def main() -> None:
    run(GuestRestore(), ARGUMENTS, host=Host, libraries=("lxc", "libvirt"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
