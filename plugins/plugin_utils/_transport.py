# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""How the control node runs a program on a hypervisor: here, or through ssh, with a password for sudo. Knows nothing of what runs there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import shlex
import shutil
import subprocess
import threading
import typing as t

from ._guest_shell import MARKER, Dialogue, inside, pattern

# What the connection variables of a hypervisor are called in the inventory.
VARIABLES = {
    "host": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "private_key_file": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "common_args": ("ansible_ssh_common_args",),
    "extra_args": ("ansible_ssh_extra_args",),
    "ssh_args": ("ansible_ssh_args",),
    "executable": ("ansible_ssh_executable",),
    "connection": ("ansible_connection",),
    "become_password": ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
}
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# A login shell there may print before it runs what it is told (.bashrc): what counts begins behind this line.
_BEGIN = "homelab.hybrid begins here"
_AFTER_LOGIN = f'echo "{_BEGIN}"; exec "$@"'
# The words of sudo and all around it come first, as many as the first argument says. Who is root has no use for them, nor for the password.
_UNLESS_ROOT = """\
count=$1; shift
if [ "$(id -u)" -eq 0 ]; then IFS= read -r password; shift "$count"; fi
exec "$@"
"""
_PROMPT = "[sudo for homelab.hybrid]"
_SUDO = Dialogue(prompt=pattern([_PROMPT]), success=_BEGIN, wrong=pattern(["Sorry, try again."]), has_password=True)
DEFAULT_SSH_ARGS = "-o ControlMaster=auto -o ControlPersist=60s"


class Unreachable(Exception):
    """The hypervisor, or ssh itself, did not answer."""


