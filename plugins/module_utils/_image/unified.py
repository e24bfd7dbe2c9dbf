# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The unified archives of Incus and LXD: a root file system in the folder ``rootfs``, beside what the server knows of it."""

from __future__ import annotations

import tarfile
import typing as t

from .._core import command
from .._core.errors import ApplyError, shorten

_ROOT = "rootfs"
# One of these comes first in such an archive, and in no root file system.
_TOPS = ("metadata.yaml", _ROOT, "templates")
# What an entry has beside its fields: capabilities and access lists.
_KEPT = ("SCHILY.xattr.", "SCHILY.acl.")


def is_unified(path: str) -> bool:
    """Whether the archive *path* begins as such a one does. tar itself reads it."""
    try:
        with command.reading(["tar", "--list", "--absolute-names", "--quoting-style=c", "--file", path]) as stream:
            for line in stream:
                parts = [part for part in line.decode(errors="replace").strip().strip('"').split("/") if part != "."]
                if parts and parts[0]:
                    return parts[0] in _TOPS
    except command.CommandError:
        return False  # what is wrong with it, is said where all of it is read
    return False


def write_root(archive: t.IO[bytes], target: t.IO[bytes], told: str) -> None:
    """Write what is in ``rootfs`` of the *archive*, which *told* names to the user, to *target* as an archive of its own.

    Names and links are taken as they are: who reads what came of it says what would reach the host.

    :raises ApplyError: when it is damaged.
    """
    try:
        with (
            tarfile.open(fileobj=archive, mode="r|", errors="surrogateescape") as old,
            tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape") as new,
        ):
            for member in old:
                name = _below(member.name)
                if name is None:
                    continue
                if member.islnk():
                    link = _below(member.linkname)
                    if link is None:
                        raise ApplyError(
                            f"{told}: {shorten(member.name)} is a hard link to {shorten(member.linkname)}, outside of the root"
                        )
                    member.linkname = link
                headers = {key: value for key, value in member.pax_headers.items() if key.startswith(_KEPT)}
                member.pax_headers, member.name, member.uname, member.gname = headers, name, "", ""
                if member.isreg():
                    member.type = tarfile.REGTYPE  # a sparse one is read as a whole
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    except (tarfile.TarError, EOFError) as exc:
        raise ApplyError(f"{told}: the archive is damaged: {exc}") from exc


def _below(name: str) -> str | None:
    """The name of an entry as it is in the root; ``None`` for one that is not there."""
    path = name.removeprefix("./").rstrip("/")
    if path == _ROOT:
        return "."
    return "./" + path[len(_ROOT) + 1 :] if path.startswith(f"{_ROOT}/") else None
