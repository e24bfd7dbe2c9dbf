# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A repository of restic. Its address and its password are in files of root alone, and on no command line.

restic 0.14 (Debian 12) ends with 1 whatever is wrong, 0.17 and newer say which (10 none there, 11 locked, 12 wrong password).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import time
import typing as t

from .._core import atomic, command, lock, paths
from .._core.errors import HybridError
from .._core.removal import remove_tree
from .opened import Opened
from .stored import NOT_WHOLE, Stored, read, short

_CACHE = "/var/cache/homelab_hybrid/restic"
_ABSENT, _LOCKED, _PASSWORD, _PARTIAL = 10, 11, 12, 3
_SAYS = {
    _ABSENT: re.compile("unable to open config file|Is there a repository at the following location"),
    _LOCKED: re.compile("repository is already locked|unable to create lock in backend"),
    _PASSWORD: re.compile("wrong password or no key found"),
}
_DENIED = re.compile("403 Forbidden|Access ?Denied")
# Who prunes holds a repository for minutes. What was killed leaves a lock that restic itself takes for stale.
_LOCKED_SECONDS, _ASK_AGAIN_SECONDS = 1800.0, 15.0
# Before it shows a repository, restic reads its index.
_MOUNT_SECONDS = 600.0
_BY_ID, _MEMORY = "ids", "/dev/shm"
# What is not itself in a pattern of restic.
_SPECIAL = re.compile(r"[\\*?\[\]]")
_VERSION = re.compile(r"restic (\d+)\.(\d+)")
_KNOWS_SPARSE = (0, 15)
# Each snapshot of btrfs is a device of its own, and with the number of that in them all folders would be stored anew (restic#3041). restic 0.17
# can leave it out, by a feature that later versions may no longer know, and refuse.
_KNOWS_FEATURES, _STEADY_FOLDERS = (0, 17), "device-id-for-hardlinks"


class RepositoryError(HybridError):
    """A repository cannot be used, or something in it is not what it was."""


class Added(t.NamedTuple):
    """What a backup added to its repository: *added* bytes of *processed* ones."""

    id: str
    added: int
    processed: int


