# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How options are written to the configuration of a container: one function each, of what its lines are after the run."""

from __future__ import annotations

import typing as t

from .._core.options import split
from .._core.plan import Change
from . import cgroup, idmap
from .card import write_card
from .config import SHIPPED, Config
from .device import write_device
from .mount import write_mount
from .nesting import write_nesting
from .wanted import Wanted

Items = tuple[dict[str, str], dict[str, str]]
Write = t.Callable[[Config, Wanted], Config]


def new_config(name: str, root: str, ids: idmap.Range | None, *, has_apparmor: bool) -> Config:
    """The configuration of a new container on *root*, in LXC's form, without its limits, interfaces and mounts."""
    config = Config().append("lxc.include", f"{SHIPPED}/common.conf")
    if ids is not None:
        config = config.append("lxc.include", f"{SHIPPED}/userns.conf")
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
    return config.append("lxc.uts.name", name).append("lxc.rootfs.path", root)


# ---- limits: the items of control groups (v1, v2), in the configuration and on a running container ---------------------------


def _memory(wanted: Wanted) -> Items:
    return cgroup.memory_items(wanted.value("memory"), wanted.value("swap"))


def _limit(wanted: Wanted) -> Items:
    return cgroup.limit_items(wanted.value("cpu.limit"))


def _weight(wanted: Wanted) -> Items:
    return cgroup.weight_items(wanted.value("cpu.weight"))


def _pids(wanted: Wanted) -> Items:
    return cgroup.pids_items(wanted.value("pids"))


def _cpus(wanted: Wanted) -> Items:
    return cgroup.cpuset_items(wanted.cpus)


LIMITS: dict[str, t.Callable[[Wanted], Items]] = {
    "memory": _memory,
    "swap": _memory,
    "vcpus": _cpus,
    "cpu.cores": _cpus,
    "cpu.pin": _cpus,
    "cpu.limit": _limit,
    "cpu.weight": _weight,
    "pids": _pids,
}


def _write_limit(path: str) -> Write:
    def write(config: Config, wanted: Wanted) -> Config:
        for prefix, items in zip((cgroup.V1, cgroup.V2), LIMITS[path](wanted), strict=True):
            for item, value in items.items():
                config = config.set(prefix + item, value) if value else config.unset(prefix + item)
        return config

    return write


# ---- other lines -------------------------------------------------------------------------------------------------------------


def _write_hostname(config: Config, wanted: Wanted) -> Config:
    return config.set("lxc.uts.name", wanted.value("hostname"))


def _write_autostart(config: Config, wanted: Wanted) -> Config:
    key = "lxc.start.auto"
    return config.set(key, "1") if wanted.value("autostart") else config.unset(key)


def _write_nesting(config: Config, wanted: Wanted) -> Config:
    return write_nesting(config, wanted.value("features.nesting"))


WRITE: dict[str, Write] = {
    **{path: _write_limit(path) for path in LIMITS},
    "hostname": _write_hostname,
    "autostart": _write_autostart,
    "features.nesting": _write_nesting,
}


# ---- items of lists ----------------------------------------------------------------------------------------------------------


def _write_card(config: Config, wanted: Wanted, name: str) -> Config:
    old, new = wanted.state.cards.get(name), wanted.cards.get(name)
    if new is None:
        return config.without_net(old.number) if old else config
    return write_card(config, old, new)


def _write_mount(config: Config, wanted: Wanted, name: str) -> Config:
    return write_mount(config, wanted.state.mounts.get(name), wanted.mounts.get(name))


def _write_device(config: Config, wanted: Wanted, name: str) -> Config:
    return write_device(config, wanted.state.devices.get(name), wanted.devices.get(name))


WRITE_ITEM: dict[str, t.Callable[[Config, Wanted, str], Config]] = {
    "networks": _write_card,
    "mounts": _write_mount,
    "devices": _write_device,
}


def edit(config: Config, wanted: Wanted, changes: t.Iterable[Change]) -> Config:
    """*config* with every one of *changes* that it holds."""
    items: dict[tuple[str, str], None] = {}
    for change in changes:
        area, name, dummy = split(change.path)
        if name:
            items[(area, name)] = None
        elif area in WRITE:
            config = WRITE[area](config, wanted)
    # The numbers of those that go are not taken again before they are gone.
    for area, name in sorted(items, key=lambda item: wanted.has(*item)):
        config = WRITE_ITEM[area](config, wanted, name)
    return config
