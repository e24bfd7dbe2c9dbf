# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What every device of a domain is: its options in canonical form, and what libvirt calls it."""

from __future__ import annotations

import typing as t

from ..._core.value import Value


class Device(Value):
    """A device of a domain.

    *alias* is the name that a user's alias carries, *values* has its options, *address* is where it is plugged in.
    """

    __slots__ = ()
    alias: str | None
    values: t.Mapping[str, t.Any]
    address: str

    def value(self, key: str) -> t.Any:
        return self.values.get(key)

    def with_values(self, **values: t.Any) -> t.Self:
        """The same device with what only the host knows of it (``pool``, ``size``, the bridge of a card), or with other values."""
        return self.replace(values={**self.values, **values})
