# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How the options of a running container are changed while it runs: one function each."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import typing as t

from .._core import atomic, command
from .._core.command import CommandError
from .._core.errors import ApplyError
from .._guest import port
from .._guest.options import is_fixed
from . import cgroup, mounting, plugging, rate
from .card import NO_MTU, Card, Nic
from .definition import LIMITS, Items
from .live import attach
from .namespaces import in_namespaces
from .state import Live
from .wanted import Wanted


class Running:
    """A running container that changes: liblxc's *handle* of it, what it had when it was looked at, and what it shall have.

    *keep_fds* are the locks that last as long as a child that writes: a card may come about when the run that wanted it is killed already.
    """

    __slots__ = ("handle", "keep_fds", "live", "wanted")

    def __init__(self, handle: t.Any, live: Live, wanted: Wanted, keep_fds: t.Sequence[int] = ()) -> None:
        self.handle = handle
        self.live = live
        self.wanted = wanted
        self.keep_fds = keep_fds

    def nic(self, name: str) -> Nic | None:
        """The interface of a card when the container was looked at."""
        return self.wanted.state.nics.get(name)


# ---- limits and the host name ------------------------------------------------------------------------------------------------


@functools.cache
def _limit_writer(items_of: t.Callable[[Wanted], Items]) -> t.Callable[[Running], None]:
    """One function for all options that share their items, so that these are written once."""

    def write(running: Running) -> None:
        set_limits(running.handle, items_of(running.wanted), running.live.limits)

    return write


def set_limits(
    container: t.Any, items: tuple[t.Mapping[str, str], t.Mapping[str, str]], now: t.Mapping[str, str]
) -> None:
    """Write limits (v1, v2) to the running container; an empty value stands for no limit. *now* are those it has.

    :raises ApplyError: when the kernel refuses a value.
    """
    wanted = items[1] if "memory.max" in now or "cpu.max" in now else items[0]
    names = list(wanted)
    total = wanted.get("memory.memsw.limit_in_bytes")
    has_total = "memory.memsw.limit_in_bytes" in now
    # v1 keeps memory <= memory and swap at every moment, so the one that makes room goes first.
    if has_total and (
        not total or cgroup.read_bytes(total) > cgroup.read_bytes(now["memory.memsw.limit_in_bytes"]) > 0
    ):
        names.reverse()
    for name in names:
        if name not in now:
            continue
        value = wanted[name] or cgroup.UNLIMITED.get(name) or _all_cpus()
        if not container.set_cgroup_item(name, value):
            limit = wanted[name] or "no limit"
            raise ApplyError(f"the kernel refused {name} = {limit} for the running container {container.name}")


def _all_cpus() -> str:
    return (atomic.read_text("/sys/devices/system/cpu/online") or "0").strip()


def write_hostname(running: Running) -> None:
    """:raises ApplyError:"""
    hostname: str = running.wanted.value("hostname")
    in_namespaces(running.live.pid, ("uts",), lambda: socket.sethostname(hostname))


LIVE: dict[str, t.Callable[[Running], None]] = {
    **{path: _limit_writer(items_of) for path, items_of in LIMITS.items()},
    "hostname": write_hostname,
}


# ---- network cards -----------------------------------------------------------------------------------------------------------


def replug(running: Running, name: str) -> None:
    """The host's end is in its bridge or in none, and its port in its VLAN, which a port that leaves its bridge forgets."""
    nic, new = running.nic(name), running.wanted.cards[name]
    if nic is not None and nic.host:
        _plug(nic.host, new, running.keep_fds)
        if _is_limited(new):
            # One that was started unplugged has no limit yet.
            limit_rate(running, name)


def write_mtu(running: Running, name: str) -> None:
    nic, mtu = running.nic(name), str(running.wanted.cards[name]["mtu"] or NO_MTU)
    if nic is not None and nic.host:
        device = nic.device
        command.run(["ip", "link", "set", nic.host, "mtu", mtu], keep_fds=running.keep_fds)
        in_namespaces(running.live.pid, ("net",), lambda: command.run(["ip", "link", "set", device, "mtu", mtu]))


def readdress(running: Running, name: str) -> None:
    """The interface has its fixed address and way out, and the old ones no more; one that the guest asks for is left to it."""
    nic, new = running.nic(name), running.wanted.cards[name]
    if nic is None:
        return
    cards, device = (running.wanted.state.cards.get(name, new), new), nic.device
    old, wanted = (card["ip"] if is_fixed(card["ip"]) else None for card in cards)
    old_gateway, gateway = (card["gateway"] or None for card in cards)
    old6, ip6 = (card["ip6"] or None for card in cards)
    old_gateway6, gateway6 = (card["gateway6"] or None for card in cards)

    def do() -> None:
        _write_addresses(device, (old, *nic.stale), wanted, old_gateway, gateway, others=new.others)
        # What was beside IPv4 may be the only address now.
        _write_addresses(device, (old6,) if old6 != wanted else (), ip6, old_gateway6, gateway6)

    in_namespaces(running.live.pid, ("net",), do)


def _is_limited(card: Card) -> bool:
    return bool(card["rate_limit.in"] or card["rate_limit.out"])


def limit_rate(running: Running, name: str) -> None:
    nic, new = running.nic(name), running.wanted.cards[name]
    if nic is not None and nic.host:
        rate.limit(running.wanted.spec.name, nic.host, new["rate_limit.in"], new["rate_limit.out"])


LIVE_CARD: dict[str, t.Callable[[Running, str], None]] = {
    "bridge": replug,
    "link": replug,
    "vlan": replug,
    "mtu": write_mtu,
    "ip": readdress,
    "gateway": readdress,
    "ip6": readdress,
    "gateway6": readdress,
    "rate_limit.in": limit_rate,
    "rate_limit.out": limit_rate,
}


