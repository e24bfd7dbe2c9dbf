# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The program on the hypervisor that the connection plugin ``qemu_ga`` talks to: one request to the agent of one guest.

The request is the one argument, JSON: ``domain``, ``timeout`` (seconds for each answer of the agent), ``environment`` (a list of ``NAME=value``,
or null for that of the agent), ``action`` and its own keys:

- ``run`` (``path``, ``arguments``, ``is_posix``): runs a program that reads the standard input. Prints JSON: ``rc``, and ``stdout``
  and ``stderr`` in base64. ``is_posix``: the guest has ``/bin/sh`` and ``mktemp``, so that much input and output can go through its files;
  otherwise it is Windows, where much input can.
- ``put`` (``path``, ``before``): writes the standard input into a file of the guest, after the program ``before`` (a list) made it.
- ``fetch`` (``path``): prints the content of a file of the guest.

An error is the last line of standard error: ``MARKER`` and JSON with ``message`` and ``is_silent``; the status is then ``FAILED``.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import sys
import typing as t

from .._core import libraries
from .._core.errors import HybridError
from .._host import libvirt
from .agent import READ_BYTES, WRITE_BYTES, Agent, AgentError, AgentSilent, Done

MARKER = "homelab.hybrid.qemu_ga: "
FAILED = 247
# What the shell below ends with when the output is left in files: their folder and the status of the program are what it printed.
IN_FILES = 246
# What is printed goes through files: the agent would lose what exceeds its limits, and libvirt the agent.
_POSIX = f"""\
if [ -n "$1" ]; then exec < "$1"; rm -f "$1"; fi
shift
folder=$(umask 077 && mktemp -d 2> /dev/null) || exec "$@"
"$@" > "$folder/stdout" 2> "$folder/stderr"
rc=$?
if [ $(($(wc -c < "$folder/stdout") + $(wc -c < "$folder/stderr"))) -gt {READ_BYTES} ]; then echo "$folder $rc"; exit {IN_FILES}; fi
cat "$folder/stdout"
cat "$folder/stderr" >&2
rm -rf "$folder"
exit $rc
"""
# Windows' own shell, which takes 8191 characters, and words that mean nothing to it.
_CMD, _CMD_LENGTH = ("cmd.exe", "/d", "/c"), 8000
_PLAIN = re.compile(r"[\w.:/+=\\-]+")
Request = t.Mapping[str, t.Any]


