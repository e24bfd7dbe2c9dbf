# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of a bridge with ports, and what is told of it."""

from __future__ import annotations

import dataclasses
import typing as t

from ..._host.routes import DefaultRoute
from ..lifeline import Lifelines
from ..options import PORTS_MODE
from .ifupdown import Ifupdown
from .moved import Moved
from .networkd import Networkd
from .settings import LinkSettings

Backend = t.Union[Networkd, Ifupdown]  # noqa: UP007  # ansible-test reads shared code as Python 3.9, which has no | of classes


@dataclasses.dataclass(frozen=True)
class LinkState:
    """A bridge with ports as it is. *persistent* is what the files define, *live* what the kernel has.

    *obstacles* are sentences that refuse what is new; *lifelines* the links that carry the connection to this host or its
    way out, each with a word for which; *peers* the addresses from which it is reached; *strangers* the ports that no
    definition names, without those of *users*; *most_mtus* is how large the MTU of each link can be, as far as the kernel
    tells; *released* those that an interrupted run took out of the definition alone. *vlan_users* are the guests in VLANs
    of the bridge, read where it is to know none. *carrier* is the libvirt network that makes a bridge of that name.
    *can_switch*: what can cut the host off is taken back unless it is confirmed. *moved* is what a new
    bridge takes over from its port.
    *is_set_down*: the kernel has the bridge, and somebody has set it down.
    """

    backend: Backend | None = None
    persistent: LinkSettings | None = None
    live: LinkSettings | None = None
    starts: bool = False
    is_building: bool = False
    is_recorded: bool = False
    is_made: bool = False
    can_lease: bool = False
    has_vlans: bool = True
    mac: str | None = None
    is_set_down: bool = False
    links: frozenset[str] = frozenset()
    most_mtus: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    ports: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    default_routes: tuple[DefaultRoute, ...] = ()
    lifelines: Lifelines = dataclasses.field(default_factory=dict)
    peers: tuple[str, ...] = ()
    subnets: tuple[tuple[str, str], ...] = ()
    users: t.Mapping[str, bool] = dataclasses.field(default_factory=dict)
    vlan_users: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    carrier: str | None = None
    can_switch: bool = False
    moved: Moved | None = None

    @property
    def is_up(self) -> bool:
        return self.live is not None

    @property
    def is_defined(self) -> bool:
        return self.persistent is not None and not self.is_building


def link_facts(name: str, state: LinkState) -> dict[str, t.Any]:
    """The bridge as it is up, or as it is defined while it is down."""
    link = state.live or state.persistent or LinkSettings()
    power = "started" if state.is_up and not state.is_set_down else "stopped"
    return {
        "name": name,
        "state": power if state.is_defined else "absent",
        "mode": PORTS_MODE if state.is_defined else None,
        "address": next(iter(link.addresses), None),
        "address6": next(iter(link.addresses6), None),
        "gateway": link.gateway or None,
        "gateway6": link.gateway6 or None,
        "mtu": link.mtu or None,
        "autostart": state.is_defined and state.starts,
        "mac": state.mac,
        "stp": link.stp,
        "vlan_aware": link.vlan_aware,
        "backend": state.backend.name if state.backend is not None and state.is_defined else None,
        "ports": list(state.ports),
        "users": sorted(state.users),
    }
