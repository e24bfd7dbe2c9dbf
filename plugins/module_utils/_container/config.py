# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The configuration file of a container as lines: what is changed is changed in place, everything else survives to the byte."""

from __future__ import annotations

import functools
import re
import typing as t

from .._core import paths
from .._core.errors import ApplyError, shorten
from .._core.value import Value

_NET = re.compile(r"lxc\.net\.(\d+)(?:\.(.+))?")


class Line(Value):
    """One line. *lead* is everything up to the value; a comment, a blank or a broken line has no *key*.

    *origin* is the file that it stands in, empty for the configuration itself.
    """

    __slots__ = ("key", "lead", "origin", "text", "value")

    def __init__(self, text: str, key: str | None = None, lead: str = "", value: str = "", origin: str = "") -> None:
        self.origin = origin
        self.text = text
        self.key = key
        self.lead = lead
        self.value = value


def parse_line(text: str) -> Line:
    """A line as liblxc reads it: ``#`` begins a comment only at the start, a value may stand in quotes."""
    body = text.strip()
    if not body or body.startswith("#") or "=" not in text:
        return Line(text)
    head, dummy, tail = text.partition("=")
    value = tail.strip()
    lead = head + "=" + tail[: len(tail) - len(tail.lstrip())] if value else head + "= "
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    return Line(text, head.strip(), lead, value)


Included = t.Mapping[str, tuple[Line, ...]]
# The configurations that come with LXC.
SHIPPED = "/usr/share/lxc/config"
INCLUDE, TABLE, ENTRY = "lxc.include", "lxc.mount.fstab", "lxc.mount.entry"
# What LXC runs on the host when all is mounted, and before the container's own init: at each start, a reboot from inside too.
HOOK = "lxc.hook.start-host"
MOUNT_PROGRAM = paths.PROGRAMS + "/bind-mount"
# The keys of a network card that may stand more than once.
ADDRESSES = ("ipv4.address", "ipv6.address")
Lines = t.Mapping[str, t.Iterable[tuple[str, str]]]


