# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a container on the host, read by theme: its configuration, its power, its root, what is inside, its surroundings."""

from __future__ import annotations

import os
import typing as t

from .._core import atomic
from .._core.record import Record
from .._guest.spec import GuestSpec
from .._host.snapshot import Host
from .._image.store import stored
from .._storage.mounts import mounts_in
from . import cgroup, cpuset, guest_files, live, rootfs
from .card import claim_cards, read_cards
from .config import Config
from .idmap import Range, parse_idmap, parse_subids
from .mount import bind_entries, claim_mounts
from .state import Claim, HostState, Inside, Live, State
from .tree import Tree

_RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"


def observe(spec: GuestSpec, host: Host) -> State:
    """Read the container of *spec* through *host*.

    :raises ObserveError:
    """
    return observe_guest(spec.name, host, spec)


def observe_guest(name: str, host: Host, spec: GuestSpec | None = None) -> State:
    """Read the container *name*; what depends on what a user wants is read where there is a *spec*.

    :raises ObserveError:
    """
    record = host.record("guests", name)
    kind = record.data.get("kind", "container")
    data = record.data if kind == "container" else {}
    is_building = record.is_building and kind == "container"
    config = host.derived(configs).get(name)
    exists = config is not None and not is_building
    power, running = _observe_power(name, host) if config is not None else ("stopped", None)
    return State(
        is_registered=config is not None,
        exists=exists,
        is_building=is_building,
        other_kind="virtual machine" if name in host.domains or (record.exists and kind == "vm") else "",
        power=power,
        live=running,
        record=data,
        **_observe_root(name, config or Config(), data, spec, host, is_running=running is not None),
        **_observe_config(config or Config(), data, spec, exists=exists),
        **(_observe_surroundings(name, config or Config(), spec, host, exists=exists) if spec else {}),
    )


# ---- power -------------------------------------------------------------------------------------------------------------------


def _observe_power(name: str, host: Host) -> tuple[str, Live | None]:
    if not host.containers[name].is_running:
        return "stopped", None
    container = live.handle(name)
    state = live.settled_state(container)
    if state == "STOPPED":
        return "stopped", None
    return ("paused" if state == "FROZEN" else "started"), live.observe(container, host.links, host.port_vlans)


# ---- the root ----------------------------------------------------------------------------------------------------------------


def _observe_root(
    name: str, config: Config, data: t.Mapping[str, t.Any], spec: GuestSpec | None, host: Host, *, is_running: bool
) -> dict[str, t.Any]:
    pool_name = spec.get("rootfs.pool") if spec else None
    pool = host.pools.get(pool_name) if pool_name else None
    folder = host.pool_folders.get(pool_name) if pool_name else None
    recorded = ((data.get("volumes") or {}).get("rootfs") or {}).get("path")
    path = rootfs_path(config) or recorded
    target = rootfs.path_in(folder, name) if folder else None
    mine = [place for place in dict.fromkeys((path, target, recorded)) if place]
    return {
        "rootfs": path,
        "has_rootfs": bool(path) and os.path.isdir(str(path)),
        "mounts_in_rootfs": mounts_in(path) if path and not is_running else (),
        "left_overs": tuple(left for place in mine for left in rootfs.left_overs(place)),
        "pool_path": folder,
        "pool_type": pool.type if pool else None,
        "closed_folder": closed_folder(folder) if folder else None,
        "target": target,
        "has_target": bool(target) and os.path.lexists(str(target)),
    }


def rootfs_path(config: Config) -> str | None:
    """The folder of the root; the drivers of liblxc stand before it."""
    value = config.get("lxc.rootfs.path")
    if not value:
        return None
    driver, colon, path = value.partition(":")
    return path if colon and "/" not in driver else value


def closed_folder(path: str) -> str | None:
    """The first folder on the way to *path* that the mapped root of a container may not pass through."""
    place = ""
    for part in [part for part in os.path.realpath(path).split("/") if part]:
        place += "/" + part
        try:
            if not os.stat(place).st_mode & 0o001:
                return place
        except FileNotFoundError:
            return None
    return None


# ---- the configuration, and the files inside ---------------------------------------------------------------------------------


def _observe_config(
    config: Config, data: t.Mapping[str, t.Any], spec: GuestSpec | None, *, exists: bool
) -> dict[str, t.Any]:
    limits = cgroup.defined(config.get, is_v2=os.path.exists(_CONTROLLERS))
    if not exists:
        return {"config": config, "limits": limits}
    numbers = claim_cards(spec.items("networks") if spec else (), config, data.get("macs") or {})
    path = rootfs_path(config)
    inside = read_inside(path, numbers) if path else Inside()
    unplugged = data.get("unplugged") or {}
    return {
        "config": config,
        "limits": limits,
        "inside": inside,
        "cards": read_cards(numbers, config, unplugged=unplugged, asks_dhcp=inside.asks_dhcp),
        "mounts": claim_mounts(spec.items("mounts") if spec else (), config, data.get("mounts") or {}),
    }


