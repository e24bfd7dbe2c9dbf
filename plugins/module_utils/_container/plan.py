# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a container."""

from __future__ import annotations

import typing as t

from .._core.decide import SAME, Draft, Power, Verdict
from .._core.options import NEVER_PERMITTED, Item
from .._core.plan import How, Plan
from .._core.units import show_memory_kib
from .._guest.spec import GuestSpec
from . import card as cards
from . import cpuset, idmap
from . import mount as mounts
from .card import Card, Nic, find_nic
from .config import MountEntry
from .mount import Mounted
from .options import OPTIONS
from .spec import is_fixed, is_reachable
from .state import State
from .values import READ
from .wanted import Wanted, concerned, wanted_of

# The states in which a container has processes, as a wish.
_RUNS = ("started", "paused", "restarted")
# Compared where a container is made, and refused where it stands: their sentences say more than the rows.
_OF_THE_ROOT = ("rootfs.pool", "rootfs.size", "unprivileged")


def plan_container(spec: GuestSpec, state: State) -> Plan:
    """The plan from *state* to *spec*.

    :raises SpecError: for a new thing that lacks what it needs.
    """
    draft = Draft(OPTIONS, power_of(spec, state), allow=spec.allow, unset=spec.unset if state.exists else ())
    if state.other_kind and spec.state != "absent":
        reason = f"name: {spec.name} is a {state.other_kind} of this host. Give the container another name"
        _refuse(draft, "name", None, spec.name, reason)
        return draft.finish()
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
        return draft.finish()
    wanted = wanted_of(spec, state)
    if state.exists and state.owns_rootfs and not state.has_rootfs:
        reason = (
            f"rootfs: {state.rootfs} is gone. Bring it back (is its file system mounted?), "
            "or take the container away with state: absent"
        )
        _refuse(draft, "rootfs", None, state.rootfs, reason)
        return draft.finish()
    if state.exists:
        _check_fixed(draft, wanted)
    else:
        _plan_creation(draft, wanted)
    _compare_values(draft, wanted)
    _check_limits(draft, wanted)
    _compare_list(draft, wanted, "networks", state.cards, lambda item: _compare_card(draft, item, wanted))
    _compare_list(draft, wanted, "mounts", state.mounts, lambda item: _compare_mount(draft, item, wanted))
    if state.exists:
        _plan_power(draft, spec, state)
    is_restart = spec.state == "restarted" and state.exists
    return draft.finish(restart=is_restart, restart_if_needed=spec.restart_policy == "if_needed")


def power_of(spec: GuestSpec, state: State) -> Power:
    is_running = state.exists and state.power != "stopped"
    return Power(is_running, spec.state in _RUNS or (spec.state == "present" and is_running))


def _refuse(draft: Draft, path: str, before: t.Any, after: t.Any, reason: str) -> None:
    draft.add(path, before, after, permit=NEVER_PERMITTED, reason=reason)


# ---- the root ----------------------------------------------------------------------------------------------------------------


def _plan_creation(draft: Draft, wanted: Wanted) -> None:
    spec, state = wanted.spec, wanted.state
    is_unprivileged = bool(spec.get("unprivileged"))
    draft.add("state", "absent", {"present": "stopped", "restarted": "started"}.get(spec.state, spec.state))
    draft.add("image", None, spec.image, How.OFFLINE)
    if state.image_kind not in (None, "container"):
        reason = f"image: {spec.image} is an image for virtual machines; a container needs one of kind container"
        _refuse(draft, "image", None, spec.image, reason)
    draft.compare("rootfs.pool", spec.get("rootfs.pool"), None)
    draft.compare("unprivileged", spec.get("unprivileged"), None)
    _check_size(draft, wanted)
    _check_target(draft, wanted)
    if is_unprivileged and state.closed_folder:
        reason = f"rootfs.pool: root of an unprivileged container may not pass through {state.closed_folder}. Let others through (chmod o+x)"
        _refuse(draft, "rootfs.pool", None, spec.get("rootfs.pool"), reason)
    if is_unprivileged and not (state.host.uids and state.host.gids):
        draft.plan.assumed.append("ids of root in /etc/subuid and /etc/subgid")
    elif is_unprivileged and "idmap" not in state.record and not _has_free_ids(state):
        reason = f"unprivileged: no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid. Add a range"
        _refuse(draft, "unprivileged", None, True, reason)


