# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set keys of Pi-hole by its own command line, and only those that differ.

The input is JSON: ``settings`` by key, ``hosts`` and ``cnames`` as pairs (address and name, name and target), the ``password``, and whether to
``apply``. The output is JSON: ``changes``, items ``key``, ``before`` and ``after``, the ``restarting`` keys among them, and ``errors``.
What is compared is pihole.toml, which the program itself writes whole and in one form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tomllib
import typing as t
from pathlib import Path

FILE = Path("/etc/pihole/pihole.toml")
UNIT = "pihole-FTL.service"
HASH = "webserver.api.pwhash"
# What FTL takes while it runs. For anything else it ends, and its unit starts it 5 seconds later, 5 times in a minute at most.
LIVE = {HASH, "dns.hosts"}
SPACE_COST, TIME_COST, SALT_BYTES = 1024, 32, 16


def balloon(password: str, salt: bytes, space: int = SPACE_COST, rounds: int = TIME_COST) -> bytes:
    """The hash of FTL: Balloon (Boneh, Corrigan-Gibbs, Schechter 2016) with SHA-256, as nettle has it."""
    count = 0

    def hashed(*parts: bytes) -> bytes:
        nonlocal count
        digest = hashlib.sha256(count.to_bytes(8, "little") + b"".join(parts)).digest()
        count += 1
        return digest

    blocks = [hashed(password.encode(), salt)]
    while len(blocks) < space:
        blocks.append(hashed(blocks[-1]))
    for number in range(rounds):
        for place in range(space):
            # The block before the first one is the last one.
            blocks[place] = hashed(blocks[place - 1], blocks[place])
            for step in range(3):
                numbers = b"".join(each.to_bytes(8, "little") for each in (number, place, step))
                other = hashed(salt, hashlib.sha256(numbers).digest())
                blocks[place] = hashed(blocks[place], blocks[int.from_bytes(other, "little") % space])
    return blocks[-1]


def encoded(password: str, salt: bytes) -> str:
    parts = [base64.b64encode(part).decode() for part in (salt, balloon(password, salt))]
    return f"$BALLOON-SHA256$v=1$s={SPACE_COST},t={TIME_COST}${parts[0]}${parts[1]}"


def is_hash_of(password: str, found: str) -> bool:
    match = re.fullmatch(rf"\$BALLOON-SHA256\$v=1\$s={SPACE_COST},t={TIME_COST}\$([^$]+)\$([^$]+)", found)
    try:
        return match is not None and secrets.compare_digest(encoded(password, base64.b64decode(match[1])), found)
    except binascii.Error:
        return False


def flat(table: t.Mapping[str, t.Any], before: str = "") -> dict[str, t.Any]:
    """Each key with its path."""
    found: dict[str, t.Any] = {}
    for key, value in table.items():
        found.update(flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value})
    return found


def with_hosts(there: list[str], pairs: list[list[str]]) -> list[str]:
    """Lines of an address and names: the names of *pairs* have the addresses that stand there alone, those of others stay."""
    ours = {name.lower() for dummy, name in pairs}
    wanted = [f"{address} {name.lower()}" for address, name in pairs]
    found = []
    for line in there:
        address, *names = line.split()
        others = [name for name in names if name.lower() not in ours]
        if line in wanted or len(others) == len(names):
            found.append(line)
        elif others:
            found.append(" ".join([address, *others]))
    return found + [line for line in wanted if line not in found]


def with_cnames(there: list[str], pairs: list[list[str]]) -> list[str]:
    """Lines of names, their target and perhaps a time to live: the names of *pairs* have the target that stands there, others stay."""
    targets = {name.lower(): target.lower() for name, target in pairs}
    found, known = [], set()
    for line in there:
        fields = [field.strip() for field in line.split(",")]
        end = fields[-1:] if fields[-1].isdecimal() and len(fields) > 2 else []
        *names, target = fields[: len(fields) - len(end)]
        kept = [name for name in names if targets.get(name.lower(), target.lower()) == target.lower()]
        known.update(name.lower() for name in kept)
        if kept:
            found.append(line if kept == names else ",".join([*kept, target, *end]))
    return found + [f"{name},{target}" for name, target in targets.items() if name not in known]


def text(value: t.Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def wanted_of(given: t.Mapping[str, t.Any], there: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    wanted = dict(given["settings"])
    wanted["dns.hosts"] = with_hosts(there.get("dns.hosts", []), given["hosts"])
    wanted["dns.cnameRecords"] = with_cnames(there.get("dns.cnameRecords", []), given["cnames"])
    found = str(there.get(HASH, ""))
    wanted[HASH] = found if is_hash_of(given["password"], found) else encoded(given["password"], os.urandom(SALT_BYTES))
    return wanted


def forced() -> dict[str, str]:
    """What the unit forces by its environment: the command line refuses to set it, and must see it for that."""
    argv = ["systemctl", "show", "--property=Environment", "--value", UNIT]
    told = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    pairs = [each.partition("=") for each in shlex.split(told)]
    return {name: value for name, dummy, value in pairs if name.startswith("FTLCONF_")}


def ftl(*argv: str) -> tuple[int, str]:
    environment = {**os.environ, **forced()}
    done = subprocess.run(["pihole-FTL", *argv], capture_output=True, text=True, check=False, env=environment)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def read() -> dict[str, t.Any]:
    return flat(tomllib.loads(FILE.read_text(encoding="utf-8"))) if FILE.exists() else {}


def error_of(key: str, status: int, said: str) -> str:
    if status == 4:
        return f"{key}: this version has no such key"
    if status == 5:
        return f"{key}: the environment of {UNIT} forces it (FTLCONF_{key.replace('.', '_')})"
    return f"{key}: {said if key != HASH else 'refused'} (status {status})"


def main() -> int:
    given = json.load(sys.stdin)
    there = read()
    wanted = wanted_of(given, there)
    # A value that has not been written yet is that of the program, and unlike all.
    changed = [key for key, value in wanted.items() if key not in there or there[key] != value]
    errors = [error_of(key, *told) for key in changed if (told := ftl("--config", "-q", key))[0] == 4]
    if given["apply"] and not errors:
        for key in changed:
            status, said = ftl("--config", key, text(wanted[key]))
            if status:
                errors.append(error_of(key, status, said))
        kept = read()
        if not errors:
            errors = [
                f"{key}: {wanted[key]!r} was set, and it keeps {kept.get(key)!r}"
                for key in changed
                if kept.get(key) != wanted[key]
            ]
    changes = [
        {"key": key, "before": "" if key == HASH else there.get(key), "after": "" if key == HASH else wanted[key]}
        for key in changed
    ]
    json.dump(
        {"changes": changes, "restarting": [key for key in changed if key not in LIVE], "errors": errors}, sys.stdout
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
