#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell what a hypervisor can do, and what it lacks
version_added: 0.1.0
description:
  - Tells whether KVM really works, which family of control groups is mounted, which versions are installed, which daemons answer,
    and which features the kernel has.
  - Whether KVM works is tried by starting a virtual CPU, once per boot; that C(/dev/kvm) exists proves nothing.
  - Reads only. What has to be tried is tried in a network namespace that is gone at once.
  - Works on a bare host too, where nothing is installed yet.
  - Tells of each guest when it was backed up last, and what has no backup.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes.info
  - homelab.hybrid._requirements
options:
  journal:
    description:
      - How many of the latest entries of the host's journal to return. The modules of this collection write one for each resource that they change.
      - The journal is in C(/var/lib/homelab_hybrid/journal), readable by root alone. It grows to 4 MiB, and four older files of that size stay beside it.
    type: int
    default: 0
seealso:
  - module: homelab.hybrid.guest_info
  - module: homelab.hybrid.guest_quarantine
"""

EXAMPLES = r"""
- name: Look at the hypervisor
  homelab.hybrid.host_info:
  register: hypervisor

- name: Say what guests will be slow, and why
  ansible.builtin.debug:
    msg: "{{ hypervisor.host.accelerator.reason }}"
  when: hypervisor.host.accelerator.kind == 'tcg'

- name: Fail where a guest of a job was not backed up for two days
  ansible.builtin.assert:
    that: (item.backup or {}).age | default(999999) < 172800
    fail_msg: "{{ item.guest }}: {{ item.status }}"
    quiet: true
  loop: "{{ hypervisor.backups | rejectattr('jobs', 'equalto', []) }}"
  loop_control:
    label: "{{ item.guest }}"

- name: See what was changed last, by whom and when
  homelab.hybrid.host_info:
    journal: 20
  register: hypervisor
"""

RETURN = r"""
host:
  description: What the host can do, and what it lacks.
  returned: always
  type: dict
  contains:
    accelerator:
      description:
        - What virtual machines run with. Its C(kind) is V(kvm) or V(tcg), which is emulation; its C(reason) is the sentence that says why.
      returned: always
      type: dict
      sample: {kind: kvm, reason: "a virtual CPU of the host's own model starts with KVM"}
    architecture:
      description: The architecture of the machine.
      returned: always
      type: str
      sample: x86_64
    cgroup:
      description: The family of control groups (V(v1), V(hybrid) or V(v2)) and the controllers that can limit guests.
      returned: always
      type: dict
      sample: {family: v2, controllers: [cpu, cpuset, io, memory, pids]}
    cpus:
      description: The processors that are usable.
      returned: always
      type: int
    features:
      description: Features of the kernel by name, and whether it has them.
      returned: always
      type: dict
      sample: {apparmor: true, bridge: true, filesystem_btrfs: true, vlan_filtering: true, zfs: false}
    firewall:
      description: A sentence for each firewall that drops what guests send or receive, with what lets it through.
      returned: always
      type: list
      elements: str
      sample: ["Docker drops what is forwarded (guests reach nothing beyond the host). Let it through for each bridge of guests: ..."]
    init:
      description: The name of the first process.
      returned: always
      type: str
      sample: systemd
    kernel:
      description: The release of the kernel.
      returned: always
      type: str
    lacks:
      description: The names of what it has not, V(kvm) included.
      returned: always
      type: list
      elements: str
      sample: [zfs]
    memory:
      description: The memory, for a person to read.
      returned: always
      type: str
      sample: 24105MiB
    memory_bytes:
      description: The memory.
      returned: always
      type: int
    services:
      description: The daemons that guests need, and whether they answer.
      returned: always
      type: dict
      sample: {libvirtd: true, lxcfs: true, virtlogd: true}
    subordinate_ids:
      description: The ranges of user and group ids that root may give to unprivileged containers.
      returned: always
      type: dict
      sample: {gid: [{count: 65536000, start: 100000}], uid: [{count: 65536000, start: 100000}]}
    switch:
      description:
        - The last change of the network that could cut off the host (see M(homelab.hybrid.bridge)), empty where there was none.
        - Its C(state) is V(armed) or V(applied) while it is under way, V(confirmed), V(rolling_back) or V(rolled_back).
          C(bridge) is what was changed, C(began) is when in UTC, C(ends) is when it was or is taken back unless it is confirmed,
          and C(reason) says why it was taken back.
      returned: always
      type: dict
      sample: {id: 0f3a9b6c51d2e478, state: rolled_back, bridge: vmbr0, began: "2026-01-07T20:15:00Z", ends: "2026-01-07T20:16:00Z",
        reason: the gateway 192.0.2.254 does not answer on vmbr0 (looked for 30 s)}
    versions:
      description: What is installed; null for what is not.
      returned: always
      type: dict
      sample: {dnsmasq: "2.90", libvirt: 9.0.0, lxc: 5.0.2, lxcfs: 5.0.3, python: 3.11.2, qemu: 7.2.22}
