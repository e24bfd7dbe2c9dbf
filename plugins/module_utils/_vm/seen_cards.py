# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of the network cards of a virtual machine: their addresses, who has such, their VLANs."""

from __future__ import annotations

import types
import typing as t

from .._core.claims import addresses_in
from .._core.errors import ObserveError
from .._core.options import split
from .._guest import options as guest_options
from .._guest.auto_address import is_auto
from .._guest.cards import KEYS
from .._guest.record import GuestRecord
from .._host import handed_out, vlans
from .._host.libvirt import dotted, errors_of
from .._host.snapshot import SERVICE_LIBVIRT, Host
from . import process, seed
from .addressing import is_address, kept_ip, without
from .options import CLOUD_INIT
from .seed_card import Card
from .seen_disks import read_file
from .spec import Spec
from .state import State, VmSide
from .xml.nic import Nic

# What a card has of IPv6 that no seed tells anything of it.
NO_IP6 = types.MappingProxyType({"ip6": "", "gateway6": ""})
LEAST_LIBVIRT_FOR_VLANS = 11_000_000
# What libvirt limits a card with: fair queues for what it gets, and dropping what it sends too fast.
QUEUES = ("htb", "sfq", "police")


def with_ips(spec: Spec, state: State) -> State:
    """*state* with what each card has as ``networks[].ip``: a running guest that was given another address has it from its next start on."""
    lasting: dict[str, dict[str, t.Any]] = {}
    running: dict[str, dict[str, t.Any]] = {}
    seeds = _seed_cards(spec, state)
    six = {name: tuple(_told_of_ipv6(cards, nic.mac) for cards in seeds) for name, nic in state.persistent.nics.items()}
    for name, nic in state.persistent.nics.items():
        item = spec.item("networks", name)
        bridge = (item and item.text("bridge")) or nic.value("bridge")
        mac = (item and item.text("mac")) or nic.mac
        server, declared = state.servers.get(bridge), item.text("ip") if item else None
        declared = guest_options.DHCP if f"networks[{name}].ip" in spec.unset else declared
        if server is None:
            lasting[name], running[name] = (_told_by_seed(cards, nic, declared) for cards in seeds)
            continue
        ip, address = kept_ip(server, mac, declared), server.address.partition("/")[0]
        # The server tells its own address as the gateway.
        gateway = address if item is not None and item.get("gateway") == address else ""
        lasting[name] = {"ip": ip, "gateway": gateway, "dns": ()}
        running[name] = {**lasting[name], "ip": _running_ip(name, nic, ip, state)}
    persistent, live = state.persistent, state.live
    told = {
        name: (_told_by_seed(seeds[0], nic, None)["ip"], six[name][0]["ip6"]) for name, nic in persistent.nics.items()
    }
    nics = {
        name: nic.with_values(**lasting[name], **six[name][0], told=told[name]) for name, nic in persistent.nics.items()
    }
    persistent = persistent.but(nics=nics)
    if live is not None:
        unknown = {"ip": guest_options.DHCP, "gateway": "", "dns": ()}
        now6 = {name: its[1] for name, its in six.items()}
        nics = {
            name: nic.with_values(**running.get(name, unknown), **now6.get(name, NO_IP6))
            for name, nic in live.nics.items()
        }
        live = live.but(nics=nics)
    # What was noted of addresses is in the values of the cards now: it keeps nobody from asking for any address again.
    declined = tuple(path for path in state.declined if not path.endswith("].ip"))
    return state.replace(persistent=persistent, live=live, declined=declined)


def _seed_cards(spec: Spec, state: State) -> tuple[t.Mapping[str, Card] | None, t.Mapping[str, Card] | None]:
    """What the seed tells the cards, by their MACs, as it lies there and as the running machine read it; ``None`` where it tells none."""
    keys = {"ip", "gateway", "dns", "ip6", "gateway6"}
    unset = any(split(path)[0] == "networks" and split(path)[2] in keys for path in spec.unset)
    is_asked = unset or any(keys & item.values.keys() for item in spec.items("networks"))
    is_written = spec.has_seed or any(path in CLOUD_INIT for path in spec.unset)
    is_recorded = bool(state.record.addresses or state.record.addresses6)
    if state.seed_path is None or not (is_asked or is_written or is_recorded):
        return None, None
    lasting = _cards_in(read_file(state.seed_path))
    if state.run is None:
        return lasting, lasting
    return lasting, _cards_in(process.read_open_file(state.run, state.seed_path))


def _cards_in(data: bytes | None) -> t.Mapping[str, Card] | None:
    files = None if data is None else seed.unpack(data)
    return None if files is None else seed.read_cards(files)