def _has_free_ids(state: State) -> bool:
    return idmap.allocate(state.host.uids, state.host.gids, state.host.taken_ids) is not None


def _check_size(draft: Draft, wanted: Wanted) -> None:
    size = wanted.spec.get("rootfs.size")
    if size is not None:
        kind = wanted.state.pool_type or "dir"
        reason = f"rootfs.size: a pool of type {kind} cannot limit the size of a root. Leave it out"
        _refuse(draft, "rootfs.size", None, OPTIONS["rootfs.size"].show(size), reason)


def _check_target(draft: Draft, wanted: Wanted) -> None:
    spec, state = wanted.spec, wanted.state
    is_ours = state.volume.get("path") == state.target
    if not state.has_target or (is_ours and state.volume.get("new")):
        return
    if not is_ours:
        reason = f"rootfs: {state.target} is there already, and no record says what it is. Move it away"
        _refuse(draft, "rootfs", state.target, None, reason)
        return
    is_unprivileged = bool(spec.get("unprivileged"))
    reason = f"rootfs: {state.target} was kept of an earlier {spec.name}. Delete it first (state: absent with delete: [rootfs]), or use it again"
    if bool(state.record.get("idmap")) != is_unprivileged:
        reason = f"{reason} with unprivileged: {str(not is_unprivileged).lower()}"
        _refuse(draft, "rootfs", state.target, None, reason)
        return
    draft.add("rootfs", "kept", state.target, permit="adopt", reason=reason)


def _check_fixed(draft: Draft, wanted: Wanted) -> None:
    spec, state = wanted.spec, wanted.state
    declared = spec.get("rootfs.pool")
    pool = state.volume.get("pool") if state.volume.get("path") == state.rootfs else None
    if pool is None and state.pool_path and (state.rootfs or "").startswith(state.pool_path + "/"):
        pool = declared
    reason = f"rootfs.pool: the root of {spec.name} is {state.rootfs}, and is not moved to another pool"
    draft.compare("rootfs.pool", declared, pool or state.rootfs, reason=reason)
    _check_size(draft, wanted)
    kind = f"{'un' if state.is_unprivileged else ''}privileged"
    reason = f"unprivileged: {spec.name} was made {kind}, and stays it. Make it anew"
    draft.compare("unprivileged", spec.get("unprivileged"), state.is_unprivileged, reason=reason)


# ---- values ------------------------------------------------------------------------------------------------------------------


def _compare_values(draft: Draft, wanted: Wanted) -> None:
    spec, state = wanted.spec, wanted.state
    for path in OPTIONS.compared():
        declared = spec.get(path)
        if path in _OF_THE_ROOT or (declared is None and path not in draft.unset):
            continue
        kept, seen = None, SAME
        if state.exists:
            kept = READ[path].read(state, declared)
            seen = READ[path].seen(state, state.live, declared) if state.live else SAME
        if not _is_online(draft, path, declared, kept, state):
            continue
        draft.compare(path, declared, kept, seen)


def _is_online(draft: Draft, path: str, declared: t.Any, kept: t.Any, state: State) -> bool:
    """Whether the host has the CPUs that are asked for; where not, the plan says so."""
    online = state.host.cpus
    if declared and path in ("vcpus", "cpu.cores") and declared > len(online):
        _refuse(draft, path, kept, declared, f"{path}: this host has {len(online)} CPUs")
        return False
    if declared and path == "cpu.pin" and not set(cpuset.parse(declared)) <= set(online):
        reason = f"cpu.pin: {declared} is not all online: this host has the CPUs {cpuset.show(online)}"
        _refuse(draft, path, kept, declared, reason)
        return False
    return True


