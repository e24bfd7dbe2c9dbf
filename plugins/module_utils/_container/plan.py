# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a container, beside what is to do on any guest."""

from __future__ import annotations

import typing as t

from .._core.decide import SAME, Draft
from .._core.keyed import NEEDS_TWO_RUNS, Show, Thing, gives_up, key_of, show
from .._core.options import NEVER_PERMITTED, VOLUME, Item, split
from .._core.plan import How, Plan
from .._core.units import MIB, show_memory_kib, show_size
from .._guest.auto_address import AUTO, fits, has_no_network, is_auto, is_empty, none_is_free
from .._guest.device import KNOWN_BY, NODE, Target, target_of
from .._guest.options import DHCP, NEEDS_IP6, is_fixed, is_reachable
from .._guest.plan import Kind, plan_guest, refuse
from .._guest.spec import GuestSpec
from .._guest.state import Side
from .._image.plan import copy_path
from . import card as cards
from . import cpuset, docker, idmap, monitor, nesting, sharing
from . import device as devices
from . import mount as mounts
from .card import Card, Nic, bears_name
from .config import Config, MountEntry
from .device import Device, Node
from .guest_files import FILES
from .mount import Mounted
from .options import OPTIONS
from .spec import (
    NOTHING,
    WITHOUT_IPV4,
    takes_ip6,
    with_create_defaults,
    with_item_defaults,
)
from .state import State
from .values import kept_value, live_value


def plan_container(spec: GuestSpec, state: State) -> Plan:
    """The plan from *state* to *spec*.

    :raises SpecError: for a new thing that lacks what it needs.
    """
    return plan_guest(ContainerKind(spec, state))


