# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guest_spec
short_description: The options of a guest, from its inventory
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Makes the options of M(homelab.hybrid.kvm_vm) or M(homelab.hybrid.lxc_container) from the variable C(guest_spec) of a guest.
  - A dictionary in C(cloud_init.user_data), C(cloud_init.meta_data) and C(cloud_init.network_config) becomes YAML text here, on the control node.
    So the module gets one secret text, and not a dictionary whose words and digits would be masked everywhere.
  - Permission to lose something is given for a run and not kept in inventory. C(allow) and C(delete) in the variable are refused.
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
  allow:
    description: The losses that are permitted in this run, usually the extra variable C(guest_allow).
    type: list
    elements: str
    default: []
  delete:
    description: What C(state=absent) may delete in this run, usually the extra variable C(guest_delete).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Converge a container as its inventory says
  homelab.hybrid.lxc_container:
  module_defaults:
    homelab.hybrid.lxc_container: "{{ guest_spec | homelab.hybrid.guest_spec(name=inventory_hostname, allow=guest_allow | default([])) }}"
  delegate_to: "{{ guest_hypervisor }}"
"""

RETURN = r"""
_value:
  description: The options, with C(name), and with C(state=started) where the variable names no state.
  type: dict
"""

import typing as t

import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.yaml.dumper import AnsibleDumper

GIVEN_FOR_A_RUN = {"allow": "guest_allow", "delete": "guest_delete"}
TEXTS_OF_CLOUD_INIT = {"user_data": "#cloud-config\n", "meta_data": "", "network_config": ""}


def guest_spec(
    spec: t.Mapping[str, t.Any], name: str, allow: t.Sequence[str] = (), delete: t.Sequence[str] = ()
) -> dict[str, t.Any]:
    """The module's options.

    :raises AnsibleFilterError: for what may not stand in inventory.
    """
    if not isinstance(spec, t.Mapping):
        raise AnsibleFilterError(f"guest_spec of {name}: {type(spec).__name__} is given, it must be a dictionary")
    if spec.get("name", name) != name:
        raise AnsibleFilterError(
            f"guest_spec of {name}: name is {spec['name']!r}; a guest bears the name of its inventory host"
        )
    for key, variable in GIVEN_FOR_A_RUN.items():
        if key in spec:
            raise AnsibleFilterError(
                f"guest_spec of {name}: {key} is given for a run and not kept in inventory; use the extra variable {variable}"
            )
    options: dict[str, t.Any] = {"state": "started", **spec, "name": name}
    if isinstance(spec.get("cloud_init"), t.Mapping):
        options["cloud_init"] = {key: as_text(key, value) for key, value in spec["cloud_init"].items()}
    if allow:
        options["allow"] = list(allow)
    if delete:
        options["delete"] = list(delete)
    return options


def as_text(key: str, value: t.Any) -> t.Any:
    """A dictionary given for a document of cloud-init as its text; every other value as it is."""
    if key not in TEXTS_OF_CLOUD_INIT or not isinstance(value, t.Mapping):
        return value
    text = yaml.dump(
        value, Dumper=AnsibleDumper, default_flow_style=False, allow_unicode=True, sort_keys=False, width=1000
    )
    return TEXTS_OF_CLOUD_INIT[key] + text


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"guest_spec": guest_spec}
