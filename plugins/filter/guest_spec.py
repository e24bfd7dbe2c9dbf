# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guest_spec
short_description: The options of a guest, from its profiles and its inventory
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Makes the options of M(homelab.hybrid.kvm_vm) or M(homelab.hybrid.lxc_container) from the variable C(guest_spec) of a guest and from the
    profiles that it names.
  - The profiles are laid over each other in the order in which they are named, and C(guest_spec) over them. What comes later goes first.
  - Dictionaries are merged key by key. The lists whose items have a C(name) (C(disks), C(networks), C(mounts), C(devices)) are merged item by item,
    by that name. Other lists, texts and numbers are replaced as a whole. V(null) takes away what a profile says, as if nobody had written it.
  - An option is one option by whichever of its names it is written; C(vcpus) and C(cpu.cores) are one too.
  - A dictionary in C(cloud_init.user_data), C(cloud_init.meta_data) and C(cloud_init.network_config) becomes YAML text here, on the control node,
    C(user_data) under the line C(#cloud-config). One in C(cloud_init.files) becomes JSON.
    So the module gets one secret text, and not a dictionary whose words and digits would be masked everywhere.
  - When the guest starts and stops among the others is the option C(startup), and the variable C(guest_startup) is the place for it. Where C(startup)
    stands in a profile or in C(guest_spec) it means the same; C(guest_startup) is laid over it, key by key.
  - Permission to lose something is given for a run and not kept in inventory. C(allow), C(delete) and C(quarantine) in the variable or a
    profile are refused.
positional: _input
options:
  _input:
    description: The variable C(guest_spec).
    type: dict
    required: true
  name:
    description: The name of the guest.
    type: str
    required: true
  profiles:
    description: The names of the profiles, usually the variable C(guest_profiles).
    type: list
    elements: str
    default: []
  catalog:
    description: The profiles by name, each a dictionary like C(guest_spec), usually the variable C(guest_profile_catalog).
    type: dict
    default: {}
  kind:
    description:
      - Of which kind the guest is, usually the variable C(guest_kind).
      - With it O(allow) and O(delete) may hold words for guests of the other kind too. They are left out here.
    type: str
    choices: [vm, container]
  startup:
    description: When the guest starts and stops among the others, C(order), C(up_delay) and C(down_delay), usually the variable C(guest_startup).
    type: dict
    default: {}
  allow:
    description:
      - The losses that are permitted in this run, usually the extra variable C(guest_allow).
      - Text is taken for words with commas between them, as in C(-e guest_allow=replace_disk,adopt).
    type: list
    elements: str
    default: []
  delete:
    description:
      - What C(state=absent) may delete in this run, usually the extra variable C(guest_delete).
      - Text is taken for words with commas between them.
    type: list
    elements: str
    default: []
  quarantine:
    description:
      - Whether what O(delete) names lies in the quarantine for a time, usually the extra variable C(guest_quarantine).
    type: bool
"""

EXAMPLES = r"""
# group_vars/all.yml
guest_profile_catalog:
  small:
    memory: 512MiB
    vcpus: 1
    networks: [{name: lan, bridge: br0}]
  media:
    memory: 2GiB
    mounts: [{name: films, source: /srv/films, path: /films, readonly: true}]

# host_vars/jellyfin.yml: 2 GiB, 4 CPUs, one network card on br0 with a fixed address, and one mount
guest_profiles: [small, media]
guest_spec:
  vcpus: 4
  networks: [{name: lan, ip: 10.20.0.12/24}]

# what the playbooks give to the module
guest_options: >-
  {{ guest_spec | homelab.hybrid.guest_spec(name=inventory_hostname, kind=guest_kind, profiles=guest_profiles | default([]),
                                            catalog=guest_profile_catalog | default({}), startup=guest_startup | default({}),
                                            allow=guest_allow | default([])) }}
"""

RETURN = r"""
_value:
  description: The options, with C(name), and with C(state=started) where neither the variable nor a profile names a state.
  type: dict
"""

import typing as t

from ..plugin_utils._guest_options import guest_spec


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"guest_spec": guest_spec}
