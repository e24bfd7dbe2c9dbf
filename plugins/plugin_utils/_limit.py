# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The hosts that a limit is about, and those that it leaves out by name: a limit to a hypervisor means its guests too, but not those."""

from __future__ import annotations

import typing as t

from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.parsing.dataloader import DataLoader


def left_out(limit: str, groups: t.Mapping[str, t.Iterable[str]]) -> list[str]:
    """The hosts that *limit* names only to leave them out."""
    patterns = [pattern[1:] for pattern in split_host_pattern(str(limit)) if pattern.startswith("!")]
    if not patterns:
        return []
    return [host.name for host in _inventory_of(groups).get_hosts(patterns)]


def within(limit: str, groups: t.Mapping[str, t.Iterable[str]]) -> set[str] | None:
    """The hosts that *limit* is about; ``None`` where there is no limit."""
    if not limit:
        return None
    manager = _inventory_of(groups)
    manager.subset(str(limit))
    return {host.name for host in manager.get_hosts()}


def _inventory_of(groups: t.Mapping[str, t.Iterable[str]]) -> InventoryManager:
    manager = InventoryManager(DataLoader(), parse=False)
    for group, hosts in groups.items():
        manager.add_group(group)
        for host in hosts:
            manager.add_host(host, group=group)
    return manager
