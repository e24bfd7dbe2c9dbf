# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the record says of a bridge."""

from __future__ import annotations

import typing as t

from .._core.value import Value

Data = t.Mapping[str, t.Any]


class BridgeRecord(Value):
    """The record of a bridge, typed.

    *is_building* from before the first write until the bridge stands. *is_made*: this collection made it. *mode* is ``ports`` for a bridge
    with ports, which *backend* configures; *network* is the name of the network of any other. *ports* has of each port how it was before it
    was plugged in: its MTU (``mtu``) and whether it was up (``up``). *replug* are the links that were plugged into a network that is started
    anew, with the flags of their ports (``link``, ``flags``); ``None`` while none is. *without_forwarding* are the bridges that did without
    forwarding when this one switched it on; ``None`` where it was on, and *without_forwarding6* the same of IPv6. *words* are those that stood in the
    place of values before this module wrote there, by option path.
    """

    __slots__ = (
        "backend",
        "is_building",
        "is_made",
        "mode",
        "network",
        "ports",
        "replug",
        "without_forwarding",
        "without_forwarding6",
        "words",
    )

    def __init__(
        self,
        *,
        is_building: bool = False,
        is_made: bool = False,
        mode: str | None = None,
        backend: str | None = None,
        network: str | None = None,
        ports: t.Mapping[str, Data] | None = None,
        replug: t.Sequence[Data] | None = None,
        without_forwarding: t.Sequence[str] | None = None,
        without_forwarding6: t.Sequence[str] | None = None,
        words: t.Mapping[str, str] | None = None,
    ) -> None:
        self.is_building = is_building
        self.is_made = is_made
        self.mode = mode
        self.backend = backend
        self.network = network
        self.ports: t.Mapping[str, Data] = ports or {}
        self.replug = replug
        self.without_forwarding = without_forwarding
        self.without_forwarding6 = without_forwarding6
        self.words: t.Mapping[str, str] = words or {}

    @classmethod
    def load(cls, data: Data) -> t.Self:
        """The record of the JSON values *data*."""
        return cls(
            is_building=bool(data.get("building")),
            is_made=bool(data.get("made")),
            mode=data.get("mode"),
            backend=data.get("backend"),
            network=data.get("network"),
            ports=data.get("ports"),
            replug=data.get("replug"),
            without_forwarding=data.get("bridges_without_forwarding"),
            without_forwarding6=data.get("bridges_without_forwarding6"),
            words=data.get("words"),
        )

    def dump(self) -> dict[str, t.Any]:
        """The JSON values of the record; ``None`` for what it does not hold."""
        return {
            "building": self.is_building or None,
            "made": self.is_made or None,
            "mode": self.mode,
            "backend": self.backend,
            "network": self.network,
            "ports": {name: dict(before) for name, before in self.ports.items()} or None,
            "replug": None if self.replug is None else [dict(port) for port in self.replug],
            "bridges_without_forwarding": None if self.without_forwarding is None else list(self.without_forwarding),
            "bridges_without_forwarding6": None if self.without_forwarding6 is None else list(self.without_forwarding6),
            "words": dict(self.words) or None,
        }
