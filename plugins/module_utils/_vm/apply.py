# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The only code that writes virtual machines.

In this order: record, power down, detach, storage, one write of the definition, devices, live values, one restart, power up.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t
import uuid

from .._core import libraries, lock, startup
from .._core import record as records
from .._core.converge import Work
from .._core.errors import ApplyError, WaitTimeout
from .._core.plan import Change, How, Plan, Step
from .._core.record import Record
from .._core.waiting import wait_until
from .._host import links
from .._host.libvirt import errors_of
from . import power, process, seed, storage
from .observe import Side, State, volume_path
from .plan import power_of
from .spec import (
    CLOUD_INIT,
    OPTIONS,
    SEED,
    Item,
    Spec,
    Value,
    with_create_defaults,
    with_disk_defaults,
    with_network_defaults,
)
from .xml import boot, channel, controller, nic
from .xml import disk as disks
from .xml import domain as domain_xml
from .xml.node import Node, name_of, set_name

_ITEM = re.compile(r"(disks|networks)\[([^\]]+)\](?:\.(\w+))?")
_IN_RECORD = ("tags", "protection", *startup.PATHS)
_OFF = {option.path: option.off for option in OPTIONS}
# libvirt itself has waited 5 seconds by then.
_DETACH_SECONDS = 1.0
_BALLOON_SECONDS = 2.0
Steps = t.Iterator["Change | Step"]


