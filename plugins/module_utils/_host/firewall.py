# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whose firewall on this host drops what guests send or receive. That of libvirt lets its own networks through, but in its own tables alone:
what another table drops stays dropped (nftables(8), "verdict statement")."""

from __future__ import annotations

import json
import typing as t

from .._core import command
from .._core.errors import HybridError, WaitTimeout

Chain = t.Mapping[str, t.Any]
_SECONDS = 10

UFW = "ufw drops {what}. Let it through for each bridge of guests: ufw allow in on BRIDGE, and ufw route allow in on BRIDGE"
FIREWALLD = (
    "firewalld rejects what no zone lets through. Put each bridge of guests into a zone that does: "
    "firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE && firewall-cmd --reload"
)
DOCKER = "Docker drops {what}. Let it through for each bridge of guests: iptables -I DOCKER-USER -i BRIDGE -j ACCEPT, and the same with -o"
OTHER = "the chain {where} drops {what}. Let it through for each bridge of guests"
_WHAT = {
    "forward": "what is forwarded (guests reach nothing beyond the host)",
    "input": "what guests ask of the host (DHCP and names)",
}


def read_obstacles() -> list[str]:
    """A sentence for each firewall of this host that drops what guests send or receive, with what lets it through.

    None where the rules cannot be read.
    """
    try:
        told = json.loads(command.run(["nft", "-j", "list", "chains"], timeout=_SECONDS) or "{}")
    except (HybridError, ValueError):
        return []
    return obstacles([entry["chain"] for entry in told.get("nftables", ()) if "chain" in entry])


def obstacles(chains: t.Sequence[Chain]) -> list[str]:
    """As ``read_obstacles``, from the *chains* as ``nft -j list chains`` tells them."""
    if any(chain["table"] == "firewalld" for chain in chains):
        return [FIREWALLD]
    names = {str(chain["name"]) for chain in chains}
    dropping = [chain for chain in chains if chain.get("policy") == "drop" and chain.get("hook") in _WHAT]
    found = {}
    for chain in dropping:
        # IPv6 is dropped by most hosts, and no guest needs it to be reached.
        if chain["family"] not in ("ip", "inet"):
            continue
        whose = DOCKER if "DOCKER-USER" in names and chain["hook"] == "forward" else OTHER
        whose = UFW if any(name.startswith("ufw-") for name in names) else whose
        where = f"{chain['family']} {chain['table']} {chain['name']}"
        found[chain["hook"], whose] = whose.format(what=_WHAT[chain["hook"]], where=where)
    return list(found.values())


def explained(error: WaitTimeout) -> WaitTimeout:
    """*error*, of a guest that got no address, with the firewalls that may be why."""
    found = read_obstacles()
    cause = f". A firewall of the host may be why: {'; '.join(found)}" if found else ""
    return WaitTimeout(error.message + cause, **error.facts)
