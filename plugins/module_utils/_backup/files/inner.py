# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What guestfish is asked about files of a virtual machine, and what it answers.

Its script has one command a line. What it prints of each stands below a line that says of what it is.
"""

from __future__ import annotations

import base64
import posixpath
import re
import stat
import typing as t

from ..._core.errors import ObserveError

_HEADING = re.compile(r"^@ (\S+)$", re.MULTILINE)
_FIELD = re.compile(r"^\s*(\w+): (.*)$", re.MULTILINE)
# Of the file itself. Others are made up by what reads the file system, as ntfs-3g does.
_KEPT = ("user.", "security.", "trusted.", "system.posix_acl_")
_PLAIN = re.compile(rb"[A-Za-z0-9/._-]")
_BLOCK = 1024


class Inner(t.NamedTuple):
    """A file or a folder inside. *real* is its path without links before its name, *device* what a node stands for, *target* where a link
    leads, and *names* what extended attributes it has.
    """

    real: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    device: int = 0
    modified_ns: int = 0
    target: str = ""
    names: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no link to one."""
        return stat.S_ISDIR(self.mode)


def word(text: str) -> str:
    """*text* as one word of a script."""
    encoded = text.encode(errors="surrogateescape")
    shown = (chr(byte) if _PLAIN.match(bytes([byte])) else f"\\x{byte:02x}" for byte in encoded)
    return f'"{"".join(shown)}"'


def folders_of(paths: t.Iterable[str]) -> list[str]:
    """The folders above *paths*, the outer ones first."""
    found: set[str] = set()
    for path in paths:
        while (path := posixpath.dirname(path)) != "/":
            found.add(path)
    return sorted(found)


def questions(paths: t.Sequence[str]) -> list[str]:
    """The script that asks what *paths* and the folders above them are.

    What fails behind a dash is what is not there. Whether it cannot be read says the line before, which then ends the script.
    """
    lines = []
    for number, path in enumerate(paths):
        lines += [f"echo @ there.{number}", f"is-dir {word(path)}"]
        lines += [f"echo @ file.{number}", f"-lstatns {word(path)}"]
        lines += [f"echo @ folder.{number}", f"-realpath {word(posixpath.dirname(path))}"]
        lines += [f"echo @ used.{number}", f"-du {word(path)}"]
        lines += [f"echo @ names.{number}", f"-lgetxattrs {word(path)}"]
        lines += [f"echo @ target.{number}", f"-readlink {word(path)}"]
    for number, path in enumerate(folders_of(paths)):
        lines += [f"echo @ above.{number}", f"-statns {word(path)}"]
    return [*lines, "echo @ end"]


def answers(text: str, paths: t.Sequence[str]) -> tuple[dict[str, Inner | None], dict[str, Inner]]:
    """What the script of ``questions`` printed: each of *paths*, ``None`` for one that is not there, and the folders above them.

    :raises ObserveError: when it did not come to its end.
    """
    told = _sections(text)
    found = {path: _inner(told, number, path) for number, path in enumerate(paths)}
    above = {}
    for number, path in enumerate(folders_of(paths)):
        fields = dict(_FIELD.findall(told[f"above.{number}"]))
        if "st_mode" in fields:
            above[path] = _of(fields, path)
    return found, above


def _sections(text: str) -> dict[str, str]:
    parts = _HEADING.split(text)
    told = {key: part[1:] for key, part in zip(parts[1::2], parts[2::2], strict=True)}
    if "end" not in told:
        raise ObserveError("guestfish did not say all that it was asked")
    return told


def _inner(told: t.Mapping[str, str], number: int, path: str) -> Inner | None:
    fields = dict(_FIELD.findall(told[f"file.{number}"]))
    if "st_mode" not in fields:
        return None
    folder = told[f"folder.{number}"].removesuffix("\n")
    its = _of(fields, posixpath.join(folder, posixpath.basename(path)))
    names = (value for key, value in _FIELD.findall(told[f"names.{number}"]) if key == "attrname")
    its = its._replace(names=tuple(name for name in names if name.startswith(_KEPT)))
    if stat.S_ISLNK(its.mode):
        return its._replace(target=told[f"target.{number}"].removesuffix("\n"))
    if its.is_folder:
        return its._replace(size=int(told[f"used.{number}"].strip() or 0) * _BLOCK)
    return its


def _of(fields: t.Mapping[str, str], real: str) -> Inner:
    values = {
        key: int(fields[f"st_{key}"]) for key in ("mode", "uid", "gid", "size", "rdev", "mtime_sec", "mtime_nsec")
    }
    moment = values["mtime_sec"] * 10**9 + values["mtime_nsec"]
    return Inner(real, values["mode"], values["uid"], values["gid"], values["size"], values["rdev"], moment)


def outermost(paths: t.Iterable[str]) -> list[str]:
    """Of *paths* those that are not in another of them."""
    every = dict.fromkeys(paths)
    return [path for path in every if not any(path.startswith(f"{other}/") for other in every)]


def content(its: Inner, sink: int) -> str:
    """The line of a script by which what is in *its* comes to the descriptor *sink*: a folder as an archive of tar."""
    if its.is_folder:
        return f"tar-out {word(its.real)} /dev/fd/{sink} numericowner:true xattrs:true acls:true"
    return f"download {word(its.real)} /dev/fd/{sink}"


def attributes(files: t.Sequence[Inner]) -> list[str]:
    """The script that prints the extended attributes of *files*."""
    lines = []
    for number, its in enumerate(files):
        for each, name in enumerate(its.names):
            lines += [f"echo @ value.{number}.{each}", f"lgetxattr {word(its.real)} {word(name)} | base64"]
    return [*lines, "echo @ end"]


def values(text: str, files: t.Sequence[Inner]) -> list[dict[str, bytes]]:
    """What the script of ``attributes`` printed, by file.

    :raises ObserveError: when it did not come to its end.
    """
    told = _sections(text)
    return [
        {name: base64.b64decode(told[f"value.{number}.{each}"]) for each, name in enumerate(its.names)}
        for number, its in enumerate(files)
    ]
