# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: connection_vars
short_description: The connection variables of a host
version_added: 0.1.0
description:
  - Takes from the variables of a host those that say how it is reached, such as C(ansible_host) and C(ansible_user).
  - The connection plugins P(homelab.hybrid.lxc#connection) and P(homelab.hybrid.qemu_ga#connection) get those of a hypervisor this way.
author:
  - homelab.hybrid contributors (@homelab)
options:
  _input:
    description:
      - The variables of the host, such as C(hostvars[guest_hypervisor]).
    type: dict
    required: true
"""

EXAMPLES = r"""
# group_vars/guests.yml: virtual machines and containers alike
ansible_hypervisor: "{{ hostvars[guest_hypervisor] | homelab.hybrid.connection_vars }}"
"""

RETURN = r"""
_value:
  description: Those of the variables that say how the host is reached, and are set.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._transport import connection_variables


def connection_vars(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Those of the variables of a host that say how it is reached.

    :raises AnsibleFilterError: for what are no variables.
    """
    if not isinstance(variables, t.Mapping):
        raise AnsibleFilterError(f"connection_vars takes the variables of a host, not {type(variables).__name__}")
    return connection_variables(variables)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"connection_vars": connection_vars}