def read_inside(path: str, cards: t.Iterable[str]) -> Inside:
    """What the files of the guest say."""
    tree = Tree(path)
    hostname = tree.read("/etc/hostname")
    return Inside(
        hostname=hostname.strip() if hostname else None,
        resolv_conf=tree.read(guest_files.RESOLV_CONF),
        keys=tree.read(guest_files.KEYS),
        asks_dhcp=frozenset(name for name in cards if asks_dhcp(tree, name)),
    )


def asks_dhcp(tree: Tree, name: str) -> bool:
    """Whether the file that we keep of the interface *name* makes the guest ask for its address."""
    text = tree.read(guest_files.networkd_path(name)) or tree.read(guest_files.ifupdown_path(name)) or ""
    return "DHCP=yes" in text or " inet dhcp" in text


# ---- what a plan depends on besides ------------------------------------------------------------------------------------------


def _observe_surroundings(name: str, config: Config, spec: GuestSpec, host: Host, *, exists: bool) -> dict[str, t.Any]:
    places = _places(spec, config)
    bridges = _bridges_of_vlans(spec, config)
    return {
        "image_kind": _image_kind(spec.image, host) if spec.image and not exists else None,
        "places": places,
        "files": frozenset(source for source in places if not os.path.isdir(source)),
        "vlan_obstacles": {bridge: why for bridge in bridges if (why := host.vlan_obstacle(bridge))},
        "host": read_host(name, host),
    }


def _image_kind(name: str, host: Host) -> str | None:
    image = stored(host.record("images", name))
    return image.kind if image else host.expected_images.get(name)


def _bridges_of_vlans(spec: GuestSpec, config: Config) -> set[str]:
    """The bridges that may have to know VLANs: none where nobody speaks of any."""
    declared, nets = spec.items("networks"), config.nets().values()
    if not (any(item.get("vlan") for item in declared) or any("veth.vlan.id" in net for net in nets)):
        return set()
    bridges = (*(item.text("bridge") for item in declared), *(net.get("link") for net in nets))
    return {bridge for bridge in bridges if bridge}


def _places(spec: GuestSpec, config: Config) -> dict[str, str]:
    declared = [source for item in spec.items("mounts") if (source := item.text("source"))]
    sources = {*declared, *(entry.source for entry in bind_entries(config))}
    if not sources:
        return {}
    mounts = live.mounts_of("/proc/self/mountinfo")
    found = {source: live.place_of(source, mounts) for source in sources}
    return {source: place for source, place in found.items() if place}


def configs(host: Host) -> dict[str, Config]:
    """The configuration of every container. Ask for it through ``Host.derived``."""
    return {name: Config.parse(entry.config) for name, entry in host.containers.items()}


def read_host(name: str, host: Host) -> HostState:
    """What a plan for *name* depends on: the host, and what all other guests have."""
    return host.derived(_read_host).replace(guest=name)


def _read_host(host: Host) -> HostState:
    is_v2 = os.path.exists(_CONTROLLERS)
    servers, search = guest_files.host_resolver([atomic.read_text(path) for path in _RESOLVERS])
    known = host.derived(configs)
    return HostState(
        is_v2=is_v2,
        has_swap_limit=is_v2 or os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
        has_apparmor=(atomic.read_text("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y",
        cpus=cpuset.parse(atomic.read_text("/sys/devices/system/cpu/online") or "0"),
        uids=tuple(parse_subids(atomic.read_text("/etc/subuid") or "")),
        gids=tuple(parse_subids(atomic.read_text("/etc/subgid") or "")),
        machine_id=(atomic.read_text("/etc/machine-id") or "").strip(),
        servers=servers,
        search=search,
        links=frozenset(host.links),
        claims={
            name: _claim(known.get(name, Config()), host.guest_records.get(name), is_v2)
            for name in {**known, **host.guest_records}
        },
    )


def _claim(config: Config, record: Record | None, is_v2: bool) -> Claim:
    """Of a guest that was taken away the record still claims the ids of a root that was kept."""
    data = record.data if record else {}
    nets = config.nets().values()
    kept = data.get("idmap")
    ids = parse_idmap(config.values("lxc.idmap")) + ([Range(int(kept["start"]), int(kept["count"]))] if kept else [])
    return Claim(
        cpus=cpuset.parse(config.get(f"{cgroup.V2 if is_v2 else cgroup.V1}cpuset.cpus") or ""),
        ids=tuple(ids),
        macs=(
            *(net["hwaddr"].lower() for net in nets if "hwaddr" in net),
            *map(str, (data.get("macs") or {}).values()),
        ),
        links=tuple(net.get("veth.pair", "") for net in nets),
    )
