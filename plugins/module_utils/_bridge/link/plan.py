# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a bridge with ports."""

from __future__ import annotations

import ipaddress
import typing as t

from ..._core.decide import SAME, Draft, Power
from ..._core.errors import SpecError
from ..._core.options import NEVER_PERMITTED, Item
from ..._core.plan import Change, How, Plan
from ..lifeline import NOT_SWITCHED, refuse_cuts, refuse_taken_route
from ..options import DHCP, LINK, PORTS_MODE, WORDS, area, show_vids
from ..spec import Spec, check_options
from ..subnet import check_mtu6, network_of, overlapping
from .moved import filled, wanted_of
from .settings import LinkSettings, Port, chosen, chosen_live, merge
from .state import LinkState

# A change of these can take the link, an address, a way out or a port from who reaches the host through the bridge: an MTU
# that others do not have swallows what is large, a switch may shut a port on which spanning tree speaks up.
_CUTTING = ("address", "address6", "gateway", "gateway6", "mac", "mtu", "stp", "vlan_aware", "ports")
# What a port has of these too: what it carries beside the bridge (a VLAN of its own) goes with it.
_CUTTING_PORTS = ("mtu", "stp", "vlan_aware", "ports")
NOTHING = LinkSettings()


def plan_link(spec: Spec, state: LinkState) -> Plan:
    """The plan from *state* to *spec*.

    :raises SpecError: when what is declared does not fit to what is there.
    """
    check_options(spec, PORTS_MODE)
    if spec.state == "absent":
        return _plan_removal(spec, state)
    persistent = state.persistent if state.is_defined and state.persistent is not None else NOTHING
    wanted = wanted_of(spec, persistent, state.moved)
    spec = filled(spec, state.moved)
    _check_fits(spec, wanted, persistent)
    is_new = not state.is_defined
    will_run = is_new or state.is_up or spec.state == "started"
    draft = Draft(LINK, Power(is_running=is_new or state.is_up, will_run=will_run), unset=spec.unset)
    for sentence in state.obstacles:
        draft.add(sentence.partition(":")[0], None, spec.name, permit=NEVER_PERMITTED, reason=sentence)
    _refuse_what_the_host_lacks(draft, spec, state, wanted)
    _refuse_what_guests_stand_on(draft, state, wanted)
    if is_new:
        draft.add("state", "absent", "started")
    _compare(draft, spec, state, persistent, is_new=is_new)
    # What is set down takes no change before it is set up: a way out goes through a link that is up.
    is_woken = spec.state == "started" or (state.is_set_down and bool(draft.plan.changes))
    if not is_new and is_woken and (state.is_set_down or not state.is_up):
        draft.add("state", "stopped", "started")
    plan = draft.finish()
    if state.moved is not None:
        for change in plan.changes:
            change.how = change.how if change.how is How.REFUSED else How.CONFIRMED
    if state.is_up and not is_new:
        refuse_cuts(plan, "port", state.ports, state.lifelines, _can_cut_ports(state), is_switched=state.can_switch)
        refuse_cuts(plan, "bridge", [spec.name], state.lifelines, _can_cut, is_switched=state.can_switch)
    return plan


def _compare(draft: Draft, spec: Spec, state: LinkState, persistent: LinkSettings, *, is_new: bool) -> None:
    before = None if is_new else persistent
    live = before if is_new else state.live

    def both(key: str) -> tuple[t.Any, t.Any]:
        return (None if before is None else getattr(before, key), SAME if live is None else getattr(live, key, None))

    draft.compare("mode", spec.mode or (PORTS_MODE if is_new else None), None if is_new else PORTS_MODE)
    for key, addresses in (("address", "addresses"), ("address6", "addresses6")):
        declared = spec.get(key)
        if is_new:
            draft.compare(key, declared or None, None)
            continue
        defined = getattr(persistent, addresses)
        shown = chosen(defined, declared)
        up = shown if state.live is None else chosen_live(getattr(state.live, addresses), declared, defined)
        draft.compare(key, declared, shown, up)
    for key in ("gateway", "gateway6", "mac", "mtu", "stp", "vlan_aware"):
        before_it, live_it = both(key)
        if key == "mac" and "mac" in spec.unset:
            live_it = SAME
        draft.compare(key, spec.get(key), before_it, live_it)
        if (
            key.startswith("gateway")
            and before_it
            and not getattr(merge(persistent, spec), key)
            and key not in spec.unset
        ):
            # A way out goes with the address that it needs.
            draft.add(key, before_it, None, How.LIVE if state.is_up else How.OFFLINE)
    _compare_ports(draft, spec, state, persistent, is_new=is_new)
    draft.compare("autostart", True if is_new or spec.get("autostart") else None, None if is_new else state.starts)


