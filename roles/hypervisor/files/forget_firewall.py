# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take out of the firewall what a libvirtd that runs no more has left: its empty chains, the jumps to them, and tables with nothing else.

A chain of libvirt with rules belongs to a network that is still there: then the whole table stays. Prints what it removed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

TABLES = [(family, name) for family in ("ip", "ip6") for name in ("filter", "nat", "mangle")]
PREFIX = "LIBVIRT_"

Entries = list[dict[str, t.Any]]


def nft(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=False)


def read(family: str, table: str) -> tuple[Entries, Entries]:
    """The chains and the rules of a table, none where there is no such table."""
    found = nft("--json", "list", "table", family, table)
    entries = json.loads(found.stdout)["nftables"] if found.returncode == 0 else []
    return [entry["chain"] for entry in entries if "chain" in entry], [
        entry["rule"] for entry in entries if "rule" in entry
    ]


def jumps_to_libvirt(rule: dict[str, t.Any]) -> bool:
    return any(str((part.get("jump") or {}).get("target", "")).startswith(PREFIX) for part in rule["expr"])


def clean(family: str, table: str) -> str | None:
    """What was removed of one table."""
    chains, rules = read(family, table)
    ours = [chain["name"] for chain in chains if chain["name"].startswith(PREFIX)]
    if not ours or any(rule["chain"] in ours for rule in rules):
        return None
    jumps = [rule for rule in rules if jumps_to_libvirt(rule)]
    others = [chain for chain in chains if chain["name"] not in ours]
    if len(jumps) == len(rules) and all(chain.get("policy") == "accept" for chain in others):
        done = nft("delete", "table", family, table)
        removed = f"table {family} {table}"
    else:
        lines = [f"delete rule {family} {table} {rule['chain']} handle {rule['handle']}" for rule in jumps]
        lines += [f"delete chain {family} {table} {chain}" for chain in ours]
        done = nft("; ".join(lines))
        removed = f"the chains of libvirt in table {family} {table}"
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return removed


def main() -> int:
    for family, table in TABLES:
        removed = clean(family, table)
        if removed:
            sys.stdout.write(f"{removed}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
