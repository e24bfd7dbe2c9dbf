# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: left_out
short_description: The hosts that a limit leaves out by name
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Tells which hosts the patterns of a limit that begin with C(!) match.
  - A limit to a hypervisor means the host with all its guests, so that a guest need not be in a play to be worked on. One that the limit leaves out
    by name, as C(--limit 'all:!opnsense') does, must not be.
positional: _input, groups
options:
  _input:
    description: The limit, usually the variable C(ansible_limit). Empty without one.
    type: str
    required: true
  groups:
    description: The variable C(groups).
    type: dict
    required: true
"""

EXAMPLES = r"""
names: "{{ groups['guests'] | difference(ansible_limit | default('') | homelab.hybrid.left_out(groups)) }}"
"""

RETURN = r"""
_value:
  description: The names of the hosts.
  type: list
  elements: str
"""

import typing as t

from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.parsing.dataloader import DataLoader


def left_out(limit: str, groups: t.Mapping[str, t.Iterable[str]]) -> list[str]:
    """The hosts that *limit* names only to leave them out."""
    patterns = [pattern[1:] for pattern in split_host_pattern(str(limit)) if pattern.startswith("!")]
    if not patterns:
        return []
    manager = InventoryManager(DataLoader(), parse=False)
    for group, hosts in groups.items():
        manager.add_group(group)
        for host in hosts:
            manager.add_host(host, group=group)
    return [host.name for host in manager.get_hosts(patterns)]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"left_out": left_out}
