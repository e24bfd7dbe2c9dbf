# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is to do on a virtual machine."""

from __future__ import annotations

import typing as t

from .._core.decide import SAME, Draft, Power
from .._core.errors import SpecError
from .._core.options import NEVER_PERMITTED, pattern
from .._core.plan import UNKNOWN, How, Plan, Unknown
from .._core.units import show_size
from .._guest.identity import derive_mac
from .observe import Side, State
from .spec import (
    CLOUD_INIT,
    CREATE_ONLY,
    OPTIONS,
    SCALARS,
    SEED,
    Item,
    Spec,
    Value,
    shared_name,
    with_create_defaults,
    with_disk_defaults,
    with_network_defaults,
)
from .xml.disk import Disk, plugs_live
from .xml.nic import Nic

KINDS = ("disks", "networks")
# QEMU's own range.
MAC_PREFIX = "52:54:00"
_OTHER_KIND = {"disks": "networks", "networks": "disks"}
_RUNNING = ("started", "paused", "suspended")
_ROWS = {option.path: option for option in OPTIONS}


def plan_vm(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure.

    :raises SpecError: where something is missing that a new guest, disk or network card needs.
    """
    if spec.state == "absent":
        return _plan_removal(spec, state)
    wanted = spec if state.exists else with_create_defaults(spec)
    power = power_of(spec, state)
    draft = Draft(
        OPTIONS,
        power,
        allow=spec.allow,
        unset=spec.unset if state.exists else (),
        declined={*state.declined, *_beyond_live(wanted, state)},
    )
    if state.other_kind:
        reason = f"name: {spec.name} is the name of a {state.other_kind} on this host; guests share one namespace"
        draft.add("name", state.other_kind, "vm", permit=NEVER_PERMITTED, reason=reason)
        return draft.finish()
    if not state.exists:
        _plan_creation(draft, wanted, state)
    _compare_scalars(draft, wanted, state)
    _compare_seed(draft, wanted, state)
    for kind in KINDS:
        _compare_items(draft, kind, wanted, state)
    if state.exists:
        _plan_power(draft, spec, state)
    # A restart would let go on what somebody holds or has saved.
    is_held = state.power in ("paused", "suspended") and spec.state in ("present", state.power)
    is_wanted = spec.restart_policy == "if_needed" and not is_held
    return draft.finish(restart=spec.state == "restarted", restart_if_needed=is_wanted)


def power_of(spec: Spec, state: State) -> Power:
    """Whether the guest runs, whether it will, and whether it takes changes while it runs.

    One that is saved to disk takes none, until a run that wakes it up.
    """
    is_running = state.exists and state.power in _RUNNING
    will_run = is_running if spec.state == "present" else spec.state != "stopped"
    is_asleep = state.power == "suspended" and spec.state in ("present", "suspended")
    return Power(is_running, will_run, takes_changes=not is_asleep)


def _plan_creation(draft: Draft, wanted: Spec, state: State) -> None:
    if wanted.state == "suspended":
        raise SpecError(f"state: {wanted.name} does not exist; a new guest cannot be made suspended", key="state")
    after = {"present": "stopped", "restarted": "started"}.get(wanted.state, wanted.state)
    draft.add("state", "absent", after)
    if wanted.image is not None:
        draft.add("image", None, wanted.image, How.OFFLINE)
    if state.accelerator != "kvm" and state.accelerator_reason:
        draft.plan.warnings.append(f"{wanted.name} will be emulated, and slow: {state.accelerator_reason}")


def _beyond_live(wanted: Spec, state: State) -> set[str]:
    """Paths that could be changed live by their table, and cannot on this machine as it runs."""
    live = state.live if state.exists else None
    if live is None:
        return set()
    beyond = set()
    for path, limit in ((wanted.cores_path, "cpu.max_cores"), ("memory", "memory_max")):
        if t.cast(int, wanted.values.get(path, 0)) > t.cast(int, live.values[limit]):
            beyond.add(path)
    if not live.domain.has_balloon:
        beyond.add("memory")
    if not live.domain.has_channels:
        beyond.add("agent")
    beyond |= {f"disks[{name}]" for name, disk in live.disks.items() if not disk.plugs_live}
    beyond |= {f"networks[{name}].bridge" for name, nic in live.nics.items() if not nic.is_on_bridge}
    ports = live.domain.free_ports
    for kind in KINDS:
        for item in wanted.items(kind):
            if not item.is_wanted or item.name in live.devices(kind):
                continue
            bus = _bus_of(item, state) if kind == "disks" else "virtio"
            needs_port = bus != "usb" and not (bus == "scsi" and live.domain.has_scsi)
            if not plugs_live(bus):
                beyond.add(f"{kind}[{item.name}]")
                continue
            if needs_port and ports is not None:
                ports -= 1
            if needs_port and ports is not None and ports < 0:
                beyond.add(f"{kind}[{item.name}]")
    return beyond


def _bus_of(item: Item, state: State) -> str:
    defined = state.persistent.disks.get(item.name) if state.persistent else None
    return item.text("bus") or (defined.bus if defined else "virtio")


def _compare_scalars(draft: Draft, wanted: Spec, state: State) -> None:
    persistent, live = (state.persistent, state.live) if state.exists else (None, None)
    for path in SCALARS:
        before = persistent.values.get(path) if persistent else None
        draft.compare(path, wanted.values.get(path), before, live.values.get(path) if live else SAME)
    if persistent is not None:
        _check_limits(wanted, persistent)
        _check_cells(draft, wanted, persistent)
    _check_boot_order(wanted, state)


def _check_limits(wanted: Spec, persistent: Side) -> None:
    for path, limit in (("memory", "memory_max"), (wanted.cores_path, "cpu.max_cores")):
        if limit in wanted.values and path not in wanted.values:
            now, most = t.cast(int, persistent.values[path]), t.cast(int, wanted.values[limit])
            if most < now:
                option = _ROWS[limit]
                raise SpecError(
                    f"{limit}: {option.show(most)} is less than {path}, which is {option.show(now)}", key=limit
                )


def _check_cells(draft: Draft, wanted: Spec, persistent: Side) -> None:
    now = t.cast(int, persistent.values["memory_max"])
    for path in ("memory", "memory_max"):
        value = t.cast(int, wanted.values.get(path, now))
        if persistent.domain.has_cells and (value > now or (path == "memory_max" and value < now)):
            shown = [_show(path, size) for size in (now, value)]
            reason = (
                f"{path}: the {shown[0]} of {wanted.name} are the sum of its NUMA cells and memory modules; change them"
            )
            draft.add(path, *shown, permit=NEVER_PERMITTED, reason=reason)


def _check_boot_order(wanted: Spec, state: State) -> None:
    order = wanted.values.get("boot.order")
    if not isinstance(order, tuple):
        return
    known = {item.name for kind in KINDS for item in wanted.items(kind) if item.is_wanted}
    if state.exists and state.persistent is not None:
        known |= {*state.persistent.disks, *state.persistent.nics}
    unknown = [name for name in order if name not in known]
    if unknown:
        there = ", ".join(sorted(known)) or "none"
        raise SpecError(
            f"boot.order: there is no disk or network card {', '.join(unknown)}. There are: {there}", key="boot.order"
        )


def _compare_seed(draft: Draft, wanted: Spec, state: State) -> None:
    if not state.exists or not draft.power.is_running or state.power == "suspended":
        live: t.Mapping[str, t.Any] | None = state.seed
    else:
        live = state.live_seed
    for path in CLOUD_INIT:
        before = None
        if state.exists:
            before = _ROWS[path].off if state.seed is None else state.seed.get(path)
        now = live.get(path) if live is not None else before if state.seed is None else None
        draft.compare(path, wanted.values.get(path), before, now if draft.power.is_running else SAME)
    is_new = state.seed_path is None or not state.exists
    if not is_new or not draft.plan.has(*CLOUD_INIT):
        return
    reason = None
    if state.seed_pool(wanted) is None:
        reason = f"cloud_init: {wanted.name} has no disk in a pool beside which its seed could lie"
    elif state.foreign_seed:
        reason = f"cloud_init: {state.foreign_seed} is there already, and was not made for this guest. Move it away"
    if reason:
        draft.add("cloud_init", None, state.foreign_seed, permit=NEVER_PERMITTED, reason=reason)


def _compare_items(draft: Draft, kind: str, wanted: Spec, state: State) -> None:
    defined: t.Mapping[str, Disk | Nic] = state.persistent.devices(kind) if state.exists and state.persistent else {}
    live: t.Mapping[str, Disk | Nic] = state.live.devices(kind) if state.exists and state.live else {}
    items = list(wanted.items(kind))
    declared = {item.name for item in items}
    if (wanted.disks if kind == "disks" else wanted.networks) is not None:
        others = [
            name
            for name in (*defined, *(name for name in live if name not in defined))
            if name not in declared and name != SEED
        ]
        if kind in wanted.exact:
            items += [Item(name, is_wanted=False) for name in others]
        else:
            draft.plan.unmanaged += [f"{kind}[{name}]" for name in others if name in defined]
    listed = {item.name for item in items}
    items += [
        Item(name, is_wanted=True) for name in defined if name not in listed and _is_unset(draft, f"{kind}[{name}].")
    ]
    for item in items:
        before, now = defined.get(item.name), live.get(item.name)
        if kind == "networks" and item.is_wanted:
            _check_vlan(draft, item, before, state)
        if not item.is_wanted:
            _detach(draft, kind, item.name, before, now, state)
        elif before is None:
            _attach(draft, kind, item, wanted, state, is_live=now is not None)
        elif isinstance(before, Disk) and _is_lost(item, before, state):
            path = f"disks[{item.name}]"
            reason = (
                f"{path}: its file {before.source} is gone or unreadable. Bring it back (is its file system mounted?), "
                "or take the disk away with state: absent"
            )
            draft.add(path, None, before.source, permit=NEVER_PERMITTED, reason=reason)
        else:
            _compare_item(draft, kind, item, before, now, state)


def _is_lost(item: Item, disk: Disk, state: State) -> bool:
    """Whether nothing is left of a disk that shall stay what it is. A running machine may still have open what is gone."""
    if not disk.source or disk.source in state.sizes or (disk.device == "cdrom" and disk.type == "block"):
        return False
    return item.values.get("source", disk.source) == disk.source


def _check_vlan(draft: Draft, item: Item, before: Disk | Nic | None, state: State) -> None:
    path = f"networks[{item.name}].vlan"
    nic = before if isinstance(before, Nic) else None
    now = state.bridge_of(nic) if nic else ""
    bridge = item.text("bridge") or now
    kept = nic.vlan if nic and path not in draft.unset else 0
    vlan = item.values.get("vlan", kept if bridge != now else 0)
    if vlan and bridge in state.vlan_obstacles:
        shown = _show("networks[].vlan", vlan)
        reason = f"{path}: {shown} is refused, as {state.vlan_obstacles[bridge]}"
        draft.add(path, _show("networks[].vlan", kept), shown, permit=NEVER_PERMITTED, reason=reason)


def _is_unset(draft: Draft, prefix: str) -> bool:
    return any(path.startswith(prefix) for path in draft.unset)


def _detach(
    draft: Draft, kind: str, name: str, before: Disk | Nic | None, now: Disk | Nic | None, state: State
) -> None:
    device = before or now
    if device is None:
        return
    draft.item(f"{kind}[{name}]", False, before is not None, now is not None, before=shown_device(device, state))
    if isinstance(device, Disk) and device.source:
        draft.plan.kept.append(device.source)


def _attach(draft: Draft, kind: str, item: Item, wanted: Spec, state: State, *, is_live: bool) -> None:
    path = f"{kind}[{item.name}]"
    if state.exists and state.persistent and item.name in state.persistent.devices(_OTHER_KIND[kind]):
        raise SpecError(shared_name(item.name), key=path)
    if kind == "networks":
        full = with_network_defaults(item)
        mac = mac_of(wanted.name, full, state)
        details: dict[str, t.Any] = {**full.values, "mac": mac}
        if _is_taken(draft, f"{path}.mac", mac, state):
            return
    else:
        full = with_disk_defaults(item)
        if full.text("source") is None and not _can_be_made(draft, path, full, state):
            return
        details = dict(disk_details(full, state))
    after = {key: _show(f"{kind}[].{key}", value) for key, value in details.items()}
    draft.item(path, True, False, is_live, after=after)


def _is_taken(draft: Draft, path: str, mac: t.Any, state: State) -> bool:
    if mac not in state.taken_macs:
        return False
    reason = f"{path}: {mac} belongs to another guest of this host"
    draft.add(path, None, mac, permit=NEVER_PERMITTED, reason=reason)
    return True


def _can_be_made(draft: Draft, path: str, item: Item, state: State) -> bool:
    """Whether the volume of a new disk can be made or taken; where not, the plan says so."""
    pool = item.text("pool") or ""
    if pool in state.other_pools:
        reason = f"{path}.pool: {pool} is of type {state.other_pools[pool]}. A disk is a file, and needs a pool that is a folder"
        draft.add(f"{path}.pool", None, pool, permit=NEVER_PERMITTED, reason=reason)
        return False
    found = state.found.get(item.name)
    if found is not None and not _is_half_made(found, state):
        return _can_be_taken(draft, path, item, found, state)
    image, size = item.text("image"), item.values.get("size")
    if image is None and size is None:
        raise SpecError(f"{path}.size: is needed to make an empty disk", key=f"{path}.size")
    least = state.image_sizes.get(image or "", 0)
    if size is not None and t.cast(int, size) < least:
        reason = f"{path}.size: {show_size(t.cast(int, size))} is less than the image {image} has ({show_size(least)})"
        draft.add(f"{path}.size", show_size(least), show_size(t.cast(int, size)), permit=NEVER_PERMITTED, reason=reason)
        return False
    return True


def _is_half_made(found: t.Any, state: State) -> bool:
    """A volume that this creation made: it is made anew. One of an earlier guest is in no record that is being built."""
    return bool(state.is_building and not state.exists and found.is_fresh)


def _can_be_taken(draft: Draft, path: str, item: Item, found: t.Any, state: State) -> bool:
    size = item.values.get("size")
    if "format" in item.values and found.format != item.values["format"]:
        reason = f"{path}.format: {found.path} is there and is {found.format}, not {item.values['format']}"
        draft.add(f"{path}.format", found.format, item.values["format"], permit=NEVER_PERMITTED, reason=reason)
        return False
    if size is not None and t.cast(int, size) < found.size:
        reason = f"{path}.size: {found.path} is there with {show_size(found.size)}; a disk is never made smaller"
        draft.add(
            f"{path}.size", show_size(found.size), show_size(t.cast(int, size)), permit=NEVER_PERMITTED, reason=reason
        )
        return False
    if state.exists and found.is_ours:
        return True
    if "adopt" not in draft.allow:
        whose = "kept of an earlier guest of this name" if found.is_ours else "not made for this guest"
        draft.add(
            path,
            found.path,
            None,
            permit="adopt",
            reason=f"{path}: {found.path} is there already, {whose}. Move it away, or use it",
        )
        return False
    return True


def disk_details(item: Item, state: State) -> dict[str, t.Any]:
    """The keys of a disk that is plugged in, with what is only known of the host."""
    details: dict[str, t.Any] = {
        key: value for key, value in item.values.items() if f"disks[].{key}" not in CREATE_ONLY
    }
    if item.text("source") is not None:
        return details
    found, image = state.found.get(item.name), item.text("image")
    if "size" not in details:
        taken = found.size if found is not None and not _is_half_made(found, state) else None
        details["size"] = taken or state.image_sizes.get(image or "", UNKNOWN)
    if image is not None and found is None:
        details["image"] = image
    return details


def mac_of(guest: str, item: Item, state: State) -> str:
    """The MAC of a new card: declared, recorded of an earlier time, or derived: the same on every run, and nobody else's."""
    known = item.text("mac") or state.macs.get(item.name)
    return known or derive_mac(state.machine_id, guest, item.name, state.taken_macs, prefix=MAC_PREFIX)


def _compare_item(
    draft: Draft, kind: str, item: Item, before: Disk | Nic, now: Disk | Nic | None, state: State
) -> None:
    path = f"{kind}[{item.name}]"
    if draft.power.is_running and now is None:
        draft.item(path, True, True, False, after=shown_device(before, state))
        now = before
    keys = [option.path.rpartition(".")[2] for option in OPTIONS if option.path.startswith(f"{kind}[].")]
    for key in keys:
        declared = item.values.get(key)
        if declared is None and f"{path}.{key}" not in draft.unset:
            continue
        persistent = value_of(before, key, state)
        if key == "mac" and declared != persistent and _is_taken(draft, f"{path}.mac", declared, state):
            continue
        obstacle = _obstacle_to_growth(before) if key == "size" and declared != persistent else None
        if obstacle:
            shown = (_show("disks[].size", persistent), _show("disks[].size", declared))
            draft.add(f"{path}.size", *shown, permit=NEVER_PERMITTED, reason=f"{path}.size: {obstacle}")
            continue
        live = SAME if now is None or key in ("size", "pool") else value_of(now, key, state)
        reason = _reason(f"{path}.{key}", key, before, declared)
        draft.compare(f"{path}.{key}", declared, persistent, t.cast(t.Any, live), reason=reason)


def _obstacle_to_growth(disk: Disk | Nic) -> str | None:
    if isinstance(disk, Nic):
        return None
    if not disk.source:
        return f"{disk.target} is on no file of which the path is known. Let what made it make it larger"
    if disk.type == "block" and disk.format == "raw":
        return f"{disk.source} is a device. Let what made it make it larger"
    return None


def _reason(path: str, key: str, before: Disk | Nic, declared: t.Any) -> str | None:
    if key == "size" and isinstance(before, Disk):
        return f"{path}: the disk is larger than {show_size(declared)}, and is never made smaller"
    if key in ("pool", "format") and isinstance(before, Disk):
        return (
            f"{path}: the disk stands on {before.source} and is not moved or converted; give the new disk another name"
        )
    return None


def value_of(device: Disk | Nic, key: str, state: State) -> Value | None:
    """The value of one key of ``disks`` or ``networks``, also of those that the definition does not hold itself."""
    if isinstance(device, Nic):
        return state.bridge_of(device) if key == "bridge" else device.value(key)
    if key == "size":
        return state.sizes.get(device.source)
    if key == "pool":
        folder = device.source.rpartition("/")[0]
        return next((name for name, path in state.pools.items() if path.rstrip("/") == folder), "")
    return device.value(key)


def shown_device(device: Disk | Nic, state: State) -> dict[str, t.Any]:
    """A device in the user's form."""
    kind = "disks" if isinstance(device, Disk) else "networks"
    keys = ["source", "size", "format", "bus"] if kind == "disks" else ["bridge", "mac", "model"]
    keys += ["vlan"] if isinstance(device, Nic) and device.vlan else []
    return {key: _show(f"{kind}[].{key}", value_of(device, key, state)) for key in keys}


def _show(path: str, value: t.Any) -> t.Any:
    option = _ROWS.get(pattern(path))
    return value if option is None or isinstance(value, Unknown) else option.show(value)


def _plan_power(draft: Draft, spec: Spec, state: State) -> None:
    now, target = state.power, spec.state
    if target == "present":
        target = "started" if state.wants_start and now == "stopped" else now
    if target == "restarted":
        how = How.RESTART if now in _RUNNING else How.LIVE
        draft.add("state", now, "started" if now == "stopped" else "restarted", how)
    elif target == "suspended" and now == "stopped":
        reason = f"state: {spec.name} is stopped; there is nothing to suspend"
        draft.add("state", now, target, permit=NEVER_PERMITTED, reason=reason)
    elif target != now:
        draft.add("state", now, target)


def _plan_removal(spec: Spec, state: State) -> Plan:
    draft = Draft(OPTIONS, Power(is_running=False, will_run=False), allow=spec.allow)
    if state.other_kind:
        return draft.finish()
    is_defined = state.power != "absent"
    if is_defined and state.persistent is not None and state.persistent.values.get("protection"):
        reason = f"protection: {spec.name} is protected. Take the protection off first"
        draft.add("state", state.power, "absent", permit=NEVER_PERMITTED, reason=reason)
        return draft.finish()
    if is_defined and state.snapshots:
        reason = f"state: {spec.name} has {state.snapshots} snapshots; delete them first"
        draft.add("state", state.power, "absent", permit=NEVER_PERMITTED, reason=reason)
        return draft.finish()
    # A removal that was interrupted right at its end leaves a record of nothing.
    is_left = state.is_managed and not state.recorded
    if is_defined or state.is_building or is_left:
        draft.add("state", state.power if is_defined else "building", "absent")
    ours = set(state.recorded.values())
    for name, path in state.recorded.items():
        word = "seed" if name == SEED else "disks"
        if state.is_building and not state.exists and name in state.fresh:
            continue
        if word not in spec.delete:
            draft.plan.kept.append(path)
        elif path in state.users_of_volumes:
            reason = f"disks[{name}]: a disk of {state.users_of_volumes[path]} is {path}, or stands on it"
            draft.add(f"disks[{name}]", path, None, permit=NEVER_PERMITTED, reason=reason)
        else:
            draft.add(f"disks[{name}]", path, None)
    if is_defined and state.persistent is not None:
        foreign = [disk.source for disk in state.persistent.disks.values() if disk.source and disk.source not in ours]
        draft.plan.kept += [f"{path} (not made by this collection)" for path in foreign]
        draft.plan.kept += state.firmware_files
    return draft.finish()