class ContainerKind(Kind):
    """See ``_guest.plan.Kind``."""

    word = "container"
    options = OPTIONS
    areas = ("networks", "mounts", "devices")
    # The range that Xen has, and LXC and Docker take for containers.
    mac_prefix = "00:16:3e"
    state: State

    def __init__(self, spec: GuestSpec, state: State) -> None:
        super().__init__(with_addresses(spec, state), state)

    # -- a new container

    def created(self) -> GuestSpec:
        source = self.state.source
        return with_create_defaults(self.spec, source.values if source else NOTHING)

    def created_item(self, area: str, item: Item) -> Item:
        return with_item_defaults(area, item)

    def plan_creation(self, draft: Draft) -> None:
        spec, state = self.spec, self.state
        is_unprivileged = bool(spec.get("unprivileged"))
        if state.image_kind not in (None, self.word):
            what = "an ISO" if state.image_kind == "iso" else "an image for virtual machines"
            reason = f"image: {spec.image} is {what}; a container needs one of kind container"
            refuse(draft, "image", None, spec.image, reason)
        self._check_owners(draft)
        self._check_target(draft)
        if is_unprivileged and state.closed_folder:
            reason = (
                f"rootfs.pool: root of an unprivileged container may not pass through {state.closed_folder}. "
                "Let others through (chmod o+x)"
            )
            refuse(draft, "rootfs.pool", None, spec.get("rootfs.pool"), reason)
        if is_unprivileged and state.image_largest_id >= idmap.COUNT:
            reason = (
                f"image: {spec.image} has owners up to the id {state.image_largest_id}, and an unprivileged container has "
                f"the ids 0 to {idmap.COUNT - 1}. Give the image others, or write unprivileged: false"
            )
            refuse(draft, "image", None, spec.image, reason)
        if is_unprivileged and not (state.host.uids and state.host.gids):
            draft.plan.assumed.append("ids of root in /etc/subuid and /etc/subgid")
        elif is_unprivileged and state.record.idmap is None and not _has_free_ids(state):
            reason = (
                f"unprivileged: no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid. "
                "Add a range"
            )
            refuse(draft, "unprivileged", None, True, reason)

    def _check_owners(self, draft: Draft) -> None:
        """The owners of the files of a clone are those of its origin, shifted as a whole."""
        spec, source = self.spec, self.state.source
        declared = spec.get("unprivileged")
        if source is None or not source.parts or declared == (source.idmap is not None):
            return
        kind = "privileged" if declared else "unprivileged"
        reason = f"unprivileged: {spec.origin} is {kind}, and so are the owners of what its clones get"
        refuse(draft, "unprivileged", None, declared, reason)

    def _check_target(self, draft: Draft) -> None:
        spec, state = self.spec, self.state
        pool = spec.get("rootfs.pool")
        volume = next((its for its in state.record.volumes.values() if its.volume.pool == pool), None)
        is_ours = volume is not None
        if not state.has_target or (volume is not None and volume.is_fresh):
            if state.missing_copy is not None:
                draft.add(copy_path(str(spec.image), state.missing_copy.pool), None, str(state.missing_copy))
            return
        if not is_ours:
            reason = f"rootfs: {state.target} is there already, and no record says what it is. Move it away"
            refuse(draft, "rootfs", state.target, None, reason)
            return
        is_unprivileged = bool(spec.get("unprivileged"))
        reason = (
            f"rootfs: {state.target} was kept of an earlier {spec.name}. "
            "Delete it first (state: absent with delete: [rootfs]), or use it again"
        )
        if (state.record.idmap is not None) != is_unprivileged:
            reason = f"{reason} with unprivileged: {str(not is_unprivileged).lower()}"
            refuse(draft, "rootfs", state.target, None, reason)
            return
        draft.add("rootfs", "kept", state.target, permit="adopt", reason=reason)

    # -- its options

    def touches_data(self, path: str) -> bool:
        area, dummy, key = split(path)
        return super().touches_data(path) or path in FILES or (area == "networks" and key in ("", *cards.ADDRESSING))

    def blocks(self, draft: Draft) -> bool:
        state = self.state
        if state.problem is not None:
            return self._blocks_unloadable(draft, state.problem)
        if not state.owns_rootfs or state.has_rootfs:
            return False
        reason = (
            f"rootfs: {state.rootfs} is gone. Bring it back (is its file system mounted?), "
            "or take the container away with state: absent"
        )
        if state.record.reverting is not None:
            target = state.record.reverting.target
            reason = f"rootfs: a revert of {self.spec.name} to {target} was interrupted. Run homelab.hybrid.guest_snapshot for it again"
        refuse(draft, "rootfs", None, state.rootfs, reason)
        return True

    def _blocks_unloadable(self, draft: Draft, problem: str) -> bool:
        """One that LXC cannot load can still be stopped and taken away, and looked at."""
        spec = self.spec
        sentence = f"LXC cannot load the configuration of {spec.name}: {problem}"
        is_compared = any(spec.get(path) is not None for path in OPTIONS.compared())
        if not is_compared and not spec.unset and not any(spec.lists.values()) and spec.state in ("present", "stopped"):
            draft.plan.warnings.append(sentence)
            return False
        refuse(
            draft,
            "name",
            None,
            spec.name,
            f"name: {sentence}. Mend it first; until then {spec.name} can be stopped or taken away",
        )
        return True

    def obstacle_to_removal(self) -> str | None:
        why = self.state.removal_obstacle
        return f"state: {self.spec.name} cannot be taken away: {why}" if why else None

    def value(self, side: Side, path: str) -> t.Any:
        kept, declared = self.state.persistent, self.spec.get(path)
        if OPTIONS[path].home == VOLUME:
            return SAME if side is self.state.live else self._root_value(path)
        if side is self.state.live:
            return live_value(kept, self.state.live, path, declared)
        return kept_value(kept, path, declared)

    def _root_value(self, path: str) -> t.Any:
        """The pool of the root, or its folder where none is known. A root that was made by hand is in the pool that it lies in."""
        state = self.state
        if path == "rootfs.size":
            return state.limit.size or 0
        return state.root_pool or state.rootfs

    def may_have(self, draft: Draft, path: str, declared: t.Any) -> bool:
        reason = self._obstacle(path, declared)
        if reason is not None:
            show = OPTIONS[path].show
            before = show(self.value(self.state.persistent, path)) if self.state.exists else None
            refuse(draft, path, before, show(declared), reason)
        return reason is None

    def _obstacle(self, path: str, declared: t.Any) -> str | None:
        """Why the option cannot have the value, as a sentence."""
        spec, state, online = self.spec, self.state, self.state.host.cpus
        if path == "rootfs.size":
            return self._obstacle_to_size(declared)
        if path == "hostname" and (line := sharing.shared_namespaces(state.config).get(sharing.NAME)) is not None:
            is_same = kept_value(state.persistent, path, declared) == declared
            return (
                None
                if is_same
                else f"{path}: {spec.name} has no host name of its own ({line}), and another's would be changed"
            )
        if path in FILES and state.exists:
            return self._obstacle_inside(path, declared)
        if path == "rootfs.pool" and state.exists and declared != self._root_value(path):
            return f"{path}: the root of {spec.name} is {state.rootfs}, and is not moved to another pool"
        if path == "unprivileged" and state.exists and declared != state.is_unprivileged:
            kind = f"{'un' if state.is_unprivileged else ''}privileged"
            return f"{path}: {spec.name} was made {kind}, and stays it. Make it anew"
        if path in ("vcpus", "cpu.cores") and (declared or 0) > len(online):
            return f"{path}: this host has {len(online)} CPUs"
        if path == "cpu.pin" and not set(cpuset.parse(declared or "")) <= set(online):
            return f"{path}: {declared} is not all online: this host has the CPUs {cpuset.show(online)}"
        if path == "features.nesting" and not declared and (origin := nesting.origin_of(state.config)) is not None:
            return f"{path}: its lines stand in {origin}, which the configuration of {spec.name} includes. Take that out first"
        if path == "swap" and declared is not None and not state.host.has_swap_limit:
            return f"{path}: the kernel of this host does not account swap (boot it with swapaccount=1)"
        return None

    def _obstacle_inside(self, path: str, declared: t.Any) -> str | None:
        """Why what stands inside cannot become *declared*; nothing where it is that already."""
        state = self.state
        why = state.root_obstacle or state.persistent.inside.obstacles.get(path)
        wanted = OPTIONS[path].off if declared is None else declared
        if why is None or kept_value(state.persistent, path, wanted) == wanted:
            return None
        return f"{path}: the files of {self.spec.name} cannot be written, as {why}"

    def _obstacle_to_size(self, size: int | None) -> str | None:
        spec, state = self.spec, self.state
        if size is None:
            return None  # it is taken off
        if state.size_obstacle is not None:
            return f"rootfs.size: {state.size_obstacle}"
        if not state.exists and state.source is not None:
            held = state.source.used_bytes
            least = show_size(-(-held // MIB) * MIB)
            return f"rootfs.size: {show_size(size)} is less than {spec.origin} holds ({least})" if size < held else None
        if not state.exists:
            least = show_size(-(-state.image_bytes // MIB) * MIB)
            is_less = size < state.image_bytes
            return (
                f"rootfs.size: {show_size(size)} is less than the image {spec.image} takes ({least})"
                if is_less
                else None
            )
        if not state.owns_rootfs:
            return f"rootfs.size: the root of {spec.name} is {state.rootfs}, which this collection did not make"
        if state.limit.size is not None and size < state.limit.size:
            return f"rootfs.size: the root of {spec.name} has {show_size(state.limit.size)}, and is never made smaller"
        if state.limit.size is None and size < state.limit.used:
            used = show_size(-(-state.limit.used // MIB) * MIB)
            return f"rootfs.size: the root of {spec.name} holds {used} already, more than {show_size(size)}"
        return None

    def _check_outside(self, draft: Draft) -> None:
        """Subvolumes that the container made in its root are brought under its size."""
        limit, size = self.state.limit, self.spec.get("rootfs.size")
        if self.state.exists and limit.outside and size is not None and size == limit.size:
            count = f"{len(limit.outside)} subvolumes" if len(limit.outside) > 1 else limit.outside[0]
            draft.add("rootfs.size", f"{show_size(size)} without {count}", show_size(size))

    def compare(self, draft: Draft) -> None:
        spec, state = self.spec, self.state
        self._check_outside(draft)
        self._check_docker(draft)
        self._check_undeclared_devices(draft)
        self._say_what_waits(draft)
        memory, swap = (self._value_after(draft, path) for path in ("memory", "swap"))
        if swap is not None and swap >= 0 and not memory and (spec.get("swap") is not None or "memory" in draft.unset):
            reason = "swap: counts on top of memory, and there is no limit of that. Write memory too"
            refuse(draft, "swap", None, OPTIONS["swap"].show(swap), reason)
        live = state.live
        if live is None or not draft.power.will_run or spec.get("memory") is None or spec.state == "restarted":
            return
        now, show = live_value(state.persistent, live, "memory"), OPTIONS["memory"].show
        if memory < live.memory_in_use and memory != now:
            used = show_memory_kib(-(-live.memory_in_use // 1024) * 1024)
            reason = (
                f"memory: {spec.name} uses {used} now, more than {show(memory)}: processes of it would be killed. "
                "Stop it first, or free memory in it"
            )
            refuse(draft, "memory", show(now), show(memory), reason)

    def _check_undeclared_devices(self, draft: Draft) -> None:
        """One that the container cannot do without keeps it from its next start, whoever speaks of it."""
        spec, state = self.spec, self.state
        is_start = draft.power.will_run and (not draft.power.is_running or spec.state == "restarted")
        for name, device in state.devices.items():
            why = state.device_obstacles.get(name)
            if (
                why
                and is_start
                and not device.optional
                and spec.item("devices", name) is None
                and "devices" not in spec.exact
            ):
                path = f"devices[{name}]"
                refuse(
                    draft,
                    path,
                    device.ref,
                    None,
                    f"{path}: {why}, and {spec.name} does not start without it. Plug it in, or take it away",
                )

    def _check_docker(self, draft: Draft) -> None:
        spec, state = self.spec, self.state
        is_confined = docker.is_confined(state.config, has_apparmor=state.host.has_apparmor)
        if not spec.get("features.docker") or not is_confined or docker.lets_runc(state.lxc_version):
            return
        sentence = f"features.docker: {docker.sentence(state.lxc_version, state.engine)}"
        if state.engine is None:
            draft.plan.warnings.append(sentence)
        else:
            refuse(draft, "features.docker", None, True, sentence)

    def _say_what_waits(self, draft: Draft) -> None:
        state = self.state
        keys = monitor.changed_keys(state.config, state.live.held) if state.live else []
        if keys and draft.power.will_run and self.spec.state != "restarted":
            draft.plan.warnings.append(
                f"{self.spec.name} was started with another configuration: a restart from inside would bring the old "
                f"{', '.join(keys)} back. state: restarted ends that"
            )

    def _value_after(self, draft: Draft, path: str) -> t.Any:
        declared = self.spec.get(path)
        if declared is not None or path in draft.unset or not self.state.exists:
            return OPTIONS[path].off if declared is None else declared
        return kept_value(self.state.persistent, path)

    # -- cards and mounts

    def check(self, draft: Draft, area: str, item: Item, before: Thing | None) -> bool:
        if item.values and self._is_shared(draft, area, item.name):
            return False
        if area == "devices":
            return self._check_device(draft, item, before)
        if area == "mounts":
            source = item.text("source")
            why = self.state.mount_obstacles.get(item.name)
            if why is not None:
                path = f"mounts[{item.name}]"
                refuse(draft, path, None, source or item.name, f"{path}: {why}")
                return False
            if source and source not in self.state.places:
                draft.plan.assumed.append(f"path {source}")
            self._say_what_is_unmapped(draft, item)
        elif (
            not self._check_mac(draft, item)
            or not self._check_address(draft, item, before)
            or not self._check_neighbours(draft, item, before)
        ):
            return False
        elif isinstance(before, Card):
            _check_gateway(draft, item, before)
            _check_ip6(draft, item, before)
            if not _has_room_for_program(draft, item, before, self.state.config):
                return False
        return super().check(draft, area, item, before)

    def _say_what_is_unmapped(self, draft: Draft, item: Item) -> None:
        """Who inside the owners of the host are where the file system of a new mount takes no mapping."""
        its = self.state.sources.get(item.name)
        if its is None or not its.unmapped or not self.is_unprivileged:
            return
        start = self._first_uid()
        number = 1000 if its.owner[0] == 0 else its.owner[0]
        if start is not None and start <= number < start + idmap.COUNT:
            number -= start
        which = "" if start is None else f"; those of {start + number} are {number}'s inside"
        draft.plan.warnings.append(
            f"mounts[{item.name}]: the file system of {its.unmapped[0]} takes no mapped owners, and is bound without: files of the "
            f"host's uid {number} are nobody's (65534) inside{which}"
        )

    def _first_uid(self) -> int | None:
        """The uid of the host that root of the container is, or would become; ``None`` where that is not known yet."""
        if self.state.exists:
            return (idmap.root_of(self.state.config.values("lxc.idmap")) or (None,))[0]
        area = idmap.allocate(self.state.host.uids, self.state.host.gids, self.state.host.taken_ids)
        return area.start if area else None

    @property
    def is_unprivileged(self) -> bool:
        """Also of one that is not there yet."""
        return self.state.is_unprivileged if self.state.exists else self.spec.get("unprivileged") is not False

    def _is_shared(self, draft: Draft, area: str, name: str) -> bool:
        """Whether what the list stands for is the host's, or another container's: what is done to it is not done to this one."""
        kind = {"networks": sharing.NETWORK, "mounts": sharing.MOUNTS, "devices": sharing.MOUNTS}[area]
        line = sharing.shared_namespaces(self.state.config).get(kind)
        if line is None:
            return False
        what = {"networks": "network", "mounts": "mounts", "devices": "mounts"}[area]
        path = f"{area}[{name}]"
        refuse(
            draft,
            path,
            None,
            name,
            f"{path}: {self.spec.name} has no {what} of its own ({line}), and others would be changed",
        )
        return True

    def _check_device(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        path, spec, state = f"devices[{item.name}]", self.spec, self.state
        old = before if isinstance(before, Device) else None
        known_by = KNOWN_BY[item.text("type") or (old.type if old else NODE)]
        other = next((key for key in KNOWN_BY.values() if key != known_by and item.get(key)), None)
        gid, why = self._gid(item), None
        key, shown = known_by, self._target(item, old)
        if other is not None:
            key, why = other, f"a device of this type is known by its {known_by}"
        elif old is not None and shown is None:
            why = f"is needed for a device of the type {item.get('type')}"
        elif state.exists and isinstance(gid, int) and idmap.host_gid(state.config.values("lxc.idmap"), gid) is None:
            key, why = "gid", f"{spec.name} has no group {gid}: it is mapped to none of the host"
        if why is not None:
            refuse(draft, f"{path}.{key}", None, item.get(key), f"{path}.{key}: {why}")
            return False
        if state.exists and isinstance(item.get("gid"), str) and gid is None:
            draft.plan.warnings.append(
                f"{path}.gid: there is no group {item.get('gid')} in the /etc/group of {spec.name} yet; the device belongs to root's "
                "until a run finds it"
            )
        owner, missing = state.device_owners.get(item.name), state.device_obstacles.get(item.name)
        if owner is not None:
            reason = f"{path}: {owner} runs with it, and has it alone. Take it away from that machine first"
            refuse(draft, path, None, shown[1] if shown else item.name, reason)
            return False
        if missing is None:
            return True
        if item.get("optional", old.optional if old is not None else False):
            draft.plan.warnings.append(f"{path}: {missing}; it is optional, and {spec.name} goes without it")
            return True
        refuse(
            draft,
            path,
            None,
            shown[1] if shown else item.name,
            f"{path}: {missing}. Plug it in, or write optional: true",
        )
        return False

    def _target(self, item: Item, before: Device | None) -> Target | None:
        return target_of(item, before.type if before is not None else None, before.ref if before is not None else None)

    def _gid(self, item: Item) -> int | None:
        """The number of the declared group, where the guest has one by its name: a package that makes it may come later."""
        gid: int | str | None = item.get("gid")
        return self.state.groups.get(gid) if isinstance(gid, str) else gid

    def _check_mac(self, draft: Draft, item: Item) -> bool:
        """A MAC is of one card: a name does not move to another. Two that bear their names may exchange theirs."""
        mac, cards = item.get("mac"), self.state.cards
        other = next((name for name, card in cards.items() if mac and card["mac"] == mac), item.name)
        if other == item.name or self._gives_up(mac, other, item.name):
            return True
        path = f"networks[{item.name}].mac"
        reason = f"{path}: {mac} is the MAC of {other}. Call that card by its own name{NEEDS_TWO_RUNS}"
        refuse(draft, path, None, mac, reason)
        return False

    def _gives_up(self, mac: t.Any, owner: str, heir: str) -> bool:
        """Whether the card *owner* gets another MAC in this run, and is told from *heir* by the name that each has on the host."""
        pairs = {name: card.pair for name, card in self.state.cards.items() if name in (owner, heir)}
        its = self.spec.item("networks", owner)
        new = its.text("mac") if its is not None and its.is_wanted else None
        return (
            len(pairs) == 2
            and all(bears_name(self.spec.name, name, pair) for name, pair in pairs.items())
            and gives_up(mac, [new] if new else [])
        )

    def _check_address(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        path, spec, state = f"networks[{item.name}]", self.spec, self.state
        now = before if isinstance(before, Card) else None
        # What a new card asks for where nothing else is written.
        if (
            item.get("ip", DHCP if now is None else None) == DHCP
            and state.exists
            and (now is None or now["ip"] != DHCP)
        ):
            why = state.root_obstacle
            if why is None and state.persistent.inside.manager is None:
                why = "neither systemd-networkd nor ifupdown is in its root"
            if why is not None:
                hint = "Write an address, or none and configure it inside"
                refuse(
                    draft,
                    f"{path}.ip",
                    now and now["ip"],
                    DHCP,
                    f"{path}.ip: {spec.name} cannot ask for an address, as {why}. {hint}",
                )
                return False
        ip = item.get("ip")
        asking = state.persistent.inside.dhcp_files.get(now.device) if now else None
        if now and asking and ip and is_fixed(ip) and ip != now["ip"]:
            reason = f"{path}.ip: {asking} inside lets {now.device} ask for an address, and it would have both. Take that out of it first"
            refuse(draft, f"{path}.ip", now["ip"], ip, reason)
            return False
        for key in ("gateway", "gateway6"):
            gateway = item.get(key)
            if not gateway or (now is not None and now[key] == gateway):
                continue
            ways = (way for way in self._ways_out(item.name) if (":" in way[2]) == (":" in gateway))
            if (other := next(ways, None)) is not None:
                told = f"{path}.{key}: {spec.name} has a way out already, over {other[0]}"
                reason = f"{told}. Take that off first (unset: [networks[{other[0]}].{other[1]}])"
                refuse(draft, f"{path}.{key}", (now and now[key]) or None, gateway, reason)
                return False
        return True

    def _check_neighbours(self, draft: Draft, item: Item, before: Thing | None) -> bool:
        """Nobody else has the addresses that it is to get. Guests of one host a layout compares: one may leave it to the other."""
        now = before if isinstance(before, Card) else None
        bridge = item.get("bridge") or (now.text("bridge") if now else "")
        for key, kind in (("ip", "free address"), ("ip6", "free IPv6 address")):
            ip, path = item.text(key) or "", f"networks[{item.name}].{key}"
            address, dummy, dummy = ip.partition("/")
            mac = self.state.answering.get(address)
            if is_auto(ip) and is_empty(ip):
                refuse(draft, path, (now and now[key]) or None, "auto", f"{path}: {none_is_free(ip, bridge)}")
                return False
            if ip == AUTO and (bridge, key) in self.state.bare_bridges:
                refuse(draft, path, (now and now[key]) or None, AUTO, f"{path}: {has_no_network(bridge, key)}")
                return False
            if is_auto(ip):
                draft.plan.assumed.append(f"a {kind} on {bridge}")
            elif mac is not None and mac not in self.state.taken_macs:
                reason = (
                    f"{path}: {address} answers on {bridge} already, from {mac}. Choose another, or take it off there"
                )
                refuse(draft, path, (now and now[key]) or None, ip, reason)
                return False
        return True

    def _ways_out(self, but: str) -> t.Iterator[tuple[str, str, str]]:
        """The gateways of the other cards once the run is over: the name of the card, the key, the gateway."""
        spec = self.spec
        for name, card in self.state.cards.items():
            item = spec.item("networks", name)
            goes = not item.is_wanted if item is not None else "networks" in spec.exact
            for key, its in (("gateway", "ip"), ("gateway6", "ip6")) if name != but and not goes else ():
                address = item.get(its, card[its]) if item is not None else card[its]
                way = item.get(key, card[key]) if item is not None else card[key]
                if way and address and is_fixed(address) and f"networks[{name}].{key}" not in spec.unset:
                    yield name, key, way

    def beyond_live(self) -> set[str]:
        """What LXC makes of a card of another type at the start is not made anew while the container runs."""
        names = [name for name, card in self.state.cards.items() if card.kind != cards.VETH]
        keys = ("", *(f".{key}" for key in cards.KEYS))
        return {f"networks[{name}]{key}" for name in names for key in keys}

    def may_become(self, draft: Draft, path: str, declared: t.Any, before: Thing) -> bool:
        if isinstance(before, MountEntry) and before.origin:
            refuse(draft, path, None, declared, f"{path}: its line stands in {before.origin}. Change it there")
            return False
        if isinstance(before, MountEntry) and path.endswith("].mapped") and before.ids and not declared:
            item = self.spec.item("mounts", split(path)[1])
            if (item is None or item.get("map_ids") is None) and path[: -len("mapped")] + "map_ids" not in draft.unset:
                refuse(draft, path, True, declared, f"{path}: {', '.join(before.ids)} is mapped. Unset map_ids too")
                return False
        if isinstance(before, Card) and not _has_key(draft, path, declared, before):
            return False
        return super().may_become(draft, path, declared, before)

    def removed(self, draft: Draft, area: str, name: str, thing: Thing) -> None:
        change = draft.plan.get(f"{area}[{name}]")
        if change is None:
            return
        line = sharing.shared_namespaces(self.state.config).get(sharing.NETWORK) if area == "networks" else None
        if isinstance(thing, MountEntry) and thing.origin:
            change.reason = f"{change.path}: its line stands in {thing.origin}. Take it away there"
        elif line is not None:
            change.reason = f"{change.path}: {self.spec.name} has no network of its own ({line}), and would get one"
        if change.reason is not None:
            change.how, change.permit = How.REFUSED, NEVER_PERMITTED

    def details(self, draft: Draft, area: str, item: Item, *, is_live: bool) -> Show | None:
        full = super().details(draft, area, item, is_live=is_live)
        if area == "devices" and full:
            there = self.state.host_devices.get(target_of(item, None, None) or ("", ""))
            found = {"mode": f"{there.mode:04o}", "gid": self.state.groups.get(there.group, 0)} if there else {}
            own = {"gid": self._gid(item) or 0} if "gid" in full else {}
            full = {**found, **full, **own} if self.state.exists else full
        return {key: value for key, value in full.items() if value not in (None, "")} if full else full

    def shown(self, area: str, thing: Thing) -> Show:
        keys = {"networks": tuple(cards.KEYS), "mounts": tuple(mounts.SEEN), "devices": devices.KEYS}[area]
        return {key: value for key in keys if (value := thing.value(key)) not in (SAME, "", 0, None, ())}

    def declared_value(self, area: str, key: str, item: Item, before: Thing) -> t.Any:
        if area == "mounts" and key == "mapped" and not self.is_unprivileged:
            return None  # the owners of the host are those inside
        if area == "mounts" and key == "map_ids" and item.get(key) is not None:
            its = self.state.sources.get(item.name)
            return item.get(key) if its is None else its.ids
        if area == "networks" and key == "gateway" and before.value(key):
            return item.get(key) if is_fixed(item.get("ip", before.value("ip"))) else ""
        if area == "networks" and key in ("ip6", "gateway6") and before.value(key):
            has_ip6 = (
                takes_ip6(item.get("ip", before.value("ip"))) and f"networks[{item.name}].ip6" not in self.spec.unset
            )
            is_kept = has_ip6 and (key == "ip6" or item.get("ip6", before.value("ip6")))
            return item.get(key) if is_kept else ""
        if area == "devices" and key == "gid":
            return self._gid(item)
        return item.get(key)

    def live_value(self, area: str, key: str, item: Item, before: Thing, now: Thing) -> t.Any:
        declared = self.declared_value(area, key, item, before)
        if isinstance(before, Card) and isinstance(now, Nic):
            is_seen = self.state.live is not None and now in self.state.live.nics
            if before.kind != cards.VETH and not (is_seen and key in cards.KEYS_OF.get(before.kind, ())):
                return SAME
            return cards.KEYS[key].seen(declared, before, now)
        if isinstance(before, MountEntry) and isinstance(now, Mounted):
            is_known = key != "source" or before.source not in self.state.away
            return mounts.SEEN[key](declared, before, now, self.state.places) if is_known else SAME
        if isinstance(before, Device) and isinstance(now, Node):
            wanted = self._target(item, before)
            return devices.seen_value(key, declared, before, now, self.state.host_devices, wanted)
        return SAME

    # -- removal

    def volume_path(self, name: str) -> str:
        return name

    def deleted_by(self, name: str) -> tuple[str, ...]:
        return ("rootfs", "volumes")


def with_addresses(spec: GuestSpec, state: State) -> GuestSpec:
    """*spec* with the addresses that its cards with ``auto`` have: what is recorded, or what the card has been told by hand."""
    if not any(waiting_keys(item) for item in spec.wanted("networks")):
        return spec

    def with_address(item: Item) -> Item:
        card, values = state.cards.get(item.name), {**item.values}
        for key in waiting_keys(item):
            recorded = state.record.addresses if key == "ip" else state.record.addresses6
            known = (recorded.get(item.name), card.text(key) if card else None)
            version = 4 if key == "ip" else 6
            values[key] = next((cidr for cidr in known if cidr and fits(values[key], cidr, version)), values[key])
        return item.with_values(values)

    return spec.replace(lists={**spec.lists, "networks": tuple(map(with_address, spec.items("networks")))})


def waiting_keys(item: Item) -> tuple[str, ...]:
    """Which addresses of a card are left to the host."""
    return tuple(key for key in ("ip", "ip6") if is_auto(item.text(key)))


def _has_free_ids(state: State) -> bool:
    return idmap.allocate(state.host.uids, state.host.gids, state.host.taken_ids) is not None


def _has_room_for_program(draft: Draft, item: Item, card: Card, config: Config) -> bool:
    """Whether the limits of *card* can be set by a program of ours: LXC runs one for a card."""
    key = next((key for key in cards.RATES if item.get(key)), None)
    script = cards.script_of(config.nets()[card.number])
    if key is None or script is None:
        return True
    path, shown = f"networks[{item.name}].{key}", OPTIONS["networks[]." + key].show(item.get(key))
    refuse(
        draft, path, None, shown, f"{path}: {shown} is refused, as the card has a program of its own already: {script}"
    )
    return False


def _has_key(draft: Draft, path: str, declared: t.Any, card: Card) -> bool:
    """Whether a card of its type has the option at all."""
    key = key_of(path)
    if card.kind == cards.VETH or key in cards.KEYS_OF.get(card.kind, ()):
        return True
    shown = show(draft.option(path), declared)
    reason = (
        f"{path}: {shown} is refused, as {card.name} is of the type {card.kind}, which has no {key}. Change it by hand"
    )
    refuse(draft, path, show(draft.option(path), card[key]), shown, reason)
    return False


def _check_ip6(draft: Draft, item: Item, card: Card) -> None:
    """What is declared of IPv6 fits to what the card has, or will have."""
    path = f"networks[{item.name}]"
    ip6 = "" if f"{path}.ip6" in draft.unset else item.get("ip6", card["ip6"])
    gateway6 = item.get("gateway6")
    if item.get("ip6") and not takes_ip6(item.get("ip", card["ip"])):
        refuse(draft, f"{path}.ip6", card["ip6"] or None, ip6, f"{path}.ip6: {WITHOUT_IPV4}")
    elif gateway6 and not ip6:
        refuse(draft, f"{path}.gateway6", card["gateway6"] or None, gateway6, f"{path}.gateway6: {NEEDS_IP6}")
    elif item.get("ip6") or gateway6:
        way = gateway6 or ("" if f"{path}.gateway6" in draft.unset else card["gateway6"])
        if way and not is_reachable(way, ip6):
            reason = f"{path}.gateway6: {way} is not in the network of {ip6}. Write another gateway6"
            refuse(draft, f"{path}.gateway6", card["gateway6"] or None, way, reason)


def _check_gateway(draft: Draft, item: Item, card: Card) -> None:
    path = f"networks[{item.name}].gateway"
    address = item.get("ip", card["ip"])
    kept = card["gateway"] if is_fixed(address) else ""
    gateway = "" if path in draft.unset else item.get("gateway") or kept
    if not gateway or (item.get("ip") is None and item.get("gateway") is None):
        return
    if not is_fixed(address):
        reason = f"{path}: needs a fixed address in ip, not {address!r}"
        refuse(draft, path, card["gateway"], gateway, reason)
    elif not is_reachable(gateway, address):
        reason = f"{path}: {gateway} is not in the network of {address}. Write another gateway"
        refuse(draft, path, card["gateway"], gateway, reason)
