# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The guests of the inventory as their hypervisors see them: what guest_info told, joined with what the inventory says."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.errors import AnsibleFilterError

GIB = 2**30
MIB = 2**20
Facts = t.Mapping[str, t.Any]


def lab_guests(results: t.Iterable[Facts], names: t.Iterable[str], hostvars: Facts) -> list[dict[str, t.Any]]:
    """The guests *names*, in the order of their names, each as ``entry`` tells it.

    *results* are those of a loop of guest_info over the hypervisors, with the hypervisor as ``item``. A guest that is not there is ``absent``;
    one whose hypervisor could not be asked, or that has none, is ``unknown``, with the fixed addresses of its ``guest_spec``.

    :raises AnsibleFilterError: when a result is none of guest_info.
    """
    seen: dict[tuple[str, str], Facts] = {}
    heard = set()
    for result in results:
        if (result.get("unreachable") or result.get("failed")) and "item" in result:
            continue
        if "guests" not in result or "item" not in result:
            raise AnsibleFilterError(
                "lab_guests: takes the results of a loop of homelab.hybrid.guest_info over the hypervisors"
            )
        heard.add(str(result["item"]))
        for guest in result["guests"]:
            seen[str(result["item"]), str(guest["name"])] = guest
    return [entry(name, hostvars[name], seen, heard) for name in sorted(names)]


def entry(
    name: str, variables: Facts, seen: t.Mapping[tuple[str, str], Facts], heard: t.Container[str]
) -> dict[str, t.Any]:
    hypervisor = str(variables.get("guest_hypervisor", ""))
    guest = seen.get((hypervisor, name), {})
    disks = guest.get("disks") or []
    is_unknown = not guest and hypervisor not in heard
    sizes = [disk["size_bytes"] for disk in disks if disk.get("size_bytes")]
    return {
        "name": name,
        "kind": guest.get("kind") or variables.get("guest_kind", ""),
        "state": "unknown" if is_unknown else guest.get("state") or "absent",
        "hypervisor": hypervisor,
        "description": guest.get("description") or "",
        "tags": list(guest.get("tags") or []),
        "addresses": declared_addresses(variables)
        if is_unknown
        else [address for address in guest.get("addresses") or [] if is_routable(address)],
        "cpus": guest.get("vcpus") or "",
        "memory": guest.get("memory") or "",
        "disk": show_bytes(sum(sizes)) if sizes else "",
        "pool": ", ".join(sorted({disk["pool"] for disk in disks if disk.get("pool")})),
        "uptime": show_uptime(guest.get("uptime_seconds")),
        "services": list(variables.get("guest_services") or []),
        "aliases": list(variables.get("guest_aliases") or []),
    }


def declared_addresses(variables: Facts) -> list[str]:
    """The fixed addresses that the inventory gives the guest: its names outlive a hypervisor that does not answer."""
    nets = (variables.get("guest_spec") or {}).get("networks") or []
    given = [str(net.get("ip") or "").partition("/")[0] for net in nets]
    return [address for address in given if address not in ("", "dhcp", "none")]


def is_routable(address: str) -> bool:
    """Whether others can use it: an address of the link alone, or of the guest itself, is none of its names."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return not (parsed.is_link_local or parsed.is_loopback)


def show_bytes(size: int) -> str:
    return f"{size / GIB:g}GiB" if size % (GIB // 4) == 0 else f"{size // MIB}MiB"


def show_uptime(seconds: float | None) -> str:
    """``3 d 4 h``, ``5 min 12 s``: the two largest units."""
    if seconds is None:
        return ""
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