def _compare_ports(draft: Draft, spec: Spec, state: LinkState, persistent: LinkSettings, *, is_new: bool) -> None:
    live = persistent if is_new or state.live is None else state.live
    declared = {item.name: item for item in spec.items("ports")}
    for name in spec.unset_ports:
        if persistent.port(name) is not None and "ports" not in spec.exact:
            declared.setdefault(name, Item(name, True, {}))
    for item in declared.values():
        _compare_port(draft, item, persistent, live, is_there=item.name in state.links)
    for port in (*persistent.ports, *map(Port, state.released)) if "ports" in spec.lists else ():
        if port.name in declared:
            continue
        if port.name in state.released:
            if "ports" in spec.exact:
                draft.item(f"ports[{port.name}]", False, False, True, before={})
            continue
        if "ports" in spec.exact:
            draft.item(f"ports[{port.name}]", False, True, live.port(port.name) is not None, before=_shown(port))
        else:
            draft.plan.unmanaged.append(f"ports[{port.name}]")


def _compare_port(draft: Draft, item: Item, persistent: LinkSettings, live: LinkSettings, *, is_there: bool) -> None:
    path = f"ports[{item.name}]"
    before, up = persistent.port(item.name), live.port(item.name)
    if not is_there:
        # Its definition stands, and there is no link to plug in: it may be pulled out for now.
        up = before
    if not item.is_wanted or before is None or up is None:
        new = Port(item.name, 1 if item.get("pvid") is None else item.get("pvid"), item.get("vids") or ())
        draft.item(
            path, item.is_wanted, before is not None, up is not None, before=_shown(before or up), after=_shown(new)
        )
        if not item.is_wanted or before is None:
            return
    draft.compare(f"{path}.pvid", item.get("pvid"), before.pvid, (up or before).pvid)
    draft.compare(f"{path}.vids", item.get("vids"), before.vids, (up or before).vids)


def _shown(port: Port | None) -> dict[str, t.Any] | None:
    if port is None:
        return None
    return {"pvid": port.pvid, "vids": show_vids(port.vids)} if port.has_vlans else {}


def _check_fits(spec: Spec, wanted: LinkSettings, before: LinkSettings) -> None:
    """:raises SpecError: where a way out does not fit to an address, or VLANs to a bridge that knows none."""
    for key, field in (("gateway", "addresses"), ("gateway6", "addresses6")):
        gateway, addresses = getattr(wanted, key), getattr(wanted, field)
        is_as_before = (gateway, addresses) == (getattr(before, key), getattr(before, field))
        declared = spec.get(key)
        if declared and not gateway:
            raise SpecError(f"{key}: needs a fixed address of the bridge of the same family", key=key)
        # What stands by hand may know more, such as a gateway on the link.
        if not gateway or is_as_before or ipaddress.ip_address(gateway).is_link_local:
            continue
        interfaces = [ipaddress.ip_interface(address) for address in addresses if address not in WORDS]
        if not any(ipaddress.ip_address(gateway) in interface.network for interface in interfaces):
            raise SpecError(
                f"{key}: {gateway} is in no subnet of the bridge ({', '.join(addresses)}). Write a gateway that is",
                key=key,
            )
        if any(ipaddress.ip_address(gateway) == interface.ip for interface in interfaces):
            raise SpecError(f"{key}: {gateway} is the address of the bridge itself", key=key)
    is_changed = (wanted.mtu, wanted.addresses6) != (before.mtu, before.addresses6)
    if is_changed and (spec.get("mtu") or spec.get("address6")):
        check_mtu6(wanted.mtu, wanted.addresses6)
    for item in spec.items("ports"):
        port = wanted.port(item.name)
        if port is not None and port.pvid in (item.get("vids") or ()):
            raise SpecError(
                f"ports[{item.name}].vids: {port.pvid} is the VLAN of what comes without a tag (pvid) there. Leave it out",
                key="ports",
            )
        if not wanted.vlan_aware and item.is_wanted and (item.get("vids") or item.get("pvid") not in (None, 1)):
            raise SpecError(
                f"ports[{item.name}]: has VLANs, and the bridge knows none. Write vlan_aware: true", key="ports"
            )