def main() -> None:
    """Do what the one argument of the program says."""
    try:
        request = json.loads(sys.argv[1])
        answer(request, Agent(connect(request["domain"], int(request["timeout"]))), sys.stdin.buffer, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except HybridError as exc:
        error = {"message": exc.message, "is_silent": isinstance(exc, AgentSilent)}
        sys.stderr.write(f"\n{MARKER}{json.dumps(error)}\n")
        raise SystemExit(FAILED) from exc


def connect(name: str, timeout: int) -> t.Callable[[str], str]:
    """What sends a command to the agent of the domain *name* and waits *timeout* seconds for its answer.

    :raises HybridError: when libvirt does not answer.
    :raises AgentSilent: when there is no such domain, or it does not run.
    """
    library, agent = libraries.libvirt(), libraries.libvirt_qemu()
    silent = {
        library.VIR_ERR_OPERATION_INVALID,
        library.VIR_ERR_OPERATION_TIMEOUT,
        library.VIR_ERR_ARGUMENT_UNSUPPORTED,
        library.VIR_ERR_AGENT_UNRESPONSIVE,
        library.VIR_ERR_NO_DOMAIN,
        # Newer than the libvirt of Debian 11.
        getattr(library, "VIR_ERR_AGENT_COMMAND_TIMEOUT", None),
    }
    connection = libvirt.connect()
    try:
        domain = connection.lookupByName(name)
        state = domain.state()[0]
    except library.libvirtError as exc:
        raise AgentSilent(f"there is no virtual machine {name} on this hypervisor") from exc
    if state in (library.VIR_DOMAIN_PAUSED, library.VIR_DOMAIN_PMSUSPENDED):
        raise AgentSilent(f"the virtual machine {name} is paused")
    if not domain.isActive():
        raise AgentSilent(f"the virtual machine {name} does not run")

    def ask(message: str) -> str:
        try:
            return str(agent.qemuAgentCommand(domain, message, timeout, 0))
        except library.libvirtError as exc:
            said = exc.get_error_message()
            if exc.get_error_code() in silent:
                raise AgentSilent(f"the guest agent of {name} does not answer: {said}") from exc
            raise AgentError(f"the guest agent of {name}: {said}") from exc

    return ask


def answer(request: Request, agent: Agent, source: t.IO[bytes], target: t.IO[bytes]) -> None:
    """Do *request*, reading *source* and printing into *target*.

    :raises AgentError, AgentSilent:
    """
    if request["action"] == "run":
        done = run(request, agent, source.read())
        if done.is_cut:
            raise AgentError("the command printed more than the guest agent keeps")
        told: dict[str, t.Any] = {"rc": done.rc}
        for name, data in (("stdout", done.stdout), ("stderr", done.stderr)):
            told[name] = base64.b64encode(data).decode()
        target.write(json.dumps(told).encode())
    elif request["action"] == "put":
        if request.get("before"):
            _succeed(agent, request["before"], request.get("environment"))
        agent.write(request["path"], source)
    else:
        for data in agent.read(request["path"]):
            target.write(data)


def run(request: Request, agent: Agent, input: bytes) -> Done:
    """Run the program of *request*.

    :raises AgentError, AgentSilent:
    """
    argv, environment = [request["path"], *request["arguments"]], request.get("environment")
    if not request.get("is_posix"):
        if len(input) > WRITE_BYTES:
            return _with_spool(agent, argv, input)
        return agent.run(argv[0], argv[1:], environment=environment, input=input)
    spool, head = "", input
    if len(input) > WRITE_BYTES:
        spool = _succeed(agent, ["/bin/sh", "-c", "umask 077 && mktemp"], environment).stdout.decode().strip()
        agent.write(spool, io.BytesIO(input))
        head = b""
    done = agent.run("/bin/sh", ["-c", _POSIX, "sh", spool, *argv], environment=environment, input=head)
    left = re.fullmatch(rb"(/[^\n]+) (\d+)\n", done.stdout)
    return from_files(agent, left[1].decode(), int(left[2]), environment) if done.rc == IN_FILES and left else done


def _with_spool(agent: Agent, argv: t.Sequence[str], input: bytes) -> Done:
    """Run *argv* in Windows, which reads *input* from a file: the agent hands no more than ``WRITE_BYTES`` over by itself.

    :raises AgentError: where the shell that opens the file would take the arguments for something else.
    """
    if len(" ".join(argv)) > _CMD_LENGTH or not all(map(_PLAIN.fullmatch, argv)):
        raise AgentError(f"this command can read {WRITE_BYTES} bytes, not {len(input)}")
    # That of the system, in which others cannot read.
    folder = _succeed(agent, [*_CMD, "echo", "%TEMP%"], None).stdout.decode().strip()
    spool = f"{folder}\\homelab-{secrets.token_hex(8)}"
    try:
        agent.write(spool, io.BytesIO(input))
        return agent.run(_CMD[0], [*_CMD[1:], *argv, "<", spool])
    finally:
        _succeed(agent, [*_CMD, "del", "/f", "/q", spool], None)


def from_files(agent: Agent, folder: str, rc: int, environment: t.Sequence[str] | None) -> Done:
    """What a program with the status *rc* left in files of *folder*, which is removed."""
    stdout, stderr = (b"".join(agent.read(f"{folder}/{name}")) for name in ("stdout", "stderr"))
    _succeed(agent, ["/bin/sh", "-c", 'rm -rf -- "$0"', folder], environment)
    return Done(rc, stdout, stderr)


def _succeed(agent: Agent, argv: t.Sequence[str], environment: t.Sequence[str] | None) -> Done:
    done = agent.run(argv[0], argv[1:], environment=environment)
    if done.rc != 0:
        raise AgentError(done.stderr.decode(errors="replace").strip() or f"{argv[0]} ended with {done.rc} in the guest")
    return done
