# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the QEMU guest agent is asked to run programs and to move files. Knows neither libvirt nor the system of the guest."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import time
import typing as t

from .._core.errors import HybridError

Ask = t.Callable[[str], str]
# A message of some 200 KiB to the guest was seen to block the virtio port for good; Proxmox stops at 60 KiB as well.
WRITE_BYTES = 48 * 1024
# libvirt hands no answer of more than 4 MiB over, and loses the agent until the guest starts anew with one of 10 MiB.
READ_BYTES = 256 * 1024
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25


class AgentError(HybridError):
    """The agent refused a command, or did not do it."""


class AgentSilent(HybridError):
    """The guest does not run, or its agent does not answer."""


@dataclasses.dataclass(frozen=True)
class Done:
    """A program that ended. *rc* is 128 and the number of the signal where one ended it.

    *is_cut*: the program printed more than the agent keeps (16 MiB).
    """

    rc: int
    stdout: bytes
    stderr: bytes
    is_cut: bool = False


class Agent:
    """The agent of one guest. *ask* sends it a command and returns its answer, both JSON.

    *ask* raises ``AgentSilent`` after a bounded time; nothing here waits for a program but by asking for it again.
    """

    def __init__(self, ask: Ask, pause: t.Callable[[float], None] = time.sleep) -> None:
        self._send = ask
        self._pause = pause

    def ask(self, command: str, **arguments: t.Any) -> t.Any:
        """The answer to one command of the agent's protocol.

        :raises AgentError, AgentSilent:
        """
        message: dict[str, t.Any] = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            answer = json.loads(self._send(json.dumps(message)))
        except ValueError as exc:
            raise AgentError(f"the agent answered {command} with something that is no JSON") from exc
        if not isinstance(answer, dict) or "return" not in answer:
            error = answer.get("error") if isinstance(answer, dict) else None
            told = error.get("desc") if isinstance(error, dict) else None
            raise AgentError(f"the agent refused {command}: {told or answer}")
        return answer["return"]

    def run(
        self,
        path: str,
        arguments: t.Sequence[str],
        *,
        environment: t.Sequence[str] | None = None,
        input: bytes = b"",
    ) -> Done:
        """Run the program *path* to its end. It reads *input*, up to ``WRITE_BYTES``; an *environment* (``NAME=value``) replaces that of the agent.

        What it prints must stay below 2 MiB.

        :raises AgentError, AgentSilent:
        """
        options: dict[str, t.Any] = {"arg": list(arguments), "capture_output": True}
        if environment is not None:
            options["env"] = list(environment)
        if input:
            options["input_data"] = base64.b64encode(input).decode()
        pid = self.ask("guest-exec", path=path, **options)["pid"]
        pause = FIRST_PAUSE
        while True:
            status = self.ask("guest-exec-status", pid=pid)
            if status.get("exited"):
                return _done(status)
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def write(self, path: str, source: t.IO[bytes]) -> None:
        """Write all of *source* into the file *path* of the guest. One that does not exist yet is writable for all: make it before.

        :raises AgentError, AgentSilent:
        """
        with self._open(path, "wb") as handle:
            while True:
                chunk = source.read(WRITE_BYTES)
                if not chunk:
                    break
                while chunk:
                    data = base64.b64encode(chunk).decode()
                    count = self.ask("guest-file-write", handle=handle, buf_b64=data)["count"]
                    if count <= 0:
                        raise AgentError(f"the agent could not write {path}")
                    chunk = chunk[count:]
            self.ask("guest-file-flush", handle=handle)

    def read(self, path: str) -> t.Iterator[bytes]:
        """The content of the file *path* of the guest.

        :raises AgentError, AgentSilent:
        """
        with contextlib.ExitStack() as stack:
            handle = stack.enter_context(self._open(path, "rb"))
            while True:
                answer = self.ask("guest-file-read", handle=handle, count=READ_BYTES)
                data = base64.b64decode(answer.get("buf-b64") or "")
                if data:
                    yield data
                if answer.get("eof") or not data:
                    return

    @contextlib.contextmanager
    def _open(self, path: str, mode: str) -> t.Iterator[int]:
        handle = self.ask("guest-file-open", path=path, mode=mode)
        try:
            yield handle
        except AgentSilent:
            raise
        except BaseException:
            with contextlib.suppress(HybridError):
                self.ask("guest-file-close", handle=handle)
            raise
        self.ask("guest-file-close", handle=handle)


def _done(status: t.Mapping[str, t.Any]) -> Done:
    signal = status.get("signal")
    return Done(
        rc=128 + int(signal) if signal is not None else int(status.get("exitcode", 0)),
        stdout=base64.b64decode(status.get("out-data") or ""),
        stderr=base64.b64decode(status.get("err-data") or ""),
        is_cut=bool(status.get("out-truncated") or status.get("err-truncated")),
    )
