# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is to do on a container."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from .._core import startup
from .._core.decide import SAME, Draft, Power, Verdict
from .._core.options import NEVER_PERMITTED
from .._core.plan import How, Plan
from .._core.units import show_memory_kib
from .._guest.identity import derive_mac
from . import cgroup, cpuset, guest_files, idmap
from .items import NetLines, claim_mounts, claim_networks, live_nic, live_vlan, net_lines
from .spec import OPTIONS, Mount, Network, Spec, with_create_defaults, with_mount_defaults, with_network_defaults
from .state import Nic, State

# The range that Xen has, and LXC and Docker take for containers.
MAC_PREFIX = "00:16:3e"
_RUNNING = ("started", "paused", "restarted")
_ITEM = re.compile(r"(networks|mounts)\[([^\]]+)\]\.")


def plan_container(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, power_of(spec, state), allow=spec.allow, unset=spec.unset)
    if state.is_vm and spec.state != "absent":
        _refuse(
            draft,
            "name",
            None,
            spec.name,
            f"name: {spec.name} is a virtual machine of this host. Give the container another name",
        )
        return draft.finish()
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
        return draft.finish()
    wanted = resolved(spec, state)
    if state.is_defined and state.owns_rootfs and not state.has_rootfs:
        reason = (
            f"rootfs: {state.rootfs} is gone. Bring it back (is its file system mounted?), "
            "or take the container away with state: absent"
        )
        _refuse(draft, "rootfs", None, state.rootfs, reason)
        return draft.finish()
    if state.is_defined:
        _check_fixed(draft, wanted, state)
    else:
        _plan_creation(draft, wanted, state)
    _compare_limits(draft, wanted, state)
    _compare_guest(draft, wanted, state)
    _plan_networks(draft, wanted, state)
    _plan_mounts(draft, wanted, state)
    if state.is_defined:
        _plan_power(draft, spec, state)
    is_restart = spec.state == "restarted" and state.is_defined
    return draft.finish(restart=is_restart, restart_if_needed=spec.restart_policy == "if_needed")


def power_of(spec: Spec, state: State) -> Power:
    is_running = state.is_defined and state.power != "stopped"
    return Power(is_running, spec.state in _RUNNING or (spec.state == "present" and is_running))


def resolved(spec: Spec, state: State) -> Spec:
    """*spec* with what new things get where the user wrote nothing; MACs that are not given are derived.

    :raises SpecError: for a new thing that lacks what it needs.
    """
    if not state.is_defined:
        spec = with_create_defaults(spec)
    networks = _network_claims(spec, state)
    mounts = _mount_claims(spec, state)
    return dataclasses.replace(
        spec,
        networks=_mapped(
            spec.networks,
            lambda item: item if item.name in networks or not item.is_present else _new_network(item, spec, state),
        ),
        mounts=_mapped(
            spec.mounts, lambda item: item if item.name in mounts or not item.is_present else with_mount_defaults(item)
        ),
    )


Item = t.TypeVar("Item")


def _mapped(items: tuple[Item, ...] | None, change: t.Callable[[Item], Item]) -> tuple[Item, ...] | None:
    return None if items is None else tuple(change(item) for item in items)


def _new_network(item: Network, spec: Spec, state: State) -> Network:
    wanted = with_network_defaults(item)
    mac = wanted.mac or derive_mac(
        state.host.machine_id, spec.name, item.name, state.host.taken_macs, prefix=MAC_PREFIX
    )
    return dataclasses.replace(wanted, mac=mac)


def _network_claims(spec: Spec, state: State) -> dict[str, int]:
    macs = (state.record.get("macs") or {}) if state.is_defined else {}
    return claim_networks(spec.networks or (), state.config, macs) if state.is_defined else {}


def _mount_claims(spec: Spec, state: State) -> dict[str, t.Any]:
    paths = (state.record.get("mounts") or {}) if state.is_defined else {}
    return claim_mounts(spec.mounts or (), state.config, paths) if state.is_defined else {}


def _refuse(draft: Draft, path: str, before: t.Any, after: t.Any, reason: str, permit: str = NEVER_PERMITTED) -> None:
    draft.add(path, before, after, permit=permit, reason=reason)


