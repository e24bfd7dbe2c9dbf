# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  name:
    description:
      - The name of the guest. 1 to 63 letters, digits, C(_), C(.) and C(-), the first a letter or digit.
      - Virtual machines and containers of one host share one namespace.
    type: str
    required: true
  description:
    description:
      - What the guest is for. Any text.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: text without control characters.'
    type: str
  tags:
    description:
      - Words that group guests, shown by M(homelab.hybrid.guest_info). The list is compared whole; its order does not matter.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: list
    elements: str
  protection:
    description:
      - Whether O(state=absent) is refused. Take the protection off first, or write V(false) in the task that takes the guest away.
      - 'B(In short:) live. C(unset) sets it to no.'
    type: bool
  template:
    description:
      - Whether other guests are cloned from it, and it is never started itself. What it holds stays as it is, and it has to be stopped.
      - Its volumes become read-only where their pool sees to it. V(false) makes a guest of it again, unless linked clones stand on it.
      - A template with linked clones can be neither changed nor reverted nor taken away. The plan names them.
      - 'B(In short:) live. C(unset) sets it to no.'
    type: bool
  autostart:
    description:
      - Whether the guest is started with the host. A new guest is not, unless this says so.
      - 'B(In short:) live. A new one has V(false).'
    type: bool
    aliases: [onboot, start_on_boot]
  startup:
    description:
      - When the guest starts and stops among the others of its host, virtual machines and containers alike.
      - It does not say whether the guest starts with the host; O(autostart) does. The role P(homelab.hybrid.hypervisor#role) makes a host that boots
        with systemd follow it, and the playbooks C(homelab.hybrid.startup) and C(homelab.hybrid.shutdown) follow it too.
      - C(unset=[startup]) takes it off as a whole.
    type: dict
    suboptions:
      order:
        description:
          - Its place, a number from 0. The lowest starts first and stops last. Guests with the same one start side by side.
          - Guests without one start after all others.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 0 to 1000000.'
        type: int
      up_delay:
        description:
          - How many seconds to wait after its start before those of the next order are started. Of guests with the same order the longest counts.
          - 'B(In short:) live. C(unset) sets it to V(0). Allowed: 0 to 86400.'
        type: int
      down_delay:
        description:
          - How many seconds to wait after it was stopped before those of the order below are stopped.
          - 'B(In short:) live. C(unset) sets it to V(0). Allowed: 0 to 86400.'
        type: int
  wait_timeout:
    description:
      - How many seconds each condition in O(wait_for) may take.
      - 'B(In short:) Allowed: 0 to 86400.'
    type: int
    default: 300
  restart_policy:
    description:
      - V(never) leaves the guest running when a change needs a restart. The change is written, and listed in RV(ignore:restart_required)
        until the guest was restarted.
      - V(if_needed) restarts the guest once when there is such a change, also one from an earlier run.
    type: str
    choices: [never, if_needed]
    default: never
"""
