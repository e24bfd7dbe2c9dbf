# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a plan writes into the configuration of a container. Pure."""

from __future__ import annotations

import typing as t

from .._core.plan import Plan
from . import cgroup, cpuset, idmap
from .config import Config, MountEntry
from .items import (
    ENTRY,
    NetLines,
    claim_mounts,
    claim_networks,
    entry_value,
    net_lines,
    new_entry,
    pair_name,
    with_options,
)
from .plan import persistent_items
from .spec import Mount, Network, Spec
from .state import State

INCLUDES = "/usr/share/lxc/config"


def new_config(name: str, rootfs: str, ids: idmap.Range | None, *, has_apparmor: bool) -> Config:
    """The configuration of a new container, without its limits, interfaces and mounts."""
    config = Config().append("lxc.include", f"{INCLUDES}/common.conf")
    if ids is not None:
        config = config.append("lxc.include", f"{INCLUDES}/userns.conf")
        for value in idmap.lines(ids):
            config = config.append("lxc.idmap", value)
        # userns.conf empties the list of dropped capabilities: systemd then tries to mount debugfs, and ends degraded.
        config = config.append("lxc.cap.drop", "sys_rawio")
        # With a writable /sys systemd-networkd waits for udev for ever.
        config = config.append("lxc.mount.auto", "sys:mixed")
    if has_apparmor:
        # systemd mounts namespaces of its own for the services of Debian 13.
        config = config.append("lxc.apparmor.profile", "generated").append("lxc.apparmor.allow_nesting", "1")
    else:
        config = config.append("lxc.apparmor.profile", "unconfined")
    return config.append("lxc.uts.name", name).append("lxc.rootfs.path", f"dir:{rootfs}")


def edit(config: Config, spec: Spec, state: State, plan: Plan) -> Config:
    """*config* with every change of *plan* that it holds. *spec* is the resolved one."""
    if plan.has("hostname"):
        config = config.set("lxc.uts.name", str(spec.hostname))
    if plan.has("autostart"):
        config = config.set("lxc.start.auto", "1") if spec.autostart else config.unset("lxc.start.auto")
    for first, second in limits(spec, state, plan):
        config = _set_items(config, cgroup.V1, first)
        config = _set_items(config, cgroup.V2, second)
    config = _edit_networks(config, spec, state, plan)
    return _edit_mounts(config, spec, state, plan)


def _set_items(config: Config, prefix: str, items: t.Mapping[str, str]) -> Config:
    for item, value in items.items():
        config = config.set(prefix + item, value) if value else config.unset(prefix + item)
    return config


def limits(spec: Spec, state: State, plan: Plan) -> list[tuple[dict[str, str], dict[str, str]]]:
    """The items (v1, v2) of the limits that *plan* changes; an empty value is no limit."""
    kept = persistent_items(state) if state.is_defined else {}
    found = []
    if plan.has("memory", "swap"):
        memory = _after(plan, "memory", spec.memory, cgroup.read_memory(kept), 0)
        swap = _after(plan, "swap", spec.swap, cgroup.read_swap(kept), -1)
        found.append(cgroup.memory_items(memory, swap))
    if plan.has("cpu.limit"):
        found.append(cgroup.limit_items(spec.limit or 0.0))
    if plan.has("cpu.weight"):
        found.append(cgroup.weight_items(spec.weight or 100))
    if plan.has("pids"):
        found.append(cgroup.pids_items(spec.pids or 0))
    if plan.has("vcpus", "cpu.cores", "cpu.pin"):
        found.append(cgroup.cpuset_items(chosen_cpus(spec, state)))
    return found


def _after(plan: Plan, path: str, declared: int | None, kept: int, off: int) -> int:
    if not plan.has(path):
        return kept if declared is None else declared
    return off if declared is None else declared


def chosen_cpus(spec: Spec, state: State) -> str:
    """The CPUs that the container is bound to, empty for all: those pinned, or the least claimed of the host."""
    if spec.pin is not None:
        return spec.pin
    if spec.cores is None:
        return ""
    kept = cgroup.read_cpus(persistent_items(state)) if state.is_defined else ()
    if len(kept) == spec.cores:
        return cpuset.show(kept)
    return cpuset.show(cpuset.least_claimed(spec.cores, state.host.cpus, state.host.cpu_claims))


def network_numbers(spec: Spec, state: State) -> dict[str, int]:
    """The number of each interface that has a name: those that are there, and the lowest free ones for those to come."""
    numbers = _claims(spec, state)
    for item in spec.networks or ():
        if item.is_present and item.name not in numbers:
            numbers[item.name] = min(set(range(len(numbers) + 1)) - set(numbers.values()))
    return numbers


def _claims(spec: Spec, state: State) -> dict[str, int]:
    if not state.is_defined:
        return {}
    return claim_networks(spec.networks or (), state.config, state.record.get("macs") or {})


