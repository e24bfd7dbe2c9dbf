# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A module whose change of the host's network is taken back by the host unless this control node confirms it over a new connection."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import shlex
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure

from ..module_utils._bridge.switch import program
from ..module_utils._bridge.switch.state import DEFAULT_SECONDS, VARIABLE
from ._kept import KeptAction, Result, Vars

_WAIT_SECONDS = 0.5
# How long a host that has gone back may take to answer again: what was sent meanwhile is sent again after longer and longer waits.
_BACK_SECONDS = 120
# Each command is a connection of its own, and one that is cut is noticed. Of an option that is there twice ssh takes the first.
_NEW_CONNECTION = (
    "-o ControlMaster=no -o ControlPath=none -o ConnectTimeout=5 -o ServerAliveInterval=2 -o ServerAliveCountMax=3"
)
# Without that a client that has nothing to send waits for a host whose power was cut until the kernel asks, after two hours.
_NOTICED = "-o ServerAliveInterval=5 -o ServerAliveCountMax=6"
_SETTLED = ("confirmed", "rolled_back")


def with_port_items(bridge: t.Any) -> t.Any:
    """The options of a *bridge* with each port that is written as a name alone, ``ports: [eno1]``, as the item that the module takes."""
    ports = bridge.get("ports") if isinstance(bridge, t.Mapping) else None
    if not isinstance(ports, list):
        return bridge
    return {**bridge, "ports": [{"name": port} if isinstance(port, str) else port for port in ports]}


class SwitchingAction(KeptAction):
    """Runs the module ``bridge``. Where it answers that a switch is under way, this confirms it, and has its result."""

    def switch(self, options: t.Mapping[str, t.Any], task_vars: Vars) -> Result:
        """The result of the module ``bridge`` with *options*, what it began confirmed or taken back.

        :raises AnsibleConnectionFailure: when the host does not answer, and has begun nothing.
        """
        name = secrets.token_hex(8)
        try:
            with _ssh_arguments(self._connection, _NOTICED), self._environment(VARIABLE, name):
                result = self.execute("bridge", options, task_vars)
        except AnsibleConnectionFailure:
            # The change may have been begun before the answer was lost.
            state = self._follow(name, {}, options)
            if not state:
                raise
            return _ended(state)
        if isinstance(result.get("switch"), dict) and result["switch"].get("id") == name and "msg" in result:
            # The sentence of before, which ansible-core (2.19) shows instead of the message.
            for key in ("msg", "exception"):
                result.pop(key, None)
            result.update(_ended(self._follow(name, result["switch"], options)), diff=result.get("diff", {}))
        return result

    def _follow(self, name: str, switch: Result, options: t.Mapping[str, t.Any]) -> Result:
        """How the switch *name* ended, confirmed as soon as the host has said that all of it stands; {} where no host knows of it."""
        seconds = int(options.get("confirm_timeout") or DEFAULT_SECONDS)
        until = time.monotonic() + seconds + _BACK_SECONDS
        words = [str(switch.get("python") or "/usr/bin/python3"), program.PROGRAM, "confirm", name]
        state: Result = {}
        proof: list[str] = []
        host = self._connection.get_option("host") if self._connection.transport == "ssh" else ""
        addresses = self._addresses(options)
        with _fresh(self._connection):
            while time.monotonic() < until:
                command = " ".join(map(shlex.quote, [*words, *proof]))
                for address in addresses:
                    told = self._ask(command, address)
                    if told.get("id") == name:
                        state = {**told, "address": address}
                        break
                    if told and not switch:
                        return {}  # the host is there, and has begun nothing
                if state.get("state") in _SETTLED:
                    break
                if not proof and state.get("proof"):
                    # All of it stands; who says so over one more connection confirms it.
                    proof = [str(state["proof"])]
                else:
                    time.sleep(_WAIT_SECONDS)
        if state.get("address"):
            # What the task leaves to do, such as to remove its files, is done where the host is now.
            self._connection.set_option("host", state["address"])
            self._connection.set_option("ssh_args", _known_as(self._connection, host))
        return state or {**switch, "state": "lost"}

    def _addresses(self, options: t.Mapping[str, t.Any]) -> list[str]:
        """Where the host may be reached: as now, or at the address that it is to get."""
        if self._connection.transport != "ssh":
            return [""]
        found = [""]
        for key in ("address", "address6"):
            try:
                found.append(str(ipaddress.ip_interface(str(options.get(key) or "")).ip))
            except ValueError:
                continue
        return found

    def _ask(self, command: str, address: str) -> Result:
        """What the host says at *address* ("" for that of the inventory); {} where nobody answers there."""
        with _at(self._connection, address):
            try:
                execute: t.Callable[[str], Result] = self._low_level_execute_command
                answer = execute(command)
            except AnsibleConnectionFailure:
                return {}
        try:
            told = json.loads(str(answer["stdout"]).strip().splitlines()[-1])
        except (ValueError, IndexError):
            return {}
        return told if isinstance(told, dict) else {}


@contextlib.contextmanager
def _fresh(connection: t.Any) -> t.Iterator[None]:
    """While it lasts, each command of an ssh connection is a connection of its own."""
    try:
        with _ssh_arguments(connection, _NEW_CONNECTION):
            yield
    finally:
        if connection.transport == "ssh":
            # The one of before may hang on an address that is gone.
            connection.reset()


@contextlib.contextmanager
def _ssh_arguments(connection: t.Any, arguments: str) -> t.Iterator[None]:
    """While it lasts, an ssh connection has *arguments* too."""
    if connection.transport != "ssh":
        yield
        return
    before = connection.get_option("ssh_args") or ""
    connection.set_option("ssh_args", f"{arguments} {before}")
    try:
        yield
    finally:
        connection.set_option("ssh_args", before)


@contextlib.contextmanager
def _at(connection: t.Any, address: str) -> t.Iterator[None]:
    """While it lasts, the ssh connection goes to another address of the same host ("" for none), with the key that is known of it."""
    if not address:
        yield
        return
    host, arguments = connection.get_option("host"), connection.get_option("ssh_args")
    connection.set_option("host", address)
    connection.set_option("ssh_args", _known_as(connection, host))
    try:
        yield
    finally:
        connection.set_option("host", host)
        connection.set_option("ssh_args", arguments)


def _known_as(connection: t.Any, host: str) -> str:
    return f"-o HostKeyAlias={host} {connection.get_option('ssh_args')}"


def _ended(state: Result) -> Result:
    """The result of a task whose switch ended with *state*."""
    switch = {key: state[key] for key in ("id", "state", "began", "ends", "reason", "left") if state.get(key)}
    if state.get("state") == "confirmed":
        result: Result = {**state.get("result", {}), "failed": False, "switch": switch}
        if state.get("address"):
            told = f"this host is reached at {state['address']} from now on. Write it in the inventory (ansible_host)"
            result["warnings"] = [*result.get("warnings", ()), told]
        return result
    if state.get("state") == "rolled_back":
        left = f"; what could not be brought back: {', '.join(state['left'])}" if state.get("left") else ""
        msg = f"the change was taken back, and the network of the host is as it was: {state.get('reason')}{left}"
        return {"failed": True, "changed": False, "switch": switch, "msg": msg}
    msg = f"the host does not answer. It takes the change back by itself at {state.get('ends')} (UTC): look whether it is there again, and why"
    return {"failed": True, "changed": False, "switch": switch, "msg": msg}
