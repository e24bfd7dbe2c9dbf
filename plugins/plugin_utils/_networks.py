# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The networks of the hypervisors (``hypervisor_networks``): each with its subnet, and the slice of it that one hypervisor gives to its guests."""

from __future__ import annotations

import collections
import dataclasses
import ipaddress
import itertools
import typing as t

from ..module_utils._guest.auto_address import AUTO
from ._conflicts import hiding_bridges
from ._named import Address, Card, card_of, cards_of, read_address, read_mac, wanted_networks
from ._prefix import PrefixError, is_of_prefix, subnet_of, with_subnets
from ._profiles import dictionaries, form
from ._recommended import answers_names

Variables = t.Mapping[str, t.Any]
Options = t.Mapping[str, t.Any]
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

KEYS = ("name", "bridge", "vlan", "subnet", "gateway", "domain", "slice")
# The addresses of a card, and the way out of each.
WAYS = {"ip": "gateway", "ip6": "gateway6"}
_SLICE = "a part of the subnet such as 10.20.0.64/26, or its first and last address such as 10.20.0.64-10.20.0.127"


class NetworkError(ValueError):
    """What ``hypervisor_networks`` says of a network is refused. The message says where it stands."""


class Slice(t.NamedTuple):
    """The addresses from *first* to *last*, of one family."""

    first: Address
    last: Address

    def __contains__(self, address: object) -> bool:
        is_of_family = isinstance(address, type(self.first))
        return is_of_family and int(self.first) <= int(t.cast(Address, address)) <= int(self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def overlaps(self, other: Slice) -> bool:
        return self.first in other or other.first in self


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of one family as the *hypervisor* has it, on its *bridge*.

    *is_hidden*: the addresses are the hypervisor's own business, behind a bridge that no other sees. *address* is that of the bridge, *leased* are
    the addresses that its DHCP server gives to whoever asks, *kept* those that it keeps, each with the MAC and the name for which it does,
    *named* what its resolver says of names.
    """

    hypervisor: str
    name: str
    bridge: str
    vlan: int
    subnet: Subnet
    gateway: Address | None
    slice: Slice
    is_hidden: bool
    domain: str = ""
    address: Address | None = None
    leased: Slice | None = None
    kept: t.Mapping[Address, tuple[str, str]] = dataclasses.field(default_factory=dict)
    named: tuple[tuple[str, Address], ...] = ()

    @property
    def where(self) -> str:
        """How sentences call it."""
        return f"hypervisor_networks[{self.name}] of {self.hypervisor}"


def networks_of(hypervisor: str, variables: Variables) -> list[Network]:
    """The networks that the *variables* of a *hypervisor* declare, in their order.

    :raises NetworkError: for what is none.
    """
    written = variables.get("hypervisor_networks")
    if written is not None and not isinstance(written, (list, tuple)):
        raise NetworkError(f"hypervisor_networks of {hypervisor}: must be a list of networks, not {form(written)}")
    items = written or ()
    prefix = variables.get("hypervisor_prefix6")
    bridges = {str(bridge.get("name")): bridge for bridge in dictionaries(bridges_of(hypervisor, variables))}
    hidden = hiding_bridges({hypervisor: variables}, hypervisor) if items else frozenset[str]()
    found: list[Network] = []
    for item in items:
        name = item.get("name") if isinstance(item, t.Mapping) else None
        if not isinstance(name, str) or not name:
            raise NetworkError(f"hypervisor_networks of {hypervisor}: each network needs a name of its own")
        if any(other.name == name for other in found):
            raise NetworkError(f"hypervisor_networks of {hypervisor}: {name} is there twice")
        found.append(_network(hypervisor, name, _of_prefix(hypervisor, name, item, prefix), bridges, hidden))
    return found


def bridges_of(hypervisor: str, variables: Variables) -> t.Any:
    """The bridges that the *variables* of a *hypervisor* declare, with the addresses that they have of its prefix of IPv6.

    :raises NetworkError:
    """
    written = variables.get("hypervisor_bridges") or []
    if not isinstance(written, (list, tuple)):
        return written
    try:
        return with_subnets(hypervisor, written, variables.get("hypervisor_prefix6"))
    except PrefixError as exc:
        raise NetworkError(str(exc)) from exc


def _of_prefix(hypervisor: str, name: str, item: Options, prefix: t.Any) -> Options:
    if not is_of_prefix(item.get("subnet")):
        return item
    try:
        subnet = subnet_of(f"hypervisor_networks[{name}] of {hypervisor}: subnet", item["subnet"], prefix)
    except PrefixError as exc:
        raise NetworkError(str(exc)) from exc
    return {**item, "subnet": str(subnet)}


def _network(
    hypervisor: str, name: str, item: Options, bridges: t.Mapping[str, Options], hidden: t.Collection[str]
) -> Network:
    where = f"hypervisor_networks[{name}] of {hypervisor}"
    if unknown := sorted(set(map(str, item)) - {*KEYS}):
        raise NetworkError(f"{where}: there is no {', '.join(unknown)}; it has {', '.join(KEYS)}")
    subnet = _subnet(f"{where}: subnet", item.get("subnet"))
    gateway = _address(f"{where}: gateway", item["gateway"]) if item.get("gateway") else None
    if gateway is not None and not is_usable(gateway, subnet):
        raise NetworkError(f"{where}: the gateway {gateway} is no address of a machine in the subnet {subnet}")
    its_slice = read_slice(f"{where}: slice", item.get("slice"), subnet)
    vlan = str(item.get("vlan") or 0)
    if not vlan.isdecimal() or int(vlan) > 4094:
        raise NetworkError(f"{where}: vlan is {vlan!r}; it must be a number from 1 to 4094")
    bridge_name = str(item.get("bridge") or name)
    bridge = bridges.get(bridge_name, {})
    return Network(
        hypervisor=hypervisor,
        name=name,
        bridge=bridge_name,
        vlan=int(vlan),
        subnet=subnet,
        gateway=gateway,
        slice=its_slice,
        is_hidden=bridge_name in hidden,
        domain=str(item.get("domain") or ""),
        # In a VLAN the bridge itself has no address.
        **({} if int(vlan) else _of_bridge(where, bridge, subnet, its_slice)),
    )


def _of_bridge(where: str, bridge: Options, subnet: Subnet, its_slice: Slice) -> dict[str, t.Any]:
    """What the *bridge* has and hands out in the *subnet*. What is no address the module refuses, in better words."""
    dhcp = next(iter(dictionaries([bridge.get("dhcp")])), {})
    found: dict[str, t.Any] = {"kept": {}}
    own = read_address(bridge.get("address" if subnet.version == 4 else "address6"))
    if own is not None:
        if own not in subnet:
            raise NetworkError(
                f"{where}: the bridge {bridge['name']} has the address {own}, outside of the subnet {subnet}"
            )
        found["address"] = own
    first, last = read_address(dhcp.get("start")), read_address(dhcp.get("end"))
    if first is not None and last is not None and first.version == subnet.version:
        if first not in its_slice or last not in its_slice:
            raise NetworkError(
                f"{where}: the DHCP range {first}-{last} of the bridge {bridge['name']} is outside of the slice {its_slice}"
            )
        found["leased"] = Slice(first, last)
    for host in dictionaries(dhcp.get("hosts")):
        address = read_address(host.get("ip"))
        if address is not None and address.version == subnet.version and host.get("state") != "absent":
            found["kept"][address] = (read_mac(host.get("mac")), str(host.get("name")))
    dns = next(iter(dictionaries([bridge.get("dns")])), {})
    names = [host for host in dictionaries(dns.get("hosts")) if host.get("state") != "absent"]
    said = [(str(host.get("name")), read_address(host.get("ip" if subnet.version == 4 else "ip6"))) for host in names]
    found["named"] = tuple((name, address) for name, address in said if address is not None)
    return found


def with_domains(bridges: t.Sequence[t.Any], networks: t.Iterable[Network]) -> list[t.Any]:
    """The *bridges*, each of those that answer names with the domain of its network, unless it has one."""
    domains = {network.bridge: network.domain for network in networks if network.domain and not network.vlan}
    return [
        {**bridge, "dns": {"domain": domains[bridge["name"]], **(bridge.get("dns") or {})}}
        if isinstance(bridge, t.Mapping) and bridge.get("name") in domains and answers_names(bridge)
        else bridge
        for bridge in bridges
    ]


def _address(what: str, written: t.Any) -> Address:
    found = read_address(written)
    if found is None or "/" in str(written):
        raise NetworkError(f"{what} is {written!r}; it must be an address such as 10.20.0.1")
    return found


def _subnet(what: str, written: t.Any) -> Subnet:
    try:
        if "/" in str(written):
            return ipaddress.ip_network(str(written))
    except ValueError:
        pass
    raise NetworkError(
        f"{what} is {written!r}; it must be a network with the length of its prefix such as 10.20.0.0/24"
    )


def read_slice(what: str, written: t.Any, subnet: Subnet) -> Slice:
    """The slice *written* of *subnet*; all of that where nothing is. Addresses of no machine are left out at its ends.

    :raises NetworkError:
    """
    first, is_range, last = str(written or subnet).replace(" ", "").partition("-")
    try:
        if is_range:
            ends = (ipaddress.ip_address(first), ipaddress.ip_address(last))
        else:
            whole = ipaddress.ip_network(first)
            ends = (whole[0], whole[-1])
    except ValueError:
        raise NetworkError(f"{what} is {written!r}; it must be {_SLICE}") from None
    if ends[0].version != ends[1].version or int(ends[0]) > int(ends[1]):
        raise NetworkError(f"{what} is {written!r}; it must be {_SLICE}")
    if ends[0] not in subnet or ends[1] not in subnet:
        raise NetworkError(f"{what} {written} is outside of the subnet {subnet}")
    low, high = (
        address if is_usable(address, subnet) else address + step for address, step in zip(ends, (1, -1), strict=True)
    )
    if int(low) > int(high):
        raise NetworkError(f"{what} {written} has no address for a machine in {subnet}")
    return Slice(low, high)


def is_usable(address: Address, subnet: Subnet) -> bool:
    """Whether a machine in *subnet* can have it."""
    has_ends = subnet.prefixlen < subnet.max_prefixlen - 1
    return address in subnet and not (
        has_ends and address in (subnet[0], *([subnet[-1]] if subnet.version == 4 else ()))
    )


# ---- what guests may take ---------------------------------------------------------------------------------------------------


def leaves_choice(net: Options) -> bool:
    """Whether a card of a guest leaves the choice of an address to the host."""
    return AUTO in (net.get("ip"), net.get("ip6"))


def with_slice(
    options: Options, networks: t.Sequence[Network], declared: t.Collection[Address], kind: str = "container"
) -> dict[str, t.Any]:
    """The *options* of a guest, each card with ``auto`` with what it may take of the slice of its network, and with its gateway.

    Not what the bridge has or hands out, nor the addresses that guests *declared*. What the bridge keeps for the card is its address.
    Who is told its address by the DHCP server of the bridge, as a virtual machine is, is told the gateway with it.
    """
    nets = options.get("networks")
    if not isinstance(nets, (list, tuple)) or not any(leaves_choice(net) for net in dictionaries(nets)):
        return dict(options)
    found, wanted = list(nets), wanted_networks(options)
    for key, way in WAYS.items():
        has_gateway = any(net.get(way) for net in wanted)
        for place, net in enumerate(found):
            if not isinstance(net, t.Mapping) or net.get(key) != AUTO or net.get("state") == "absent":
                continue
            card = card_of(str(options["name"]), net, is_alone=len(wanted) == 1)
            network = _network_of(card, net, key, networks, kind)
            if network is None:
                continue
            own = _kept_for(card, network)
            free = f"{AUTO}:{','.join(map(str, _free(network, declared)))}" if own is None else str(own)
            is_told = kind == "vm" and key == "ip" and (network.leased is not None or bool(network.kept))
            gateway = {} if has_gateway or is_told or network.gateway is None else {way: str(network.gateway)}
            has_gateway = has_gateway or bool(gateway)
            found[place] = {**net, key: f"{free}/{network.subnet.prefixlen}", **gateway}
    return {**options, "networks": found}


def _network_of(card: Card, net: Options, key: str, networks: t.Sequence[Network], kind: str) -> Network | None:
    """That of the bridge and the VLAN of a card, of the family of *key*. The only address of a container may be of IPv6 there."""
    here = [its for its in networks if (its.bridge, its.vlan) == (card.bridge, card.vlan)]
    families = (6,) if key == "ip6" else (4,) if net.get("ip6") or kind == "vm" else (4, 6)
    return next((its for family in families for its in here if its.subnet.version == family), None)


def _kept_for(card: Card, network: Network) -> Address | None:
    """What the bridge keeps for *card*. Of a guest with more cards the MAC alone tells for which."""
    for address, (mac, name) in network.kept.items():
        if _is_for(card, mac, name) and (card.is_alone or card.mac == mac):
            return address
    return None


def _is_for(card: Card, mac: str, name: str) -> bool:
    """Whether what a bridge keeps for *mac* under *name* can be for *card*."""
    return card.mac == mac if card.mac and mac else name == card.label


def _free(network: Network, declared: t.Collection[Address]) -> list[Slice]:
    taken = [network.leased] if network.leased else []
    singles = {*declared, *network.kept} | {it for it in (network.gateway, network.address) if it is not None}
    taken += [Slice(address, address) for address in singles]
    free = [network.slice]
    for its in taken:
        free = [left for one in free for left in _without(one, its)]
    # A guest that has its address needs nothing more; for another the address of no machine says which network is full.
    return free or [Slice(network.subnet[0], network.subnet[0])]


def _without(one: Slice, other: Slice) -> t.Iterator[Slice]:
    if not one.overlaps(other):
        yield one
        return
    if int(one.first) < int(other.first):
        yield Slice(one.first, other.first - 1)
    if int(other.last) < int(one.last):
        yield Slice(other.last + 1, one.last)


# ---- all hypervisors together ----------------------------------------------------------------------------------------------


def network_conflicts(
    guests: t.Mapping[str, t.Iterable[str]],
    hypervisors: t.Iterable[str],
    hostvars: t.Mapping[str, Variables],
    options: t.Iterable[Options],
) -> list[str]:
    """A sentence for each thing in which the networks of the *hypervisors* do not agree, with each other or with the guests on them.

    *guests* has the names of guests by hypervisor, *options* those of these guests that can be read.
    """
    found: list[str] = []
    networks: list[Network] = []
    for hypervisor in sorted({*hypervisors, *guests}):
        if hypervisor in hostvars:
            try:
                networks += networks_of(hypervisor, hostvars[hypervisor])
            except NetworkError as exc:
                found.append(str(exc))
    if not networks:
        return found
    shared = collections.defaultdict(list)
    for network in networks:
        if not network.is_hidden:
            shared[network.name].append(network)
    for its in shared.values():
        found += _disagreements(its)
    places = collections.defaultdict(list)
    for network in networks:
        places[network.hypervisor, network.bridge, network.vlan].append(network)
    hypervisor_of = {str(name): hypervisor for hypervisor, names in guests.items() for name in names}
    for guest in options:
        hypervisor = hypervisor_of.get(str(guest["name"]), "")
        # The DHCP server keeps the address of a virtual machine, and gives it to nobody else.
        name = str(guest["name"])
        is_kept = name in hostvars and hostvars[name].get("guest_kind") == "vm"
        for card in cards_of(guest):
            here = places.get((hypervisor, card.bridge, card.vlan), ())
            sentences = [_misfit(card, key, here, shared, is_kept=is_kept) for key in card.addresses]
            found += [sentence for sentence in sentences if sentence]
    return found


def _disagreements(networks: t.Sequence[Network]) -> t.Iterator[str]:
    """What is wrong with a network that several hypervisors share."""
    first = networks[0]
    for other in networks[1:]:
        if other.subnet != first.subnet:
            yield f"hypervisor_networks[{first.name}]: {first.hypervisor} has the subnet {first.subnet}, {other.hypervisor} {other.subnet}"
    ordered = sorted(networks, key=lambda network: (network.subnet.version, int(network.slice.first)))
    for one, other in itertools.pairwise(ordered):
        if one.slice.overlaps(other.slice):
            yield (
                f"hypervisor_networks[{one.name}]: the slices of {one.hypervisor} ({one.slice}) and {other.hypervisor} ({other.slice}) "
                "overlap. Give each a slice of its own"
            )
    for one, other in itertools.permutations(networks, 2):
        for address, (dummy, name) in one.kept.items():
            if address in other.slice and address not in one.slice:
                yield (
                    f"hypervisor_networks[{one.name}]: {address}, which {one.bridge} of {one.hypervisor} keeps for {name}, is in the slice "
                    f"{other.slice} of {other.hypervisor}"
                )
        if one.address is not None and one.address in other.slice:
            yield (
                f"hypervisor_networks[{one.name}]: {one.address}, the address of {one.bridge} of {one.hypervisor}, is in the slice "
                f"{other.slice} of {other.hypervisor}"
            )


def _misfit(
    card: Card, key: str, here: t.Sequence[Network], shared: t.Mapping[str, t.Sequence[Network]], *, is_kept: bool
) -> str | None:
    """Why the fixed address (*key*) of *card* does not fit the networks of its bridge, those *here*.

    *is_kept*: the DHCP server of the bridge keeps it for the guest.
    """
    address, guest = card.addresses[key], card.guest
    families = [network for network in here if network.subnet.version == address.version]
    if not families:
        return None
    told = f"networks[{card.name}].{key} of {guest}: {address}"
    network = next((its for its in families if address in its.subnet), None)
    if network is None:
        subnets = " and ".join(str(its.subnet) for its in families)
        return f"{told} is outside of {subnets}, the subnet of {families[0].where}"
    if not is_usable(address, network.subnet):
        return f"{told} is no address of a machine in {network.subnet}"
    if address == network.gateway:
        return f"{told} is the gateway of {network.where}"
    for other in [network] if network.is_hidden else shared[network.name]:
        if address == other.address:
            return f"{told} is the address of the bridge {other.bridge} of {other.hypervisor}"
        if other is not network and address in other.slice:
            return f"{told} is in the slice {other.slice} of {other.hypervisor}, and {guest} is on {network.hypervisor}"
    for kept, (mac, name) in network.kept.items():
        if kept == address:
            is_own = _is_for(card, mac, name)
            return None if is_own else f"{told} is kept for {name} by dhcp.hosts of the bridge {network.bridge}"
    own = _kept_for(card, network)
    if own is not None:
        return f"{told}, and dhcp.hosts of the bridge {network.bridge} keeps {own} for it. Write one of the two"
    for name, named in network.named if card.is_alone else ():
        if name in (card.label, f"{card.label}.{network.domain}") and named != address:
            return f"{told}, and dns.hosts of the bridge {network.bridge} says {named} of {name}. Write one of the two"
    if network.leased is not None and address in network.leased and not is_kept:
        return f"{told} is in the DHCP range {network.leased} of the bridge {network.bridge}, which gives it to whoever asks"
    return None
