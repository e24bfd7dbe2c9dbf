# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The host that guests are replicated to, reached by the key of root. What is done there does the code of this host, which is sent along.

A stream that breaks off looks whole to ``btrfs receive``: what came is a copy only when this host says so afterwards (``finish``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import typing as t

from ..._core import command, paths
from ..._core.errors import HybridError
from ..config import Replication
from ..schedule.units import PROGRAM

# Nothing asks for a password, and a host that is gone is noticed. The options of root's own ssh configuration hold beside these.
_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15")
_NOT_REACHED = 255


class TargetError(HybridError):
    """The other host cannot be reached, or does not take what it shall."""


class Target:
    """The host that *job* replicates to. *origin* is the name of this one."""

    def __init__(self, job: Replication, origin: str) -> None:
        self.job = job
        self.origin = origin
        self._program = ""

    def _argv(self, *words: str) -> list[str]:
        sudo = [] if self.job.user == "root" else ["sudo", "-n"]
        place = f"{self.job.user}@{self.job.host}"
        return [*_SSH, "-p", str(self.job.port), place, shlex.join([*sudo, *words])]

    def _ask(self, *words: str, input: str | bytes | None = None) -> str:
        with self._explained():
            return command.run(self._argv(*words), input=input)

    @contextlib.contextmanager
    def _explained(self) -> t.Iterator[None]:
        try:
            yield
        except command.CommandError as exc:
            if exc.argv[0] != _SSH[0]:
                raise
            lines = [line.strip() for line in exc.stderr.splitlines() if line.strip()]
            said = lines[-1] if lines else f"ssh ended with {exc.rc}"
            if exc.rc == _NOT_REACHED:
                raise TargetError(
                    f"root of this host cannot log in as {self.job.user} to {self.job.host} (port {self.job.port}) with its key: {said}"
                ) from exc
            raise TargetError(f"{self.job.host}: {said}") from exc

    def prepare(self) -> None:
        """Bring the code there, unless it is.

        :raises TargetError: also when the host is not reached.
        """
        try:
            with open(PROGRAM, "rb") as stream:
                code = stream.read()
        except OSError as exc:
            raise TargetError(
                f"{PROGRAM} cannot be read ({exc.strerror}). Run the role homelab.hybrid.hypervisor"
            ) from exc
        digest = hashlib.sha256(code).hexdigest()
        # Nothing is executed in /run on Debian: Python reads it.
        program = os.path.join(paths.REPLICA_CODE, f"{digest[:16]}.zip")
        aside = f"{program}.{os.getpid()}.new"
        script = (
            f"umask 077; test -s {program} && exit; mkdir -p {paths.REPLICA_CODE}; cat > {aside}; "
            f"echo '{digest}  {aside}' | sha256sum --check --status && mv {aside} {program} || {{ rm -f {aside}; exit 1; }}"
        )
        if self._ask("sh", "-c", f"test -s {program} && echo there || true").strip() != "there":
            self._ask("sh", "-c", script, input=code)
        self._program = program

    def _words(self, verb: str, guest: str, **words: t.Any) -> list[str]:
        asked = {"pool": self.job.pool, "origin": self.origin, "guest": guest, **words}
        return ["/usr/bin/python3", "-I", self._program, "replica", verb, json.dumps(asked)]

    def look(self, guest: str) -> frozenset[str]:
        """The identities of what lies there of *guest*. What a run that was killed has left there is gone afterwards.

        :raises TargetError: also when nothing can come there.
        """
        told = json.loads(self._ask(*self._words("look", guest)))
        return frozenset(told["identities"])

    @contextlib.contextmanager
    def receiving(self, guest: str, moment: str, item: str, fds: t.Sequence[int]) -> t.Iterator[t.IO[bytes]]:
        """Where the stream of *item* is written to.

        :raises TargetError: on the way out, when it did not take all of it.
        """
        argv = self._argv(*self._words("receive", guest, moment=moment, item=item))
        with self._explained(), command.writing(argv, keep_fds=fds) as pipe:
            yield pipe

    def lay_beside(self, guest: str, moment: str, folder: str, fds: t.Sequence[int]) -> None:
        """Bring there what lies in *folder*: all that the guest has beside its volumes.

        :raises TargetError, CommandError:
        """
        argv = self._argv(*self._words("beside", guest, moment=moment))
        tar = ["tar", "--numeric-owner", "--xattrs", "-C", folder, "-cf", "-", "."]
        with self._explained(), command.writing(argv, keep_fds=fds) as pipe, command.reading(tar) as packed_files:
            while piece := packed_files.read(1 << 20):
                pipe.write(piece)

    def finish(self, guest: str, moment: str, identities: t.Mapping[str, str]) -> list[str]:
        """All has come: it is a copy from now on, and those go that are not kept. Returns the moments of those that are there.

        :raises TargetError: when one of the *identities*, by item, is not there whole.
        """
        words = self._words("finish", guest, moment=moment, identities=dict(identities), keep=self.job.keep)
        return list(json.loads(self._ask(*words))["moments"])