def plug_card(running: Running, name: str) -> None:
    """Plug a card that is not there, or bring one to its state that runs without being defined.

    :raises CommandError, ApplyError:
    """
    if running.nic(name) is not None:
        for write in dict.fromkeys(LIVE_CARD.values()):
            write(running, name)
        return
    card = running.wanted.cards[name]
    # LXC knows nothing of one that was plugged into a guest which restarted by itself: it goes with the network namespace of that, when the
    # kernel has time to or who else is in there has ended.
    _remove_link(card.pair, running.keep_fds)
    with _removed_on_failure(card.pair):
        _add(running.live.pid, card, running.keep_fds)
        if _is_limited(card):
            rate.limit(running.wanted.spec.name, card.pair, card["rate_limit.in"], card["rate_limit.out"])


def unplug_card(running: Running, name: str) -> None:
    """Take both ends away."""
    nic = running.nic(name)
    if nic is not None and nic.host:
        if nic.rates and any(nic.rates):
            rate.take_off(running.wanted.spec.name, nic.host)
        command.run(["ip", "link", "delete", nic.host], keep_fds=running.keep_fds)


def _add(pid: int, card: Card, keep_fds: t.Sequence[int]) -> None:
    mtu = ["mtu", str(card["mtu"])] if card["mtu"] else []
    # A bridge without a MAC of its own takes the lowest of its ports'; fe: is never that.
    here = ["ip", "link", "add", card.pair, "address", "fe" + card.text("mac")[2:], *mtu]
    there = ["peer", "name", card.device, "address", card.text("mac"), *mtu, "netns", str(pid)]
    command.run([*here, "type", "veth", *there], keep_fds=keep_fds)
    _plug(card.pair, card, keep_fds)
    command.run(["ip", "link", "set", card.pair, "up"], keep_fds=keep_fds)

    def do() -> None:
        command.run(["ip", "link", "set", card.device, "up"])
        if is_fixed(card["ip"]):
            _write_addresses(card.device, (), card["ip"], None, card["gateway"] or None)
        if card["ip6"]:
            _write_addresses(card.device, (), card["ip6"], None, card["gateway6"] or None)

    in_namespaces(pid, ("net",), do)


@contextlib.contextmanager
def _removed_on_failure(host_name: str) -> t.Iterator[None]:
    try:
        yield
    except Exception:
        _remove_link(host_name)
        raise


def _remove_link(host_name: str, keep_fds: t.Sequence[int] = ()) -> None:
    place = f"/sys/class/net/{host_name}"
    if not os.path.isdir(place):
        return
    try:
        command.run(["ip", "link", "delete", host_name], keep_fds=keep_fds)
    except CommandError:
        # The kernel may have been quicker.
        if os.path.isdir(place):
            raise


def _plug(host_name: str, card: Card, keep_fds: t.Sequence[int]) -> None:
    place = ["master", card.text("bridge")] if card.is_up() else ["nomaster"]
    command.run(["ip", "link", "set", host_name, *place], keep_fds=keep_fds)
    if card.is_up():
        port.put_into_vlan(host_name, card["vlan"])


def _write_addresses(
    device: str,
    old: t.Iterable[str | None],
    new: str | None,
    old_gateway: str | None,
    new_gateway: str | None,
    others: t.Iterable[str] = (),
) -> None:
    # The first address of a network takes the others of it along when it goes, so it goes first.
    for address in old:
        if address and address != new:
            command.run(["ip", "address", "delete", address, "dev", device], check=False)
    if new:
        command.run(["ip", "address", "replace", new, "dev", device])
    for address in others:
        command.run(["ip", "address", "replace", address, "dev", device])
    if old_gateway and old_gateway != new_gateway:
        way = [_family(old_gateway), "route", "delete", "default", "via", old_gateway, "dev", device]
        command.run(["ip", *way], check=False)
    if new_gateway:
        command.run(["ip", _family(new_gateway), "route", "replace", "default", "via", new_gateway, "dev", device])


def _family(address: str) -> str:
    return "-6" if ":" in address else "-4"


def reload_networkd(name: str) -> None:
    """Let systemd-networkd of the guest read its files again, where it runs."""
    command.run(
        attach(name, ["sh", "-c", "systemctl is-active -q systemd-networkd && networkctl reload"]),
        timeout=30,
        check=False,
    )


# ---- mounts ------------------------------------------------------------------------------------------------------------------


def mount(running: Running, name: str) -> None:
    """:raises ApplyError:"""
    entry = running.wanted.mounts[name]
    mounting.mount(running.live.pid, entry.source, entry.path, entry.options)


def unmount(running: Running, name: str) -> None:
    """Take the mount away, if it is there.

    :raises ApplyError:
    """
    entry = running.wanted.state.mounts.get(name)
    if entry is not None and entry.path in running.live.mounted:
        mounting.unmount(running.live.pid, entry.path)


# ---- devices -----------------------------------------------------------------------------------------------------------------


def plug_device(running: Running, name: str) -> None:
    """:raises ApplyError, CommandError:"""
    ids = running.wanted.state.config.values("lxc.idmap")
    plugging.plug(running.live.pid, running.handle, running.wanted.devices[name], ids)


def unplug_device(running: Running, name: str) -> None:
    """Take the device out as it was defined, if it is there.

    :raises ApplyError:
    """
    devices = running.wanted.state.devices
    device = devices.get(name)
    if device is None:
        return
    others = [other for other in devices.values() if other.name != name]
    is_last = all(other.path != device.path for other in others)
    is_denied = all(other.rule != device.rule for other in others)
    ids = running.wanted.state.config.values("lxc.idmap")
    plugging.unplug(running.live.pid, running.handle, device, ids, is_last=is_last, is_denied=is_denied)