class Config:
    """A configuration, with what it includes. Every method that changes something returns a new one, and raises ``ApplyError`` for a
    value of two lines.

    *lines* are its own, the only ones that are written; *included* are those of other files, by the value of ``lxc.include`` or of
    ``lxc.mount.fstab``, whose lines are mount entries.
    What is asked of it is what counts: its own lines and those that it includes, in the order in which liblxc reads them.
    """

    __slots__ = ("_nets", "effective", "included", "lines")

    def __init__(self, lines: tuple[Line, ...] = (), included: Included | None = None) -> None:
        self.lines = lines
        self.included: Included = included or {}
        self.effective = lines
        if self.included:
            nested = (
                (line, *self.included.get(line.value, ())) if line.key in (INCLUDE, TABLE) else (line,)
                for line in lines
            )
            self.effective = tuple(line for its in nested for line in its)
        self._nets: dict[int, dict[str, str]] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.lines == other.lines

    def __hash__(self) -> int:
        return hash(self.lines)

    @classmethod
    def parse(
        cls, text: str, included: Lines | None = None, tables: t.Mapping[str, t.Iterable[str]] | None = None
    ) -> Config:
        """*included* has the lines of other files by the value of ``lxc.include``, each as the path of its file and its text; *tables*
        those of the files that ``lxc.mount.fstab`` names.
        """
        others = {value: _parse_included(tuple(its)) for value, its in (included or {}).items()}
        for path, its in (tables or {}).items():
            entries = (line.strip() for line in its)
            others[path] = tuple(Line(it, ENTRY, "", it, path) for it in entries if it and not it.startswith("#"))
        # Not splitlines(): it also breaks lines at characters that are none to liblxc.
        lines = text.removesuffix("\n").split("\n") if text else ()
        return cls(tuple(parse_line(line) for line in lines), others)

    @property
    def text(self) -> str:
        return "".join(line.text + "\n" for line in self.lines)

    def values(self, key: str) -> list[str]:
        """The values of a key that may stand more than once, in their order. An empty value clears those before it."""
        return [line.value for line in self.lines_of(key)]

    def lines_of(self, key: str) -> list[Line]:
        """The lines that count of a key, in their order."""
        found: list[Line] = []
        for line in self.effective:
            if line.key == key:
                found = [*found, line] if line.value else []
        return found

    def get(self, key: str) -> str | None:
        """The value of a key that counts once: the last one."""
        found = self.values(key)
        return found[-1] if found else None

    def set(self, key: str, value: str) -> Config:
        """*key* has *value*: in the place of its last line, else after the last line of its family, else at the end."""
        new = _line(key, value)
        places = [number for number, line in enumerate(self.lines) if line.key == key]
        if places:
            place = places[-1]
            old = self.lines[place]
            is_same = old.value == value
            edited = (
                self
                if is_same
                else self._with(*self.lines[:place], parse_line(old.lead + value), *self.lines[place + 1 :])
            )
        else:
            edited = self._insert(new)
        if edited._counts(key) == value and (_NET.fullmatch(key) or not any(it.origin for it in edited.lines_of(key))):
            return edited
        # A file that is included says something else; of an item of a control group liblxc keeps all that it was told.
        return self._with(*(line for line in self.lines if line.key != key), parse_line(f"{key} ="), new)

    def unset(self, key: str) -> Config:
        """*key* has no value: no line of it is left, and where a file that is included has one an empty line takes it back."""
        edited = self._with(*(line for line in self.lines if line.key != key))
        return edited._with(*edited.lines, parse_line(f"{key} =")) if edited._counts(key) else edited

    def _counts(self, key: str) -> str:
        """What *key* counts as, of a key that counts once: a line of a whole network card takes back its keys."""
        match = _NET.fullmatch(key)
        if match and match.group(2):
            return self.nets().get(int(match.group(1)), {}).get(match.group(2), "")
        return self.get(key) or ""

    def _with(self, *lines: Line) -> Config:
        return Config(lines, self.included)

    def append(self, key: str, value: str) -> Config:
        """One more value of a key that may stand more than once."""
        return self._insert(_line(key, value))

    def remove(self, key: str, value: str) -> Config:
        """Without the lines of *key* that have exactly this *value*."""
        return self._with(*(line for line in self.lines if line.key != key or line.value != value))

    def replace(self, key: str, old: str, new: str) -> Config:
        """The lines of *key* that have the value *old* have the value *new*, in their place."""
        edited = (
            parse_line(line.lead + _checked(new)) if line.key == key and line.value == old else line
            for line in self.lines
        )
        return self._with(*edited)

    def set_all(self, key: str, values: t.Sequence[str]) -> Config:
        """A key that may stand more than once has these *values*: line by line in their places, where no other file has some."""
        if self.values(key) == list(values):
            return self
        if any(line.origin for line in self.lines_of(key)):
            edited = self._with(*(line for line in self.lines if line.key != key), parse_line(f"{key} ="))
            return edited._with(*edited.lines, *(_line(key, value) for value in values))
        left, lines = list(values), []
        for line in self.lines:
            if line.key == key:
                if left:
                    lines.append(parse_line(line.lead + _checked(left.pop(0))))
            else:
                lines.append(line)
        edited = self._with(*lines)
        for value in left:
            edited = edited.append(key, value)
        return edited

    def nets(self) -> dict[int, dict[str, str]]:
        """The network interfaces by their number, each with its keys (``link``, ``veth.pair``); one of ``ADDRESSES`` has a line of
        its own for each address.
        """
        if self._nets is None:
            self._nets = self._read_nets()
        return {number: dict(net) for number, net in self._nets.items()}

    def _read_nets(self) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for line in self.effective:
            if not (line.key or "").startswith("lxc.net"):
                continue
            match = _NET.fullmatch(line.key or "")
            if line.key == "lxc.net" and not line.value:
                found = {}
            elif match and match.group(2):
                net, key = found.setdefault(int(match.group(1)), {}), match.group(2)
                before = net.get(key) if key in ADDRESSES and line.value else None
                net[key] = f"{before}\n{line.value}" if before else line.value
            elif match and not line.value:
                found.pop(int(match.group(1)), None)
        return {number: {key: value for key, value in net.items() if value} for number, net in found.items()}

    def without_net(self, number: int) -> Config:
        """Without every line of the network interface *number*."""
        prefix = f"lxc.net.{number}"
        kept = (line for line in self.lines if line.key != prefix and not (line.key or "").startswith(prefix + "."))
        edited = self._with(*kept)
        return edited._with(*edited.lines, parse_line(f"{prefix} =")) if number in edited.nets() else edited

    def _insert(self, new: Line) -> Config:
        for family in _families(new.key or ""):
            places = [
                number
                for number, line in enumerate(self.lines)
                if line.key == family or (line.key or "").startswith(family + ".")
            ]
            if places:
                return self._with(*self.lines[: places[-1] + 1], new, *self.lines[places[-1] + 1 :])
        return self._with(*self.lines, new)


@functools.lru_cache(maxsize=64)
def _parse_included(its: tuple[tuple[str, str], ...]) -> tuple[Line, ...]:
    """The lines of other files. Most containers of a host include the same."""
    return tuple(parse_line(line).replace(origin=origin) for origin, line in its if "=" in line)


