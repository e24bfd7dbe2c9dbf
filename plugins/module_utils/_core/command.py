# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Children. No shell, a plain locale, and an error that carries what the program said."""

from __future__ import annotations

import os
import subprocess
import typing as t

from .errors import HybridError


class CommandError(HybridError):
    """A program ended with an error."""

    def __init__(self, argv: t.Sequence[str], rc: int, stderr: str) -> None:
        said = [line for line in stderr.strip().splitlines() if line.strip()]
        shown = " ".join(argv[:3]) + (" …" if len(argv) > 3 else "")
        super().__init__(f"{shown} ended with {rc}: {' / '.join(said[-4:]) or 'no message'}")
        self.argv = list(argv)
        self.rc = rc
        self.stderr = stderr


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
        hint = f"{argv[0]} is not on this host. The role homelab.hybrid.hypervisor installs what is needed"
        raise CommandError(argv, 127, hint) from exc
    except subprocess.TimeoutExpired as exc:
        raise CommandError(argv, 124, f"took longer than {timeout:g} s") from exc
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")
