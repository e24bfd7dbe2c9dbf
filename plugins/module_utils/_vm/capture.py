# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Shows what a virtual machine holds, as of one moment, in a folder from which it is backed up. The machine goes on meanwhile.

Each disk is a raw file there, whatever it is made of: QEMU serves it, and FUSE shows what is served. Never a pipe: the end of one
cannot be told from the death of who writes to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from .._core import atomic, command, libraries, lock
from .._core.errors import ApplyError, HybridError, WaitTimeout
from .._core.reference import Reference
from .._core.waiting import wait_until
from .._guest import hooks
from .._guest.capture import APPLICATION, CRASH, SNAPSHOT, STOP, Begun, Captured, Keep, Note, Wish
from .._host import mounts
from .._host.libvirt import errors_of
from .._host.snapshot import GUEST, Host
from .._storage.volume import BLOCK
from . import power, serving
from .agent import Agent, AgentError, AgentSilent
from .agent_session import connect
from .copied_disks import CopiedDisk, look
from .returning import cards_of
from .xml import domain as domain_xml

DISKS, BESIDE, SEED, FLAGS = "disks", "beside", "seed", "flags.json"
DEFINITION = "domain.xml"
_HELD, _STOPPED, _SCRATCH, _HOOKED = "held", "stopped", "scratch", "hooked"
_AGENT_SECONDS, _HOOK_SECONDS, _SHUTDOWN_SECONDS, _START_SECONDS, _MOUNT_SECONDS = 30, 3600, 120, 300, 60
# What libvirt waits for an agent by itself: for ever (virDomainAgentResponseTimeoutValues).
_FOR_EVER = -2
_BLOCK = 512


@contextlib.contextmanager
def captured(wish: Wish, host: Host, note: Note, fds: t.Sequence[int]) -> t.Iterator[Captured]:
    """What the machine of *wish* holds, shown in its folder until this is left.

    :raises HybridError: nothing of it is left then. Also on the way out: when the machine stopped meanwhile it was not read whole.
    """
    run = _Capture(wish, host, note)
    try:
        # Dumps take their time, and nobody is to wait for the machine that long. What is kept every few minutes asks for none.
        if wish.keep is None:
            run.hook()
        with lock.hold((Reference(GUEST, wish.guest),), ()):
            host.drop()
            its = run.begin()
        yield its._replace(trouble=run.unhook())
        run.check_whole()
    except BaseException:
        # Why it failed says more than what could not be undone, which is noted and tried again.
        with contextlib.suppress(HybridError):
            run.end()
        raise
    run.end()


def take_back(guest: str, folder: str, begun: Begun, host: Host, fds: t.Sequence[int]) -> None:
    """Undo what a capture has *begun* that was killed: each part of it, whatever comes of the others.

    :raises HybridError: the first that failed.
    """
    host.drop()
    domain = host.domains.get(guest)
    errors: list[HybridError] = []
    for act in (_let_go, _end_job, _start_again):
        with _noting(errors):
            if domain is not None:
                act(domain, begun)
    with _noting(errors):
        _unmount(folder)
    with _noting(errors):
        serving.remove_scratch(guest, begun.get(_SCRATCH, ()))
    with _noting(errors):
        if domain is not None and begun.get(_HOOKED) is not None:
            _unhook(domain, begun[_HOOKED])
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _noting(errors: list[HybridError]) -> t.Iterator[None]:
    try:
        yield
    except HybridError as exc:
        errors.append(exc)


