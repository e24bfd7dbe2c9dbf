# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a bridge."""

from __future__ import annotations

from ..._core.decide import Draft, Power
from ..._core.errors import SpecError
from ..._core.options import NEVER_PERMITTED, Item
from ..._core.plan import Change, How, Plan
from ..lifeline import refuse_cuts, refuse_taken_route
from ..options import NETWORK
from ..spec import Spec, check_options, match_mac, with_create_defaults
from ..subnet import StaticHost, check_fits, check_mtu6, network_of, overlapping
from .settings import NetworkSettings, Reserved, merge, settled, wanted_addresses
from .state import NetworkState

NOTHING = NetworkSettings(mode="")


def plan_network(spec: Spec, state: NetworkState) -> Plan:
    """The plan from *state* to *spec*.

    :raises SpecError: when what is declared does not fit to what is there.
    """
    if spec.state == "absent":
        draft = Draft(NETWORK, Power(is_running=True, will_run=True))
        _plan_removal(draft, spec, state)
        return _without_cuts(draft.finish(), spec, state)
    is_there = state.is_defined and state.persistent is not None
    check_options(spec, spec.mode or (state.persistent.mode if is_there and state.persistent else "nat"))
    if not is_there or state.persistent is None:
        if state.obstacle:
            draft = Draft(NETWORK, Power(is_running=False, will_run=False))
            draft.add("name", None, spec.name, permit=NEVER_PERMITTED, reason=state.obstacle)
            return draft.finish()
        return _plan_creation(with_create_defaults(spec), state)
    return _plan_change(spec, state, state.persistent)


def _plan_creation(spec: Spec, state: NetworkState) -> Plan:
    draft = Draft(NETWORK, Power(is_running=True, will_run=True), unset=spec.unset)
    spec = settled(spec, NOTHING, state.ula)
    wanted = merge(NOTHING, spec)
    check_fits(wanted.address, wanted.ranges, wanted.hosts)
    _check_fits6(spec, wanted, NOTHING)
    _check_address_needed(spec, wanted, NOTHING)
    draft.add("state", "absent", "stopped" if spec.state == "stopped" else "started")
    draft.compare("mode", spec.mode, None)
    draft.compare("address", spec.get("address") or None, None)
    _refuse_overlap(draft, "address", wanted.address, state)
    draft.compare("address6", spec.get("address6") or None, None)
    draft.compare("nat6", spec.get("nat6") or None, None)
    _refuse_overlap(draft, "address6", wanted.address6, state)
    if spec.state != "stopped":
        _refuse_lost_routes(draft, wanted, state)
    first, last = spec.range or (None, None)
    draft.compare("dhcp.start", first, None)
    draft.compare("dhcp.end", last, None)
    for item in spec.items("dhcp.hosts"):
        _compare_host(draft, item, None, None)
    draft.compare("dns.domain", spec.get("dns.domain"), None)
    for entry in spec.items("dns.hosts"):
        _compare_dns_host(draft, entry, NOTHING, NOTHING)
    draft.compare("dns.forwarders", spec.get("dns.forwarders"), None)
    draft.compare("mtu", spec.get("mtu"), None)
    draft.compare("autostart", spec.get("autostart"), None)
    return draft.finish()


def _plan_change(spec: Spec, state: NetworkState, persistent: NetworkSettings) -> Plan:
    will_run = spec.state == "started" or state.is_restarting or (state.is_active and spec.state != "stopped")
    draft = Draft(NETWORK, Power(state.is_active, will_run), unset=spec.unset)
    spec = settled(spec, persistent, state.ula)
    wanted, live = merge(persistent, spec, state.reserved), state.live or persistent
    _check_reserved(spec, state.reserved)
    check_fits(wanted.address, wanted.ranges, wanted.hosts)
    _check_fits6(spec, wanted, persistent)
    _check_address_needed(spec, wanted, persistent)
    draft.compare("mode", spec.mode, persistent.mode, live.mode)
    for key in ("address", "address6", "nat6"):
        draft.compare(key, spec.get(key), getattr(persistent, key), getattr(live, key))
    _compare_dhcp(draft, spec, persistent, live, state.reserved)
    draft.compare("dns.domain", spec.get("dns.domain"), persistent.domain, live.domain)
    _compare_dns(draft, spec, persistent, live)
    draft.compare("dns.forwarders", spec.get("dns.forwarders"), persistent.forwarders, live.forwarders)
    draft.compare("mtu", spec.get("mtu"), persistent.mtu, live.mtu)
    draft.compare("autostart", spec.get("autostart"), state.autostart)
    is_started = will_run and not state.is_active
    for key in ("address", "address6"):
        if (spec.get(key) is not None and spec.get(key) != getattr(live, key)) or is_started:
            _refuse_overlap(draft, key, getattr(wanted, key), state)
    _plan_power(draft, spec, state)
    plan = draft.finish(restart=True)
    if is_started or any(change.how is How.RESTART for change in plan.changes):
        _refuse_lost_routes(draft, wanted, state)
    return _without_cuts(plan, spec, state)