replicas:
  description: The copies of guests of other hosts that lie in the storage pools of this one, the newest of each guest first.
  returned: always
  type: list
  elements: dict
  contains:
    guest:
      description: The guest that it is of.
      returned: always
      type: str
    kind:
      description: V(vm) or V(container).
      returned: always
      type: str
    origin:
      description: The name of the host that it came from.
      returned: always
      type: str
    pool:
      description: The storage pool that it lies in.
      returned: always
      type: str
    made:
      description: The moment that it is of, in UTC.
      returned: always
      type: str
    age:
      description: How many seconds ago that was.
      returned: always
      type: int
    consistent:
      description: V(application) where its file systems were whole at that moment, and V(crash) where it is what a power cut would leave.
      returned: always
      type: str
    bytes:
      description: What the volumes of the guest held, in bytes. Copies share what is the same in them.
      returned: always
      type: int
    path:
      description: Where it lies.
      returned: always
      type: str
  sample: [{guest: jellyfin, kind: container, origin: pve1, pool: far, made: "2026-11-27T22:15:00Z", age: 312, consistent: crash,
    bytes: 734003200, path: /srv/far/+replicas/pve1/jellyfin/20261127T221500123Z}]
replications:
  description: When the guests of this host were replicated last, by each job that is of them.
  returned: always
  type: list
  elements: dict
  contains:
    job:
      description: The job.
      returned: always
      type: str
    guest:
      description: The guest.
      returned: always
      type: str
    target:
      description: The host that it went to.
      returned: always
      type: str
    pool:
      description: The storage pool there.
      returned: always
      type: str
    made:
      description: The moment that the newest copy there is of, in UTC. Null where there is none.
      returned: always
      type: str
    age:
      description: How many seconds ago that was. Null where there is none.
      returned: always
      type: int
    status:
      description:
        - V(ok); V(failed) where the last run of the job did not bring it there; V(overdue) where that did not run when it should have; V(waits) before
          its first run.
      returned: always
      type: str
    error:
      description: Why the last run failed. Null where it went well.
      returned: always
      type: str
  sample: [{job: spare, guest: jellyfin, target: pve2, pool: far, status: ok, made: "2026-11-27T22:15:00Z", age: 312, error: null}]
quarantine:
  description: What was deleted of guests and lies in the quarantine of the storage pools, in the order in which it goes.
  returned: always
  type: list
  elements: dict
  contains:
    guest:
      description: The guest that it is of.
      returned: always
      type: str
    kind:
      description: V(vm) or V(container).
      returned: always
      type: str
    moment:
      description: By what M(homelab.hybrid.guest_quarantine) knows it.
      returned: always
      type: str
    since:
      description: When it was deleted, in UTC.
      returned: always
      type: str
    until:
      description: When it goes for good, in UTC.
      returned: always
      type: str
    pools:
      description: The storage pools that it lies in.
      returned: always
      type: list
      elements: str
    volumes:
      description: Its volumes, by their pool and name there.
      returned: always
      type: list
      elements: str
    bytes:
      description: The room that it takes at most, in bytes. What shares its blocks with others gives less back.
      returned: always
      type: int
  sample: [{guest: jellyfin, kind: container, moment: 20261127T221500Z, since: "2026-11-27T22:15:00Z", until: "2026-12-04T22:15:00Z",
    pools: [main], volumes: [main/jellyfin@20261127T221500Z.rootfs], bytes: 734003200}]
backups:
  description:
    - What the host knows of the backups of each guest that this collection made or changed. It asks no repository; what was made on another host,
      or lies in the repository alone, is not among it.
  returned: always
  type: list
  elements: dict
  contains:
    guest:
      description: The guest.
      returned: always
      type: str
    kind:
      description: V(vm) or V(container).
      returned: always
      type: str
    jobs:
      description: The jobs of the host that are of it.
      returned: always
      type: list
      elements: str
    status:
      description:
        - V(ok), or V(failed) where the last run of one of C(jobs) failed for it, V(overdue) where one did not run when it should have,
          V(waits) where none has run yet, V(none) where it has neither a job nor a backup, and V(no longer) where it has a backup and no job.
      returned: always
      type: str
    backup:
      description:
        - The last backup, null where there is none. C(id) is by what M(homelab.hybrid.guest_restore) knows it, C(made) when it was made in UTC, C(age)
          is that in seconds, C(consistent) V(application) or V(crash), C(processed) how many bytes it holds and C(added) how many of them were new to
          the repository, C(seconds) how long it took.
      returned: always
      type: dict
    failure:
      description: The last time that it failed, with C(when), C(job) and C(error); null where it never did.
      returned: always
      type: dict
    drill:
      description:
        - How the last drill of it went, null where there was none. C(ended) is when, C(job) whose, C(backup) and C(made) which backup was started,
          C(result) V(ok) or V(failed), C(recovery_seconds) how long it took until all was well, and C(error) what was not.
      returned: always
      type: dict
  sample: [{guest: web, kind: container, jobs: [nightly], status: ok, failure: null, drill: null,
    backup: {id: 0f3a9b6c, made: "2026-11-28T02:30:12Z", age: 3600, job: nightly, repository: nas, consistent: application,
      added: 1048576, processed: 734003200, seconds: 11.4}}]
