# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Children. No shell, a plain locale, and an error that carries what the program said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import typing as t

from .errors import HybridError

_READY_STEP_SECONDS, _END_SECONDS = 0.005, 5.0
# Longer than any unit of this collection may take: a mount ends an attempt after 30 s, and no more than two are under way.
_SYSTEMD_SECONDS = 120.0
# Before a program that mounts: it does so in namespaces of its own. What it mounts and starts ends with it, and it with this process
# (--pdeathsig), also by SIGKILL.
ALONE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)


class CommandError(HybridError):
    """A program ended with an error."""

    def __init__(self, argv: t.Sequence[str], rc: int, stderr: str, stdout: str = "") -> None:
        said = [line for line in stderr.strip().splitlines() if line.strip()]
        shown = " ".join(argv[:3]) + (" …" if len(argv) > 3 else "")
        super().__init__(f"{shown} ended with {rc}: {' / '.join(said[-4:]) or 'no message'}")
        self.argv = list(argv)
        self.rc = rc
        self.stderr = stderr
        self.stdout = stdout


def run(
    argv: t.Sequence[str],
    *,
    input: str | bytes | None = None,
    env: t.Mapping[str, str] | None = None,
    cwd: str | None = None,
    keep_fds: t.Sequence[int] = (),
    timeout: float | None = None,
    check: bool = True,
) -> str:
    """Run *argv* and return what it printed.

    A child that writes to what a lock protects gets the lock's descriptors in *keep_fds*: the lock then holds until the
    last writer ended, also when this process is killed. *timeout* is in seconds; *env* is added to the environment.

    :raises CommandError: when the program is missing, takes too long, or (with *check*) ends with another status than 0.
    """
    data = input.encode() if isinstance(input, str) else input
    feed: dict[str, t.Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            list(argv),
            **feed,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=cwd,
            pass_fds=tuple(keep_fds),
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as exc:
        raise CommandError(argv, 127, _not_here(argv[0])) from exc
    except subprocess.TimeoutExpired as exc:
        raise CommandError(argv, 124, f"took longer than {timeout:g} s") from exc
    if check and done.returncode != 0:
        told, said = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        raise CommandError(argv, done.returncode, said, told)
    return done.stdout.decode(errors="replace")


def systemctl(*words: str) -> None:
    """Have systemd do what *words* say. It may wait for a unit, and not for ever.

    :raises CommandError:
    """
    run(["systemctl", *words], timeout=_SYSTEMD_SECONDS)


def reading(
    argv: t.Sequence[str], *, env: t.Mapping[str, str] | None = None, keep_fds: t.Sequence[int] = ()
) -> contextlib.AbstractContextManager[t.IO[bytes]]:
    """What *argv* prints, as it comes. Who leaves early ends it. See ``run`` for *env* and *keep_fds*.

    :raises CommandError: on the way out, when the program is missing or ends with another status than 0.
    """
    return _started(argv, env, keep_fds, "stdout", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def writing(argv: t.Sequence[str], *, keep_fds: t.Sequence[int] = ()) -> contextlib.AbstractContextManager[t.IO[bytes]]:
    """What *argv* reads, as it is written. See ``run`` for *keep_fds*.

    :raises CommandError: on the way out, when the program is missing or ends with another status than 0.
    """
    return _started(argv, None, keep_fds, "stdin", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def _started(
    argv: t.Sequence[str], env: t.Mapping[str, str] | None, keep_fds: t.Sequence[int], ours: str, **streams: t.Any
) -> t.Iterator[t.IO[bytes]]:
    """The stream of the child that is *ours*, ``stdin`` or ``stdout``, while it runs."""
    # A pipe that nobody reads meanwhile would fill up and hold the child.
    said = os.memfd_create("stderr", os.MFD_CLOEXEC)
    try:
        try:
            child = subprocess.Popen(
                list(argv),
                stderr=said,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
                pass_fds=tuple(keep_fds),
                **streams,
            )
        except FileNotFoundError as exc:
            raise CommandError(argv, 127, _not_here(argv[0])) from exc
        pipe: t.IO[bytes] = getattr(child, ours)
        try:
            with contextlib.suppress(BrokenPipeError):  # it says itself why it ended
                try:
                    yield pipe
                finally:
                    # Also where another pipe broke: a child that nobody reads would wait for ever, and this process for it.
                    pipe.close()
        except BaseException:
            child.kill()
            child.wait()
            raise
        # Who has read enough closes the pipe, and that is no error of the child's.
        if child.wait() not in (0, -signal.SIGPIPE):
            os.lseek(said, 0, os.SEEK_SET)
            with open(said, "rb", closefd=False) as stream:
                raise CommandError(argv, child.returncode, stream.read(65536).decode(errors="replace"))
    finally:
        os.close(said)


@contextlib.contextmanager
def serving(
    argv: t.Sequence[str],
    is_ready: t.Callable[[int], bool],
    *,
    timeout_seconds: float,
    env: t.Mapping[str, str] | None = None,
) -> t.Iterator[int]:
    """*argv* serves meanwhile, from when *is_ready* says so of its process, whose number it yields. See ``run`` for *env*.

    On the way out it has a moment to end by itself before it is killed.

    :raises CommandError: when the program is missing, or ends or takes too long before it is ready.
    """
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(open(os.memfd_create("stderr", os.MFD_CLOEXEC), "w+b"))
        quiet: dict[str, t.Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": said}
        try:
            child = subprocess.Popen(list(argv), env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}, **quiet)
        except FileNotFoundError as exc:
            raise CommandError(argv, 127, _not_here(argv[0])) from exc
        stack.callback(_end, child)
        deadline = time.monotonic() + timeout_seconds
        while not is_ready(child.pid):
            if child.poll() is not None:
                said.seek(0)
                raise CommandError(argv, child.returncode, said.read(65536).decode(errors="replace"))
            if time.monotonic() >= deadline:
                raise CommandError(argv, 124, f"was not ready within {timeout_seconds:g} s")
            time.sleep(_READY_STEP_SECONDS)
        yield child.pid


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _not_here(program: str) -> str:
    return f"{program} is not on this host. The role homelab.hybrid.hypervisor installs what is needed"
