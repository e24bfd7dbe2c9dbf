# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the service roles need that templates cannot say: who has a port or a network, and the hash of a password of Mosquitto."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import typing as t

_ANY = {"", "*", "0.0.0.0", "[::]", "::"}
# What mosquitto_passwd(1) of 2.0 writes: PBKDF2 with SHA-512.
_MOSQUITTO_ITERATIONS = 101
_MOSQUITTO_SALT_BYTES = 12


def ports_taken(
    listens: t.Sequence[t.Mapping[str, t.Any]], sockets: str, units: str, own: t.Collection[str]
) -> list[dict[str, t.Any]]:
    """Which of the ports in *listens* (items ``port``, ``protocol``, ``address``) another unit than those in *own* has.

    *sockets* is what ``ss --no-header --listening --numeric --tcp --udp --processes`` prints, *units* lines of a process
    and its unit (``ps -e -o pid=,unit=``), of which the last counts. The items of the answer have that ``unit`` and a ``sentence``.
    """
    unit_of = {fields[0]: fields[1] for fields in map(str.split, units.splitlines()) if len(fields) == 2}
    found = []
    for line in sockets.splitlines():
        fields = line.split(None, 6)
        if len(fields) < 6:
            continue
        address, dummy, port = fields[4].rpartition(":")
        for program, pid in re.findall(r'\("([^"]+)",pid=(\d+)', line):
            its = unit_of.get(pid, "")
            for wanted in listens:
                if (
                    its not in own
                    and int(wanted["port"]) == int(port)
                    and wanted.get("protocol", "tcp") == fields[0]
                    and _overlap(str(wanted.get("address") or ""), address)
                ):
                    who = f"{program} ({its})" if its.endswith(".service") else program
                    found.append({"unit": its, "sentence": f"port {port}/{fields[0]} is taken by {who}"})
    return [item for number, item in enumerate(found) if item not in found[:number]]


def _overlap(wanted: str, bound: str) -> bool:
    """Whether both cannot be listened on at once. An address may be in brackets and end with a link."""
    plain = [re.sub(r"%.*", "", address).strip("[]") for address in (wanted, bound)]
    return wanted in _ANY or bound in _ANY or plain[0] == plain[1]


# Those that Docker made itself from its pools.
_DOCKERS_LINKS = re.compile(r"(docker|br-|veth)")


def pools_overlapping(pools: t.Iterable[t.Mapping[str, t.Any]], routes: str, bridges: t.Iterable[t.Any]) -> list[str]:
    """Sentences on *pools* of Docker (items ``base``) that overlap what the guest must reach.

    That is each network in *routes*, as ``ip -json route show`` prints them, and those of *bridges*, the ``hypervisor_bridges`` of hosts (items
    ``name``, ``address``). What is no network is left to Docker and to the layout to refuse.
    """
    reached = [
        (str(route["dst"]), f"the route of {route.get('dev', 'the guest')}")
        for route in json.loads(routes or "[]")
        if route.get("dst") != "default" and not _DOCKERS_LINKS.match(str(route.get("dev", "")))
    ]
    reached += [
        (str(bridge["address"]), f"the bridge {bridge.get('name')}")
        for bridge in bridges
        if isinstance(bridge, t.Mapping) and bridge.get("address") and bridge.get("state") != "absent"
    ]
    found = []
    for pool in pools:
        base = _network(str(pool.get("base")))
        for written, whose in reached:
            network = _network(written)
            # Networks of the two families never overlap.
            if base is not None and network is not None and base.version == network.version and base.overlaps(network):
                found.append(f"{base} overlaps {network}, {whose}")
    return list(dict.fromkeys(found))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def mosquitto_hash(password: str, seed: str) -> str:
    """*password* as a password file of Mosquitto has it.

    The salt comes from *seed*, which is another for each user and guest: it must not repeat, and need not be secret, and the
    line of a password that did not change stays the same.
    """
    salt = hashlib.sha512(seed.encode()).digest()[:_MOSQUITTO_SALT_BYTES]
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _MOSQUITTO_ITERATIONS)
    encoded = [base64.b64encode(part).decode() for part in (salt, digest)]
    return f"$7${_MOSQUITTO_ITERATIONS}${encoded[0]}${encoded[1]}"
