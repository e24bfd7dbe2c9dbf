# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Items at work: in the order of their dependencies, as many at once as allowed, each in a process of its own.

A clean spawner is forked before any library is opened, and workers are forked from it on demand.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import socket
import traceback
import typing as t
from types import MappingProxyType

from .._core.claims import Address
from .._core.errors import ApplyError
from .._host.snapshot import Asked
from .plan import Item, defer_reason, dependencies, empty, in_order, skip_reason

Message = dict[str, t.Any]
Tell = t.Callable[[Message], None]
Work = t.Callable[[Message, Tell], Message]
Report = t.Callable[[Message], None]
# Writes down that an item was changed, and returns the warnings.
Note = t.Callable[[Item], list[str]]

# Those that only wait for their guests hold no lock and cost little but memory.
MOST_WAITING = 32
# The kernel hands over no more descriptors at once (SCM_MAX_FD).
MOST_DESCRIPTORS = 253


class _Job:
    """One item at work, as far as its worker has told."""

    def __init__(self, item: Item, channel: socket.socket) -> None:
        self.item = item
        self.channel = channel
        self.rest = b""
        self.stands: list[str] = []
        self.has_written = False
        self.is_written = False
        self.is_waiting = False
        self.result: Message | None = None


class Crew:
    """Brings items to their end. *parallel* is how many write at once; as many more may look at what they have written. *report* hears
    of every step. The worker of a guest inherits the locks of its addresses out of those that are *claimed*, by their descriptors, and does not
    ask again for those that are *silent* (see ``Host.silent``). What waits for one of *serve_later* may be deferred by its worker, and at once
    where that guest is only made in this run.

    A worker writes its own line in the journal; *note* writes that of one which did not come to it.
    """

    def __init__(
        self,
        spawner: Spawner,
        items: t.Sequence[Item],
        *,
        parallel: int,
        note: Note,
        report: Report | None = None,
        claimed: t.Mapping[Address, int],
        silent: t.Mapping[Asked, float] = MappingProxyType({}),
        serve_later: t.Sequence[str] = (),
    ) -> None:
        self._spawner = spawner
        self._claimed = claimed
        self._silent = [[*asked, when] for asked, when in silent.items()]
        self._serve_later = serve_later
        self._items = in_order(items)
        self._before = dict(zip(map(id, self._items), dependencies(self._items), strict=True))
        self._parallel = parallel
        self._note = note
        self._report = report or (lambda message: None)
        self._open = [item for item in self._items if item.needs_worker]
        self._selector = selectors.DefaultSelector()
        self._jobs: list[_Job] = []

    def work(self) -> None:
        """Run every item that has something to do. What comes of each is in its ``told``, ``has_failed`` and ``skipped``."""
        try:
            while self._open or self._jobs:
                self._start_ready()
                if self._jobs:
                    for key, dummy in self._selector.select():
                        self._hear(key.data)
        finally:
            for job in self._jobs:
                job.channel.close()
            self._selector.close()

    def _start_ready(self) -> None:
        # A skip makes others ready to be skipped: look again until nothing moves.
        is_moving = True
        while is_moving:
            is_moving = False
            for item in list(self._open):
                before = self._before[id(item)]
                if any(self._is_under_way(other) for other in before):
                    continue
                item.skipped = skip_reason(before)
                item.deferred = defer_reason(before) if item.skipped is None else None
                is_left = item.skipped is not None or item.deferred is not None
                if not is_left and not self._has_room():
                    continue
                self._open.remove(item)
                is_moving = True
                if not is_left:
                    self._start(item)
                elif item.skipped is not None:
                    self._report({"item": item.declared.path, "skipped": item.skipped})
                else:
                    self._report({"item": item.declared.path, "deferred": item.deferred})

    def _is_under_way(self, item: Item) -> bool:
        return any(item is other for other in self._open) or any(item is job.item for job in self._jobs)

    def _has_room(self) -> bool:
        waiting = sum(job.is_waiting for job in self._jobs)
        looking = sum(job.is_written and not job.is_waiting for job in self._jobs)
        writing = len(self._jobs) - waiting - min(looking, self._parallel)
        return writing < self._parallel and waiting < MOST_WAITING

    def _start(self, item: Item) -> None:
        declared = item.declared
        self._report({"item": declared.path, "started": True})
        kept = [fd for address, fd in self._claimed.items() if address in item.after.addresses]
        order: Message = {"kind": declared.kind.word, "name": declared.name, "params": dict(declared.params)}
        if self._silent:
            order["silent"] = self._silent
        if self._serve_later:
            made = {other.declared.name for other in self._before[id(item)] if other.is_new}
            order["serve_later"] = {guest: guest not in made for guest in self._serve_later}
        try:
            channel = self._spawner.start(order, kept)
        except ApplyError as exc:
            self._fail(item, exc.message, changed=False)
            return
        job = _Job(item, channel)
        self._jobs.append(job)
        self._selector.register(channel, selectors.EVENT_READ, job)

    def _hear(self, job: _Job) -> None:
        try:
            data = job.channel.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._finish(job)
            return
        *lines, job.rest = (job.rest + data).split(b"\n")
        for line in lines:
            self._take(job, json.loads(line))

    def _take(self, job: _Job, message: Message) -> None:
        if "result" in message:
            job.result = message["result"]
            return
        if "written" in message:
            job.is_written = True
            return
        job.has_written = job.has_written or "stands" in message or "step" in message
        job.is_waiting = job.is_waiting or "waiting" in message
        if "stands" in message:
            job.stands.append(message["stands"])
        self._report({"item": job.item.declared.path, **message})

    def _finish(self, job: _Job) -> None:
        self._selector.unregister(job.channel)
        job.channel.close()
        self._jobs.remove(job)
        item, result = job.item, job.result
        if result is None:
            for change in item.told.get("plan") or ():
                change["done"] = change["path"] in job.stands
            why = "the process that was at work on it ended before it was done (killed?). Run it again: it goes on from there"
            self._fail(item, why, changed=job.has_written)
        elif "deferred" in result:
            item.deferred, item.told = result["deferred"], {**empty(), "changed": False}
            self._report({"item": item.declared.path, "deferred": item.deferred})
        elif "exception" in result:
            self._fail(item, result["msg"], changed=job.has_written, exception=result["exception"])
        else:
            item.warnings = result.pop("warnings", [])
            item.told, item.has_failed = result, "msg" in result
            self._report(
                {"item": item.declared.path, "finished": True, **({"msg": result["msg"]} if item.has_failed else {})}
            )

    def _fail(self, item: Item, why: str, *, changed: bool, **more: t.Any) -> None:
        item.told = {**item.told, "msg": why, "changed": changed, **more}
        item.has_failed = True
        if changed:
            item.warnings += self._note(item)
        self._report({"item": item.declared.path, "finished": True, "msg": why})