@dataclasses.dataclass(frozen=True)
class Hypervisor:
    """Where a hypervisor is. Without a *host* it is this machine. *timeout* in seconds is for the connection alone."""

    host: str | None = None
    port: int | None = None
    user: str | None = None
    private_key_file: str | None = None
    executable: str = "ssh"
    ssh_args: str = DEFAULT_SSH_ARGS
    common_args: str = ""
    extra_args: str = ""
    checks_host_key: bool = True
    timeout: int = 10
    become_password: str | None = dataclasses.field(default=None, repr=False)
    control_folder: str = "~/.ansible/cp"

    @property
    def shown(self) -> str:
        return self.host or "this machine"

    def argv(self, argv: t.Sequence[str]) -> list[str]:
        """The command line that runs *argv* there, word for word; with a password as root, and then it reads that first."""
        if self.become_password is not None:
            argv = _as_root(argv)
        if self.host is None:
            return list(argv)
        options = [*shlex.split(self.ssh_args), *shlex.split(self.common_args), *shlex.split(self.extra_args)]
        if "ControlPersist" in self.ssh_args and "ControlPath" not in " ".join(options):
            options += ["-o", f"ControlPath={self._control_path()}"]
        options += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={self.timeout}"]
        options += [] if self.checks_host_key else ["-o", "StrictHostKeyChecking=no"]
        options += ["-p", str(self.port)] if self.port else []
        options += ["-l", self.user] if self.user else []
        options += ["-i", os.path.expanduser(self.private_key_file)] if self.private_key_file else []
        # ssh hands one text to the login shell there.
        command = argv if self.become_password is not None else ["/bin/sh", "-c", _AFTER_LOGIN, "sh", *argv]
        return [self.executable, *options, "--", self.host, shlex.join(command)]

    def _control_path(self) -> str:
        key = "\0".join(
            (self.host or "", str(self.port), self.user or "", self.private_key_file or "", self.common_args)
        )
        folder = os.path.expanduser(self.control_folder)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # A socket's path may have some hundred characters.
        return os.path.join(folder, "lxc-" + hashlib.sha256(key.encode()).hexdigest()[:12])

    def run(
        self,
        argv: t.Sequence[str],
        *,
        input: bytes | None = None,
        source: t.IO[bytes] | None = None,
        target: t.IO[bytes] | None = None,
        limit: float | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Run *argv* there. Returns its status, what it printed and what it complained about.

        It reads *input*, or the file *source*; what it prints goes into the file *target* where there is one. *limit* is in seconds, for all of it.

        :raises Unreachable: when the hypervisor, or ssh itself, does not answer, or not within *limit*.
        """
        command = self.argv(argv)
        try:
            has_begin = self.host is not None or self.become_password is not None
            done = _communicate(command, self._head(input), source, target, limit, has_begin)
        except subprocess.TimeoutExpired as exc:
            raise Unreachable(f"{self.shown} did not answer within {limit:g} s") from exc
        except FileNotFoundError as exc:
            raise Unreachable(
                f"{command[0]} is not on {self.shown if self.host is None else 'the control node'}"
            ) from exc
        # ssh says everything that is its own fault with 255.
        if self.host is not None and done[0] == 255:
            raise Unreachable(f"ssh to {self.host}: {_last_lines(done[2])}")
        if self.become_password is not None and (told := done[2].rpartition(MARKER.encode()))[1] and done[0] != 0:
            raise Unreachable(f"sudo on {self.shown}: the password is {told[2].decode(errors='replace').strip()}")
        return done

    def _head(self, input: bytes | None) -> bytes:
        """What a program reads first, or all that it reads."""
        return (b"" if self.become_password is None else f"{self.become_password}\n".encode()) + (input or b"")


def _as_root(argv: t.Sequence[str]) -> list[str]:
    """The command line that runs *argv* as root by a sudo that asks for a password."""
    begin = ["/bin/sh", "-c", _AFTER_LOGIN, "sh", *argv]
    whole = inside(["sudo", "-S", "-p", _PROMPT, "--", *begin], has_own_path=True, dialogue=_SUDO)
    return ["/bin/sh", "-c", _UNLESS_ROOT, "sh", str(len(whole) - len(begin)), *whole]


def _communicate(
    command: t.Sequence[str],
    head: bytes,
    source: t.IO[bytes] | None,
    target: t.IO[bytes] | None,
    limit: float | None,
    has_begin: bool,
) -> tuple[int, bytes, bytes]:
    """As ``Hypervisor.run``: it reads *head* and then the file *source*. With *has_begin* only what is printed behind ``_BEGIN`` counts.

    :raises subprocess.TimeoutExpired: after *limit* seconds.
    """
    out, err = target or io.BytesIO(), io.BytesIO()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if head or source is None else source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, stderr = t.cast(t.IO[bytes], process.stdout), t.cast(t.IO[bytes], process.stderr)
    # A process that ssh left behind may hold the pipes open when ssh itself was ended: nobody waits for these threads then.
    readers = [
        threading.Thread(target=_copy, args=(stdout, out, _BEGIN if has_begin else None), daemon=True),
        threading.Thread(target=_copy, args=(stderr, err, None), daemon=True),
        threading.Thread(target=_write, args=(process.stdin, head, source), daemon=True),
    ]
    try:
        for reader in readers:
            reader.start()
        process.wait(limit)
    except BaseException:
        process.kill()
        process.wait()
        raise
    for reader in readers:
        reader.join()
    stdout.close()
    stderr.close()
    return process.returncode, out.getvalue() if isinstance(out, io.BytesIO) else b"", err.getvalue()


def _copy(stream: t.IO[bytes], target: t.IO[bytes], begin: str | None) -> None:
    """Copy what is behind the line *begin*, or all of it."""
    if begin is not None:
        for line in stream:
            if line.endswith(f"{begin}\n".encode()):
                break
    shutil.copyfileobj(stream, target)


def _write(stream: t.IO[bytes] | None, data: bytes, source: t.IO[bytes] | None) -> None:
    """Feed a process; one that reads nothing more is no error."""
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):
            stream.write(data)
            if source is not None:
                shutil.copyfileobj(source, stream)
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def hypervisor(
    name: str | None,
    variables: t.Mapping[str, t.Any],
    options: t.Mapping[str, t.Any],
    defaults: t.Mapping[str, t.Any] | None = None,
) -> Hypervisor:
    """The hypervisor *name* of the inventory by its connection *variables*; what is set in *options* goes before them, *defaults* after them."""
    found = {
        key: next((variables[each] for each in names if variables.get(each) not in (None, "")), None)
        for key, names in VARIABLES.items()
    }
    found.update({key: value for key, value in options.items() if value not in (None, "")})
    found.update({key: value for key, value in (defaults or {}).items() if found.get(key) is None})
    connection = str(found.pop("connection") or "").rpartition(".")[2]
    host = found.pop("host") or name
    port = found.pop("port")
    # Behind a port of this machine is another one: a tunnel, or a virtual machine whose port is forwarded.
    is_here = host is None or (host in LOCAL_HOSTS and not port)
    if connection == "local" or (not connection and is_here):
        return Hypervisor()
    given = {key: value for key, value in found.items() if value is not None}
    return Hypervisor(host=host, port=int(port) if port else None, **given)


def connection_variables(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Those of the *variables* of a host that say how it is reached. No other is looked at, so no other needs to be defined."""
    names = (name for names in VARIABLES.values() for name in names)
    return {name: variables[name] for name in names if name in variables}


def _last_lines(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or "it ended without a word"