def _families(key: str) -> t.Iterator[str]:
    """What a new line is put next to: its own key, then the keys of the same device or controller."""
    yield key
    parts = key.split(".")
    for length in range(len(parts) - 1, 2, -1):
        yield ".".join(parts[:length])


def _checked(value: str) -> str:
    if not value.isprintable():
        raise ApplyError(f"a value of an LXC configuration is one printable line, not {shorten(value)}")
    return value


def _line(key: str, value: str) -> Line:
    return parse_line(f"{key} = {_checked(value)}")


def escape_path(path: str) -> str:
    """*path* as it stands in a mount entry, where blanks separate the fields."""
    return path.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")


def unescape_path(text: str) -> str:
    """The path of a field of a mount entry or of mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


class MountEntry(Value):
    """An ``lxc.mount.entry``, or the line of the program that mounts what liblxc cannot. *path* is absolute inside the container.

    *key* is that of the line; *line* is the value that it was read from, *origin* the file where that stands, empty for the
    configuration itself. *is_backed_up* is what the record says of it. Of the *options* ``uid=HOST:INSIDE`` and ``gid=HOST:INSIDE`` are the
    program's own.
    """

    __slots__ = ("fstype", "is_backed_up", "key", "line", "options", "origin", "path", "rest", "source")

    def __init__(
        self,
        source: str,
        path: str,
        fstype: str,
        options: tuple[str, ...],
        rest: str = "0 0",
        line: str = "",
        origin: str = "",
        key: str = ENTRY,
        is_backed_up: bool = False,
    ) -> None:
        self.is_backed_up = is_backed_up
        self.source = source
        self.path = path
        self.fstype = fstype
        self.options = options
        self.rest = rest
        self.line = line
        self.origin = origin
        self.key = key

    @property
    def text(self) -> str:
        options = ",".join(self.options)
        if self.key == HOOK:
            return f"{MOUNT_PROGRAM} {_escape_word(self.source)} {_escape_word(self.path)} {options}"
        return f"{escape_path(self.source)} {escape_path(self.path.lstrip('/'))} {self.fstype} {options} {self.rest}"

    @property
    def is_bind(self) -> bool:
        return bool({"bind", "rbind"} & set(self.options))

    @property
    def is_readonly(self) -> bool:
        return "ro" in self.options

    @property
    def is_mapped(self) -> bool:
        return "idmap=container" in self.options

    @property
    def ids(self) -> tuple[str, ...]:
        """Which ids of the host are which inside, as the option ``map_ids`` has them."""
        found = (re.fullmatch(r"([ug]id)=(\d+):(\d+)", option) for option in self.options)
        return tuple(sorted(" ".join(match.groups()) for match in found if match))

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``."""
        return {
            "source": self.source,
            "path": self.path,
            "readonly": self.is_readonly,
            "mapped": self.is_mapped,
            "map_ids": self.ids,
            "backup": self.is_backed_up,
        }[key]


def _escape_word(text: str) -> str:
    """A path as one word of a shell that means nothing to it."""
    return re.sub(
        rb"[^A-Za-z0-9_./-]", lambda match: b"%%%02X" % match[0][0], text.encode("utf-8", "surrogateescape")
    ).decode("ascii")


def _unescape_word(text: str) -> str:
    plain = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
    return plain.decode("utf-8", "surrogateescape")


def parse_program(value: str, origin: str = "") -> MountEntry | None:
    """The mount of a line that runs our program; ``None`` for a line that runs something else."""
    words = value.split(" ")
    if len(words) != 4 or words[0] != MOUNT_PROGRAM:
        return None
    source, path = (_unescape_word(word) for word in words[1:3])
    return MountEntry(source, path, "none", tuple(words[3].split(",")), line=value, origin=origin, key=HOOK)


def parse_entry(value: str, root: str | None = None, origin: str = "") -> MountEntry | None:
    """The entry of one line; ``None`` for a line that is no mount.

    liblxc takes an absolute target for one on the host, below *root*, and leaves out one that is not.
    """
    fields = value.split()
    if len(fields) < 4:
        return None
    source, path, fstype, options = fields[:4]
    target = unescape_path(path)
    if target.startswith("/"):
        if not root or not (target + "/").startswith(root.rstrip("/") + "/"):
            return None
        target = target[len(root.rstrip("/")) :]
    return MountEntry(
        unescape_path(source),
        "/" + target.strip("/"),
        fstype,
        tuple(options.split(",")),
        " ".join(fields[4:]) or "0 0",
        value,
        origin,
    )


def root_of(config: Config) -> str | None:
    """The root of the container; what stands before it is the driver of liblxc."""
    value = config.get("lxc.rootfs.path")
    if not value:
        return None
    driver, colon, path = value.partition(":")
    return path if colon and "/" not in driver else value