def apply_vm(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when libvirt or the guest refuses a step.
    """
    with errors_of(f"change {spec.name}", ApplyError):
        yield from _apply(spec, state, plan, work)


def _apply(spec: Spec, state: State, plan: Plan, work: Work) -> Steps:
    record = work.host.record("guests", spec.name)
    if spec.state == "absent":
        yield from _remove(spec, state, plan, work, record)
    elif state.exists:
        yield from _Changing(spec, state, plan, work, record).steps()
    else:
        yield from _create(with_create_defaults(spec), state, plan, work, record)


# ---- creation ---------------------------------------------------------------------------------------------------------


def _create(spec: Spec, state: State, plan: Plan, work: Work, record: Record) -> Steps:
    yield from _clear(spec, state, work, record)
    identity = str(uuid.uuid4())
    volumes = _planned_volumes(spec, state, plan)
    known = {**(record.data.get("volumes") or {}), **volumes}
    with lock.allocations():
        macs = _claim_macs(spec, plan)
        record.save(
            kind="vm",
            building=True,
            uuid=identity,
            image=spec.image,
            volumes=known,
            macs={**(record.data.get("macs") or {}), **macs} or None,
            names=None,
            run=None,
            tags=list(t.cast("tuple[str, ...]", spec.values.get("tags", ()))) or None,
            protection=spec.values.get("protection") or None,
            startup=startup.to_record(t.cast("t.Mapping[str, int]", spec.values)),
            wants_start=True if spec.state in ("started", "restarted") else None,
        )
    yield Step("record written")
    for item in spec.items("disks"):
        if item.name in volumes:
            yield from _make_volume(spec, item, plan, volumes[item.name], work)
    if SEED in volumes:
        storage.write_seed(spec.name, volumes[SEED]["path"], _seed(spec, state, macs))
        yield Step("seed made")
    storage.refresh(work, [volume["path"] for volume in volumes.values()])
    definition = _new_definition(spec, state, identity, volumes, macs)
    with errors_of(f"define {spec.name}", ApplyError):
        domain = work.host.connection.defineXML(domain_xml.to_text(definition))
    yield Step("domain defined")
    record.save(building=None, volumes={name: _settled(volume) for name, volume in known.items()})
    yield Step("record complete")
    if spec.values.get("autostart"):
        with errors_of(f"set autostart of {spec.name}", ApplyError):
            domain.setAutostart(1)
        yield Step("autostart set")
    if spec.state in ("started", "restarted", "paused"):
        power.start(domain, record, paused=spec.state == "paused")
    record.save(wants_start=None)
    yield from plan.changes


def _clear(spec: Spec, state: State, work: Work, record: Record) -> Steps:
    """Take away what a creation that was interrupted made: no machine ever ran on it."""
    if not state.is_building:
        return
    domain = work.host.domains.get(spec.name)
    if domain is not None:
        _undefine(domain, spec.name)
        yield Step("half-made domain removed")
    volumes = dict(record.data.get("volumes") or {})
    for name in [name for name, volume in volumes.items() if volume.get("fresh")]:
        path = volumes.pop(name)["path"]
        storage.remove_volume(path)
        storage.remove_left_overs(spec.name, path)
    record.save(volumes=volumes or None)
    yield Step("half-made volumes removed")


def _settled(volume: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in volume.items() if key != "fresh"}


def _planned_volumes(spec: Spec, state: State, plan: Plan) -> dict[str, dict[str, t.Any]]:
    """The volumes that the plan needs, as the record has them. Those made now are ``fresh``, those taken over are not."""
    volumes: dict[str, dict[str, t.Any]] = {}
    defined = state.persistent.disks if state.exists and state.persistent else {}
    for item in spec.items("disks"):
        is_new = item.is_wanted and item.name not in defined and plan.has(f"disks[{item.name}]")
        if not is_new or "pool" not in item.values:
            continue
        found = state.found.get(item.name)
        pool = t.cast(str, item.values["pool"])
        if found is not None and not found.is_fresh:
            volumes[item.name] = {"pool": pool, "path": found.path, "made": True}
        else:
            path = volume_path(state.pools[pool], spec.name, item.name, t.cast(str, item.values["format"]))
            volumes[item.name] = {"pool": pool, "path": path, "made": True, "fresh": True}
    if any(plan.has(path) for path in CLOUD_INIT) and (not state.exists or state.seed_path is None):
        pool = t.cast(str, state.seed_pool(spec))
        path = volume_path(state.pools[pool], spec.name, SEED, "iso")
        volumes[SEED] = {"pool": pool, "path": path, "made": True, "fresh": True}
    return volumes


def _claim_macs(spec: Spec, plan: Plan) -> dict[str, str]:
    """The MACs of the cards that the plan adds, when they are still free.

    :raises ApplyError: when another guest has got one since.
    """
    claimed = {}
    for item in spec.items("networks"):
        change = plan.get(f"networks[{item.name}]")
        if change is not None and change.after:
            claimed[item.name] = change.after["mac"]
    for other, its in records.load_all("guests").items():
        clash = set((its.data.get("macs") or {}).values()) & set(claimed.values())
        if other != spec.name and clash:
            raise ApplyError(f"networks: {', '.join(sorted(clash))} belongs to the guest {other}")
    return claimed


def _make_volume(spec: Spec, item: Item, plan: Plan, volume: t.Mapping[str, t.Any], work: Work) -> Steps:
    values = dict(item.values)
    if volume.get("fresh"):
        if not os.path.exists(volume["path"]):
            storage.make_volume(work, spec.name, item.name, volume["path"], values)
            yield Step(f"volume {item.name} made")
    elif "size" in values:
        format_ = _format_of(volume["path"])
        storage.grow(work, volume["path"], format_, t.cast(int, values["size"]))
        yield Step(f"volume {item.name} taken")


def _format_of(path: str) -> str:
    return "qcow2" if path.endswith(".qcow2") else "raw"


def _seed(spec: Spec, state: State, macs: t.Mapping[str, str], values: t.Mapping[str, Value] | None = None) -> bytes:
    cards = [seed.Card(name, mac) for name, mac in macs.items()]
    return seed.build(seed.render(spec.name, values if values is not None else spec.values, cards))


def _new_definition(
    spec: Spec, state: State, identity: str, volumes: t.Mapping[str, t.Mapping[str, t.Any]], macs: t.Mapping[str, str]
) -> Node:
    devices = len(spec.items("disks")) + len(spec.items("networks")) + 5
    root = domain_xml.new(spec.name, identity, state.accelerator, devices)
    for path, value in spec.values.items():
        if domain_xml.is_definition(path) and path != "boot.order":
            domain_xml.write_value(root, path, value)
    for item in spec.items("disks"):
        source = item.text("source") or volumes[item.name]["path"]
        domain_xml.add_disk(root, item.name, source, item.values)
    if SEED in volumes:
        _add_seed(root, volumes[SEED]["path"])
    for item in spec.items("networks"):
        domain_xml.add_nic(root, item.name, {**item.values, "mac": macs[item.name]})
    order = spec.values.get("boot.order")
    if isinstance(order, tuple):
        boot.write_order(root, _nodes_of(root, order, None))
    return root


def _add_seed(root: Node, path: str, taken: t.Collection[str] = ()) -> None:
    # Debian's cloud kernel has no driver for a SATA drive: a seed there is never seen.
    values = {"format": "raw", "bus": "virtio", "serial": "", "cache": "default", "discard": False, "readonly": True}
    domain_xml.add_disk(root, SEED, path, values, taken)


def _nodes_of(root: Node, names: t.Sequence[str], side: Side | None) -> list[Node]:
    """The nodes of disks and cards by name: by alias, or by what *side* says."""
    found: dict[str, Node] = {}
    for kind in ("disks", "networks"):
        for name, device in (side.devices(kind) if side else {}).items():
            node = domain_xml.find_device(root, kind, device.ident)
            if node is not None:
                found[name] = node
    for node in [*root.iterfind("devices/disk"), *root.iterfind("devices/interface")]:
        alias = name_of(node)
        if alias is not None:
            found[alias] = node
    return [found[name] for name in names if name in found]


# ---- change -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Changing:
    """One run of changes on a machine that exists."""

    spec: Spec
    state: State
    plan: Plan
    work: Work
    record: Record

    def __post_init__(self) -> None:
        self.domain = self.work.host.domains[self.spec.name]
        self.persistent = t.cast(Side, self.state.persistent)
        self.power = power_of(self.spec, self.state)
        self.volumes: dict[str, dict[str, t.Any]] = {}
        self.item_of = {kind: {item.name: item for item in self.spec.items(kind)} for kind in ("disks", "networks")}

    def steps(self) -> Steps:
        yield from self._write_record()
        self.domain = _define_for_good(self.domain, self.work)
        if self.power.is_running and not self.power.will_run:
            power.stop(self.domain, self.spec, self.record)
            yield Step("powered down")
        elif self.state.power == "suspended" and self.power.takes_changes:
            power.start(self.domain, self.record)
            yield Step("woken up")
        yield from self._detach()
        yield from self._change_storage()
        yield from self._write_definition()
        yield from self._change_devices()
        yield from self._change_live_values()
        if self._needs_restart():
            power.stop(self.domain, self.spec, self.record)
            yield Step("stopped for the restart")
            power.start(self.domain, self.record)
        yield from (change for change in self.plan.changes if change.how is How.RESTART)
        yield from self._power_up()

    def live(self, prefix: str = "") -> list[Change]:
        return [change for change in self.plan.changes if change.how is How.LIVE and change.path.startswith(prefix)]

    def value(self, path: str) -> t.Any:
        """What *path* is to become, in canonical form."""
        match = _ITEM.fullmatch(path)
        if match is None:
            return self.spec.values.get(path, _OFF[path])
        item = self.item_of[match[1]].get(match[2])
        off = _OFF[f"{match[1]}[].{match[3]}"]
        return off if item is None else item.values.get(match[3], off)

    # -- record

    def _write_record(self) -> Steps:
        self.volumes = _planned_volumes(self._with_new_defaults(), self.state, self.plan)
        known = {
            name: _settled(volume)
            for name, volume in {**(self.record.data.get("volumes") or {}), **self.volumes}.items()
        }
        with lock.allocations():
            macs = {**(self.record.data.get("macs") or {}), **_claim_macs(self.spec, self.plan)}
            self.record.save(
                kind="vm",
                building=None,
                volumes=known or None,
                macs=macs or None,
                names=self._claims() or None,
                wants_start=None if self.spec.state == "stopped" else self.record.data.get("wants_start"),
                **self._recorded_options(),
            )
        yield Step("record written")
        yield from (change for change in self.plan.changes if change.path in _IN_RECORD)

    def _recorded_options(self) -> dict[str, t.Any]:
        """What the record says after this run of the options whose place it is, as far as the plan changes them."""
        found: dict[str, t.Any] = {}
        if self.plan.has("tags"):
            found["tags"] = list(self.value("tags")) or None
        if self.plan.has("protection"):
            found["protection"] = self.value("protection") or None
        changed = {path: self.value(path) for path in startup.PATHS if self.plan.has(path)}
        if changed:
            found["startup"] = startup.to_record({**startup.recorded(self.record.data), **changed})
        return found

    def _with_new_defaults(self) -> Spec:
        """The spec with the defaults of the disks that are new."""
        added = tuple(
            with_disk_defaults(item) if item.is_wanted and item.name not in self.persistent.disks else item
            for item in self.spec.items("disks")
        )
        return dataclasses.replace(self.spec, disks=added)

    def _claims(self) -> dict[str, dict[str, str]]:
        """The names of devices that do not bear one themselves."""
        claims: dict[str, dict[str, str]] = {
            kind: dict(its) for kind, its in (self.record.data.get("names") or {}).items()
        }
        for kind in ("disks", "networks"):
            for name, device in self.persistent.devices(kind).items():
                if name in self.item_of[kind] and device.alias is None:
                    claims.setdefault(kind, {})[name] = device.ident
        return claims

    # -- detach

    def _detach(self) -> Steps:
        for change in self.live():
            match = _ITEM.fullmatch(change.path)
            if match is None or match[3] or change.after is not None or self.state.live is None:
                continue
            device = self.state.live.devices(match[1]).get(match[2])
            if device is None:
                continue
            if not self._detach_live(match[1], device.ident):
                self._note_declined(change.path)
            yield Step(f"{change.path} detached")

    def _detach_live(self, kind: str, ident: str) -> bool:
        """Ask the guest to let go of a device. Returns whether it did: it is asked, and free to ignore it."""
        library = libraries.libvirt()
        node = self._live_node(kind, ident)
        if node is None:
            return True
        try:
            self.domain.detachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)
        except library.libvirtError as exc:
            if exc.get_error_code() not in (library.VIR_ERR_OPERATION_TIMEOUT, library.VIR_ERR_DEVICE_MISSING):
                raise ApplyError(f"could not detach {ident} from {self.spec.name}: {exc.get_error_message()}") from exc
        return _comes_true(lambda: self._live_node(kind, ident) is None, _DETACH_SECONDS)

    def _live_node(self, kind: str, ident: str) -> Node | None:
        return domain_xml.find_device(self._live_root(), kind, ident)

    def _live_root(self) -> Node:
        return domain_xml.parse(self.domain.XMLDesc(libraries.libvirt().VIR_DOMAIN_XML_SECURE))

    def _note_declined(self, path: str) -> None:
        run = process.find_run(self.spec.name)
        before = process.notes_of(self.record, run).get("declined") or []
        process.save_notes(self.record, run, declined=sorted({*before, path}))

    # -- storage

    def _change_storage(self) -> Steps:
        for item in self._with_new_defaults().items("disks"):
            if item.name in self.volumes:
                yield from _make_volume(self.spec, item, self.plan, self.volumes[item.name], self.work)
        for change in self.plan.changes:
            match = _ITEM.fullmatch(change.path)
            if match is not None and match[3] == "size":
                self._grow(match[2], self.value(change.path), change.how)
                yield change
        if any(self.plan.has(path) for path in CLOUD_INIT):
            self._write_seed()
            yield Step("seed made")
        paths = [volume["path"] for volume in self.volumes.values()]
        grown = [
            device.source for name, device in self.persistent.disks.items() if self.plan.has(f"disks[{name}].size")
        ]
        storage.refresh(self.work, [*paths, *grown])

    def _grow(self, name: str, size: int, how: How) -> None:
        device = self.persistent.disks[name]
        plugged = self.state.live.disks.get(name) if self.state.live else None
        if how is not How.LIVE or plugged is None or plugged.source != device.source:
            storage.grow(self.work, device.source, device.format, size)
            return
        with errors_of(f"grow the disk {device.target} of {self.spec.name}", ApplyError):
            self.domain.blockResize(device.source, size, libraries.libvirt().VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def _write_seed(self) -> None:
        values = seed.merged(self.spec.values, self.state.seed, self.spec.unset)
        path = self.state.seed_path or self.volumes[SEED]["path"]
        macs = {name: nic.mac for name, nic in self.persistent.nics.items()}
        storage.write_seed(self.spec.name, path, _seed(self.spec, self.state, macs, values))

    # -- definition

    def _write_definition(self) -> Steps:
        library = libraries.libvirt()
        with errors_of(f"read the definition of {self.spec.name}", ApplyError):
            xml = self.domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE)
        root = domain_xml.parse(xml)
        before = domain_xml.to_text(root)
        self._edit(root)
        if domain_xml.to_text(root) != before:
            with errors_of(f"change the definition of {self.spec.name}", ApplyError):
                self.domain = self.work.host.connection.defineXML(domain_xml.to_text(root))
            yield Step("definition written")
        if self.plan.has("autostart"):
            with errors_of(f"set autostart of {self.spec.name}", ApplyError):
                self.domain.setAutostart(int(bool(self.value("autostart"))))
            yield from (change for change in self.plan.changes if change.path == "autostart")
        waiting = (How.OFFLINE, How.NEXT_BOOT)
        done = (*_IN_RECORD, "autostart")
        for change in self.plan.changes:
            if (
                change.how in waiting
                and change.path not in done
                and not change.path.endswith("].size")
                and change.path != "state"
            ):
                yield change

    def _edit(self, root: Node) -> None:
        """Every change of the plan that the definition holds, however it reaches the running machine."""
        taken = [device.target for device in self.state.live.disks.values()] if self.state.live else []
        for change in self.plan.changes:
            match = _ITEM.fullmatch(change.path)
            if match is not None:
                self._edit_item(root, match[1], match[2], match[3], change, taken)
            elif domain_xml.is_definition(change.path) and change.path != "boot.order":
                domain_xml.write_value(root, change.path, self.value(change.path))
        if SEED in self.volumes:
            _add_seed(root, self.volumes[SEED]["path"], taken)
        if self.plan.has("boot.order"):
            boot.write_order(root, _nodes_of(root, self.value("boot.order"), self.persistent))

    def _edit_item(
        self, root: Node, kind: str, name: str, key: str | None, change: Change, taken: t.Collection[str]
    ) -> None:
        device = self.persistent.devices(kind).get(name)
        node = domain_xml.find_device(root, kind, device.ident) if device else None
        if key is None and change.after is None:
            if node is not None:
                node.getparent().remove(node)
        elif key is None and device is None:
            self._add_item(root, kind, name, change, taken)
        elif key is not None and node is not None:
            self._edit_key(root, kind, name, key, node, taken)

    def _add_item(self, root: Node, kind: str, name: str, change: Change, taken: t.Collection[str]) -> None:
        item = self.item_of[kind][name]
        if kind == "networks":
            domain_xml.add_nic(root, name, {**with_network_defaults(item).values, "mac": change.after["mac"]})
            return
        full = with_disk_defaults(item)
        source = full.text("source") or self.volumes[name]["path"]
        values = dict(full.values)
        if full.text("source") is None:
            values["format"] = _format_of(source)
        domain_xml.add_disk(root, name, source, values, taken)

    def _edit_key(self, root: Node, kind: str, name: str, key: str, node: Node, taken: t.Collection[str]) -> None:
        value = self.value(f"{kind}[{name}].{key}")
        if kind == "networks":
            if key == "mac":
                # What it was known by goes; from now on it bears its name.
                set_name(node, name)
            nic.write(node, key, value)
        elif key == "bus":
            set_name(node, name)
            domain_xml.change_bus(root, node, value, taken)
        elif key not in ("size", "pool"):
            disks.write(node, key, value)

    # -- devices and values of the running machine

    def _change_devices(self) -> Steps:
        for change in self.live():
            match = _ITEM.fullmatch(change.path)
            if match is None or match[3] == "size":
                continue
            if match[3] is None:
                if change.after is not None and not self._is_live(match[1], match[2]):
                    self._attach_live(match[1], match[2])
            else:
                self._update_live(match[1], match[2], match[3])
            yield change

    def _is_live(self, kind: str, name: str) -> bool:
        return self.state.live is not None and name in self.state.live.devices(kind)

    def _attach_live(self, kind: str, name: str) -> None:
        library = libraries.libvirt()
        root = domain_xml.parse(self.domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))
        (node,) = _nodes_of(root, [name], self.persistent)
        with errors_of(f"attach {kind}[{name}] to {self.spec.name}", ApplyError):
            if kind == "disks" and disks.read(node).bus == "scsi":
                self._attach_scsi_controller()
            self._attach_where_it_fits(node, name)

    def _attach_where_it_fits(self, node: Node, name: str) -> None:
        """Plug the device in where the definition has it: the guest names a card by its place."""
        library = libraries.libvirt()
        try:
            self.domain.attachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)
            return
        except library.libvirtError:
            # libvirt goes on with what a run that was killed had asked for.
            if _nodes_of(self._live_root(), [name], None):
                return
            place = node.find("address")
            if place is None or place.get("type") != "pci":
                raise
            node.remove(place)
        self.domain.attachDeviceFlags(domain_xml.to_text(node), library.VIR_DOMAIN_AFFECT_LIVE)

    def _attach_scsi_controller(self) -> None:
        if not domain_xml.read(self._live_root()).has_scsi:
            xml = domain_xml.to_text(controller.build_scsi())
            self.domain.attachDeviceFlags(xml, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)

    def _update_live(self, kind: str, name: str, key: str) -> None:
        """Bring one key of a device that is plugged in to its value; where the definition alone differed there is nothing to do."""
        device = self.state.live.devices(kind).get(name) if self.state.live else None
        node = None if device is None else self._live_node(kind, device.ident)
        if node is None or kind != "networks":
            return
        before, value = domain_xml.to_text(node), self.value(f"{kind}[{name}].{key}")
        nic.write(node, key, value)
        if domain_xml.to_text(node) != before:
            with errors_of(f"change {kind}[{name}].{key} of {self.spec.name}", ApplyError):
                self.domain.updateDeviceFlags(domain_xml.to_text(node), libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)
        if key == "vlan":
            # libvirt knows nothing of what somebody else set on the port, and leaves it.
            links.put_into_vlan(nic.read(node).tap, value)

    def _change_live_values(self) -> Steps:
        library = libraries.libvirt()
        for change in self.live():
            if change.path in ("state", *_IN_RECORD, "autostart") or _ITEM.fullmatch(change.path):
                continue
            value = self.value(change.path)
            is_same = self.state.live is not None and self.state.live.values.get(change.path) == value
            if not is_same and self.power.is_running:
                with errors_of(f"change {change.path} of {self.spec.name}", ApplyError):
                    if change.path == "description":
                        kind = library.VIR_DOMAIN_METADATA_DESCRIPTION
                        self.domain.setMetadata(kind, value or None, None, None, library.VIR_DOMAIN_AFFECT_LIVE)
                    elif change.path in ("vcpus", "cpu.cores"):
                        self.domain.setVcpusFlags(value, library.VIR_DOMAIN_AFFECT_LIVE)
                    elif change.path == "memory":
                        self._set_balloon(value)
                    elif change.path == "agent":
                        self.domain.attachDeviceFlags(
                            domain_xml.to_text(channel.build()), library.VIR_DOMAIN_AFFECT_LIVE
                        )
            yield change

    def _set_balloon(self, value: int) -> None:
        """Ask for the memory, and see whether the guest moves at all: a request that it cannot answer is noted."""
        before = self.domain.info()[2]
        run = process.find_run(self.spec.name)
        process.save_notes(self.record, run, balloon={"requested": value, "before": before})
        self.domain.setMemoryFlags(value, libraries.libvirt().VIR_DOMAIN_AFFECT_LIVE)
        if not _comes_true(lambda: self.domain.info()[2] != before, _BALLOON_SECONDS):
            self._note_declined("memory")

    # -- power

    def _needs_restart(self) -> bool:
        return any(change.how is How.RESTART for change in self.plan.changes)

    def _power_up(self) -> Steps:
        change = self.plan.get("state")
        if change is None or change.how is How.RESTART:
            return
        target = change.after
        now = "started" if self.state.power == "suspended" and target != "stopped" else self.state.power
        if target == "started" and now == "stopped":
            power.start(self.domain, self.record)
        elif target == "started" and now == "paused":
            power.resume(self.domain)
        elif target == "paused" and now == "stopped":
            power.start(self.domain, self.record, paused=True)
        elif target == "paused":
            power.pause(self.domain)
        elif target == "suspended":
            power.suspend(self.domain)
        self.record.save(wants_start=None)
        yield change


def _define_for_good(domain: t.Any, work: Work) -> t.Any:
    """*domain*, with a definition: one that was started without (``virsh create``) is gone as soon as it does not run."""
    library = libraries.libvirt()
    with errors_of(f"define {domain.name()}", ApplyError):
        if domain.isPersistent():
            return domain
        xml = domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE)
        return work.host.connection.defineXML(xml)


def _comes_true(ask: t.Callable[[], bool], seconds: float) -> bool:
    try:
        return wait_until("the guest to answer", ask, timeout_seconds=seconds)
    except WaitTimeout:
        return False


# ---- removal ----------------------------------------------------------------------------------------------------------


def _remove(spec: Spec, state: State, plan: Plan, work: Work, record: Record) -> Steps:
    removal = plan.get("state")
    if removal is not None:
        domain = work.host.domains.get(spec.name)
        if domain is not None:
            domain = _define_for_good(domain, work)
            # Nothing is lost by a hard stop where the disks go as well, or where the guest never ran.
            power.stop(domain, spec, record, hard="disks" in spec.delete or not state.exists)
            yield Step("powered down")
            _undefine(domain, spec.name)
            yield Step("domain undefined")
        yield from _clear(spec, dataclasses.replace(state, is_building=record.is_building), work, record)
        keys = ("building", "uuid", "names", "run", "tags", "protection", "startup", "wants_start", "image", "macs")
        record.save(**dict.fromkeys(keys))
        _forget(record)
        yield removal
    gone = []
    for change in plan.changes:
        match = _ITEM.fullmatch(change.path)
        if match is not None:
            storage.remove_volume(change.before)
            gone.append(change.before)
            volumes = {
                name: volume for name, volume in record.data["volumes"].items() if volume["path"] != change.before
            }
            record.save(volumes=volumes)
            _forget(record)
            yield change
    storage.refresh(work, gone)


def _forget(record: Record) -> None:
    """The record goes with the last volume that is kept."""
    volumes = (record.data.get("volumes") or {}).values()
    if not any(os.path.exists(volume["path"]) for volume in volumes):
        record.remove()


def _undefine(domain: t.Any, name: str) -> None:
    library = libraries.libvirt()
    flags = library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | library.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    with errors_of(f"undefine {name}", ApplyError):
        if domain.isActive():
            domain.destroy()
        # Without the word for it libvirt removes what a TPM has sealed the disks with.
        domain.undefineFlags(flags | library.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | library.VIR_DOMAIN_UNDEFINE_KEEP_TPM)