def _plan_creation(draft: Draft, spec: Spec, state: State) -> None:
    draft.add("state", "absent", {"present": "stopped", "restarted": "started"}.get(spec.state, spec.state))
    draft.add("image", None, spec.image, How.OFFLINE)
    if state.image_kind not in (None, "container"):
        reason = f"image: {spec.image} is an image for virtual machines; a container needs one of kind container"
        _refuse(draft, "image", None, spec.image, reason)
    draft.compare("rootfs.pool", spec.pool, None)
    draft.compare("unprivileged", spec.unprivileged, None)
    _check_size(draft, spec, state)
    _check_target(draft, spec, state)
    if spec.unprivileged and state.closed_folder:
        reason = f"rootfs.pool: root of an unprivileged container may not pass through {state.closed_folder}. Let others through (chmod o+x)"
        _refuse(draft, "rootfs.pool", None, spec.pool, reason)
    if spec.unprivileged and not (state.host.uids and state.host.gids):
        draft.plan.assumed.append("ids of root in /etc/subuid and /etc/subgid")
    elif spec.unprivileged and "idmap" not in state.record and not _has_free_ids(state):
        reason = f"unprivileged: no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid. Add a range"
        _refuse(draft, "unprivileged", None, True, reason)


def _has_free_ids(state: State) -> bool:
    return idmap.allocate(state.host.uids, state.host.gids, state.host.taken_ids) is not None


def _check_size(draft: Draft, spec: Spec, state: State) -> None:
    if spec.size is not None:
        reason = f"rootfs.size: a pool of type {state.pool_type or 'dir'} cannot limit the size of a root. Leave it out"
        _refuse(draft, "rootfs.size", None, spec.size, reason)


def _check_target(draft: Draft, spec: Spec, state: State) -> None:
    is_ours = state.volume.get("path") == state.target
    if not state.has_target or (is_ours and state.volume.get("new")):
        return
    if not is_ours:
        reason = f"rootfs: {state.target} is there already, and no record says what it is. Move it away"
        _refuse(draft, "rootfs", state.target, None, reason)
        return
    reason = f"rootfs: {state.target} was kept of an earlier {spec.name}. Delete it first (state: absent with delete: [rootfs]), or use it again"
    if bool(state.record.get("idmap")) != spec.unprivileged:
        _refuse(
            draft, "rootfs", state.target, None, f"{reason} with unprivileged: {str(not spec.unprivileged).lower()}"
        )
        return
    draft.add("rootfs", "kept", state.target, permit="adopt", reason=reason)


def _check_fixed(draft: Draft, spec: Spec, state: State) -> None:
    pool = state.volume.get("pool") if state.volume.get("path") == state.rootfs else None
    if pool is None and state.pool_path and (state.rootfs or "").startswith(state.pool_path + "/"):
        pool = spec.pool
    if spec.pool is not None and pool != spec.pool:
        reason = f"rootfs.pool: the root of {spec.name} is {state.rootfs}, and is not moved to another pool"
        _refuse(draft, "rootfs.pool", pool or state.rootfs, spec.pool, reason)
    _check_size(draft, spec, state)
    if spec.unprivileged is not None and spec.unprivileged != state.is_unprivileged:
        reason = f"unprivileged: {spec.name} was made {'un' if state.is_unprivileged else ''}privileged, and stays it. Make it anew"
        _refuse(draft, "unprivileged", state.is_unprivileged, spec.unprivileged, reason)


def _compare_limits(draft: Draft, spec: Spec, state: State) -> None:
    kept = persistent_items(state)
    live = state.live.items if state.live else {}
    _compare(draft, state, "memory", spec.memory, cgroup.read_memory(kept), cgroup.read_memory(live))
    _compare(draft, state, "swap", spec.swap, cgroup.read_swap(kept), cgroup.read_swap(live))
    _check_memory(draft, spec, state, cgroup.read_memory(kept), cgroup.read_swap(kept))
    _compare(draft, state, "cpu.limit", spec.limit, cgroup.read_limit(kept), cgroup.read_limit(live))
    _compare(
        draft,
        state,
        "cpu.weight",
        spec.weight,
        cgroup.read_weight(kept, spec.weight),
        cgroup.read_weight(live, spec.weight),
    )
    _compare(draft, state, "pids", spec.pids, cgroup.read_pids(kept), cgroup.read_pids(live))
    _compare_cpus(draft, spec, state, cgroup.read_cpus(kept), cgroup.read_cpus(live))


