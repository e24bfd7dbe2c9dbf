# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A file of systemd-networkd as a model that keeps its comments, its order and what it does not know."""

from __future__ import annotations

import dataclasses
import typing as t

_COMMENTS = ("#", ";")
# Sections that are one, however often they are there: an empty value takes back those of earlier ones too.
_ONE = ("Match", "NetDev", "Network", "Link", "Bridge")


def _goes_on(text: str) -> bool:
    """Whether the last backslash is no part of a pair."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


@dataclasses.dataclass
class Section:
    """*head* is the line with the name, "" for what stands before the first section; *lines* are kept to the letter."""

    name: str
    head: str
    lines: list[str] = dataclasses.field(default_factory=list)

    def entries(self) -> list[tuple[int, int, str, str]]:
        """The assignments as (first line, line after the last, key, value). A backslash joins lines."""
        found = []
        number = 0
        while number < len(self.lines):
            start, text = number, self.lines[number].strip()
            number += 1
            if not text or text[0] in _COMMENTS:
                continue
            while _goes_on(text) and number < len(self.lines):
                line = self.lines[number].strip()
                number += 1
                if line[:1] not in _COMMENTS or not line:
                    text = f"{text[:-1]} {line}"
            if "=" not in text:
                continue
            key, dummy, value = text.partition("=")
            found.append((start, number, key.strip(), value.strip()))
        return found

    def values(self, key: str) -> list[str]:
        """All values of *key*; an empty one takes back those before it."""
        found: list[str] = []
        for dummy, dummy, name, value in self.entries():
            if name == key:
                found = [*found, value] if value else []
        return found

    def set(self, key: str, values: t.Sequence[str]) -> None:
        """Make *values* those of *key*, in the place of the old ones, else at the end."""
        if self.values(key) == list(values):
            return
        places = [(start, end) for start, end, name, dummy in self.entries() if name == key]
        at = places[0][0] if places else self._end()
        for start, end in reversed(places):
            del self.lines[start:end]
        self.lines[at:at] = [f"{key}={value}" for value in values]

    def _end(self) -> int:
        """Before the empty lines that part it from the next section."""
        end = len(self.lines)
        while end and not self.lines[end - 1].strip():
            end -= 1
        return end


class UnitFile:
    """Sections in their order; a name can be there more than once."""

    def __init__(self, text: str = "") -> None:
        self.sections = [Section("", "")]
        for line in text.splitlines():
            name = line.strip()
            if name.startswith("[") and name.endswith("]"):
                self.sections.append(Section(name[1:-1], line))
            else:
                self.sections[-1].lines.append(line)

    def joined(self, others: t.Iterable[UnitFile]) -> UnitFile:
        """The sections of all, as systemd reads a file with its drop-ins. What stands before the first section counts nowhere."""
        unit = UnitFile()
        unit.sections = [section for one in (self, *others) for section in one.sections]
        return unit

    @property
    def is_broken(self) -> bool:
        """Whether systemd passes over the whole file: a section does not end."""
        return any(
            line.strip().startswith("[") for section in self.sections for line in section.lines if "=" not in line
        )

    def render(self) -> str:
        lines = [line for section in self.sections for line in ([section.head] if section.head else []) + section.lines]
        return "\n".join(lines) + "\n" if lines else ""

    def named(self, name: str) -> list[Section]:
        return [section for section in self.sections if section.name == name]

    def values(self, name: str, key: str) -> list[str]:
        """All values of *key* in all sections of that name."""
        found: list[str] = []
        for section in self.named(name):
            is_taken_back = name in _ONE and any(
                other == key and not value for dummy, dummy, other, value in section.entries()
            )
            found = [*(() if is_taken_back else found), *section.values(key)]
        return found

    def given(self, name: str, key: str) -> list[str]:
        """What stands for *key* in all sections of that name, to the letter: empty ones too, and none taken back."""
        return [
            value for section in self.named(name) for dummy, dummy, other, value in section.entries() if other == key
        ]

    def value(self, name: str, key: str) -> str:
        """The last value of *key*, "" for none."""
        values = self.values(name, key)
        return values[-1] if values else ""

    def set(self, name: str, key: str, values: t.Sequence[str]) -> None:
        """Make *values* those of *key*: in the section that has it, else in the first of that name, else in a new one."""
        if self.values(name, key) == list(values):
            return
        sections = self.named(name)
        holders = [section for section in sections if any(entry[2] == key for entry in section.entries())]
        for section in holders[1:]:
            section.set(key, ())
        if holders or values:
            (holders or sections or [self.add(name)])[0].set(key, values)

    def add(self, name: str) -> Section:
        """A new section at the end."""
        last = self.sections[-1]
        if (last.head or last.lines) and not (last.lines and not last.lines[-1].strip()):
            last.lines.append("")
        section = Section(name, f"[{name}]")
        self.sections.append(section)
        return section

    def drop_empty(self, name: str) -> None:
        """Take the sections of that name off that have no assignment and no comment."""
        for section in self.named(name):
            if not any(line.strip() for line in section.lines):
                self.sections.remove(section)