class Spawner:
    """A process that does nothing but fork workers.

    python3-lxc holds the interpreter's lock while it starts and stops, and neither liblxc nor libvirt survive a fork once
    they are open: work in parallel needs processes that were forked before. The spawner and its workers are a session of
    their own: where this process ends early, a worker still finishes its item, under its locks.

    *load* is called once in the spawner, beside the look at the host: what it imports no worker has to import again.
    """

    def __init__(self, work: Work, load: t.Callable[[], None] = lambda: None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _be_spawner(theirs, work, load)
        theirs.close()

    def start(self, order: Message, keep_fds: t.Sequence[int]) -> socket.socket:
        """Fork a worker for *order*, with *keep_fds* open until it only waits.

        Its messages are JSON lines on the returned socket; after the last one it ends.

        :raises ApplyError: when the spawner is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [b"w"], [theirs.fileno(), *keep_fds])
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


def _be_spawner(control: socket.socket, work: Work, load: t.Callable[[], None]) -> t.NoReturn:
    try:
        os.setsid()
        # Ansible reads what the module prints until the last writer has closed it.
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        load()
        # What is there by now lasts: a worker whose collector wrote its marks to it would copy each page.
        gc.freeze()
        while True:
            said, descriptors, dummy, dummy = socket.recv_fds(control, 1, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
            if not said:
                break
            _reap()
            if os.fork() == 0:
                control.close()
                _be_worker(socket.socket(fileno=descriptors[0]), descriptors[1:], work)
            for descriptor in descriptors:
                os.close(descriptor)
    finally:
        os._exit(0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _be_worker(channel: socket.socket, kept: list[int], work: Work) -> t.NoReturn:
    def tell(message: Message) -> None:
        # Who only waits for its guest keeps nobody from anything.
        while "waiting" in message and kept:
            os.close(kept.pop())
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