def _without_cuts(plan: Plan, spec: Spec, state: NetworkState) -> Plan:
    """A start anew takes the link and what others have set on it, such as a way out through a guest."""
    if state.is_active and not state.is_restarting:
        for kind, names in (("port", state.ports), ("bridge", [spec.name])):
            refuse_cuts(plan, kind, names, state.lifelines, _can_cut)
    return plan


def _can_cut(change: Change) -> bool:
    takes_away = change.path == "state" and change.after in ("stopped", "absent") and change.how is not How.REFUSED
    return takes_away or change.how is How.RESTART


def _check_address_needed(spec: Spec, wanted: NetworkSettings, before: NetworkSettings) -> None:
    """Only an isolated bridge can do without an address, and what stands by hand.

    :raises SpecError:
    """
    if wanted.address or wanted.address6:
        return
    if wanted.mode in ("nat", "routed") and (before.address or before.address6 or wanted.mode != before.mode):
        raise SpecError(
            f"address: is needed with mode {wanted.mode}. Only a bridge with mode isolated can do without",
            key="address",
        )
    if spec.get("dns.domain") or spec.items("dns.hosts") or spec.get("dns.forwarders"):
        raise SpecError("dns: needs an address of the bridge, such as 10.20.0.1/24, to answer on", key="dns")


def _check_fits6(spec: Spec, wanted: NetworkSettings, before: NetworkSettings) -> None:
    """:raises SpecError: where IPv6 is declared and cannot be."""
    if spec.get("nat6") and not wanted.address6:
        raise SpecError("nat6: needs an address6 of the bridge", key="nat6")
    is_changed = (wanted.mtu, wanted.address6) != (before.mtu, before.address6)
    if is_changed and (spec.get("mtu") or spec.get("address6")):
        check_mtu6(wanted.mtu, wanted.address6)


def _refuse_overlap(draft: Draft, key: str, address: str, state: NetworkState) -> None:
    for link, other in overlapping(address, state.subnets) if address else ():
        reason = f"{key}: the subnet {network_of(address)} overlaps with {network_of(other)} of the link {link}. Choose another subnet"
        draft.add(key, None, address, permit=NEVER_PERMITTED, reason=reason)
    if address:
        refuse_taken_route(draft, key, address, state.peers)


def _refuse_lost_routes(draft: Draft, wanted: NetworkSettings, state: NetworkState) -> None:
    """libvirt starts no network that forwards IPv6 where the kernel would drop what it has from a router then."""
    for link in state.lost_links if wanted.address6 and wanted.mode != "isolated" else ():
        reason = (
            f"address6: a router tells this host its IPv6 routes on {link}, and the kernel drops them when it forwards, unless "
            f"net.ipv6.conf.{link}.accept_ra is 2. Set that with sysctl and in /etc/sysctl.d first; where systemd-networkd keeps {link}, which "
            "sets it to 0, net.ipv6.conf.all.accept_ra"
        )
        draft.add("address6", None, wanted.address6, permit=NEVER_PERMITTED, reason=reason)


def _check_reserved(spec: Spec, reserved: Reserved) -> None:
    """:raises SpecError: where an address is declared for another than the guest that has it."""
    for item in spec.items("dhcp.hosts"):
        mac, ip = item.get("mac"), item.get("ip")
        guest = next((guest for (its, address), guest in reserved.items() if address == ip and its != mac), None)
        if item.is_wanted and guest is not None:
            path = f"dhcp.hosts[{item.name}].ip"
            raise SpecError(
                f"{path}: {ip} is kept for the guest {guest} (networks[].ip). Choose another, or take it off there",
                key=path,
            )


def _compare_dhcp(
    draft: Draft, spec: Spec, persistent: NetworkSettings, live: NetworkSettings, reserved: Reserved
) -> None:
    if "dhcp" in spec.unset:
        if reserved:
            told = f"addresses are kept for guests: {', '.join(sorted(set(reserved.values())))}"
            reason = f"dhcp: {told} (networks[].ip). Take these off first"
            draft.add("dhcp", "on", None, permit=NEVER_PERMITTED, reason=reason)
            return
        draft.compare("dhcp", None, _dhcp_of(persistent), _dhcp_of(live))
        return
    if spec.range is not None:
        before, running = persistent.range_of(spec.range), live.range_of(spec.range)
        for place, key in enumerate(("dhcp.start", "dhcp.end")):
            draft.compare(
                key, spec.range[place], before[place] if before else None, running[place] if running else None
            )
    declared: set[StaticHost | None] = set()
    for item in spec.items("dhcp.hosts"):
        known, running_one = _known(spec, item, persistent), _known(spec, item, live)
        guest = next((reserved[its.place] for its in (known, running_one) if its and its.place in reserved), None)
        if guest is not None:
            _leave_to_guest(draft, item, known or running_one, guest)
            continue
        _compare_host(draft, item, known, running_one)
        declared |= {known, running_one}
    for host in dict.fromkeys((*persistent.hosts, *live.hosts)):
        if host in declared or "dhcp.hosts" not in spec.lists or host.place in reserved:
            continue
        if "dhcp.hosts" in spec.exact:
            draft.item(
                f"dhcp.hosts[{host.label}]", False, host in persistent.hosts, host in live.hosts, before=host.shown()
            )
        else:
            draft.plan.unmanaged.append(f"dhcp.hosts[{host.label}]")