def _refuse_what_the_host_lacks(draft: Draft, spec: Spec, state: LinkState, wanted: LinkSettings) -> None:
    before = state.persistent or NOTHING
    if not state.has_vlans and wanted.vlan_aware:
        reason = "vlan_aware: the kernel of this host has no VLAN filtering for bridges"
        draft.add("vlan_aware", None, True, permit=NEVER_PERMITTED, reason=reason)
    for key in ("address", "address6"):
        if spec.get(key) == DHCP and not state.can_lease and state.backend is not None:
            reason = f"{key}: dhcp needs {state.backend.name}, and that does not run on this host"
            draft.add(key, None, DHCP, permit=NEVER_PERMITTED, reason=reason)
    _refuse_another_way_out(draft, spec, state, wanted, before)
    for port in wanted.ports:
        most = state.most_mtus.get(port.name, wanted.mtu)
        if wanted.mtu > most and (spec.get("mtu") or before.port(port.name) is None):
            reason = f"mtu: {port.name} takes {most} at most. Choose no larger one for the bridge"
            draft.add("mtu", before.mtu or None, wanted.mtu, permit=NEVER_PERMITTED, reason=reason)
    live = state.live or NOTHING
    for key, address in (("address", spec.get("address")), ("address6", spec.get("address6"))):
        if not address or address in WORDS or address in (*live.addresses, *live.addresses6):
            continue
        for link, other in overlapping(address, state.subnets):
            reason = (
                f"{key}: the subnet {network_of(address)} overlaps with {network_of(other)} of the link {link}. "
                f"Choose another subnet"
            )
            draft.add(key, None, address, permit=NEVER_PERMITTED, reason=reason)
        # What is taken back unless it is confirmed may do so: the answers come by another way, or they do not come.
        if state.moved is None and not (state.can_switch and spec.name in state.lifelines):
            refuse_taken_route(draft, key, address, state.peers)


def _refuse_another_way_out(
    draft: Draft, spec: Spec, state: LinkState, wanted: LinkSettings, before: LinkSettings
) -> None:
    """A lease and a router's word bring a way out. A bridge that comes up brings all that is defined, ports that are used otherwise included."""
    comes_up = state.live is None and (not state.is_defined or spec.state == "started")
    for key, path, version in (("gateway", "address", 4), ("gateway6", "address6", 6)):
        own = (spec.name, state.moved.port if state.moved is not None else spec.name)
        others = [route.link for route in state.default_routes if route.version == version and route.link not in own]
        addresses = "addresses6" if version == 6 else "addresses"
        for brings, old, new in (
            (key, getattr(before, key), getattr(wanted, key)),
            (path, *(next((it for it in getattr(side, addresses) if it in WORDS), "") for side in (before, wanted))),
        ):
            if others and new and (comes_up or new != old):
                reason = f"{brings}: the default route of this host goes through {others[0]}. {NOT_SWITCHED}"
                draft.add(brings, None, new, permit=NEVER_PERMITTED, reason=reason)
    for port in wanted.ports if comes_up and state.is_defined else ():
        if port.name in state.lifelines:
            path = f"ports[{port.name}]"
            reason = f"{path}: {port.name} carries {state.lifelines[port.name]}. {NOT_SWITCHED}. Take it off the bridge first"
            draft.add(path, None, {}, permit=NEVER_PERMITTED, reason=reason)


def _refuse_what_guests_stand_on(draft: Draft, state: LinkState, wanted: LinkSettings) -> None:
    """Without VLANs all guests see each other, and LXC starts no container that is in one."""
    is_aware = any(side is not None and side.vlan_aware for side in (state.persistent, state.live))
    if state.vlan_users and is_aware and not wanted.vlan_aware:
        guests = ", ".join(state.vlan_users)
        reason = f"vlan_aware: these guests are in VLANs of the bridge: {guests}. Take vlan off their networks first"
        draft.add("vlan_aware", True, False, permit=NEVER_PERMITTED, reason=reason)


def _can_cut(change: Change) -> bool:
    is_new_port = change.before is None and change.path.startswith("ports[") and change.path.endswith("]")
    return area(change.path) in _CUTTING and not is_new_port


def _can_cut_ports(state: LinkState) -> t.Callable[[Change], bool]:
    free = tuple(f"ports[{port}]" for port in state.ports if port not in state.lifelines)
    return lambda change: area(change.path) in _CUTTING_PORTS and _can_cut(change) and not change.path.startswith(free)


def _plan_removal(spec: Spec, state: LinkState) -> Plan:
    draft = Draft(LINK, Power(is_running=True, will_run=True))
    if state.persistent is None and not state.is_recorded and state.carrier is None:
        return draft.finish()
    before = "started" if state.is_up else "half-made" if state.is_building else "stopped"
    reason = _why_it_stays(spec.name, state)
    draft.add("state", before, "absent", permit=NEVER_PERMITTED if reason else None, reason=reason)
    return draft.finish()


def _why_it_stays(name: str, state: LinkState) -> str | None:
    if state.carrier is not None:
        return (
            f"mode: the bridge {name} is carried by the libvirt network {state.carrier}, and has no mode {PORTS_MODE}. "
            f"Without mode it is taken away"
        )
    if state.users:
        return f"state: the bridge {name} is in use by guests: {', '.join(sorted(state.users))}"
    if state.is_up and state.strangers:
        return f"state: the bridge {name} is in use by {', '.join(state.strangers)}, plugged in by somebody else"
    if not state.is_made and state.persistent is not None:
        return f"state: this collection did not make the bridge {name}. Take it away where it is defined"
    for kind, link in (("bridge", name), *(("port", port) for port in state.ports)):
        if state.is_up and link in state.lifelines:
            return f"state: the {kind} {link} carries {state.lifelines[link]}. {NOT_SWITCHED}"
    return None