class Repository:
    """The repository *name* of this host. *fds* are descriptors of locks that hold as long as restic works. Of one that is append-only
    nothing is taken away, nor tried to.
    """

    def __init__(self, name: str, fds: t.Sequence[int] = (), *, is_append_only: bool = False) -> None:
        self.name = name
        self.fds = fds
        self.is_append_only = is_append_only

    def _file(self, what: str) -> str:
        """A file of it: where a unit of systemd hands it over, that one."""
        given = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), f"{self.name}.{what}")
        return given if os.path.exists(given) else paths.repository_file(self.name, what)

    def _environment(self) -> dict[str, str]:
        files = {"RESTIC_REPOSITORY_FILE": self._file("url"), "RESTIC_PASSWORD_FILE": self._file("password")}
        for path in files.values():
            if not os.path.exists(path):
                raise RepositoryError(
                    f"this host has no backup repository {self.name}. Declare it in hypervisor_backup_repositories"
                )
        if os.path.exists(credentials := self._file("credentials")):
            files["AWS_SHARED_CREDENTIALS_FILE"] = credentials
        return {**files, "RESTIC_CACHE_DIR": _CACHE}

    def _run(
        self, *words: str, cwd: str | None = None, waits: bool = True, features: str = "", input: str | None = None
    ) -> str:
        """What restic prints. While another one holds the repository alone it is asked again."""
        environment, until = self._environment(), time.monotonic() + _LOCKED_SECONDS
        environment |= {"RESTIC_FEATURES": features} if features else {}
        while True:
            try:
                return command.run(["restic", *words], env=environment, cwd=cwd, keep_fds=self.fds, input=input)
            except command.CommandError as exc:
                if _reason(exc) != _LOCKED or not waits or time.monotonic() > until:
                    raise
            command.run(["restic", "unlock"], env=environment, keep_fds=self.fds)
            time.sleep(_ASK_AGAIN_SECONDS)

    def _ask(self, *words: str, cwd: str | None = None, input: str | None = None) -> str:
        """As ``_run``, with an error that says what helps."""
        try:
            return self._run(*words, cwd=cwd, input=input)
        except command.CommandError as exc:
            raise self._explained(exc) from exc

    def _explained(self, exc: command.CommandError) -> RepositoryError:
        reason = _reason(exc)
        if reason == _PASSWORD:
            return RepositoryError(
                f"the password of the backup repository {self.name} is not the one that it was made with"
            )
        if reason == _ABSENT:
            return RepositoryError(
                f"there is no backup repository at the place of {self.name}, or it cannot be reached: {_said(exc)}"
            )
        if reason == _LOCKED:
            return RepositoryError(f"another process holds the backup repository {self.name}: {_said(exc)}")
        if _DENIED.search(exc.stderr):
            return RepositoryError(
                f"the backup repository {self.name} does not permit that: {_said(exc)}. From one that is append-only backups are let go of where "
                "it lies: write append_only: true"
            )
        return RepositoryError(f"the backup repository {self.name}: {_said(exc)}")

    def make(self) -> bool:
        """Make it, unless it is there. Returns whether it was made.

        :raises RepositoryError: when it is not there and once was: its disk is away, and nobody wants another one in its place.
        """
        with lock.making_repository(self.name):
            return self._make()

    def _make(self) -> bool:
        try:
            its = json.loads(self._run("cat", "config"))
        except command.CommandError as exc:
            if _reason(exc) != _ABSENT or os.path.exists(paths.repository_file(self.name, "id")):
                raise self._explained(exc) from exc
        else:
            self._remember(its)
            return False
        told = self._ask("init", "--json")
        # restic 0.14 has no JSON there.
        self._remember(json.loads(told if told.startswith("{") else self._ask("cat", "config")))
        return True

    def _remember(self, its: t.Mapping[str, t.Any]) -> None:
        path, text = paths.repository_file(self.name, "id"), f"{its['id']}\n"
        if atomic.read_text(path) != text:
            atomic.write_file(path, text, mode=0o600)

    def back_up(
        self, folder: str, host: str, tags: t.Sequence[str], exclude: t.Sequence[str] = (), bandwidth: int | None = None
    ) -> Added:
        """Store *folder*, all file systems in it included. *bandwidth* is in KiB a second.

        :raises RepositoryError: also when a part of it could not be read; what was stored is let go of then.
        """
        words = ["backup", "--json", "--host", host, "--tag", ",".join(tags)]
        words += [word for pattern in exclude for word in ("--exclude", pattern)]
        words += ["--limit-upload", str(bandwidth)] if bandwidth else []
        try:
            told = _summary(self._run(*words, folder, features=_features()))
        except command.CommandError as exc:
            if exc.rc != _PARTIAL:
                raise self._explained(exc) from exc
            left = self.let_go(_summary(exc.stdout).id)
            raise RepositoryError(
                f"a part of {folder} could not be read, and {left or 'nothing is stored'}: {_said(exc)}"
            ) from exc
        return told

    def list(self) -> list[Stored]:
        """The backups in it that this collection made, the newest first.

        :raises RepositoryError:
        """
        return read(json.loads(self._ask("--no-lock", "snapshots", "--json") or "null") or [])

    def forget(self, ids: t.Sequence[str]) -> None:
        """Let go of these backups, and of what only they hold.

        :raises RepositoryError:
        """
        self._ask("forget", "--prune", *ids)

    def let_go(self, id: str) -> str:
        """Let go of one that is not whole; what only it holds goes with the next that are forgotten. Returns what is left of it.

        Where nothing can be taken away a mark says of it that it is none.
        """
        if self.is_append_only:
            self._ask(
                "backup", "--stdin", "--stdin-filename", "not-whole", "--tag", f"{NOT_WHOLE}{id}", input=f"{id}\n"
            )
            return f"the backup {short(id)}, which is not whole, stays in {self.name} for who owns it to let go of, marked so that nothing takes it"
        self._ask("forget", id)
        return ""

    def check(self, percent: int) -> None:
        """Whether all that is listed is there, and a drawn share of the data is what was stored.

        :raises RepositoryError: which says what is not.
        """
        try:
            self._run("check", f"--read-data-subset={percent}%")
        except command.CommandError as exc:
            if _reason(exc) is not None:
                raise self._explained(exc) from exc
            lines = [line for line in f"{exc.stdout}\n{exc.stderr}".splitlines() if _is_finding(line)]
            raise RepositoryError(
                f"the backup repository {self.name} is damaged: {' / '.join(lines[:8]) or _said(exc)}"
            ) from exc

    def read(self, backup: str, path: str) -> str:
        """The text of a file in a backup.

        :raises RepositoryError:
        """
        return self._ask("--no-lock", "dump", backup, path)

    def reading(self, backup: str, path: str) -> contextlib.AbstractContextManager[t.IO[bytes]]:
        """The content of a file in a backup, as it comes.

        :raises CommandError: on the way out, when restic did not come to its end: what was read is not all of it.
        """
        argv = ["restic", "--no-lock", "dump", backup, path]
        return command.reading(argv, env=self._environment(), keep_fds=self.fds)

    def sizes(self, backup: str, root: str, paths: t.Sequence[str]) -> dict[str, int | None]:
        """How many bytes each of *paths* below the folder *root* of a backup has in it; ``None`` of what is not there.

        :raises RepositoryError:
        """
        told = self._ask("--no-lock", "ls", "--json", "--recursive", backup, *(f"{root}{path}" for path in paths))
        found: dict[str, int | None] = dict.fromkeys(paths)
        for its in map(json.loads, told.splitlines()):
            inner = str(its.get("path", "")).removeprefix(root)
            for path in paths:
                if inner == path or inner.startswith(f"{path}/"):
                    found[path] = (found[path] or 0) + int(its.get("size") or 0)
        return found

    @contextlib.contextmanager
    def opened(self) -> t.Iterator[Opened]:
        """Show what is in it, in a view of the host that only who enters it has: nothing of it is left, also by who is killed.

        :raises CommandError:
        """
        point = paths.opened_folder()
        os.makedirs(point, mode=0o700, exist_ok=True)
        argv = [*command.ALONE, "restic", "--no-lock", "mount", "--path-template", f"{_BY_ID}/%I", point]

        def is_shown(process: int) -> bool:
            return os.path.isdir(f"/proc/{process}/root{point}/{_BY_ID}")

        serving = command.serving(argv, is_shown, timeout_seconds=_MOUNT_SECONDS, env=self._environment())
        with serving as process:
            try:
                shown = Opened(process, os.path.join(point, _BY_ID), _MEMORY)
                # One of its own, over that of the host.
                command.run([*shown.entering(), "mount", "-t", "tmpfs", "-o", "mode=0700", "none", _MEMORY])
                yield shown
            finally:
                # It would serve for ever.
                os.kill(process, signal.SIGKILL)

    def restore(self, backup: str, target: str, *parts: str) -> None:
        """Bring files or folders of a backup back below *target*, under their whole paths.

        :raises RepositoryError:
        """
        sparse = ["--sparse"] if self.digs_holes() else []
        includes = [word for path in parts for word in ("--include", _SPECIAL.sub(r"\\\g<0>", path))]
        self._ask("restore", *sparse, backup, *includes, "--target", target)

    def digs_holes(self) -> bool:
        """Whether a restore keeps the holes in files by itself."""
        return _version() >= _KNOWS_SPARSE