def wanted_network(item: Network, spec: Spec, state: State) -> NetLines:
    """The interface as it shall be: what is declared, over what is there."""
    claims = _claims(spec, state)
    number = network_numbers(spec, state)[item.name]
    there = net_lines(item.name, number, state) if item.name in claims else None
    address = item.ip if item.ip is not None else there.ip if there else "none"
    gateway = item.gateway if item.gateway is not None else there.gateway if there and "/" in address else ""
    return NetLines(
        number=number,
        bridge=item.bridge or (there.bridge if there else ""),
        vlan=0 if f"networks[{item.name}].vlan" in spec.unset else item.vlan or (there.vlan if there else 0),
        mac=item.mac or (there.mac if there else ""),
        ip=address,
        gateway="" if f"networks[{item.name}].gateway" in spec.unset else gateway,
        mtu=0 if f"networks[{item.name}].mtu" in spec.unset else item.mtu or (there.mtu if there else 0),
        link="up" if f"networks[{item.name}].link" in spec.unset else item.link or (there.link if there else "up"),
        device=there.device if there else f"eth{number}",
        pair=(there.pair if there else "") or pair_name(spec.name, number, _taken_links(state)),
    )


def _taken_links(state: State) -> set[str]:
    mine = {net.get("veth.pair", "") for net in state.config.nets().values()}
    return {name for name in state.host.taken_links | mine if name}


def _edit_networks(config: Config, spec: Spec, state: State, plan: Plan) -> Config:
    claims = _claims(spec, state)
    for change in plan.changes:
        name = item_name(change.path, "networks")
        if name and change.path == f"networks[{name}]" and change.after is None and name in claims:
            config = config.without_net(claims[name])
    for name in changed_items(plan, "networks"):
        item = next((each for each in spec.networks or () if each.name == name), Network(name))
        if item.is_present and (change_of := plan.get(f"networks[{name}]")) is not None and change_of.after is None:
            continue
        if item.is_present:
            config = write_network(config, wanted_network(item, spec, state))
    return config


def write_network(config: Config, lines: NetLines) -> Config:
    """The lines of one interface."""
    family = "ipv6" if ":" in lines.ip else "ipv4"
    is_static = "/" in lines.ip
    values = {
        "type": "veth",
        "link": lines.bridge if lines.link == "up" else "",
        "flags": "up",
        "name": lines.device,
        "veth.pair": lines.pair,
        "hwaddr": lines.mac,
        "mtu": str(lines.mtu) if lines.mtu else "",
        # The default, which no line needs to say that was there without a VLAN.
        **({"veth.mode": "bridge"} if lines.vlan else {}),
        "veth.vlan.id": str(lines.vlan) if lines.vlan else "",
        "ipv4.address": lines.ip if is_static and family == "ipv4" else "",
        "ipv4.gateway": lines.gateway if is_static and family == "ipv4" else "",
        "ipv6.address": lines.ip if is_static and family == "ipv6" else "",
        "ipv6.gateway": lines.gateway if is_static and family == "ipv6" else "",
    }
    for key, value in values.items():
        full = f"lxc.net.{lines.number}.{key}"
        config = config.set(full, value) if value else config.unset(full)
    return config


def _edit_mounts(config: Config, spec: Spec, state: State, plan: Plan) -> Config:
    claims = claim_mounts(spec.mounts or (), state.config, state.record.get("mounts") or {}) if state.is_defined else {}
    for name in changed_items(plan, "mounts"):
        item = next((each for each in spec.mounts or () if each.name == name), Mount(name))
        change = plan.get(f"mounts[{name}]")
        old = claims.get(name)
        if change is not None and change.after is None:
            config = config.remove(ENTRY, entry_value(state.config, old)) if old else config
        elif old is not None:
            config = config.replace(ENTRY, entry_value(state.config, old), wanted_mount(item, old, spec, state).text)
        else:
            config = config.append(ENTRY, wanted_mount(item, None, spec, state).text)
    return config


def wanted_mount(item: Mount, old: MountEntry | None, spec: Spec, state: State) -> MountEntry:
    """The entry as it shall be: what is declared, over what is there."""
    is_readonly = item.readonly if item.readonly is not None else bool(old and old.is_readonly)
    if f"mounts[{item.name}].readonly" in spec.unset:
        is_readonly = False
    source = item.source or (old.source if old else "")
    path = item.path or (old.path if old else "")
    if old is not None:
        return with_options(old, source=source, path=path, is_readonly=is_readonly)
    is_mapped = state.is_unprivileged if state.is_defined else bool(spec.unprivileged)
    return new_entry(source, path, is_readonly=is_readonly, is_file=source in state.files, is_mapped=is_mapped)


def item_name(path: str, area: str) -> str | None:
    """``lan`` of ``networks[lan].ip``."""
    return path[len(area) + 1 :].partition("]")[0] if path.startswith(area + "[") else None


def changed_items(plan: Plan, area: str) -> list[str]:
    """The names of the items of *area* that *plan* changes, each once."""
    names = (item_name(change.path, area) for change in plan.changes)
    return list(dict.fromkeys(name for name in names if name))
