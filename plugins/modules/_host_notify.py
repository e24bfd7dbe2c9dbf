#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _host_notify
short_description: (private) Let a hypervisor tell what happens on it
version_added: 0.1.0
description:
  - Private to the role P(homelab.hybrid.hypervisor#role); it may change at any time.
  - Writes whom the host tells, the files of their secrets, which only root can read, the program C(homelab-hybrid-notify), and the units of
    systemd that start it when a backup has ended, and each hour.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
options:
  metrics:
    description:
      - Whether the host measures itself and its guests each minute, for the exporter of Debian's C(prometheus-node-exporter), by the same program
        and a timer. Without it that stays as it is.
    type: bool
  alerts:
    description:
      - The guests in which a monitoring runs. The targets are told of its alerts, for which the host asks it each minute.
      - One that is no longer listed stays as it is.
    type: list
    elements: dict
    suboptions:
      name:
        description: The guest.
        type: str
        required: true
      state:
        description: Whether it is asked.
        type: str
        choices: [present, absent]
        default: present
  targets:
    description:
      - Who is told what goes wrong on the host, and when it is over. Told is that a backup, a verification, a drill or a replication
        failed, or did not run when it should have, that a storage pool fills up (C(warn_free) of the pool, 10% where that says
        nothing), that a change of the network was taken back, that a unit of this collection or Debian's own updates failed,
        that the host waits for a restart, and what C(homelab-hybrid-notify drift) is given on its standard input, a line each,
        that is not as it is declared.
      - The host looks when a backup or a replication has ended, and each hour by a timer of systemd. The same is told again
        after a day. What could not be told is tried again each hour. Try it on the host with C(homelab-hybrid-notify test).
      - A target is what is written of it. One that is no longer listed stays as it is; take it away with C(state) V(absent).
    type: list
    elements: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      state:
        description: Whether it is told anything.
        type: str
        choices:
          - present
          - absent
        default: present
      type:
        description: How it is told, by V(mail), by a server of V(ntfy), or by a V(webhook) that gets JSON.
        type: str
        choices:
          - mail
          - ntfy
          - webhook
      'on':
        description:
          - What it is told, V(failure), V(updates) and V(success), which is each run of a backup job that went well. Without
            it V(failure) alone.
          - V(updates) are packages of the host and of guests that run of which apt knows an update for security. apt is asked
            each hour, a virtual machine by its agent, and fetches no lists for it; that nothing has fetched any for 30 days
            is told, too.
        type: list
        elements: str
      to:
        description: The addresses that get the mail.
        type: list
        elements: str
      from:
        description: The address that the mail is from. Without it that of root at the host.
        type: str
      server:
        description: The server that takes the mail. Without it the sendmail of the host does.
        type: str
      port:
        description: The port of the server. Without it V(587) for V(starttls), V(465) for V(tls) and V(25) for V(none).
        type: int
      security:
        description: How what is sent to the server is kept from others. Without it V(starttls).
        type: str
        choices:
          - starttls
          - tls
          - none
      username:
        description: Who logs in at the server.
        type: str
      password:
        description: The password of C(username), at least 8 characters.
        type: str
      url:
        description: The address of the server of ntfy, such as V(https://ntfy.sh), or of the webhook. It is a secret here,
          as that of a webhook often is.
        type: str
      topic:
        description: The topic, of V(ntfy).
        type: str
      token:
        description: The access token, of V(ntfy).
        type: str
      headers:
        description: 'Headers for the V(webhook), one a line, such as C(Authorization: Bearer ...). All of it is kept as a secret.'
        type: str
seealso:
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Tell the phone what goes wrong
  homelab.hybrid._host_notify:
    targets:
      - name: phone
        type: ntfy
        url: https://ntfy.example.net
        topic: homelab
        token: tk_0123456789abcdef
"""

RETURN = r"""
plan:
  description: What the run changes, or in check mode would change, with C(path), C(before), C(after), C(how) and whether it is C(done).
  type: list
  elements: dict
  returned: always
targets:
  description: Who is told, by name, without their secrets.
  type: dict
  returned: success
alerts:
  description: The guests that are asked for alerts.
  type: list
  elements: str
  returned: success
metrics:
  description: Whether the host measures itself.
  type: bool
  returned: success
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._notify.resource import HostNotify
from ..module_utils._notify.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._run.module import run


def main() -> None:
    run(HostNotify(), ARGUMENTS, host=Host, libraries=("libvirt",), **CONSTRAINTS)


if __name__ == "__main__":
    main()