def _leave_to_guest(draft: Draft, item: Item, known: StaticHost | None, guest: str) -> None:
    """What a guest has kept for its card is not declared here, unless it is the same."""
    if known is None or (item.is_wanted and (item.get("mac"), item.get("ip")) == known.place):
        return
    path = f"dhcp.hosts[{item.name}]"
    reason = f"{path}: {known.ip} is kept for {known.mac} of the guest {guest} (networks[].ip). Change it there"
    draft.add(path, known.shown(), None, permit=NEVER_PERMITTED, reason=reason)


def _dhcp_of(settings: NetworkSettings) -> tuple[object, ...]:
    return (settings.ranges, settings.hosts) if settings.ranges or settings.hosts else ()


def _known(spec: Spec, item: Item, settings: NetworkSettings) -> StaticHost | None:
    return settings.host(item.name, match_mac(item), spec.host_names)


def _compare_host(draft: Draft, item: Item, before: StaticHost | None, running: StaticHost | None) -> None:
    path = f"dhcp.hosts[{item.name}]"
    if not item.is_wanted or before is None or running is None:
        after = None if not item.is_wanted else StaticHost(None, item.get("mac"), item.get("ip")).shown()
        shown = before or running
        draft.item(
            path,
            item.is_wanted,
            before is not None,
            running is not None,
            before=shown.shown() if shown else None,
            after=after,
        )
        return
    draft.compare(f"{path}.name", item.name, before.name, running.name)
    for key in ("mac", "ip"):
        draft.compare(f"{path}.{key}", item.get(key), getattr(before, key), getattr(running, key))


def _compare_dns(draft: Draft, spec: Spec, persistent: NetworkSettings, live: NetworkSettings) -> None:
    if "dns.hosts" not in spec.lists:
        return
    for item in spec.items("dns.hosts"):
        _compare_dns_host(draft, item, persistent, live)
    declared = {item.name for item in spec.items("dns.hosts")}
    for name in dict.fromkeys(name for name, dummy in (*persistent.dns_hosts, *live.dns_hosts) if name not in declared):
        before, running = persistent.dns_addresses(name), live.dns_addresses(name)
        if "dns.hosts" in spec.exact:
            draft.item(f"dns.hosts[{name}]", False, bool(before), bool(running), before=before or running)
        else:
            draft.plan.unmanaged.append(f"dns.hosts[{name}]")


def _compare_dns_host(draft: Draft, item: Item, persistent: NetworkSettings, live: NetworkSettings) -> None:
    path = f"dns.hosts[{item.name}]"
    before, running = persistent.dns_addresses(item.name), live.dns_addresses(item.name)
    wanted = wanted_addresses(item)
    if not item.is_wanted or not before or not running:
        draft.item(path, item.is_wanted, bool(before), bool(running), before=before or running, after=wanted)
        return
    # A name has the addresses that are written, and no others: of two families one that is gone would be tried all the same.
    for key in ("ip", "ip6"):
        draft.compare(f"{path}.{key}", wanted.get(key, ""), before.get(key, ""), running.get(key, ""))


def _plan_power(draft: Draft, spec: Spec, state: NetworkState) -> None:
    if spec.state == "stopped":
        if state.is_active or state.is_restarting:
            reason = _in_use(spec.name, state, running_only=True)
            draft.add("state", "started", "stopped", permit=NEVER_PERMITTED if reason else None, reason=reason)
    elif state.is_restarting:
        draft.add("state", "restarting", "started")
    elif spec.state == "started" and not state.is_active:
        draft.add("state", "stopped", "started")


def _plan_removal(draft: Draft, spec: Spec, state: NetworkState) -> None:
    if state.network is None and not state.is_recorded:
        return
    before = "started" if state.is_active else "stopped" if state.is_defined else "half-made"
    reason = state.obstacle if state.has_ports else _in_use(spec.name, state, running_only=False)
    draft.add("state", before, "absent", permit=NEVER_PERMITTED if reason else None, reason=reason)


def _in_use(name: str, state: NetworkState, *, running_only: bool) -> str | None:
    """Who would lose its network, as a sentence."""
    guests = sorted(guest for guest, is_running in state.users.items() if is_running or not running_only)
    if guests:
        kind = "running guests" if running_only else "guests"
        return f"state: the bridge {name} is in use by {kind}: {', '.join(guests)}"
    if state.ports:
        return f"state: the bridge {name} is in use by {', '.join(state.ports)}, plugged in by somebody else"
    return None
