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
  targets:
    description: Those that the host tells what happens. With it each name in O(jobs[].notify) has to be one of them.
    type: list
    elements: str
  repositories:
    description:
      - Where backups of guests are kept, each a repository of restic (encrypted, and deduplicated over guests and hosts). The
        first job that needs one makes it.
      - A repository is what is written of it. One that is no longer listed stays as it is; take it away with C(state) V(absent),
        which leaves what is in it.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether the host knows it.
        type: str
        choices:
          - present
          - absent
        default: present
      type:
        description: How it is reached.
        type: str
        choices:
          - local
          - sftp
          - rest
          - s3
      path:
        description: Its folder, of V(local) on the host and of V(sftp) on the other one.
        type: str
      host:
        description: The other host, of V(sftp). Root of the hypervisor has to be able to log in there with a key.
        type: str
      port:
        description: The port of its ssh server.
        type: int
      user:
        description: Who logs in there.
        type: str
      url:
        description: The address, of V(rest) of restic's REST server and the repository, of V(s3) of the server and the bucket.
        type: str
      username:
        description: Who asks, of V(rest).
        type: str
      login_password:
        description: The password of C(username).
        type: str
      access_key:
        description: The id of the key, of V(s3).
        type: str
      secret_key:
        description: The secret of C(access_key).
        type: str
      password:
        description:
          - What the repository is encrypted with, at least 8 characters. Whoever loses it has lost the backups, so keep it
            outside of the host, too.
          - It is in a file for root alone, in no unit, on no command line and in no log.
        type: str
      append_only:
        description:
          - Whether the host can only add to it, as to restic's REST server with C(--append-only), so that who takes the host
            over takes no backup away. Its jobs never let go of backups then, and have no C(keep); what is old goes where the
            repository lies. It is verified as any other.
        type: bool
  jobs:
    description:
      - Which guests the host backs up by itself, when, and how long backups are kept, in the words of Proxmox. Each job has
        a timer of systemd, and runs later where the host was off.
      - How the last run went is in C(/var/lib/homelab_hybrid/report/JOB.json). Where there is C(/var/lib/prometheus/node-exporter),
        the folder of Debian's exporter for Prometheus, C(homelab_hybrid_backup.prom) has it too.
      - A job is what is written of it. One that is no longer listed stays as it is; take it away with C(state) V(absent), which
        leaves its backups.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether there is the job.
        type: str
        choices:
          - present
          - absent
        default: present
      repository:
        description: The name of the repository.
        type: str
      guests:
        description: The guests, by name. Without these and C(tags) it is all guests of the host that this collection made.
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
        description: When, as for C(OnCalendar) of systemd, such as V(daily) or V(*-*-* 02:30).
        type: str
      mode:
        description:
          - How a guest is brought to one moment. V(snapshot) of a container is a snapshot of its storage pool; in a pool of
            type C(dir), which shares no blocks, the root is copied beside while the container runs, and once more what has
            changed while it stands still. The file systems of a virtual machine are frozen by its agent for less than a second,
            and QEMU shows its disks as they were then while it goes on; without an agent it stands still for that moment, and
            its backup is what a power cut would leave.
          - V(suspend) holds it still in any case, and V(stop) shuts it down for as long, so that all its programs have written
            what they know. A virtual machine starts again at once, before its disks are read.
        type: str
        choices:
          - snapshot
          - suspend
          - stop
      keep:
        description:
          - How many backups of each guest are kept, by the rules of Proxmox. Each word looks at what those before it have not
            settled. Without any all are kept, and so is one with the tag C(keep).
          - Where it changes, the plan says what the next run lets go of.
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
      notify:
        description: 'Who hears how the job, its verification and its drills went, or that they did not run: targets of C(hypervisor_notify),
          by name. Without it all of them.'
        type: list
        elements: str
      verify:
        description: A share of the repository that is read now and then, to see whether it is what was stored.
        type: dict
        suboptions:
          schedule:
            description: When, as for C(OnCalendar) of systemd.
            type: str
          percent:
            description: How much of it, drawn anew each time. Without it V(5).
            type: int
      drill:
        description:
          - Backups that are proven by starting them. One of each guest is brought back under another name, started in a network
            of its own without a way out, where it has its own MACs and addresses, and asked from inside that network whether
            it is well. Then all of it is gone. The guest itself goes on meanwhile and does not notice.
          - A guest is well when its boot has come to its end, and what its service says of itself is true. How long that took
            and what was asked is in C(/var/lib/homelab_hybrid/report/drills/JOB.json), and what it wrote while it booted is
            beside that. A drill that fails lets its unit fail.
          - What lay in a mount that is in the backup (C(backup) of the mount) is in the drill, too, for which the storage pool
            of the guest needs room. What else of the host is mounted into a guest, and the devices that it was given, are not.
            The folders are empty there.
          - A virtual machine needs as much free memory as it has otherwise, and an agent or a port in C(backup.health) that
            tells whether it is well. One that has neither is named in a warning.
        type: dict
        suboptions:
          schedule:
            description: When, as for C(OnCalendar) of systemd. Without it nothing is tried but by the playbook C(homelab.hybrid.drill).
            type: str
          pick:
            description: Which backup of a guest is tried, the newest or one that is drawn. Without it V(newest).
            type: str
            choices:
              - newest
              - random
          timeout:
            description: How many seconds a guest has to be well. Without it V(600).
            type: int
          guests:
            description: The guests, by name. Without these it is all guests of the job.
            type: list
            elements: str
  replications:
    description:
      - Which guests the host replicates to another hypervisor by itself, and when. A copy there is of one moment, and whole;
        what is sent is what is new since the last one. The volumes of the guest and the copy lie in storage pools of type btrfs
        on both hosts.
      - Each job has a timer of systemd, and runs later where the host was off.
      - How the last run went is in C(/var/lib/homelab_hybrid/report/replication/JOB.json). P(homelab.hybrid.host_info#module)
        tells the age of copies on both hosts.
      - A job is what is written of it. One that is no longer listed stays as it is; take it away with C(state) V(absent), which
        leaves the copies.
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether there is the job.
        type: str
        choices:
          - present
          - absent
        default: present
      guests:
        description: The guests, by name. Without these and C(tags) it is all guests of the host that this collection made.
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
        description: The other hypervisor. Root of this one has to be able to log in there with a key, and to know its host
          key.
        type: str
      port:
        description: The port of its ssh server. Without it V(22).
        type: int
      user:
        description: Who logs in there, without it V(root). Another one needs sudo without a password.
        type: str
      pool:
        description: The storage pool there, of type btrfs.
        type: str
      schedule:
        description: When, as for C(OnCalendar) of systemd, such as V(hourly) or V(*:0/15).
        type: str
      keep:
        description: How many copies of each guest stay there. Without it V(1).
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