def drop_cache(id: str) -> None:
    """Take away what restic keeps on this host of the repository *id*, where it was ever used."""
    path = os.path.join(_CACHE, id)
    if id and os.path.isdir(path):
        remove_tree(path)


@functools.cache
def _features() -> str:
    """What is asked of restic beside what it does by itself."""
    known = command.run(["restic", "features"]) if _version() >= _KNOWS_FEATURES else ""
    return _STEADY_FOLDERS if _STEADY_FOLDERS in known else ""


@functools.cache
def _version() -> tuple[int, int]:
    match = _VERSION.match(command.run(["restic", "version"]))
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _reason(exc: command.CommandError) -> int | None:
    if exc.rc in _SAYS:
        return exc.rc
    return next((rc for rc, pattern in _SAYS.items() if pattern.search(exc.stderr)), None)


def _said(exc: command.CommandError) -> str:
    # Below some errors restic 0.14 shows where it was: lines without a space.
    lines = [line.strip() for line in exc.stderr.splitlines() if " " in line.strip()]
    return " / ".join(lines[-4:]) or f"restic ended with {exc.rc}"


def _is_finding(line: str) -> bool:
    words = ("error", "pack ", "does not match", "damaged", "missing", "not found", "ciphertext", "contains")
    return any(word in line.lower() for word in words) and not line.startswith("Fatal")


def _summary(text: str) -> Added:
    for line in reversed(text.splitlines()):
        if '"summary"' in line:
            its = json.loads(line)
            return Added(str(its["snapshot_id"]), int(its["data_added"]), int(its["total_bytes_processed"]))
    raise RepositoryError("restic did not say what it stored")
