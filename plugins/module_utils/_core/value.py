# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Plain values with named parts, without what making a dataclass costs at import (half of the loading of a module)."""

from __future__ import annotations

import typing as t


class Value:
    """A value whose parts are its ``__slots__``, and the arguments of its own ``__init__``. Equal where all parts are."""

    __slots__: t.ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__))

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({parts})"

    def replace(self, **changes: t.Any) -> t.Self:
        """The same value with other parts."""
        return type(self)(**{**{name: getattr(self, name) for name in self.__slots__}, **changes})
