# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Processes for items: a clean spawner forked before any library is opened, and workers forked from it on demand."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import traceback
import typing as t

from .._core.errors import ApplyError

Message = dict[str, t.Any]
Tell = t.Callable[[Message], None]
Work = t.Callable[[Message, Tell], Message]


class Spawner:
    """A process that does nothing but fork workers.

    python3-lxc holds the interpreter's lock while it starts and stops, and neither liblxc nor libvirt survive a fork once
    they are open: work in parallel needs processes that were forked before. The spawner and its workers are a session of
    their own: where this process ends early, a worker still finishes its item, under its locks.
    """

    def __init__(self, work: Work) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _be_spawner(theirs, work)
        theirs.close()

    def start(self, order: Message) -> socket.socket:
        """Fork a worker for *order*. Its messages are JSON lines on the returned socket; after the last one it ends.

        :raises ApplyError: when the spawner is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [b"w"], [theirs.fileno()])
            ours.sendall(json.dumps(order).encode() + b"\n")
        except OSError as exc:
            ours.close()
            raise ApplyError(f"no process could be started for it ({exc}). Run it again") from exc
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """Let the spawner go; it ends by itself."""
        self._control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _be_spawner(control: socket.socket, work: Work) -> t.NoReturn:
    try:
        os.setsid()
        # Ansible reads what the module prints until the last writer has closed it.
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        while True:
            said, descriptors, dummy, dummy = socket.recv_fds(control, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if not said:
                break
            _reap()
            if os.fork() == 0:
                control.close()
                _be_worker(socket.socket(fileno=descriptors[0]), work)
            os.close(descriptors[0])
    finally:
        os._exit(0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _be_worker(channel: socket.socket, work: Work) -> t.NoReturn:
    def tell(message: Message) -> None:
        # The one who asked may be gone; the work goes on.
        with contextlib.suppress(OSError):
            channel.sendall(json.dumps(message, default=str).encode() + b"\n")

    try:
        with channel.makefile("rb") as stream:
            order = json.loads(stream.readline())
        try:
            tell({"result": work(order, tell)})
        except Exception as exc:
            tell({"result": {"msg": f"{type(exc).__name__}: {exc}", "exception": traceback.format_exc()}})
    finally:
        os._exit(0)
