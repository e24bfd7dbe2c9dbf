# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A file of ifupdown (interfaces(5)) as a model that keeps its comments, its order and what it does not know."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import typing as t

_KEYWORDS = (
    "iface",
    "mapping",
    "auto",
    "no-auto-down",
    "no-scripts",
    "source",
    "source-directory",
    "rename",
    "template",
)
_INDENT = "    "


@dataclasses.dataclass
class Stanza:
    """A stanza with the comments and empty lines behind it. *words* are those of its first line; lines are kept to the letter."""

    words: tuple[str, ...]
    lines: list[str]

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""

    def is_iface(self, name: str, family: str | None = None) -> bool:
        return self.words[:2] == ("iface", name) and (family is None or self.words[2:3] == (family,))

    def starts(self, name: str) -> bool:
        """Whether it makes the interface *name* come up with the host."""
        is_start = self.kind == "auto" or self.kind.startswith("allow-")
        return is_start and any(word == name or _is_pattern_of(word, name) for word in self.words[1:])

    def options(self) -> list[tuple[int, int, str, str]]:
        """The options as (first line, line after the last, name with underscores, value)."""
        return [
            (start, end, (text.split(None, 1)[0]).replace("-", "_"), " ".join(text.split()[1:]))
            for start, end, text in _logical(self.lines)
            if start > 0 and text and not text.startswith("#")
        ]

    def values(self, option: str) -> list[str]:
        return [value for dummy, dummy, name, value in self.options() if name == option]

    def value(self, option: str) -> str:
        values = self.values(option)
        return values[0] if values else ""

    def set(self, option: str, values: t.Sequence[str]) -> None:
        """Make *values* those of *option*, in the place of the old ones and with their spelling, else behind all others."""
        if self.values(option) == list(values):
            return
        places = [(start, end) for start, end, name, dummy in self.options() if name == option]
        spelling, indent = option, self._indent()
        if places:
            match = re.match(r"(\s*)(\S+)", self.lines[places[0][0]])
            if match:
                indent, spelling = match[1], match[2]
        at = places[0][0] if places else self._end()
        for start, end in reversed(places):
            del self.lines[start:end]
        self.lines[at:at] = [f"{indent}{spelling} {value}" for value in values]

    def drop(self, option: str, is_it: t.Callable[[str], bool]) -> None:
        """Take those values of *option* off that *is_it* names; the lines of the others stay to the letter."""
        for start, end, name, value in reversed(self.options()):
            if name == option and is_it(value):
                del self.lines[start:end]

    def add(self, option: str, values: t.Sequence[str]) -> None:
        """Further values of *option*, behind those that are there, else behind all others."""
        ends = [found[1] for found in self.options() if found[2] == option]
        at = ends[-1] if ends else self._end()
        self.lines[at:at] = [f"{self._indent()}{option} {value}" for value in values]

    def set_words(self, *words: str) -> None:
        """Another first line."""
        self.words = words
        first = next(_logical(self.lines))
        self.lines[first[0] : first[1]] = [" ".join(words)]

    def _indent(self) -> str:
        known = self.options()
        match = re.match(r"\s*", self.lines[known[0][0]]) if known else None
        return match[0] if match else _INDENT

    def _end(self) -> int:
        known = self.options()
        return known[-1][1] if known else next(_logical(self.lines))[1]

    @property
    def tail(self) -> list[str]:
        """The comments and empty lines behind its last option: they may be about what follows."""
        return self.lines[self._end() :]


def _is_pattern_of(word: str, name: str) -> bool:
    """Whether ``/vmbr*`` stands for *name*; ``/*/mac=...`` asks for more than a name."""
    return word.startswith("/") and "/" not in word[1:] and fnmatch.fnmatchcase(name, word[1:].partition("=")[0])


class InterfacesFile:
    """Stanzas in their order; the first has no words and holds what stands before all others."""

    def __init__(self, text: str = "") -> None:
        lines = text.splitlines()
        self.stanzas = [Stanza((), [])]
        for start, end, logical in _logical(lines):
            words = tuple(logical.split())
            if words and not logical.startswith("#") and (words[0] in _KEYWORDS or words[0].startswith("allow-")):
                self.stanzas.append(Stanza(words, lines[start:end]))
            else:
                self.stanzas[-1].lines.extend(lines[start:end])

    def render(self) -> str:
        lines = [line for stanza in self.stanzas for line in stanza.lines]
        return "\n".join(lines) + "\n" if lines else ""

    def ifaces(self, name: str, family: str | None = None) -> list[Stanza]:
        return [stanza for stanza in self.stanzas if stanza.is_iface(name, family)]

    def starts(self, name: str) -> bool:
        return any(stanza.starts(name) for stanza in self.stanzas)

    def append(self, *words: str, parted: bool = True) -> Stanza:
        """A new stanza at the end."""
        last = self.stanzas[-1]
        if parted and self.render() and not (last.lines and not last.lines[-1].strip()):
            last.lines.append("")
        stanza = Stanza(words, [" ".join(words)])
        self.stanzas.append(stanza)
        return stanza

    def remove(self, stanza: Stanza) -> None:
        """Take a stanza off. Comments behind it stay: they may be about what follows."""
        place = self.stanzas.index(stanza)
        tail = stanza.tail
        before = self.stanzas[place - 1]
        if tail and not tail[0].strip() and (not before.lines or not before.lines[-1].strip()):
            tail = tail[1:]
        if not tail and stanza is self.stanzas[-1] and before.lines and not before.lines[-1].strip():
            # It parted the stanza from the one before.
            del before.lines[-1]
        before.lines.extend(tail)
        del self.stanzas[place]

    def forget(self, name: str) -> None:
        """Take *name* off everywhere: its stanzas, and its word in the lines that start it."""
        for stanza in list(self.stanzas):
            if stanza.is_iface(name):
                self.remove(stanza)
            elif stanza.starts(name) and name in stanza.words:
                words = tuple(word for word in stanza.words if word != name)
                if len(words) == 1:
                    self.remove(stanza)
                else:
                    stanza.set_words(*words)

    def is_blank(self) -> bool:
        return not self.render().strip()


def _logical(lines: t.Sequence[str]) -> t.Iterator[tuple[int, int, str]]:
    """The lines as ifupdown reads them: (first, after the last, text), with those joined, to the letter, that end with a backslash."""
    number = 0
    while number < len(lines):
        start, text = number, lines[number].strip()
        number += 1
        # A comment does not go on, whatever it ends with.
        while text.endswith("\\") and not text.startswith("#") and number < len(lines):
            text = text[:-1] + lines[number].rstrip()
            number += 1
        yield start, number, text