class _Capture:
    """One capture of one machine."""

    def __init__(self, wish: Wish, host: Host, note: Note) -> None:
        self.wish = wish
        self.host = host
        self._note = note
        self.begun: dict[str, t.Any] = {}
        self.warnings: list[str] = []
        self.written = hooks.Written()
        self.programs = contextlib.ExitStack()
        self.watch: serving.Watch | None = None
        # Of a machine that does not run, which nothing keeps from being started.
        self.stamps: dict[str, tuple[int, ...]] = {}

    def note(self, **begun: t.Any) -> None:
        self._note(**begun)
        self.begun |= begun

    def hook(self) -> None:
        """Let its programs write down what they know.

        :raises HookError:
        """
        its, wanted = look(self.wish.guest, self.host), self.wish.hooks
        if its.power != "started":
            return
        if not its.has_agent:
            if wanted.before or wanted.after:
                raise hooks.HookError(f"backup: no agent answers in {its.name} that would run its hooks")
            return
        self.note(**{_HOOKED: list(wanted.after)})
        try:
            self.written = hooks.before(its.name, wanted, runner(its.name))
        except (AgentError, AgentSilent) as exc:
            if wanted.before or wanted.after:
                raise hooks.HookError(f"backup: the hooks of {its.name} were not run: {exc.message}") from exc
            # Windows has no shell, and an agent may be kept from running programs.
        if not self.written.ran and not wanted.after:
            self.note(**{_HOOKED: None})

    def unhook(self) -> str:
        """Undo that. Returns what went wrong."""
        lines = self.begun.get(_HOOKED)
        self.begun[_HOOKED] = None
        if lines is None:
            return ""
        try:
            _unhook(self.domain, lines)
        except HybridError as exc:
            return exc.message
        self.note(**{_HOOKED: None})
        return ""

    def begin(self) -> Captured:
        self.machine = look(self.wish.guest, self.host)
        self.domain = self.machine.domain
        runs = self.machine.power in ("started", "paused")
        self.warnings += [
            f"the disk {name} of {self.machine.name} is not in its backup: {why}"
            for name, why in self.machine.left_out.items()
        ]
        if self.wish.keep is not None:
            consistent = self._begin_kept(self.wish.keep)
        elif runs:
            consistent = self._begin_running()
        else:
            consistent = self._begin_stopped()
        self._keep_beside()
        os.makedirs(os.path.join(self.wish.folder, DISKS), mode=0o700)
        for disk in () if self.wish.keep is not None else self.machine.disks:
            self.programs.enter_context(_mounted(os.path.join(self.wish.folder, _file_of(disk)), self._source(disk)))
        volumes = {disk.name: _facts_of(disk) for disk in self.machine.disks}
        macs = cards_of(domain_xml.parse(self._definition), self.machine.record)
        return Captured(consistent, volumes, DEFINITION, macs=macs, warnings=tuple(self.warnings))

    def _begin_kept(self, keep: Keep) -> str:
        volumes = {disk.name: disk.volume for disk in self.machine.disks if disk.volume is not None}
        if others := sorted(disk.name for disk in self.machine.disks if disk.volume is None):
            raise ApplyError(
                f"the disk {others[0]} of {self.machine.name} was there before the machine, and lies in no volume of a storage pool"
            )
        if self.machine.power == "started":
            return self._held(lambda: keep(volumes))
        consistent = self._begin_stopped()
        keep(volumes)
        return consistent if self.machine.power == "stopped" else CRASH

    def _begin_stopped(self) -> str:
        self.stamps = {disk.path: _stamp(disk.path) for disk in self.machine.disks}
        if self.machine.power == "suspended":
            self.warnings.append(f"{self.machine.name} is saved to disk, and its memory is not in its backup")
            return CRASH
        return APPLICATION

    def _begin_running(self) -> str:
        scratch = serving.prepare_scratch(self.machine)
        self.note(**{_SCRATCH: list(scratch.values())})
        if self.machine.power == "paused":
            serving.begin(self.machine, serving.request_of(self.domain, scratch))
            consistent = CRASH
        elif self.wish.mode == STOP:
            consistent = self._begin_shut_down(scratch)
        else:
            consistent = self._begin_held(scratch)
        self.watch = self.programs.enter_context(serving.Watch(self.domain, scratch))
        return consistent

    def _begin_held(self, scratch: serving.Scratch) -> str:
        request = serving.request_of(self.domain, scratch)
        return self._held(lambda: serving.begin(self.machine, request))

    def _held(self, act: t.Callable[[], None]) -> str:
        """For less than a second nothing is written: the agent freezes the file systems, or all of the machine stands still."""
        is_frozen = False
        self.note(**{_HELD: True})
        try:
            is_frozen = self.wish.mode == SNAPSHOT and self._freeze()
            if not is_frozen:
                power.pause(self.domain)
            act()
        finally:
            _let_go(self.domain, self.begun, is_frozen=is_frozen)
        self.note(**{_HELD: None})
        return APPLICATION if is_frozen and not self.written.bare else CRASH

    def _freeze(self) -> bool:
        why = "no agent answers" if not self.machine.has_agent else _freeze(self.domain)
        if why:
            self.warnings.append(
                f"the file systems of {self.machine.name} were not frozen ({why}): its backup is what a power cut would leave"
            )
        return not why

    def _begin_shut_down(self, scratch: serving.Scratch) -> str:
        """Nothing is half written in a machine that has shut down. It starts again as soon as its disks are served as they are then."""
        library, name = libraries.libvirt(), self.machine.name
        if not self.domain.isPersistent():
            raise ApplyError(
                f"{name} is not defined, and nothing is left of it once it is shut down. Use mode: snapshot"
            )
        self.note(**{_STOPPED: True})
        with errors_of(f"shut {name} down", ApplyError):
            self.domain.shutdown()
            try:
                wait_until(
                    f"{name} to shut down", lambda: not self.domain.isActive(), timeout_seconds=_SHUTDOWN_SECONDS
                )
            except WaitTimeout as exc:
                raise ApplyError(f"{name} did not shut down within {_SHUTDOWN_SECONDS} s. Use mode: snapshot") from exc
        self.note(**{_HELD: True})
        with errors_of(f"start {name} again", ApplyError):
            self.domain.createWithFlags(library.VIR_DOMAIN_START_PAUSED)
        try:
            serving.begin(self.machine, serving.request_of(self.domain, scratch))
        finally:
            _let_go(self.domain, self.begun)
        self.note(**{_HELD: None, _STOPPED: None})
        return APPLICATION

    def _source(self, disk: CopiedDisk) -> list[str]:
        if self.watch is not None:
            return [serving.address_of(self.machine, disk)]
        # It ends when nobody is connected any more, and a machine that is started meanwhile is not kept from its disks.
        driver = "host_device" if disk.path.startswith("/dev/") else "file"
        image = {"driver": disk.format, "file.driver": driver, "file.filename": disk.path, "force-share": "on"}
        options = ",".join(f"{key}={value.replace(',', ',,')}" for key, value in image.items())
        return ["[", "qemu-nbd", "--read-only", "--image-opts", options, "]"]

    def _keep_beside(self) -> None:
        """What the machine is made of beside its disks."""
        library, folder = libraries.libvirt(), os.path.join(self.wish.folder, BESIDE)
        with errors_of(f"read the definition of {self.machine.name}", ApplyError):
            self._definition = str(self.domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))
            flags = {"autostart": bool(self.domain.autostart())}
        atomic.write_file(os.path.join(self.wish.folder, DEFINITION), self._definition, mode=0o600)
        atomic.write_file(os.path.join(folder, FLAGS), json.dumps(flags), mode=0o600)
        places = {**self.machine.beside, **({SEED: self.machine.seed} if self.machine.seed else {})}
        for name, place in places.items():
            command.run(["cp", "--archive", "--no-target-directory", place, os.path.join(folder, name)])

    def check_whole(self) -> None:
        """
        :raises ApplyError: when what was read is not the machine of one moment.
        """
        name = self.machine.name
        not_whole = "while it was read, and what was stored is of no one moment"
        if self.wish.keep is not None:
            return
        if self.watch is None:
            if self.domain.isActive() or any(_stamp(path) != stamp for path, stamp in self.stamps.items()):
                raise ApplyError(f"{name} was started {not_whole}")
        elif self.watch.trouble:
            raise ApplyError(f"{self.watch.trouble}: {name} had to go on {not_whole}")
        elif not serving.goes_on(self.domain):
            raise ApplyError(f"{name} stopped, or somebody ended the job that serves its disks, {not_whole}")

    def end(self) -> None:
        """Take back what was done, all of it, whatever fails."""
        errors: list[HybridError] = []
        with _noting(errors):
            take_back(self.wish.guest, self.wish.folder, self.begun, self.host, ())
        # The programs that served the files end by themselves when these are gone.
        with _noting(errors), self.programs:
            pass
        if errors:
            raise errors[0]


