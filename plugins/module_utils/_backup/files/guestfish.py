# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Asks guestfish, libguestfs' own program: it reads the disks of a backup in a small machine of its own, whose kernel opens their file systems.

Nothing is mounted on the host, and nothing is written to the disks. What it needs for itself lies in memory that only it sees.
"""

from __future__ import annotations

import shutil
import typing as t

from ..._core import command
from ..._host import accelerator
from ..opened import Opened

# The program by which restic mounts comes with ntfs-3g, which libguestfs wants, too.
_PACKAGES = {"guestfish": "guestfish", "fusermount": "fuse3"}
_SECONDS = 4 * 3600.0


class Ask(t.Protocol):
    """Runs the lines of a script and returns what they print. The script may write to *sinks*.

    :raises CommandError:
    """

    def __call__(self, lines: t.Sequence[str], sinks: t.Sequence[int] = ()) -> str: ...


def missing() -> str | None:
    """Debian's package of what is not installed."""
    return next((package for program, package in _PACKAGES.items() if shutil.which(program) is None), None)


def complaint(exc: command.CommandError) -> str:
    """What it says in an error, without the frame around it."""
    lines = [line.strip() for line in exc.stderr.splitlines() if line.strip()]
    return " / ".join(lines[:6]) or exc.message


def asking(opened: Opened, backup: str, disks: t.Sequence[str]) -> Ask:
    """Who asks about the files *disks* of *backup*, which are the disks of one machine in their order."""
    places = [f"{opened.folder}/{backup}{disk}" for disk in disks]

    def ask(lines: t.Sequence[str], sinks: t.Sequence[int] = ()) -> str:
        script, settings = "".join(f"{line}\n" for line in lines), _environment(opened)
        return command.run(_argv(opened, places), input=script, env=settings, keep_fds=sinks, timeout=_SECONDS)

    return ask


def _argv(opened: Opened, places: t.Sequence[str]) -> list[str]:
    # -i looks for the operating system, and mounts what its own table of file systems says. A disk that is encrypted asks for its
    # passphrase: from the script, where there is none, and not from whatever terminal there may be.
    words = [word for place in places for word in ("--format=raw", "--add", place)]
    return [*opened.entering(), "guestfish", "--ro", "--keys-from-stdin", *words, "--inspector"]


def _environment(opened: Opened) -> dict[str, str]:
    # libvirt would run it as a user that sees nothing of a mount of root's. What the machine writes to its disks is kept in memory.
    found = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_TMPDIR": opened.memory}
    return found if accelerator.probe().is_kvm else {**found, "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
