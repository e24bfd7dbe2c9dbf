# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role opnsense in tests, and a run of what the role asks its API with."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.appliance import (
    ARGUMENTS,
    Outcome,
    converge_opnsense,
)
from ansible_collections.homelab.hybrid.plugins.plugin_utils._opnsense import made


def wanted(name: str, network: str, **more: t.Any) -> dict[str, t.Any]:
    """An appliance *name* with the LAN *network*, the first three numbers of its addresses. Without *more* it lacks nothing of what is needed."""
    return {
        "name": name,
        "networks": ["wan", "lan"],
        "secret": "a long secret of a vault",
        "hostname": "gate",
        "domain": "lab.home.arpa",
        "timezone": "Etc/UTC",
        "timeservers": [],
        "dns_servers": [],
        "root_password": "",
        "ssh_keys": [],
        "users": [],
        "interfaces": [
            {"name": "wan", "network": "wan", "address": "none"},
            {"name": "lan", "network": "lan", "address": f"{network}.1/24"},
        ],
        "vlans": [],
        "dhcp_ranges": [{"name": "house", "interface": "lan", "start": f"{network}.100", "end": f"{network}.101"}],
        "dhcp_hosts": [],
        "dns_hosts": [{"name": "nas", "address": f"{network}.5"}],
        "rules": [{"name": "LAN to any", "interface": "lan", "source": "lan"}],
        **more,
    }


def run(its: t.Mapping[str, t.Any], address: str, *, dry_run: bool = False, **more: t.Any) -> Outcome:
    """What the role asks the appliance at *address* with, where its variables are *its*."""
    whole = made(its)
    known = {
        **{word: whole["secrets"][word] for word in ("key", "secret", "password")},
        "passwords": json.dumps(whole["passwords"]),
    }
    params = {
        **{key: row.get("default") for key, row in ARGUMENTS.items()},
        **known,
        "name": its["name"],
        "address": address,
        "items": whole["items"],
        "declared": whole["declared"],
    }
    return converge_opnsense({**params, **more}, dry_run=dry_run)