def _told_by_seed(cards: t.Mapping[str, Card] | None, nic: Nic, declared: str | None) -> dict[str, t.Any]:
    card = None if cards is None else cards.get(nic.mac)
    if card is None:
        return {"ip": without(declared), "gateway": "", "dns": ()}
    return {"ip": card.ip, "gateway": card.gateway, "dns": card.dns}


def _told_of_ipv6(cards: t.Mapping[str, Card] | None, mac: str) -> t.Mapping[str, str]:
    card = (cards or {}).get(mac)
    return {"ip6": card.ip6, "gateway6": card.gateway6} if card else NO_IP6


def _running_ip(name: str, nic: Nic, lasting: str, state: State) -> str:
    seen, address = state.addresses.get(nic.mac, ()), lasting.partition("/")[0]
    if f"networks[{name}].ip" not in state.declined or not is_address(lasting) or address in seen:
        return lasting
    length = lasting.partition("/")[2]
    return next((f"{other}/{length}" for other in seen if "." in other), guest_options.NO_ADDRESS)


def with_port_vlans(live: VmSide, spec: Spec, host: Host) -> VmSide:
    """The VLANs as the ports have them: libvirt says what it once set."""
    is_declared = any("vlan" in item.values for item in spec.items("networks"))
    is_unset = any(path.endswith("].vlan") for path in spec.unset)
    if not (is_declared or is_unset or any(nic.value("vlan") for nic in live.nics.values())):
        return live
    return live.but(nics={name: _with_port_vlan(nic, host) for name, nic in live.nics.items()})


def _with_port_vlan(nic: Nic, host: Host) -> Nic:
    vlan = nic.value("vlan")
    default = vlans.default_vlan(host.links.get(nic.tap, {}).get("master", ""), host.links)
    if default is None or not isinstance(vlan, int):
        return nic
    return nic.with_values(vlan=vlans.canonical(host.port_vlans.get(nic.tap, 0), vlan, default))


def needs_mac(spec: Spec, record: GuestRecord) -> bool:
    """Whether a card may get an address that it does not have yet."""
    known = record.macs
    cards = spec.wanted("networks")
    return any(known.get(item.name) != item.values.get("mac", known.get(item.name, "")) for item in cards)


def bridges_there(spec: Spec, host: Host) -> frozenset[str]:
    made = {network.bridge for network in host.networks.values()}
    named = (item.text("bridge") for item in spec.wanted("networks"))
    return frozenset(name for name in named if name and (name in made or name in host.link_names))


def who_has_addresses(spec: Spec, state: State, host: Host) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The leases of bridges of which a card is to get an address, and who answers on them to one that a card is to get."""
    nics = state.persistent.nics if state.exists else {}
    own = {nic.mac for nic in nics.values()} | {*state.record.macs.values()}
    own |= {item.text("mac") or "" for item in spec.wanted("networks")}
    leases: dict[str, dict[str, str]] = {}
    found: dict[str, str] = {}
    for item in spec.wanted("networks"):
        nic = nics.get(item.name)
        bridge = item.text("bridge") or (nic.value("bridge") if nic else "")
        vlan = item.get("vlan", nic.value("vlan") if nic else 0) or 0
        stays = nic is not None and nic.value("bridge") == bridge
        new = {key: item.text(key) for key in KEYS if not (nic and stays and nic.value(key) == item.text(key))}
        asked = addresses_in(*(ip for ip in new.values() if not is_auto(ip)))
        if not asked or bridge not in host.link_names:
            continue
        if is_address(new.get("ip")):
            leases[bridge] = handed_out.leases(host, bridge)
        found.update(host.who_answers(bridge, asked, vlan if isinstance(vlan, int) else 0))
    return leases, {address: mac for address, mac in found.items() if mac not in own}


def vlan_obstacles(spec: Spec, state: State, host: Host) -> dict[str, str]:
    """Nothing is asked where no declared card is in a VLAN or is to be in one."""
    items = spec.wanted("networks")
    defined = state.persistent.nics if state.exists else {}
    nics = [defined[item.name] for item in items if item.name in defined]
    if not any("vlan" in item.values for item in items) and not any(nic.value("vlan") for nic in nics):
        return {}
    old = _too_old_for_vlans(host)
    bridges = {item.text("bridge") for item in items} | {nic.value("bridge") for nic in nics}
    return {bridge: why for bridge in bridges if bridge and (why := old or host.vlan_obstacle(bridge))}


def _too_old_for_vlans(host: Host) -> str | None:
    if host.missing(SERVICE_LIBVIRT):
        return None
    with errors_of("ask libvirt for its version", ObserveError):
        version = host.connection.getLibVersion()
    if version >= LEAST_LIBVIRT_FOR_VLANS:
        return None
    return f"libvirt {dotted(version)} of this host has no VLANs on Linux bridges. 11.0 or newer permits it, as Debian 13 has it"
