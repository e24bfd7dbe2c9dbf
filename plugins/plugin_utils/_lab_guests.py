# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The guests of the inventory as their hypervisors see them: what guest_info told, joined with what the inventory says."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import ipaddress
import typing as t

from ansible.errors import AnsibleFilterError

from ._appliances import FACT
from ._guest_services import (
    PROXY,
    Service,
    address_of,
    appliance_of,
    applications_of,
    dns_port_of,
    first_port,
    health_of,
    is_secure,
    port_of,
    preset_of,
    services_of,
    tcp_port,
)
from ._named import cards_of
from ._profiles import dictionaries
from ._recommended import answers_names

HTTP_PORT = 80
GIB = 2**30
MIB = 2**20
Facts = t.Mapping[str, t.Any]


def lab_summed(results: t.Iterable[Facts], names: t.Iterable[str], hostvars: Facts, domain: str) -> dict[str, t.Any]:
    """The whole lab with the guests *names*, whose names are in *domain*.

    - ``guests``: in the order of their names, each as ``entry`` tells it, with its ``services`` as cards.
    - ``records``: what a resolver answers: items with ``name``, ``addresses`` and ``aliases``.
    - ``sites``: what a proxy passes on: items with ``name``, ``aliases``, ``upstreams``, and the ``url`` for a browser.
    - ``proxies``: the addresses from which it passes on.
    - ``bridges``: which bridges of the hypervisors that were asked answer which names, as ``named_bridges`` tells them.

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
                "lab_summed: takes the results of a loop of homelab.hybrid.guest_info over the hypervisors"
            )
        heard.add(str(result["item"]))
        for guest in result["guests"]:
            seen[str(result["item"]), str(guest["name"])] = guest
    variables = {name: hostvars[name] for name in sorted(names)}
    guests = [entry(name, its, seen, heard) for name, its in variables.items()]
    addresses = {guest["name"]: guest["addresses"] for guest in guests}
    lab = published(guests, offers(variables, addresses), domain)
    is_whole = all(guest["state"] != "unknown" for guest in guests)
    return {**lab, "bridges": named_bridges(lab["records"], sorted(heard), hostvars, domain, is_whole)}


def entry(
    name: str, variables: Facts, seen: t.Mapping[tuple[str, str], Facts], heard: t.Container[str]
) -> dict[str, t.Any]:
    hypervisor = str(variables.get("guest_hypervisor", ""))
    guest = seen.get((hypervisor, name), {})
    disks = guest.get("disks") or []
    is_unknown = not guest and hypervisor not in heard
    sizes = [disk["size_bytes"] for disk in disks if disk.get("size_bytes")]
    seen_at = [address for address in guest.get("addresses") or [] if is_routable(address)]
    own = appliance_address(name, variables)
    return {
        "name": name,
        "kind": guest.get("kind") or variables.get("guest_kind", ""),
        "state": "unknown" if is_unknown else guest.get("state") or "absent",
        "hypervisor": hypervisor,
        "description": guest.get("description") or "",
        "tags": list(guest.get("tags") or []),
        "addresses": list(dict.fromkeys([*own, *(declared_addresses(variables) if is_unknown else seen_at)])),
        "cpus": guest.get("vcpus") or "",
        "memory": guest.get("memory") or "",
        "disk": show_bytes(sum(sizes)) if sizes else "",
        "pool": ", ".join(sorted({disk["pool"] for disk in disks if disk.get("pool")})),
        "uptime": show_uptime(guest.get("uptime_seconds")),
        "services": list(variables.get("guest_cards") or []),
        "aliases": list(variables.get("guest_aliases") or []),
    }


def named_bridges(
    records: t.Iterable[Facts], hypervisors: t.Iterable[str], hostvars: Facts, domain: str, is_whole: bool
) -> list[dict[str, t.Any]]:
    """The bridges whose own resolver guests ask, each with its ``hypervisor`` and ``name``, and the ``hosts`` that it is to answer.

    ``others`` are names in the *domain* that the inventory gives the bridge itself; they are not the lab's to take away. Where not all of the lab
    is known (*is_whole*) none is: ``keeps``.
    """
    names: dict[str, dict[str, str]] = {}
    for record in records:
        # Of each family the first.
        families = {"ip6" if ":" in address else "ip": str(address) for address in reversed(record["addresses"])}
        for name in (record["name"], *record["aliases"]) if families else ():
            names[f"{name}.{domain}"] = dict(sorted(families.items()))
    found = []
    for hypervisor in hypervisors if names else ():
        for bridge in dictionaries(hostvars[hypervisor].get("hypervisor_bridges")):
            if not answers_names(bridge):
                continue
            dns = bridge.get("dns")
            others = {str(host.get("name")) for host in dictionaries((dns or {}).get("hosts"))}
            found.append(
                {
                    "hypervisor": hypervisor,
                    "name": str(bridge["name"]),
                    "hosts": [{"name": name, **its} for name, its in sorted(names.items()) if name not in others],
                    "others": sorted(others),
                    "keeps": not is_whole,
                }
            )
    return found


def forgotten(told: Facts, bridge: Facts, domain: str) -> list[dict[str, str]]:
    """The names in *domain* that are no longer the lab's and that a *bridge* of ``named_bridges`` answers, as the module *told*: to be taken away."""
    there = [str(host["name"]) for host in ((told.get("bridge") or {}).get("dns") or {}).get("hosts") or ()]
    known = {*bridge["others"], *(host["name"] for host in bridge["hosts"])}
    if bridge["keeps"]:
        return []
    return [{"name": name, "state": "absent"} for name in there if name.endswith(f".{domain}") and name not in known]


