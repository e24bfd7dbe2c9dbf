# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Carries out the plan of a bridge with ports: first the record, then the files, then the kernel."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat
import typing as t

from ..._core import atomic, command, lock
from ..._core.converge import Work
from ..._core.errors import ApplyError
from ..._core.plan import Change, How, Plan, Step
from ..._core.record import Owned
from ..options import DHCP, PORTS_MODE, SLAAC
from ..record import BridgeRecord
from ..spec import Spec
from ..switch.read import read_switch
from ..switch.state import offered
from . import backends, iproute, manager, way_back
from . import networkd as networkd_files
from .ifupdown import Ifupdown
from .moved import filled, wanted_of
from .observe import read_live
from .settings import LinkSettings, merge
from .state import Backend, LinkState

_BATCHES = {"ip": "links set", "bridge": "vlans set"}
# iproute2 ends a batch at the first line that the kernel refuses, and says which.
_AT_LINE = re.compile(r"Command failed -:([0-9]+)")


def apply_link(spec: Spec, state: LinkState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when a step is refused.
    """
    record = Owned(work.host.record("bridges", spec.name), BridgeRecord)
    if any(change.how is How.CONFIRMED for change in plan.changes):
        _switch(spec, state)
    if spec.state == "absent":
        yield from _remove(spec, state, plan, record, work)
        return
    backend = _backend(state)
    before = state.persistent if state.is_defined and state.persistent is not None else LinkSettings()
    wanted = wanted_of(spec, before, state.moved)
    spec = filled(spec, state.moved)
    if not state.is_defined:
        record.save(is_building=True, is_made=True, mode=PORTS_MODE, backend=backend.name)
    _remember_ports(spec, state, record, wanted, work)
    yield Step("record written")
    with lock.allocations():
        # Another bridge may have changed a common file since this run has read it.
        backend = _read_again(backend, work)
        record.save(words=record.content.words or backend.words(spec.name))
        words, starts = record.content.words, plan.has("autostart")
        edits = backend.define(spec.name, wanted, starts=starts, words=words, moved=state.moved)
        for path, text in edits.items():
            _write(path, text)
    if edits:
        yield Step("definition written")
    left = _Left(plan, is_new=not state.is_defined)
    yield from left.of("autostart")
    if not state.is_defined or state.is_up or spec.state == "started":
        yield from _bring_up(spec, state, wanted, plan, left, record, backend, work)
    _forget_ports(record, wanted)
    record.save(is_building=False)
    yield from left.changes


def _switch(spec: Spec, state: LinkState) -> None:
    """Go on only where this is the unit of a switch that is armed already.

    :raises SwitchArmed: where that unit has been begun, and goes on without this run.
    """
    from ..switch import arm  # few changes can cut a host off

    name = offered(os.environ)
    standing = read_switch()
    if standing.id == name:
        if standing.word != "armed":
            raise ApplyError(f"the change of {spec.name} was taken back: {standing.reason or standing.word}")
        return
    wanted = wanted_of(spec, state.persistent or LinkSettings(), state.moved)
    known = {*state.ports, *(port.name for port in wanted.ports)}
    if isinstance(state.backend, Ifupdown):
        folders, files = way_back.places(state.backend, spec.name)
        ifupdown = way_back.of_links(state.backend, sorted({spec.name, *known}))
        if state.moved is not None:
            edits = state.backend.define(spec.name, wanted, moved=state.moved)
            ifupdown |= way_back.of_moved(state.backend, spec.name, state.moved, edits)
            files += way_back.leases(spec.name)
        raise arm.arm(name, spec, known, reload=[], folders=folders, files=files, ifupdown=ifupdown)
    raise arm.arm(name, spec, known, reload=[["networkctl", "reload"]], folders=[networkd_files.OURS])


class _Left:
    """The changes of a plan that do not stand yet. What is asked for stands, and is given once.

    Of a bridge that is new nothing stands before its record is complete: until then another run begins anew.
    """

    def __init__(self, plan: Plan, *, is_new: bool) -> None:
        self.changes = list(plan.changes)
        self.is_new = is_new

    def of(self, *paths: str) -> t.Iterator[Change]:
        return self._give(lambda change: _belongs(change, paths))

    def but(self, paths: t.Collection[str]) -> t.Iterator[Change]:
        return self._give(lambda change: not _belongs(change, paths))

    def _give(self, stands: t.Callable[[Change], bool]) -> t.Iterator[Change]:
        standing = [] if self.is_new else list(filter(stands, self.changes))
        self.changes = [change for change in self.changes if change not in standing]
        yield from standing


def _belongs(change: Change, paths: t.Iterable[str]) -> bool:
    """Whether one of *paths* is that of the change, a key in it, or the item that it is a key of."""
    return any(
        change.path == path or change.path.startswith(f"{path}.") or path.startswith(f"{change.path}.")
        for path in paths
    )


def _bring_up(
    spec: Spec,
    state: LinkState,
    wanted: LinkSettings,
    plan: Plan,
    left: _Left,
    record: Owned[BridgeRecord],
    backend: Backend,
    work: Work,
) -> t.Iterator[Change | Step]:
    before = state.live or LinkSettings()
    leases = {
        path: (DHCP in old, DHCP in new)
        for path, old, new in (
            ("address", before.addresses, wanted.addresses),
            ("address6", before.addresses6, wanted.addresses6),
        )
    }
    plan.warnings += manager.prepare(
        backend,
        spec.name,
        {port.name for port in (*before.ports, *wanted.ports)},
        stops_client=any(old and not new for old, new in leases.values()),
        is_leased=any(new for dummy, new in leases.values()),
    )
    yield Step("manager told")
    is_moved_by_ifup = state.moved is not None and isinstance(backend, Ifupdown)
    if state.moved is not None and isinstance(backend, Ifupdown):
        manager.move(backend, state.moved.port, spec.name)
        yield Step("card given to the bridge")
    work.host.drop()
    live = read_live(spec.name, work.host, wanted, record.content)
    target = _target(spec, dataclasses.replace(state, live=live), wanted)
    turn = iproute.Turn(spec.name, live, target, record.content.ports, wanted.mtu)
    started = [path for path, (old, new) in leases.items() if new and not old]
    links, vlans = iproute.link_lines(turn), iproute.vlan_lines(turn)
    is_told = SLAAC in before.addresses6, SLAAC in wanted.addresses6
    at_the_end = {"state", "mode", *started, *(["address6"] if is_told[0] != is_told[1] else [])}
    if state.moved is not None:
        # networkd may have done so already; what it did not give to the port itself it leaves there.
        _run("ip", [f"address flush dev {state.moved.port}"])
    with _promoted(spec.name):
        yield from _batch("ip", links, left, {*at_the_end, *_paths(vlans)})
    yield from _batch("bridge", vlans, left, at_the_end)
    if is_told[0] != is_told[1]:
        manager.listen(backend, spec.name, is_on=is_told[1])
    manager.finish(backend, spec.name, starts_client=bool(started) and not is_moved_by_ifup)
    yield Step("bridge up")


@contextlib.contextmanager
def _promoted(bridge: str) -> t.Iterator[None]:
    """While it lasts, the next address of a subnet moves up when the first one goes; without that all of them go, and the routes too."""
    path = f"/proc/sys/net/ipv4/conf/{bridge}/promote_secondaries"
    before = atomic.read_text(path)
    if before is None or before.strip() != "0":
        yield
        return
    _set_kernel(path, "1")
    try:
        yield
    finally:
        _set_kernel(path, before)


def _set_kernel(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as setting:
        setting.write(value)


def _target(spec: Spec, state: LinkState, wanted: LinkSettings) -> LinkSettings:
    """What is to be up: what is declared, and everything else as it is. A definition that is not up comes up as a whole.

    The ports of guests are in no definition; a port that is pulled out for now cannot be plugged in.
    """
    live = state.live
    if live is None:
        target, guests = wanted, []
    else:
        target = merge(live, spec, state.persistent) if state.is_defined else wanted
        defined = {port.name for port in (*(state.persistent or LinkSettings()).ports, *wanted.ports)}
        defined |= {item.name for item in spec.items("ports")}
        defined |= set(state.released) if "ports" in spec.exact else set()
        guests = [port for port in live.ports if port.name not in defined and target.port(port.name) is None]
    there = [port for port in target.ports if os.path.isdir(f"/sys/class/net/{port.name}")]
    return dataclasses.replace(target, ports=(*there, *guests))


def _paths(lines: t.Iterable[iproute.Line]) -> set[str]:
    return {path for line in lines for path in line.paths}


def _batch(
    program: str, lines: t.Sequence[iproute.Line], left: _Left, later: t.Collection[str]
) -> t.Iterator[Change | Step]:
    """Run the lines; then all changes stand but those of *later*. Where one is refused, those before it have been made."""
    if not lines:
        return
    try:
        _run(program, [line.text for line in lines])
    except command.CommandError as exc:
        refused = _AT_LINE.search(exc.stderr)
        at = int(refused[1]) - 1 if refused else 0
        yield from left.but({*later, *_paths(lines[at:])})
        raise ApplyError(f"{program} refused to change the bridge: {exc.message}") from exc
    yield Step(_BATCHES[program])
    yield from left.but(later)


def _run(program: str, lines: t.Sequence[str]) -> None:
    command.run([program, "-batch", "-"], input="".join(line + "\n" for line in lines))


def _backend(state: LinkState) -> Backend:
    if state.backend is None:
        raise ApplyError("no backend keeps this bridge")
    return state.backend


def _read_again(backend: Backend, work: Work) -> Backend:
    networkd, ifupdown = backends.read_backends(work.host.links)
    return networkd if backend.name == networkd.name else ifupdown


def _write(path: str, text: str | None) -> None:
    if text is None:
        atomic.remove_file(path)
        return
    try:
        status = os.stat(path)
    except FileNotFoundError:
        # networkd reads its files as a user of its own.
        atomic.write_file(path, text)
        return
    atomic.write_file(path, text, mode=stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid))


def _remember_ports(
    spec: Spec, state: LinkState, record: Owned[BridgeRecord], wanted: LinkSettings, work: Work
) -> None:
    """How a port is before it is plugged in, so that it can be given back; of one that somebody else has, what can be known of that."""
    known = dict(record.content.ports)
    given = state.persistent.mtu if state.persistent is not None else 0
    for name in dict.fromkeys((*(port.name for port in wanted.ports), *state.ports)):
        link = work.host.links.get(name)
        is_plugged = link is not None and link.get("master") == spec.name
        if link is not None and not (is_plugged and name in known):
            mtu = int(link.get("mtu", 0))
            if is_plugged and mtu == given:
                # Somebody plugged it in, and ifup gave it the MTU of the bridge: what it had before nobody knows, and what it has
                # without one after the next start is the kernel's default.
                mtu = min(iproute.DEFAULT_MTU, state.most_mtus.get(name, iproute.DEFAULT_MTU))
            known[name] = {"mtu": mtu, "up": "UP" in link.get("flags", ())}
    record.save(ports=known, mode=PORTS_MODE)


def _forget_ports(record: Owned[BridgeRecord], wanted: LinkSettings) -> None:
    known = record.content.ports
    record.save(ports={name: port for name, port in known.items() if wanted.port(name) is not None})


def _give_back(name: str, before: iproute.PortBefore) -> None:
    link = f"/sys/class/net/{name}"
    # Somebody has plugged it in elsewhere since, where it is to stay as it is.
    is_free = os.path.isdir(link) and not os.path.exists(f"{link}/master")
    lines = iproute.give_back_lines(name, before) if is_free else []
    if lines:
        _run("ip", lines)


def _remove(
    spec: Spec, state: LinkState, plan: Plan, record: Owned[BridgeRecord], work: Work
) -> t.Iterator[Change | Step]:
    backend = state.backend
    if backend is not None and state.persistent is not None:
        with lock.allocations():
            for path, text in _read_again(backend, work).forget(spec.name).items():
                _write(path, text)
        yield Step("definition removed")
    if backend is not None:
        is_leased = DHCP in (state.live or LinkSettings()).addresses
        plan.warnings += manager.prepare(backend, spec.name, state.ports, stops_client=is_leased, is_leased=False)
        yield Step("manager told")
    if os.path.isdir(f"/sys/class/net/{spec.name}/bridge"):
        _run("ip", [f"link delete dev {spec.name} type bridge"])
        yield Step("bridge removed")
    for name, before in record.content.ports.items():
        _give_back(name, before)
    yield Step("ports given back")
    if backend is not None:
        manager.forget(backend, spec.name)
    record.remove()
    yield from plan.changes