def _file_of(disk: CopiedDisk) -> str:
    return os.path.join(DISKS, f"{disk.name}.raw")


def _facts_of(disk: CopiedDisk) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = {"file": _file_of(disk), "target": disk.target, "pool": disk.pool, "kind": BLOCK}
    facts |= {"format": disk.format, "size": disk.size, "used": disk.used}
    # Where a disk lies that was there before the machine.
    return {**facts, **({} if disk.volume else {"source": disk.path})}


def _stamp(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _mounted(path: str, source: t.Sequence[str]) -> contextlib.AbstractContextManager[int]:
    """What *source* serves is the content of the file *path*."""
    with open(path, "xb"):
        pass
    argv = ["nbdfuse", "--readonly", path, *source]
    return command.serving(argv, lambda dummy: bool(mounts.mounts_in(path)), timeout_seconds=_MOUNT_SECONDS)


def _unmount(folder: str) -> None:
    for point in reversed(mounts.mounts_in(folder)):
        # Who still reads it gets an error: the program that served it goes.
        command.run(["umount", "--lazy", point])


def _freeze(domain: t.Any) -> str:
    """Let the agent freeze the file systems. Returns why it did not."""
    library = libraries.libvirt()
    try:
        domain.agentSetResponseTimeout(_AGENT_SECONDS)
        domain.fsFreeze()
    except library.libvirtError as exc:
        return str(exc.get_error_message())
    return ""


def _let_go(domain: t.Any, begun: Begun, *, is_frozen: bool = False) -> None:
    """Let a machine go on that was held."""
    library = libraries.libvirt()
    if not begun.get(_HELD) or not domain.isActive():
        return
    if domain.state()[0] == library.VIR_DOMAIN_PAUSED:
        power.resume(domain)
    try:
        # An agent that answered too late, or not to who was killed, has frozen them all the same.
        domain.fsThaw()
        domain.agentSetResponseTimeout(_FOR_EVER)
    except library.libvirtError as exc:
        if is_frozen:
            raise ApplyError(f"could not thaw the file systems of {domain.name()}: {exc.get_error_message()}") from exc


def _end_job(domain: t.Any, dummy: Begun) -> None:
    serving.end(domain)


def _start_again(domain: t.Any, begun: Begun) -> None:
    if begun.get(_STOPPED) and not domain.isActive():
        with errors_of(f"start {domain.name()} again", ApplyError):
            domain.create()


def runner(name: str, seconds: int = _HOOK_SECONDS) -> hooks.Run:
    """What runs a shell inside through the agent, which answers at once also while that works."""
    until = time.monotonic() + seconds

    def pause(step: float) -> None:
        if time.monotonic() > until:
            raise hooks.HookError(f"backup: a hook of {name} took longer than {seconds} s")
        time.sleep(step)

    agent = Agent(connect(name, _AGENT_SECONDS), pause)

    def run(*words: str) -> hooks.Said:
        done = agent.run("/bin/sh", ["-c", *words])
        return hooks.Said(done.rc, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    return run


def _answers(name: str) -> bool:
    try:
        Agent(connect(name, _AGENT_SECONDS)).ask("guest-ping")
    except AgentSilent:
        return False
    return True


def _unhook(domain: t.Any, lines: t.Sequence[str]) -> None:
    """Undo what hooks did in a machine, unless it went down with what they did."""
    library, name = libraries.libvirt(), str(domain.name())
    if domain.isActive() and domain.state()[0] == library.VIR_DOMAIN_RUNNING:
        try:
            # It may have been shut down meanwhile, and starts again.
            wait_until(f"the agent of {name}", lambda: _answers(name), timeout_seconds=_START_SECONDS)
            hooks.after(name, lines, runner(name))
        except (AgentError, AgentSilent, WaitTimeout) as exc:
            raise hooks.HookError(f"backup: what the hooks of {name} did was not undone: {exc.message}") from exc