def persistent_items(state: State) -> dict[str, str]:
    """The limits that the configuration sets for the family of control groups that this host has."""
    prefix, names = (cgroup.V2, cgroup.V2_ITEMS) if state.host.is_v2 else (cgroup.V1, cgroup.V1_ITEMS)
    found = ((item, state.config.get(prefix + item)) for item in names)
    return {item: value for item, value in found if value}


def _compare(draft: Draft, state: State, path: str, declared: t.Any, persistent: t.Any, live: t.Any = SAME) -> None:
    draft.compare(
        path, declared, persistent if state.is_defined else None, live if state.live and state.is_defined else SAME
    )


def _check_memory(draft: Draft, spec: Spec, state: State, kept_memory: int, kept_swap: int) -> None:
    memory = 0 if "memory" in spec.unset else spec.memory if spec.memory is not None else kept_memory
    swap = cgroup.read_swap({}) if "swap" in spec.unset else spec.swap if spec.swap is not None else kept_swap
    if swap >= 0 and not memory and (spec.swap is not None or "memory" in spec.unset):
        _refuse(
            draft,
            "swap",
            None,
            spec.swap,
            "swap: counts on top of memory, and there is no limit of that. Write memory too",
        )
    if spec.swap is not None and not state.host.has_swap_limit:
        _refuse(
            draft,
            "swap",
            None,
            spec.swap,
            "swap: the kernel of this host does not account swap (boot it with swapaccount=1)",
        )
    live = state.live
    if live is None or not draft.power.will_run or spec.memory is None or spec.state == "restarted":
        return
    if spec.memory < live.memory_in_use and spec.memory != cgroup.read_memory(live.items):
        wanted = show_memory_kib(spec.memory)
        used = show_memory_kib(-(-live.memory_in_use // 1024) * 1024)
        reason = f"memory: {spec.name} uses {used} now, more than {wanted}: processes of it would be killed. Stop it first, or free memory in it"
        _refuse(draft, "memory", cgroup.read_memory(live.items), spec.memory, reason)


def _compare_cpus(draft: Draft, spec: Spec, state: State, kept: tuple[int, ...], live: tuple[int, ...]) -> None:
    online = state.host.cpus
    if spec.cores is not None and spec.cores > len(online):
        reason = f"{spec.cores_path}: this host has {len(online)} CPUs"
        _refuse(draft, spec.cores_path, len(kept), spec.cores, reason)
        return
    if spec.pin is not None and not set(cpuset.parse(spec.pin)) <= set(online):
        _refuse(
            draft,
            "cpu.pin",
            cpuset.show(kept),
            spec.pin,
            f"cpu.pin: {spec.pin} is not all online: this host has the CPUs {cpuset.show(online)}",
        )
        return
    is_same = live == (kept or online) or not state.live
    _compare(draft, state, spec.cores_path, spec.cores, len(kept), len(kept) if is_same else len(live))
    _compare(draft, state, "cpu.pin", spec.pin, cpuset.show(kept), cpuset.show(kept if is_same else live))


def _compare_guest(draft: Draft, spec: Spec, state: State) -> None:
    record, inside = state.record if state.is_defined else {}, state.inside
    hostname = next(
        (
            name
            for name in (state.config.get("lxc.uts.name") or "", inside.hostname)
            if name is not None and name != spec.hostname
        ),
        spec.hostname,
    )
    _compare(draft, state, "hostname", spec.hostname, hostname, state.live.hostname if state.live else SAME)
    servers, search = guest_files.resolver(inside.resolv_conf)
    _compare(draft, state, "dns.servers", spec.servers, servers)
    _compare(draft, state, "dns.search", spec.search, search)
    ours = record.get("ssh_keys") or ()
    _compare(draft, state, "ssh_keys", spec.ssh_keys, guest_files.keys_there(inside.keys, spec.ssh_keys or (), ours))
    _compare(draft, state, "autostart", spec.autostart, state.config.get("lxc.start.auto") == "1")
    kept = startup.recorded(record)
    for path in startup.PATHS:
        _compare(draft, state, path, spec.startup.get(path), kept[path])
    _compare(draft, state, "description", spec.description, record.get("description", ""))
    _compare(draft, state, "tags", spec.tags, tuple(sorted(record.get("tags") or ())))
    _compare(draft, state, "protection", spec.protection, bool(record.get("protection")))


def _plan_networks(draft: Draft, spec: Spec, state: State) -> None:
    claims = _network_claims(spec, state)
    declared = {item.name: item for item in spec.networks or ()}
    for name in _named_in_unset(spec, "networks"):
        if name in claims:
            declared.setdefault(name, Network(name))
    for name, item in declared.items():
        lines = net_lines(name, claims[name], state) if name in claims else None
        _check_vlan(draft, item, lines, state.vlan_obstacles)
        _plan_network(draft, item, lines, live_nic(lines, state.live) if lines else _stray_nic(item, state))
    for name, number in claims.items():
        if spec.networks is None or name in declared:
            continue
        if "networks" in spec.exact:
            lines = net_lines(name, number, state)
            _plan_network(draft, Network(name, is_present=False), lines, live_nic(lines, state.live))
        else:
            draft.plan.unmanaged.append(f"networks[{name}]")


def _stray_nic(item: Network, state: State) -> Nic | None:
    """An interface that runs without lines in the configuration: a run was killed, or somebody took the lines away."""
    nics = state.live.nics if state.live else ()
    return next((nic for nic in nics if item.mac and nic.mac == item.mac and nic.host), None)


def _check_vlan(draft: Draft, item: Network, lines: NetLines | None, obstacles: t.Mapping[str, str]) -> None:
    path = f"networks[{item.name}].vlan"
    bridge = item.bridge or (lines.bridge if lines else "")
    kept = lines.vlan if lines and path not in draft.unset else 0
    is_concerned = item.vlan is not None or (lines is not None and item.bridge not in (None, lines.bridge))
    vlan = item.vlan or kept
    if item.is_present and vlan and is_concerned and bridge in obstacles:
        _refuse(draft, path, kept or None, vlan, f"{path}: {vlan} is refused, as {obstacles[bridge]}")


def _plan_network(draft: Draft, item: Network, lines: NetLines | None, nic: Nic | None) -> None:
    path = f"networks[{item.name}]"
    shown = {key: value for key, value in _network_values(item, lines).items() if value}
    before = (
        {key: value for key, value in _network_values(Network(item.name), lines).items() if value} if lines else None
    )
    verdict = draft.item(path, item.is_present, lines is not None, nic is not None, before=before, after=shown)
    if verdict is not Verdict.NOTHING or not item.is_present or lines is None:
        return
    _check_network(draft, path, item, lines)
    gateway = item.gateway
    if item.ip in ("dhcp", "none") and lines.gateway:
        gateway = ""
    draft.compare(
        f"{path}.bridge",
        item.bridge,
        lines.bridge,
        (nic.bridge or (lines.bridge if lines.link == "down" else "")) if nic else SAME,
    )
    draft.compare(f"{path}.vlan", item.vlan, lines.vlan, live_vlan(lines, nic))
    draft.compare(f"{path}.mac", item.mac, lines.mac, nic.mac if nic else SAME)
    draft.compare(f"{path}.link", item.link, lines.link, ("up" if nic.bridge else "down") if nic else SAME)
    draft.compare(f"{path}.mtu", item.mtu, lines.mtu, _live_mtu(item, lines, nic))
    draft.compare(f"{path}.ip", item.ip, lines.ip, _live_ip(item, lines, nic))
    draft.compare(f"{path}.gateway", gateway, lines.gateway, _live_gateway(gateway, lines, nic))


def _network_values(item: Network, lines: NetLines | None) -> dict[str, t.Any]:
    keys = ("bridge", "vlan", "mac", "ip", "gateway", "mtu", "link")
    return {key: getattr(item, key) if getattr(item, key) is not None else getattr(lines, key, None) for key in keys}


def _check_network(draft: Draft, path: str, item: Network, lines: NetLines) -> None:
    address = item.ip or lines.ip
    gateway = (
        ""
        if f"{path}.gateway" in draft.unset
        else item.gateway or ("" if address in ("dhcp", "none") else lines.gateway)
    )
    if not gateway or (item.ip is None and item.gateway is None):
        return
    if "/" not in address:
        _refuse(
            draft,
            f"{path}.gateway",
            lines.gateway,
            gateway,
            f"{path}.gateway: needs a fixed address in ip, not {address!r}",
        )
        return
    try:
        is_reachable = (
            ipaddress.ip_address(gateway) in ipaddress.ip_interface(address).network
            or ipaddress.ip_address(gateway).is_link_local
        )
    except ValueError:
        return
    if not is_reachable:
        _refuse(
            draft,
            f"{path}.gateway",
            lines.gateway,
            gateway,
            f"{path}.gateway: {gateway} is not in the network of {address}. Write another gateway",
        )


def _live_mtu(item: Network, lines: NetLines, nic: Nic | None) -> t.Any:
    if nic is None:
        return SAME
    return lines.mtu if nic.mtu == (lines.mtu or 1500) else item.mtu if nic.mtu == (item.mtu or 1500) else nic.mtu


def _live_ip(item: Network, lines: NetLines, nic: Nic | None) -> t.Any:
    """An address that the guest got by itself cannot be told from what it was asked for: only a fixed one has a live value."""
    if nic is None or item.ip is None or "/" not in item.ip or (item.link or lines.link) == "down":
        return SAME
    if nic.has(item.ip):
        return item.ip
    return lines.ip if lines.ip != item.ip else next((address.cidr for address in nic.addresses), "none")


def _live_gateway(gateway: str | None, lines: NetLines, nic: Nic | None) -> t.Any:
    if nic is None or gateway is None or (lines.link == "down"):
        return SAME
    if gateway == "":
        return lines.gateway if lines.gateway in nic.gateways else ""
    if gateway in nic.gateways:
        return gateway
    return lines.gateway if lines.gateway != gateway else next(iter(nic.gateways), "")


def _plan_mounts(draft: Draft, spec: Spec, state: State) -> None:
    claims = _mount_claims(spec, state)
    declared = {item.name: item for item in spec.mounts or ()}
    for name in _named_in_unset(spec, "mounts"):
        if name in claims:
            declared.setdefault(name, Mount(name))
    for name, item in declared.items():
        _plan_mount(draft, item, claims.get(name), state)
    for name, entry in claims.items():
        if spec.mounts is None or name in declared:
            continue
        if "mounts" in spec.exact:
            _plan_mount(draft, Mount(name, is_present=False), entry, state)
        else:
            draft.plan.unmanaged.append(f"mounts[{name}]")


def _plan_mount(draft: Draft, item: Mount, entry: t.Any, state: State) -> None:
    path = f"mounts[{item.name}]"
    place = entry.path if entry else item.path
    mounted = (state.live.mounts if state.live else {}).get(place or "")
    if not entry and mounted and item.is_present:
        mounted = mounted if mounted.place == state.places.get(item.source or "") else None
    kept = {"source": entry.source, "path": entry.path, "readonly": entry.is_readonly} if entry else {}
    written = {key: getattr(item, key) for key in ("source", "path", "readonly") if getattr(item, key) is not None}
    is_live: t.Any = mounted is not None if state.live else SAME
    verdict = draft.item(
        path, item.is_present, entry is not None, is_live, before=kept or None, after={**kept, **written}
    )
    if item.is_present and item.source and item.source not in state.places:
        draft.plan.assumed.append(f"path {item.source}")
    if verdict is not Verdict.NOTHING or not item.is_present or entry is None:
        return
    source: str | None = entry.source
    if mounted and mounted.place != state.places.get(entry.source):
        source = item.source if mounted.place == state.places.get(item.source or "") else mounted.place
    draft.compare(f"{path}.source", item.source, entry.source, source if mounted else SAME)
    draft.compare(f"{path}.path", item.path, entry.path)
    draft.compare(f"{path}.readonly", item.readonly, entry.is_readonly, mounted.is_readonly if mounted else SAME)


def _named_in_unset(spec: Spec, area: str) -> list[str]:
    matches = (_ITEM.match(path) for path in spec.unset)
    return [match.group(2) for match in matches if match and match.group(1) == area]


def _plan_power(draft: Draft, spec: Spec, state: State) -> None:
    if spec.state == "restarted":
        if state.power == "stopped":
            draft.add("state", "stopped", "started")
        else:
            draft.add("state", state.power, "restarted", How.RESTART)
    elif spec.state not in ("present", state.power):
        draft.add("state", state.power, spec.state)


def _plan_removal(draft: Draft, spec: Spec, state: State) -> None:
    is_deleted = bool({"rootfs", "volumes"} & set(spec.delete)) and state.owns_rootfs
    before = state.power if state.is_defined else "building"
    if state.is_registered or state.is_building:
        if state.record.get("protection") and spec.protection is not False:
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
