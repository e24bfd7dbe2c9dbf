# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which guests the user asks for."""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.declared import check_choice, check_line
from .._core.errors import bad_value

KINDS = ("vm", "container")

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "list", "elements": "str"},
    "kind": {"type": "str", "choices": list(KINDS)},
}


@dataclasses.dataclass(frozen=True)
class Question:
    """The guests that are asked for. ``None`` is not written: all names, both kinds."""

    names: frozenset[str] | None = None
    kind: str | None = None

    def wants(self, name: str, kind: str) -> bool:
        return (self.names is None or name in self.names) and (self.kind is None or kind == self.kind)


def parse(params: t.Mapping[str, t.Any]) -> Question:
    """The question from a module's parameters.

    :raises SpecError: for a name that no guest can have.
    """
    names = params.get("name")
    for name in names or ():
        if not name or "/" in name:
            raise bad_value("name", name, "the names of guests")
        check_line("name", name)
    return Question(None if names is None else frozenset(names), check_choice("kind", params.get("kind"), KINDS))
