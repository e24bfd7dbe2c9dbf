# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""From what hypervisors tell to inventory hosts: which ones, how each is called and how it is reached. Reads nothing itself."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import shlex
import typing as t

from ..module_utils._listing.listing import MARKER
from ._guest_system import shell_of
from ._transport import Hypervisor, hypervisor

KINDS = {"vm": "vms", "container": "containers"}
# A key of the configuration, and what it is called among the variables of a host.
CONNECTION_KEYS = {
    "host": "ansible_host",
    "port": "ansible_port",
    "user": "ansible_user",
    "private_key_file": "ansible_ssh_private_key_file",
    "ssh_executable": "ansible_ssh_executable",
    "ssh_args": "ansible_ssh_args",
    "ssh_common_args": "ansible_ssh_common_args",
    "ssh_extra_args": "ansible_ssh_extra_args",
    "connection": "ansible_connection",
    "become_password": "ansible_become_password",
}
# What an inventory declares by a name that a fact would have: taken for a wish, the fact would go before what
# a profile or guest_spec says.
DECLARED = ("guest_startup",)
Facts = t.Mapping[str, t.Any]


class BadConfiguration(Exception):
    """The configuration of the inventory cannot be."""


class BadAnswer(Exception):
    """A hypervisor answered with an error, or with something else than a list of its guests."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One hypervisor of the configuration. *variables* are the connection variables of an inventory host."""

    name: str
    variables: Facts
    hypervisor: Hypervisor


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which guests go into the inventory. Empty: all of them. *tags*: with at least one of these."""

    kinds: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def wants(self, guest: Facts) -> bool:
        return (
            (not self.kinds or guest["kind"] in self.kinds)
            and (not self.states or guest["state"] in self.states)
            and (not self.tags or bool(self.tags & set(guest.get("tags") or ())))
        )


@dataclasses.dataclass(frozen=True)
class Ways:
    """How guests are reached. *vm*: ``ssh`` or ``qemu_ga``; *jump*: ``auto``, ``always`` or ``never``."""

    vm: str = "ssh"
    jump: str = "auto"
    prefix: str = "guest_"
    checks_host_key: bool = True


def parse_sources(entries: t.Any, defaults: Facts, timeout: int, checks_host_key: bool) -> list[Source]:
    """The hypervisors of the option ``hypervisors``; *defaults* are for keys that an entry does not have.

    :raises BadConfiguration:
    """
    sources = [
        _source(entry, f"hypervisors[{i}]", defaults, timeout, checks_host_key) for i, entry in enumerate(entries)
    ]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadConfiguration(f"hypervisors: {', '.join(twice)} stands there twice")
    return sources


def _source(entry: t.Any, where: str, defaults: Facts, timeout: int, checks_host_key: bool) -> Source:
    if isinstance(entry, str):
        entry = {"name": entry, "connection": "local"} if entry in ("local", "localhost") else {"name": entry}
    if not isinstance(entry, t.Mapping):
        raise BadConfiguration(f"{where}: it is {type(entry).__name__}. Allowed: a name, or a dictionary with a name")
    unknown = sorted(set(entry) - set(CONNECTION_KEYS) - {"name"})
    if unknown:
        allowed = ", ".join(["name", *CONNECTION_KEYS])
        raise BadConfiguration(f"{where}: there is no {', '.join(map(str, unknown))}. Allowed: {allowed}")
    name = entry.get("name")
    if not isinstance(name, str) or not name or name.startswith("-") or any(not char.isprintable() for char in name):
        raise BadConfiguration(
            f"{where}.name: {name!r} is not allowed. Allowed: the name of the hypervisor in the inventory"
        )
    if entry.get("connection") not in (None, "local", "ssh"):
        raise BadConfiguration(f"{where}.connection: {entry['connection']!r} is not allowed. Allowed: local, ssh")
    port = entry.get("port")
    if port is not None and not (str(port).isdecimal() and 0 < int(port) < 65536):
        raise BadConfiguration(f"{where}.port: {port!r} is not allowed. Allowed: 1 to 65535")
    if str(entry.get("host") or "").startswith("-"):
        raise BadConfiguration(f"{where}.host: {entry['host']!r} is not allowed. Allowed: an address or a name")
    given = {**{key: value for key, value in defaults.items() if value is not None}, **entry}
    variables = {
        CONNECTION_KEYS[key]: value for key, value in given.items() if key in CONNECTION_KEYS and value is not None
    }
    if variables.get("ansible_connection") == "local":
        variables = {"ansible_connection": "local"}
    far = hypervisor(name, variables, {"timeout": timeout, "checks_host_key": checks_host_key})
    return Source(name, variables, far)


def parse_answer(stdout: bytes) -> dict[str, t.Any]:
    """What the program on a hypervisor printed: ``guests`` and ``private_bridges``.

    :raises BadAnswer:
    """
    dummy, marker, text = stdout.decode(errors="replace").rpartition(MARKER)
    try:
        told = json.loads(text) if marker else None
    except ValueError:
        told = None
    if isinstance(told, dict) and "error" in told:
        raise BadAnswer(str(told["error"]))
    if not isinstance(told, dict) or not isinstance(told.get("guests"), list):
        raise BadAnswer("it answered with something else than a list of its guests")
    return {"guests": told["guests"], "private_bridges": list(told.get("private_bridges") or ())}


def name_guests(
    answers: t.Mapping[str, Facts], wanted: Filter, is_qualified: bool, hypervisors: t.Collection[str]
) -> tuple[dict[str, tuple[str, Facts]], list[str]]:
    """The inventory hosts: for each name the hypervisor and the guest; and a sentence for each guest that has no name of its own.

    Of guests with one name the running one bears it, else that of the first hypervisor. The name of one of the *hypervisors* no guest
    bears: what is for the hypervisor would be done in the guest.
    """
    named: dict[str, tuple[str, Facts]] = {}
    clashes = []
    for hypervisor_name, answer in answers.items():
        for guest in answer["guests"]:
            if not wanted.wants(guest):
                continue
            name = f"{guest['name']}.{hypervisor_name}" if is_qualified else str(guest["name"])
            if name in hypervisors:
                where = "it" if name == hypervisor_name else hypervisor_name
                clashes.append(
                    f"{name} is a hypervisor and a guest on {where}: the guest is left out. hostnames=qualified has both"
                )
                continue
            if name not in named:
                named[name] = (hypervisor_name, guest)
                continue
            first = named[name][0]
            if guest["state"] == "started" and named[name][1]["state"] != "started":
                named[name] = (hypervisor_name, guest)
            left_out = first if named[name][0] == hypervisor_name else hypervisor_name
            clashes.append(
                f"{name} is on {first} and on {hypervisor_name}: the one on {left_out} is left out. hostnames=qualified has both"
            )
    return named, clashes


def variables_of(guest: Facts, source: Source, private_bridges: t.Collection[str], ways: Ways) -> dict[str, t.Any]:
    """The variables of a guest: its facts, and how it is reached."""
    variables = {ways.prefix + key: value for key, value in guest.items() if ways.prefix + key not in DECLARED}
    variables.update(guest_hypervisor=source.name, guest_kind=guest["kind"])
    address = preferred(guest.get("addresses") or ())
    if address:
        variables["ansible_host"] = address
    if guest["kind"] == "container":
        return {**variables, **_through("lxc", guest, source, ways)}
    variables.update(shell_of(guest.get("os_variant")))
    if ways.vm == "qemu_ga":
        return {**variables, **_through("qemu_ga", guest, source, ways)}
    variables["ansible_connection"] = "ssh"
    if source.hypervisor.host is not None and is_behind(guest, address, private_bridges, ways.jump):
        variables["ansible_ssh_common_args"] = jump_args(source.hypervisor)
    return variables


def _through(plugin: str, guest: Facts, source: Source, ways: Ways) -> dict[str, t.Any]:
    variables = {
        "ansible_connection": f"homelab.hybrid.{plugin}",
        f"ansible_{plugin}_name": guest["name"],
        "ansible_hypervisor": dict(source.variables),
    }
    if not ways.checks_host_key:
        variables["ansible_hypervisor_host_key_checking"] = False
    return variables


def preferred(addresses: t.Iterable[str]) -> str | None:
    """The address to use: IPv4 before IPv6, without those of a link alone."""
    parsed = [ipaddress.ip_address(str(address).partition("/")[0]) for address in addresses]
    useful = [address for address in parsed if not (address.is_link_local or address.is_loopback)]
    return str(min(useful, key=lambda address: address.version)) if useful else None


def is_behind(guest: Facts, address: str | None, private_bridges: t.Collection[str], jump: str) -> bool:
    """Whether the way to *address* of the guest goes through its hypervisor."""
    if jump != "auto":
        return jump == "always"
    for network in guest.get("networks") or ():
        if address in [str(each).partition("/")[0] for each in network.get("addresses") or ()]:
            return network.get("bridge") in private_bridges
    return False


def jump_args(far: Hypervisor) -> str:
    """The argument of ``ssh`` that goes through *far*.

    A jump host is asked with the user's own settings alone, so what is set for the hypervisor needs a command of its own.
    """
    has_settings = far.private_key_file or far.common_args or far.extra_args or not far.checks_host_key
    if not has_settings:
        target = f"{far.user}@{far.host}" if far.user else str(far.host)
        if ":" in str(far.host):
            target = f"{far.user}@[{far.host}]" if far.user else f"[{far.host}]"
        return "-o " + shlex.quote(f"ProxyJump={target}:{far.port}" if far.port else f"ProxyJump={target}")
    options = [*shlex.split(far.common_args), *shlex.split(far.extra_args)]
    options += [] if far.checks_host_key else ["-o", "StrictHostKeyChecking=no"]
    options += ["-p", str(far.port)] if far.port else []
    options += ["-l", far.user] if far.user else []
    options += ["-i", far.private_key_file] if far.private_key_file else []
    words = [far.executable, "-o", "BatchMode=yes", *options]
    # ssh replaces %h and the like in this command.
    text = shlex.join(words).replace("%", "%%") + " -W '[%h]:%p' -- " + shlex.quote(str(far.host)).replace("%", "%%")
    return "-o " + shlex.quote(f"ProxyCommand={text}")