@dataclasses.dataclass(frozen=True)
class Offer:
    """A service on a guest: the names at which it is found, and where it answers. *health* is the path at which it does where it is well."""

    guest: str
    title: str
    names: t.Sequence[str]
    addresses: t.Sequence[str]
    http_port: int | None
    first_port: int | None
    is_proxy: bool
    has_tls: bool = False
    tcp_port: int | None = None
    dns_port: int | None = None
    health: str = ""


def offers(variables: t.Mapping[str, Facts], addresses: t.Mapping[str, t.Sequence[str]]) -> list[Offer]:
    """What the guests with these *variables* offer at their *addresses*. A guest whose services cannot be read offers nothing, and fails itself."""
    services: list[tuple[str, Service]] = []
    for guest, its in variables.items():
        try:
            services += [(guest, service) for service in services_of(guest, its)]
        except AnsibleFilterError:
            continue
    times = collections.Counter(service.role for dummy, service in services)
    found = []
    for guest, service in services:
        if service.applications_in:
            found += applications(guest, service, variables[guest], addresses[guest])
            continue
        found.append(
            Offer(
                guest=guest,
                title=service.title,
                # Of several in one lab none has the name for itself.
                names=[f"{name}-{guest}" if times[service.role] > 1 else name for name in service.names],
                addresses=addresses[guest],
                http_port=port_of(service, variables[guest]),
                first_port=first_port(service, variables[guest]),
                is_proxy=service.provides == PROXY,
                has_tls=is_secure(service, variables[guest]),
                tcp_port=tcp_port(service, variables[guest]),
                dns_port=dns_port_of(service, variables[guest]),
                health=health_of(service),
            )
        )
    return found


def applications(guest: str, service: Service, variables: Facts, addresses: t.Sequence[str]) -> list[Offer]:
    """What a *service* offers that is a list of applications, each under its own name."""
    found = []
    for each in applications_of(service, variables):
        whole = {**(preset_of(service, each["preset"]) if each.get("preset") else {}), **each}
        port = str(whole.get("port") or "")
        if whole.get("name"):
            number = int(port) if port.isdecimal() else None
            title, name = str(whole.get("title") or whole["name"]), str(whole["name"]).replace("_", "-")
            check = whole.get("check")
            health = str(check.get("path") or "") if isinstance(check, t.Mapping) else ""
            found.append(
                Offer(
                    guest,
                    title,
                    [name],
                    addresses,
                    number,
                    number,
                    is_proxy=False,
                    tcp_port=number,
                    # What only the role could fill in is not known here.
                    health="" if "{" in health else health,
                )
            )
    return found


