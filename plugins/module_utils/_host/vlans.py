# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""VLANs on the ports of bridges: where there are any, which one a port belongs to, and how it comes into another."""

from __future__ import annotations

import typing as t

Link = t.Mapping[str, t.Any]
Entries = t.Iterable[t.Mapping[str, t.Any]]


class Port(t.NamedTuple):
    """A link, and the VLAN whose tag frames bear there, 0 for none."""

    link: str
    vlan: int = 0


def default_vlan(bridge: str, links: t.Mapping[str, Link]) -> int | None:
    """The VLAN that *bridge* gives to each new port, 0 for none; ``None`` where it knows no VLANs."""
    data = _bridge_data(links.get(bridge))
    return int(data.get("vlan_default_pvid", 0)) if data and data.get("vlan_filtering") else None


def obstacle(
    bridge: str, links: t.Mapping[str, Link], expected: t.Mapping[str, bool], probe: t.Callable[[], bool]
) -> str | None:
    """Why no port of *bridge* can belong to a VLAN, and what permits it; ``None`` where one can, or nothing is known yet.

    *expected* says of bridges that are made or changed before their ports are whether they will know VLANs. *probe* asks
    the kernel itself, where no bridge tells what it can.
    """
    known = [data for link in links.values() if (data := _bridge_data(link)) is not None]
    # A kernel without VLAN filtering tells of its bridges that it is off, and nothing of a default.
    if not (any("vlan_default_pvid" in data for data in known) if known else probe()):
        return (
            "the kernel of this host has no VLAN filtering for bridges. "
            "One with CONFIG_BRIDGE_VLAN_FILTERING permits it, as Debian's kernels do"
        )
    is_known = bridge in expected or bridge in links
    if not is_known or expected.get(bridge, default_vlan(bridge, links) is not None):
        return None
    return f"the bridge {bridge} knows no VLANs. One with mode: ports and vlan_aware: true permits it"


def _bridge_data(link: Link | None) -> t.Mapping[str, t.Any] | None:
    info = (link or {}).get("linkinfo", {})
    return info.get("info_data", {}) if info.get("info_kind") == "bridge" else None


def vlan_of(entries: Entries) -> int:
    """The VLAN of what comes without a tag, 0 for none, from what ``bridge -j vlan`` says of a port."""
    return next((int(entry["vlan"]) for entry in entries if "PVID" in entry.get("flags", ())), 0)


def ports_in(ports: t.Iterable[str], told: t.Mapping[str, Entries], vlan: int) -> list[Port]:
    """Those of *ports* that *vlan* leads out of, by what ``bridge -j vlan`` has *told* of them."""
    found = []
    for port in ports:
        for entry in told.get(port, ()):
            if int(entry["vlan"]) <= vlan <= int(entry.get("vlanEnd", entry["vlan"])):
                found.append(Port(port, 0 if "Egress Untagged" in entry.get("flags", ()) else vlan))
    return found


def canonical(seen: int, defined: int, default: int) -> int | None:
    """The VLAN *seen* on a port as the option has it: 0 is that of the bridge, ``None`` a port that takes nothing without a tag."""
    return defined if seen == (defined or default) else seen or None


def port_lines(port: str, entries: Entries, wanted: int) -> list[str]:
    """The lines for ``bridge -batch`` after which all that *port* gets and sends without a tag belongs to *wanted*, 0 for none."""
    untagged = {int(entry["vlan"]) for entry in entries if {"PVID", "Egress Untagged"} & set(entry.get("flags", ()))}
    if untagged == {wanted} - {0} and vlan_of(entries) == wanted:
        return []
    lines = [f"vlan delete dev {port} vid {vlan}" for vlan in sorted(untagged - {wanted})]
    return [*lines, *([f"vlan add dev {port} vid {wanted} pvid untagged"] if wanted else [])]