def _check_limits(draft: Draft, wanted: Wanted) -> None:
    spec, state = wanted.spec, wanted.state
    memory, swap = wanted.value("memory"), wanted.value("swap")
    declared, shown = spec.get("swap"), OPTIONS["swap"].show(spec.get("swap"))
    if swap >= 0 and not memory and (declared is not None or "memory" in draft.unset):
        reason = "swap: counts on top of memory, and there is no limit of that. Write memory too"
        _refuse(draft, "swap", None, shown, reason)
    if declared is not None and not state.host.has_swap_limit:
        reason = "swap: the kernel of this host does not account swap (boot it with swapaccount=1)"
        _refuse(draft, "swap", None, shown, reason)
    live = state.live
    if live is None or not draft.power.will_run or spec.get("memory") is None or spec.state == "restarted":
        return
    now = READ["memory"].seen(state, live, None)
    if memory < live.memory_in_use and memory != now:
        show = OPTIONS["memory"].show
        used = show_memory_kib(-(-live.memory_in_use // 1024) * 1024)
        reason = (
            f"memory: {spec.name} uses {used} now, more than {show(memory)}: processes of it would be killed. "
            "Stop it first, or free memory in it"
        )
        _refuse(draft, "memory", show(now), show(memory), reason)


# ---- items of lists ----------------------------------------------------------------------------------------------------------


def _compare_list(
    draft: Draft, wanted: Wanted, area: str, there: t.Collection[str], compare: t.Callable[[Item], None]
) -> None:
    spec = wanted.spec
    items = concerned(spec, area, there)
    for item in items:
        compare(item)
    if area not in spec.lists:
        return
    for name in there:
        if any(item.name == name for item in items):
            continue
        if area in spec.exact:
            compare(Item(name, is_wanted=False))
        else:
            draft.plan.unmanaged.append(f"{area}[{name}]")


def _compare_card(draft: Draft, item: Item, wanted: Wanted) -> None:
    state, path = wanted.state, f"networks[{item.name}]"
    card = state.cards.get(item.name)
    nic = find_nic(card, state.nics) if card else _stray_nic(item, state)
    _check_vlan(draft, item, card, state.vlan_obstacles)
    shown = _shown_card(item.values, card)
    before = _shown_card({}, card) if card else None
    verdict = draft.item(path, item.is_wanted, card is not None, nic is not None, before=before, after=shown)
    if verdict is not Verdict.NOTHING or not item.is_wanted or card is None:
        return
    _check_gateway(draft, item, card)
    declared = dict(item.values)
    if card["gateway"] and not is_fixed(declared.get("ip", card["ip"])):
        declared["gateway"] = ""
    for key, row in cards.KEYS.items():
        value = declared.get(key)
        seen = row.seen(value, card, nic) if nic else SAME
        draft.compare(f"{path}.{key}", value, card[key], seen)


def _shown_card(values: t.Mapping[str, t.Any], card: Card | None) -> dict[str, t.Any]:
    kept = card.values if card else {}
    merged = {key: values.get(key, kept.get(key)) for key in cards.KEYS}
    return {key: value for key, value in merged.items() if value}


def _stray_nic(item: Item, state: State) -> Nic | None:
    """An interface that runs without lines in the configuration: a run was killed, or somebody took the lines away."""
    mac = item.get("mac")
    return next((nic for nic in state.nics if mac and nic.mac == mac and nic.host), None)


def _check_vlan(draft: Draft, item: Item, card: Card | None, obstacles: t.Mapping[str, str]) -> None:
    path = f"networks[{item.name}].vlan"
    now = card["bridge"] if card else ""
    bridge, declared = item.get("bridge") or now, item.get("vlan")
    kept = card["vlan"] if card and path not in draft.unset else 0
    is_concerned = declared is not None or (card is not None and item.get("bridge") not in (None, now))
    vlan = declared or kept
    if item.is_wanted and vlan and is_concerned and bridge in obstacles:
        _refuse(draft, path, kept or None, vlan, f"{path}: {vlan} is refused, as {obstacles[bridge]}")


def _check_gateway(draft: Draft, item: Item, card: Card) -> None:
    path = f"networks[{item.name}].gateway"
    address = item.get("ip", card["ip"])
    kept = card["gateway"] if is_fixed(address) else ""
    gateway = "" if path in draft.unset else item.get("gateway") or kept
    if not gateway or (item.get("ip") is None and item.get("gateway") is None):
        return
    if not is_fixed(address):
        reason = f"{path}: needs a fixed address in ip, not {address!r}"
        _refuse(draft, path, card["gateway"], gateway, reason)
    elif not is_reachable(gateway, address):
        reason = f"{path}: {gateway} is not in the network of {address}. Write another gateway"
        _refuse(draft, path, card["gateway"], gateway, reason)


def _compare_mount(draft: Draft, item: Item, wanted: Wanted) -> None:
    state, path = wanted.state, f"mounts[{item.name}]"
    entry = state.mounts.get(item.name)
    mounted = _mounted(item, entry, state)
    kept = {key: row.read(entry) for key, row in mounts.KEYS.items()} if entry else {}
    is_live: t.Any = mounted is not None if state.live else SAME
    after = {key: value for key in mounts.KEYS if (value := item.get(key, kept.get(key))) is not None}
    verdict = draft.item(path, item.is_wanted, entry is not None, is_live, before=kept or None, after=after)
    source = item.text("source")
    if item.is_wanted and source and source not in state.places:
        draft.plan.assumed.append(f"path {source}")
    if verdict is not Verdict.NOTHING or not item.is_wanted or entry is None:
        return
    for key, row in mounts.KEYS.items():
        value = item.get(key)
        seen = row.seen(value, entry, mounted, state.places) if mounted else SAME
        draft.compare(f"{path}.{key}", value, kept[key], seen)


def _mounted(item: Item, entry: MountEntry | None, state: State) -> Mounted | None:
    """What the running container has at the place of the mount. Without an entry only what is declared counts as it."""
    seen = state.live.mounts if state.live else {}
    mounted = seen.get((entry.path if entry else item.text("path")) or "")
    is_other = entry is None and item.is_wanted and mounted and mounted.place != state.places.get(item.get("source"))
    return None if is_other else mounted


# ---- power and removal -------------------------------------------------------------------------------------------------------


def _plan_power(draft: Draft, spec: GuestSpec, state: State) -> None:
    if spec.state == "restarted":
        if state.power == "stopped":
            draft.add("state", "stopped", "started")
        else:
            draft.add("state", state.power, "restarted", How.RESTART)
    elif spec.state not in ("present", state.power):
        draft.add("state", state.power, spec.state)


def _plan_removal(draft: Draft, spec: GuestSpec, state: State) -> None:
    is_deleted = bool({"rootfs", "volumes"} & set(spec.delete)) and state.owns_rootfs
    before = state.power if state.exists else "building"
    if state.is_registered or state.is_building:
        if state.record.get("protection") and spec.get("protection") is not False:
            reason = f"state: {spec.name} is protected. Take that off first (protection: false)"
            _refuse(draft, "state", before, "absent", reason)
            return
        draft.add("state", before, "absent")
    if is_deleted:
        mounted = ", ".join(state.mounts_in_rootfs)
        permit = NEVER_PERMITTED if mounted else None
        sentence = f"rootfs: {mounted} is mounted in it; unmount that first"
        draft.add("rootfs", state.volume["path"], None, permit=permit, reason=sentence if mounted else None)
    elif state.rootfs and state.has_rootfs and not state.volume.get("new"):
        owner = "" if state.owns_rootfs else " (not made by this collection)"
        draft.plan.kept.append(state.rootfs + owner)