backup_jobs:
  description: The jobs of the host, and how each went.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The job.
      returned: always
      type: str
    repository:
      description: The repository that it backs up into.
      returned: always
      type: str
    <<: &ran
      schedule:
        description: When it runs, as for C(OnCalendar) of systemd.
        returned: always
        type: str
      result:
        description: V(ok) or V(failed), of its last run; null before that.
        returned: always
        type: str
      began:
        description: When its last run began, in UTC.
        returned: always
        type: str
      ended:
        description: When it ended, in UTC.
        returned: always
        type: str
      seconds:
        description: How long it took.
        returned: always
        type: float
      error:
        description: Why it came to no guest, or not to its end; null where it did.
        returned: always
        type: str
      failed:
        description: The guests that it failed for, each with why.
        returned: always
        type: dict
      due:
        description: When it was to run next, or should have run since, in UTC; null where systemd could not be asked.
        returned: always
        type: str
      overdue:
        description: Whether that is more than an hour ago, and it does not run right now.
        returned: always
        type: bool
    notify:
      description: The targets that hear of it, by name; none for all of them.
      returned: always
      type: list
      elements: str
    verify:
      description:
        - How the last reading of a share of its repository went, with C(when), which is null before the first, C(percent), C(result), C(error) where there
          is one and C(seconds). When the next is or was C(due), and whether it is C(overdue), is as of the job. Null where none was made nor will be.
      returned: always
      type: dict
    drill:
      description:
        - How its last drill went as a whole, with C(began), C(ended) and C(result), which are null before the first. When the next is or was C(due), and
          whether it is C(overdue), is as of the job. Null where none was made nor will be.
      returned: always
      type: dict
  sample: [{name: nightly, repository: nas, schedule: "*-*-* 02:30", result: ok, began: "2026-11-28T02:30:01Z", ended: "2026-11-28T02:31:12Z",
    seconds: 71.2, error: null, failed: {}, due: "2026-11-29T02:30:00Z", overdue: false, notify: [],
    verify: null, drill: {began: "2026-11-28T05:00:02Z", ended: "2026-11-28T05:00:31Z", result: ok, due: "2026-12-05T05:00:00Z", overdue: false}}]
replication_jobs:
  description: The jobs of replication of the host, and how each went.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The job.
      returned: always
      type: str
    target:
      description: The host that it replicates to.
      returned: always
      type: str
    pool:
      description: The storage pool there.
      returned: always
      type: str
    <<: *ran
  sample: [{name: spare, target: pve2, pool: far, schedule: hourly, result: ok, began: "2026-11-28T02:00:01Z", ended: "2026-11-28T02:00:09Z",
    seconds: 8.1, error: null, failed: {}, due: "2026-11-28T03:00:00Z", overdue: false}]
journal:
  description: The latest entries of the journal, the oldest first.
  returned: when O(journal) is not 0
  type: list
  elements: dict
  contains:
    time:
      description: When it was written, in UTC.
      returned: always
      type: str
    user:
      description: The user that the module ran as.
      returned: always
      type: str
    uid:
      description: The number of that user.
      returned: always
      type: int
    sudo_user:
      description: Who became that user by sudo.
      returned: when it is known
      type: str
    login_user:
      description: Who logged in.
      returned: when the kernel keeps it
      type: str
    from:
      description: The address of the control node.
      returned: when it came by ssh and the environment says so
      type: str
    module:
      description: The module that made the change.
      returned: always
      type: str
    name:
      description: What was changed.
      returned: always
      type: str
    plan:
      description: The changes, as the module returned them. Secrets are masked.
      returned: always
      type: list
      elements: dict
    restart_required:
      description: The options that wait for a restart.
      returned: always
      type: list
      elements: str
    result:
      description: V(ok), or V(failed) where the run failed after a change.
      returned: always
      type: str
    msg:
      description: Why it failed.
      returned: when it failed
      type: str
  sample: [{time: "2026-11-24T00:41:20.123+00:00", user: root, uid: 0, module: bridge, name: br0, plan: [], restart_required: [], result: ok}]
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._listing.host import ARGUMENTS, read_host_info
from ..module_utils._run.module import run_info


def main() -> None:
    run_info(read_host_info, ARGUMENTS, host=Host, libraries=("libvirt",))


if __name__ == "__main__":
    main()
