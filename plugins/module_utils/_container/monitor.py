# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the monitor of a running container holds of its configuration: of that it makes the container anew when the guest restarts itself.

liblxc 5 and 6 can tell it and not change it, so what was changed since waits for a start from the host.
"""

from __future__ import annotations

import typing as t

from . import cgroup
from .config import ADDRESSES, ENTRY, HOOK, Config

_OF_CARD = ("link", "mtu", "ipv4.gateway", "ipv6.gateway", "script.up", *ADDRESSES)


def keys_of(config: Config, *, is_v2: bool) -> tuple[str, ...]:
    """The keys that a change while it runs can make others."""
    prefix, items = cgroup.family(is_v2=is_v2)
    cards = (f"lxc.net.{number}.{key}" for number in config.nets() for key in _OF_CARD)
    return (*(prefix + item for item in items), "lxc.uts.name", *cards, ENTRY, HOOK)


def changed_keys(config: Config, held: t.Mapping[str, str]) -> list[str]:
    """Those of the keys that are *held* of which the configuration says something else by now."""
    return [key for key, value in held.items() if _lines(value) != _lines("\n".join(_values(config, key)))]


def _values(config: Config, key: str) -> list[str]:
    values = config.values(key)
    return values if key in (ENTRY, HOOK) or key.endswith(ADDRESSES) else values[-1:]


def _lines(text: str) -> list[str]:
    return sorted(line.strip() for line in text.split("\n") if line.strip())
