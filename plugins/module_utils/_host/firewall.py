# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whose firewall on this host drops what guests send or receive. That of libvirt lets its own networks through, but in its own tables alone:
what another table drops stays dropped (nftables(8), "verdict statement")."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import typing as t

from .._core import command
from .._core.errors import HybridError, WaitTimeout

Chain = t.Mapping[str, t.Any]
Rule = t.Mapping[str, t.Any]
_SECONDS = 10
_LINKS = "/sys/class/net"
# What Docker calls its own bridges, which its own rules let through.
_DOCKERS = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}")
_ALL = "*"
_DHCP = {"payload": {"protocol": "udp", "field": "dport"}}

UFW = "ufw drops {what}. Let it through for {bridges}: ufw allow in on BRIDGE, and ufw route allow in on BRIDGE"
FIREWALLD = (
    "firewalld rejects what no zone lets through. Put {bridges} into a zone that does: "
    "firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE && firewall-cmd --reload"
)
DOCKER = "Docker drops {what}. Let it through for {bridges}: iptables -I DOCKER-USER -i BRIDGE -j ACCEPT, and the same with -o"
OTHER = "the chain {where} drops {what}. Let it through for {bridges}"
_WHAT = {
    "forward": "what is forwarded (guests reach nothing beyond the host)",
    "input": "what guests ask of the host (DHCP and names)",
}


def read_obstacles() -> list[str]:
    """A sentence for each firewall of this host that drops what guests send or receive, with what lets it through.

    None where the rules cannot be read.
    """
    try:
        chains = _listed("chains", "chain")
        tables = dict.fromkeys((chain["family"], chain["table"]) for chain in _bases(chains))
        rules = [rule for family, table in tables for rule in _listed("table", "rule", family, table)]
    except (HybridError, ValueError):
        return []
    bridges = [name for name in sorted(os.listdir(_LINKS)) if os.path.isdir(os.path.join(_LINKS, name, "bridge"))]
    return obstacles(chains, rules, [name for name in bridges if not _DOCKERS.fullmatch(name)])


def _listed(what: str, kind: str, *words: str) -> list[dict[str, t.Any]]:
    told = json.loads(command.run(["nft", "-j", "list", what, *words], timeout=_SECONDS) or "{}")
    return [entry[kind] for entry in told.get("nftables", ()) if kind in entry]


def _bases(chains: t.Iterable[Chain]) -> list[Chain]:
    # IPv6 is dropped by most hosts, and no guest needs it to be reached.
    return [chain for chain in chains if chain.get("hook") in _WHAT and chain["family"] in ("ip", "inet")]


def _drops(base: Chain, rules: t.Iterable[Rule]) -> bool:
    """Whether it drops what nothing in it lets through: by its policy or, as that of firewalld does, by its last rule."""
    last = [_telling(rule) for rule in rules if _is_of(rule, base, base["name"])][-1:]
    return base.get("policy") == "drop" or any(
        len(parts) == 1 and parts[0].keys() & {"drop", "reject"} for parts in last
    )


def _telling(rule: Rule) -> list[t.Mapping[str, t.Any]]:
    """What of a rule says what becomes of a packet."""
    return [part for part in rule["expr"] if not part.keys() & {"counter", "log"}]


def _is_of(rule: Rule, base: Chain, name: str) -> bool:
    return bool((rule["family"], rule["table"], rule["chain"]) == (base["family"], base["table"], name))


def obstacles(chains: t.Sequence[Chain], rules: t.Sequence[Rule] = (), bridges: t.Sequence[str] = ()) -> list[str]:
    """As ``read_obstacles``, from the *chains* and *rules* as ``nft -j`` tells them, on a host with these *bridges*."""
    names = {str(chain["name"]) for chain in chains}
    found: dict[str, None] = {}
    for chain in _bases(chains):
        if not _drops(chain, rules):
            continue
        passing = list(_interfaces(chain, chain["name"], rules, set()))
        held = [name for name in bridges if not any(fnmatch.fnmatchcase(name, pattern) for pattern in passing)]
        if bridges and not held:
            continue
        whose = DOCKER if "DOCKER-USER" in names and chain["hook"] == "forward" else OTHER
        # A ufw that was disabled leaves chains, but none for the rules of users.
        whose = UFW if any(name.startswith("ufw-user-") for name in names) else whose
        whose = FIREWALLD if chain["table"] == "firewalld" else whose
        where = f"{chain['family']} {chain['table']} {chain['name']}"
        each = "each bridge of guests" + (f" ({', '.join(held)})" if held else "")
        found[whose.format(what=_WHAT[chain["hook"]], where=where, bridges=each)] = None
    return list(found)


def _interfaces(base: Chain, name: str, rules: t.Sequence[Rule], seen: set[str]) -> t.Iterator[str]:
    """The patterns of interfaces from which the chain *name*, and those that it jumps to, let guests' packets through."""
    seen.add(name)
    for rule in rules:
        if not _is_of(rule, base, name):
            continue
        parts = _telling(rule)
        conditions = [part["match"] for part in parts[:-1] if "match" in part]
        if not parts or len(conditions) != len(parts) - 1:
            continue
        target = (parts[-1].get("jump") or parts[-1].get("goto") or {}).get("target")
        if target is not None and target not in seen:
            inside = list(_interfaces(base, str(target), rules, {*seen} if conditions else seen))
            if not conditions:
                yield from inside
            elif _ALL in inside:
                yield from _let_in(base["hook"], conditions)
        if "accept" in parts[-1]:
            yield from _let_in(base["hook"], conditions) if conditions else [_ALL]


def _let_in(hook: str, conditions: t.Sequence[t.Mapping[str, t.Any]]) -> t.Iterator[str]:
    """The pattern of the interface where a rule with these *conditions* lets in what guests send first."""
    found = []
    for condition in conditions:
        if condition["op"] != "==":
            return
        left, right = condition["left"], condition["right"]
        if left in ({"meta": {"key": "iifname"}}, {"meta": {"key": "iif"}}) and isinstance(right, str):
            found.append(right)
        # libvirt lets each network in from its own addresses, and asks for names and addresses by their ports.
        elif left.get("payload", {}).get("field") != "saddr" and not (hook == "input" and (left, right) == (_DHCP, 67)):
            return
    yield from found


def explained(error: WaitTimeout) -> WaitTimeout:
    """*error*, of a guest that got no address, with the firewalls that may be why."""
    found = read_obstacles()
    cause = f". A firewall of the host may be why: {'; '.join(found)}" if found else ""
    return WaitTimeout(error.message + cause, **error.facts)
