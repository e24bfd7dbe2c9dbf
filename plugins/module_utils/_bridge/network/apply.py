# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Carries out the plan of a bridge that libvirt carries: first the record, then the definition, then the running network."""

from __future__ import annotations

import os
import typing as t

from ..._core import libraries
from ..._core.converge import Work
from ..._core.errors import ApplyError, HybridError
from ..._core.options import pattern
from ..._core.plan import Change, How, Plan, Step
from ..._core.record import Owned
from ..._host.libvirt import Network, errors_of
from ..record import BridgeRecord
from ..spec import Spec, with_create_defaults
from . import forwarding, network_xml, replug
from .observe import find_network
from .plan import NOTHING
from .settings import merge, settled
from .state import NetworkState

# Changes with a step of their own.
_POWER = ("state", "autostart")


def apply_network(spec: Spec, state: NetworkState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when libvirt refuses a step.
    """
    record = Owned(work.host.record("bridges", spec.name), BridgeRecord)
    network = find_network(spec.name, work.host)
    if spec.state == "absent":
        yield from _remove(spec, plan, work, record, network)
    elif network is None or not state.is_defined:
        yield from _create(settled(with_create_defaults(spec), NOTHING, state.ula), plan, work, record, network)
    else:
        yield from _change(settled(spec, state.persistent or NOTHING, state.ula), state, plan, work, record, network)


def _create(
    spec: Spec, plan: Plan, work: Work, record: Owned[BridgeRecord], half_made: Network | None
) -> t.Iterator[Change | Step]:
    record.save(is_building=True, is_made=True, network=spec.name)
    yield Step("record written")
    if half_made is not None:
        _unregister(spec.name, half_made.handle)
        yield Step("half-made network removed")
    with errors_of(f"define the network of the bridge {spec.name}", ApplyError):
        handle = work.host.connection.networkDefineXML(network_xml.new(spec.name, merge(NOTHING, spec)))
    yield Step("network defined")
    _set_autostart(spec.name, handle, bool(spec.get("autostart")))
    yield Step("autostart set")
    if spec.state != "stopped":
        _start(spec.name, handle, record)
        yield Step("network started")
    record.save(is_building=False)
    # Until here another run begins anew: nothing stood for good.
    yield from plan.changes


def _change(
    spec: Spec, state: NetworkState, plan: Plan, work: Work, record: Owned[BridgeRecord], network: Network
) -> t.Iterator[Change | Step]:
    power = plan.get("state")
    definition = network_xml.edit(network.xml, merge(network_xml.read(network.xml), spec, state.reserved))
    defined = [change for change in plan.changes if change.path not in _POWER]
    if power is not None and power.after == "stopped":
        _stop(spec.name, network.handle)
        record.save(replug=None)
        yield power
    if defined and definition != network_xml.edit(network.xml, network_xml.read(network.xml)):
        _define(spec.name, work, definition)
        yield Step("definition written")
    yield from (change for change in defined if change.how is How.OFFLINE)
    autostart = plan.get("autostart")
    if autostart is not None:
        _set_autostart(spec.name, network.handle, bool(autostart.after))
        yield autostart
    running = [change for change in defined if change.how is not How.OFFLINE]
    if any(change.how is How.RESTART for change in running):
        yield from _restart(spec.name, work, network, record)
        yield from running
    elif network.live_xml is not None:
        wanted = network_xml.edit(network.live_xml, merge(network_xml.read(network.live_xml), spec, state.reserved))
        yield from _update(spec.name, network, wanted, running)
    if power is not None and power.after == "started":
        _start(spec.name, network.handle, record)
        yield Step("network started")
        _plug_in(spec.name, record)
        yield power


def _define(name: str, work: Work, xml: str) -> None:
    with errors_of(f"change the network of the bridge {name}", ApplyError):
        work.host.connection.networkDefineXML(xml)


def _set_autostart(name: str, handle: t.Any, autostart: bool) -> None:
    with errors_of(f"set autostart of the bridge {name}", ApplyError):
        handle.setAutostart(int(autostart))


def _update(name: str, network: Network, wanted: str, changes: t.Sequence[Change]) -> t.Iterator[Change]:
    """Bring *wanted* into the running network, section by section. What is in no section runs already as it is defined."""
    library = libraries.libvirt()
    commands = {"delete": library.VIR_NETWORK_UPDATE_COMMAND_DELETE, "add": library.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST}
    sections = {
        "dhcp_range": library.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
        "dhcp_host": library.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        "dns_host": library.VIR_NETWORK_SECTION_DNS_HOST,
    }
    live = t.cast(str, network.live_xml)
    # Left to itself, libvirt takes the first <ip> that has DHCP, also where that is one of IPv6.
    index = network_xml.index_of_ip(live)
    left = list(changes)
    updates = network_xml.updates(live, wanted)
    for section, number in sections.items():
        for update in updates:
            if update.section == section:
                with errors_of(f"{update.command} {update.xml} on the running bridge {name}", ApplyError):
                    command = commands[update.command]
                    network.handle.update(command, number, index, update.xml, library.VIR_NETWORK_UPDATE_AFFECT_LIVE)
        standing = [change for change in left if network_xml.LIVE.get(pattern(change.path)) == section]
        yield from standing
        left = [change for change in left if change not in standing]
    yield from left


def _restart(name: str, work: Work, network: Network, record: Owned[BridgeRecord]) -> t.Iterator[Step]:
    """libvirt takes these changes with the start of the network only, and a bridge that goes drops what is plugged into it."""
    before = record.content.replug or []
    known = {port["link"] for port in before}
    record.save(
        network=network.name, replug=[*before, *(port for port in replug.remember(name) if port["link"] not in known)]
    )
    yield Step("ports remembered")
    _stop(name, network.handle)
    yield Step("network stopped")
    try:
        _start(name, network.handle, record)
    except HybridError:
        _define(name, work, network.xml)
        _start(name, network.handle, record)
        _plug_in(name, record)
        raise
    yield Step("network started")
    _plug_in(name, record)
    yield Step("ports plugged in")


def _plug_in(name: str, record: Owned[BridgeRecord]) -> None:
    replug.plug_in(name, record.content.replug or [])
    record.save(replug=None)


def _start(name: str, handle: t.Any, record: Owned[BridgeRecord]) -> None:
    with errors_of(f"start the network of the bridge {name}", ApplyError):
        if handle.isActive():
            if os.path.isdir(f"/sys/class/net/{name}"):
                return
            # Somebody took the link away under libvirt, which believes that it is still there.
            handle.destroy()
        settings = network_xml.read(handle.XMLDesc(0))
        if settings.mode != "isolated":
            forwarding.remember(record, has_ipv6=bool(settings.address6))
        handle.create()


def _stop(name: str, handle: t.Any) -> None:
    with errors_of(f"stop the network of the bridge {name}", ApplyError):
        if handle.isActive():
            handle.destroy()


def _unregister(name: str, handle: t.Any) -> None:
    _stop(name, handle)
    with errors_of(f"undefine the network of the bridge {name}", ApplyError):
        if handle.isPersistent():
            handle.undefine()


def _remove(
    spec: Spec, plan: Plan, work: Work, record: Owned[BridgeRecord], network: Network | None
) -> t.Iterator[Change | Step]:
    if network is not None:
        _unregister(spec.name, network.handle)
        yield Step("network undefined")
    forwarding.give_back(record)
    yield Step("forwarding given back")
    record.remove()
    yield from plan.changes