def published(guests: list[dict[str, t.Any]], found: t.Sequence[Offer], domain: str) -> dict[str, t.Any]:
    """The lab with what its services offer: their cards, names and sites.

    A name leads to where it answers: that of a service over HTTP to the proxies of the lab where it has some, every other to the guest. Where a
    guest bears the name of a service that is reached through a proxy it has the name with ``.guests`` behind it.
    """
    door = next((offer for offer in found if offer.is_proxy), None)
    proxies = [address for offer in found if offer.is_proxy for address in offer.addresses]
    through = [offer for offer in found if proxies and offer.http_port and offer.addresses and not offer.is_proxy]
    taken = {name for offer in through for name in offer.names}
    own = {guest["name"] for guest in guests}
    records, cards = [], []
    for guest in guests:
        its = [offer for offer in found if offer.guest == guest["name"]]
        names = [name for offer in its if offer not in through for name in offer.names if name not in taken | own]
        aliases = list(dict.fromkeys([*(alias for alias in guest["aliases"] if alias not in taken), *names]))
        name = f"{guest['name']}.guests" if guest["name"] in taken else guest["name"]
        records.append({"name": name, "addresses": guest["addresses"], "aliases": aliases})
        shown = [card(offer, domain, door if offer in through else None) for offer in its]
        cards.append({**guest, "services": [*shown, *guest["services"]], "aliases": aliases})
    records += [{"name": name, "addresses": proxies, "aliases": []} for name in sorted(taken)]
    sites = [
        {
            "name": f"{offer.names[0]}.{domain}",
            "aliases": [f"{name}.{domain}" for name in offer.names[1:]],
            "upstreams": [f"http://{bracketed(offer.addresses[0])}:{offer.http_port}"],
            "url": url_of(offer, domain, door),
        }
        for offer in through
    ]
    named = [record for record in records if record["addresses"]]
    return {"guests": cards, "records": named, "sites": sites, "proxies": proxies}


def card(offer: Offer, domain: str, door: Offer | None) -> dict[str, t.Any]:
    """What a page shows of a service: its name, and its address for a browser where it answers HTTP, or else what it listens on; and whom it asks."""
    asks = asked(offer, domain)
    if offer.http_port is None or (door is not None and door.http_port is None):
        return {"name": offer.title, **({"port": offer.first_port} if offer.first_port else {}), "asks": asks}
    return {"name": offer.title, "url": url_of(offer, domain, door), "asks": asks}


def asked(offer: Offer, domain: str) -> list[str]:
    """Where a page asks whether the service is well, over the network as anybody does; nothing where it cannot tell."""
    if not offer.addresses:
        return []
    at = bracketed(offer.addresses[0])
    found = [f"dns://{at}:{offer.dns_port}/{offer.guest}.{domain}"] if offer.dns_port else []
    if offer.http_port:
        found.append(f"http://{at}:{offer.http_port}{offer.health or '/'}")
    elif offer.tcp_port and not found:
        found.append(f"tcp://{at}:{offer.tcp_port}")
    return found


def url_of(offer: Offer, domain: str, door: Offer | None) -> str:
    """The address of a service over HTTP for a browser: through the proxy *door*, or at its guest."""
    name = f"{offer.names[0]}.{domain}"
    if door is not None and door.has_tls:
        return f"https://{name}/"
    port = (door or offer).http_port
    return f"http://{name}{'' if port == HTTP_PORT else f':{port}'}/"


def bracketed(address: str) -> str:
    """*address* as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def declared_addresses(variables: Facts) -> list[str]:
    """The fixed addresses that the inventory gives the guest: its names outlive a hypervisor that does not answer."""
    cards = cards_of(variables.get("guest_spec") or {})
    return [str(address) for card in cards for address in card.addresses.values()]


def appliance_address(name: str, variables: Facts) -> list[str]:
    """The address that the inventory gives an appliance itself, before whatever else it has: no hypervisor need see it."""
    if FACT not in variables:
        return []
    with contextlib.suppress(AnsibleFilterError):
        appliance = appliance_of(services_of(name, variables))
        address = address_of(appliance, variables) if appliance is not None else None
        return [address] if address is not None else []
    return []


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
