# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The configuration file of a container as lines: what is changed is changed in place, everything else survives to the byte."""

from __future__ import annotations

import re
import typing as t

from .._core.errors import ApplyError, shorten
from .._core.value import Value

_NET = re.compile(r"lxc\.net\.(\d+)(?:\.(.+))?")


class Line(Value):
    """One line. *lead* is everything up to the value; a comment, a blank or a broken line has no *key*."""

    __slots__ = ("key", "lead", "text", "value")

    def __init__(self, text: str, key: str | None = None, lead: str = "", value: str = "") -> None:
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


class Config:
    """A configuration. Every method that changes something returns a new one, and raises ``ApplyError`` for a value of two lines."""

    __slots__ = ("_nets", "lines")

    def __init__(self, lines: tuple[Line, ...] = ()) -> None:
        self.lines = lines
        self._nets: dict[int, dict[str, str]] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.lines == other.lines

    def __hash__(self) -> int:
        return hash(self.lines)

    @classmethod
    def parse(cls, text: str) -> Config:
        # Not splitlines(): it also breaks lines at characters that are none to liblxc.
        return cls(tuple(parse_line(line) for line in text.removesuffix("\n").split("\n"))) if text else cls()

    @property
    def text(self) -> str:
        return "".join(line.text + "\n" for line in self.lines)

    def values(self, key: str) -> list[str]:
        """The values of a key that may stand more than once, in their order. An empty value clears those before it."""
        found: list[str] = []
        for line in self.lines:
            if line.key == key:
                found = [*found, line.value] if line.value else []
        return found

    def get(self, key: str) -> str | None:
        """The value of a key that counts once: the last one."""
        found = self.values(key)
        return found[-1] if found else None

    def set(self, key: str, value: str) -> Config:
        """*key* has *value*: in the place of its last line, else after the last line of its family, else at the end."""
        new = _line(key, value)
        places = [number for number, line in enumerate(self.lines) if line.key == key]
        if not places:
            return self._insert(new)
        place = places[-1]
        old = self.lines[place]
        if old.value == value:
            return self
        return Config((*self.lines[:place], parse_line(old.lead + value), *self.lines[place + 1 :]))

    def unset(self, key: str) -> Config:
        """No line of *key* is left."""
        return Config(tuple(line for line in self.lines if line.key != key))

    def append(self, key: str, value: str) -> Config:
        """One more value of a key that may stand more than once."""
        return self._insert(_line(key, value))

    def remove(self, key: str, value: str) -> Config:
        """Without the lines of *key* that have exactly this *value*."""
        return Config(tuple(line for line in self.lines if line.key != key or line.value != value))

    def replace(self, key: str, old: str, new: str) -> Config:
        """The lines of *key* that have the value *old* have the value *new*, in their place."""
        return Config(
            tuple(
                parse_line(line.lead + _checked(new)) if line.key == key and line.value == old else line
                for line in self.lines
            )
        )

    def nets(self) -> dict[int, dict[str, str]]:
        """The network interfaces by their number, each with its keys (``link``, ``veth.pair``)."""
        if self._nets is None:
            self._nets = self._read_nets()
        return {number: dict(net) for number, net in self._nets.items()}

    def _read_nets(self) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for line in self.lines:
            if not (line.key or "").startswith("lxc.net"):
                continue
            match = _NET.fullmatch(line.key or "")
            if line.key == "lxc.net" and not line.value:
                found = {}
            elif match and match.group(2):
                found.setdefault(int(match.group(1)), {})[match.group(2)] = line.value
            elif match and not line.value:
                found.pop(int(match.group(1)), None)
        return {number: {key: value for key, value in net.items() if value} for number, net in found.items()}

    def without_net(self, number: int) -> Config:
        """Without every line of the network interface *number*."""
        prefix = f"lxc.net.{number}"
        return Config(
            tuple(line for line in self.lines if line.key != prefix and not (line.key or "").startswith(prefix + "."))
        )

    def _insert(self, new: Line) -> Config:
        for family in _families(new.key or ""):
            places = [
                number
                for number, line in enumerate(self.lines)
                if line.key == family or (line.key or "").startswith(family + ".")
            ]
            if places:
                return Config((*self.lines[: places[-1] + 1], new, *self.lines[places[-1] + 1 :]))
        return Config((*self.lines, new))


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
    """An ``lxc.mount.entry``. *path* is absolute inside the container."""

    __slots__ = ("fstype", "options", "path", "rest", "source")

    def __init__(self, source: str, path: str, fstype: str, options: tuple[str, ...], rest: str = "0 0") -> None:
        self.source = source
        self.path = path
        self.fstype = fstype
        self.options = options
        self.rest = rest

    @property
    def text(self) -> str:
        return f"{escape_path(self.source)} {escape_path(self.path.lstrip('/'))} {self.fstype} {','.join(self.options)} {self.rest}"

    @property
    def is_bind(self) -> bool:
        return bool({"bind", "rbind"} & set(self.options))

    @property
    def is_readonly(self) -> bool:
        return "ro" in self.options

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``."""
        return {"source": self.source, "path": self.path, "readonly": self.is_readonly}[key]


def parse_entry(value: str) -> MountEntry | None:
    """The entry of one line; ``None`` for a line that is no mount."""
    fields = value.split()
    if len(fields) < 4:
        return None
    source, path, fstype, options = fields[:4]
    return MountEntry(
        unescape_path(source),
        "/" + unescape_path(path).strip("/"),
        fstype,
        tuple(options.split(",")),
        " ".join(fields[4:]) or "0 0",
    )
