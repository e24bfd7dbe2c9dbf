#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _host_backup
short_description: (private) Let a hypervisor back up its guests by itself
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.hypervisor#role); it may change at any time.
  - Writes the jobs, the files of the repositories, which only root can read, the program C(homelab-hybrid-backup), and a timer of systemd for each
    job.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
options:
  repositories:
    description:
      - Where backups are kept, each a repository of restic. It is made by the first job that needs it.
      - A repository is what is written of it. One that is no longer listed stays as it is.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether the host knows it. V(absent) leaves what is in it, and forgets its address and password.
        type: str
        choices: [present, absent]
        default: present
      type:
        description: How it is reached.
        type: str
        choices: [local, sftp, rest, s3]
      path:
        description: Its folder, of V(local) on this host and of V(sftp) on the other one.
        type: str
      host:
        description: The other host, of V(sftp). Root of this one has to be able to log in there with a key.
        type: str
      port:
        description: The port of its ssh server.
        type: int
      user:
        description: Who logs in there.
        type: str
      url:
        description: The address, of V(rest) of the server and the repository, of V(s3) of the server and the bucket.
        type: str
      username:
        description: Who asks, of V(rest).
        type: str
      login_password:
        description: The password of O(repositories[].username).
        type: str
      access_key:
        description: The key id, of V(s3).
        type: str
      secret_key:
        description: The secret of O(repositories[].access_key).
        type: str
      password:
        description: What the repository is encrypted with. Whoever loses it has lost the backups.
        type: str
      append_only:
        description: Whether this host can only add to it, so that its jobs let go of nothing.
        type: bool
  jobs:
    description:
      - What is backed up, when, and how long it is kept.
      - A job is what is written of it. One that is no longer listed stays as it is.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether there is the job. V(absent) leaves the backups that it made.
        type: str
        choices: [present, absent]
        default: present
      repository:
        description: The name of the repository.
        type: str
      guests:
        description: The guests, by name. Without these and O(jobs[].tags) it is all guests of the host that this collection made.
        type: list
        elements: str
      tags:
        description: Guests that have one of these tags.
        type: list
        elements: str
      exclude:
        description: Guests that are left out.
        type: list
        elements: str
      schedule:
        description: When, as for C(OnCalendar) of systemd.
        type: str
      mode:
        description: How a guest is brought to one moment.
        type: str
        choices: [snapshot, suspend, stop]
      keep:
        description: How many backups of each guest are kept, by the rules of Proxmox. Without any all are kept.
        type: dict
        suboptions:
          last:
            description: The newest.
            type: int
          hourly:
            description: The newest of each of so many hours.
            type: int
          daily:
            description: The newest of each of so many days.
            type: int
          weekly:
            description: The newest of each of so many weeks.
            type: int
          monthly:
            description: The newest of each of so many months.
            type: int
          yearly:
            description: The newest of each of so many years.
            type: int
      bandwidth:
        description: The most that is sent, in KiB a second.
        type: int
      verify:
        description: A share of the repository that is read now and then.
        type: dict
        suboptions:
          schedule:
            description: When, as for C(OnCalendar) of systemd.
            type: str
          percent:
            description: How much of it, drawn anew each time.
            type: int
      drill:
        description: Backups that are brought back and started beside their guests, to see whether they come to life.
        type: dict
        suboptions:
          schedule:
            description: When, as for C(OnCalendar) of systemd.
            type: str
          pick:
            description: Which backup of a guest is tried, the newest or one that is drawn.
            type: str
            choices: [newest, random]
          timeout:
            description: How many seconds a guest has to be well.
            type: int
          guests:
            description: The guests, by name. Without these it is all guests of the job.
            type: list
            elements: str
  replications:
    description:
      - What is replicated to another hypervisor, and when. The newest copy is there whole each time; what is sent is what is new since the last one.
      - A job is what is written of it. One that is no longer listed stays as it is.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether there is the job. V(absent) leaves the copies on the other host.
        type: str
        choices: [present, absent]
        default: present
      guests:
        description: The guests, by name. Without these and O(replications[].tags) it is all guests of the host that this collection made.
        type: list
        elements: str
      tags:
        description: Guests that have one of these tags.
        type: list
        elements: str
      exclude:
        description: Guests that are left out.
        type: list
        elements: str
      host:
        description: The other hypervisor. Root of this one has to be able to log in there with a key.
        type: str
      port:
        description: The port of its ssh server.
        type: int
      user:
        description: Who logs in there. One that is not root needs sudo without a password.
        type: str
      pool:
        description: The storage pool there, of type btrfs.
        type: str
      schedule:
        description: When, as for C(OnCalendar) of systemd.
        type: str
      keep:
        description: How many copies of each guest stay there.
        type: int
      bandwidth:
        description: The most that is sent, in KiB a second.
        type: int
seealso:
  - module: homelab.hybrid.guest_snapshot
"""

EXAMPLES = r"""
- name: Back all guests up each night
  homelab.hybrid._host_backup:
    repositories:
      - name: disk
        type: local
        path: /mnt/backup/restic
        password: correct horse battery
    jobs:
      - name: nightly
        repository: disk
        schedule: "*-*-* 02:30"
        keep: {daily: 7, weekly: 4}
"""

RETURN = r"""
plan:
  description: What the run changes, or in check mode would change, with C(path), C(before), C(after), C(how) and whether it is C(done).
  type: list
  elements: dict
  returned: always
repositories:
  description: The repositories that the host knows, by name, without their secrets.
  type: dict
  returned: success
sheets:
  description: Of each repository, by its name, what belongs on paper. No secret is in it.
  type: dict
  returned: success
jobs:
  description: The jobs of the host, by name.
  type: dict
  returned: success
replications:
  description: Its jobs of replication, by name.
  type: dict
  returned: success
"""

from ..module_utils._backup.schedule.resource import HostBackup
from ..module_utils._backup.schedule.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run


def main() -> None:
    run(HostBackup(), ARGUMENTS, host=Host, libraries=("libvirt",), **CONSTRAINTS)


if __name__ == "__main__":
    main()
