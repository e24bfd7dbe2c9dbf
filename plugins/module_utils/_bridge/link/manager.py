# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What systemd-networkd and ifupdown have to know of a bridge before and after the kernel is changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
import typing as t

from ..._core import atomic, command
from ..._core.errors import WaitTimeout
from ..._core.waiting import wait_until
from ..switch import program
from ..switch.state import offered
from .backends import IFSTATE, is_networkd_running
from .ifupdown import Ifupdown
from .state import Backend

_SETTLE_SECONDS, _LEASE_SECONDS = 20.0, 5.0
# networkd notes a new state a moment after it has begun: one look is not enough.
_FINAL_LOOKS, _LOOK_SECONDS = 6, 0.1
# RFC 4861: what routers are asked with, and only from the same link.
_SOLICITATION, _HOPS = bytes((133, 0, 0, 0, 0, 0, 0, 0)), 255
_FINAL = ("ADMIN_STATE=configured", "ADMIN_STATE=unmanaged", "ADMIN_STATE=failed")


def prepare(
    backend: Backend, bridge: str, ports: t.Collection[str], *, stops_client: bool, is_leased: bool
) -> tuple[str, ...]:
    """Let the backend know the new files before the kernel is changed: networkd would undo what its files do not say.

    Returns warnings: networkd acts on its own time, and may put in again what is taken off while it is not done.

    :raises CommandError:
    """
    if isinstance(backend, Ifupdown):
        if stops_client:
            _stop_client(bridge)
        return ()
    if not is_networkd_running():
        return ()
    command.run(["networkctl", "reload"], timeout=60)
    try:
        # A lease may never come.
        _wait_settled([bridge, *sorted(ports)], timeout_seconds=_LEASE_SECONDS if is_leased else _SETTLE_SECONDS)
    except WaitTimeout as exc:
        why = "no DHCP server may have answered yet" if is_leased else "its state is told by networkctl status"
        return (f"bridge {bridge}: {exc.message}; {why}",)
    return ()


def _wait_settled(links: t.Sequence[str], *, timeout_seconds: float) -> None:
    looks = 0

    def is_settled() -> bool:
        nonlocal looks
        looks = looks + 1 if all(_is_final(link) for link in links) else 0
        return looks >= _FINAL_LOOKS

    what = f"systemd-networkd to configure {', '.join(links)}"
    wait_until(what, is_settled, timeout_seconds=timeout_seconds, every_seconds=_LOOK_SECONDS)


def _is_final(link: str) -> bool:
    """Whether networkd has done with *link* what its files say; a link that is not there has nothing to be done."""
    index = (atomic.read_text(f"/sys/class/net/{link}/ifindex") or "").strip()
    if not index:
        return True
    told = atomic.read_text(f"/run/systemd/netif/links/{index}") or ""
    return any(line in _FINAL for line in told.splitlines())


def finish(backend: Backend, bridge: str, *, starts_client: bool) -> None:
    """Let ifupdown know that the bridge is up.

    :raises CommandError:
    """
    if isinstance(backend, Ifupdown):
        _note_state(backend, bridge, is_up=True)
        if starts_client:
            _ifup("--force", bridge)


def move(backend: Ifupdown, port: str, bridge: str) -> None:
    """Let ifupdown take down what *port* had by the files of *backend*, and bring up the bridge that has it by those of now.

    :raises CommandError:
    """
    program.stop_client(port)
    program.with_text(backend.text_without_client(port), "ifdown", "--force", "--ignore-errors", port)
    leases = "/var/lib/dhcp/dhclient.{}.leases"
    known = atomic.read_text(leases.format(port))
    if known is not None:
        # By what stands in it dhclient knows how it called itself.
        atomic.write_file(leases.format(bridge), known.replace(f'interface "{port}"', f'interface "{bridge}"'))
    _ifup(bridge)


def _ifup(*argv: str) -> None:
    """A DHCP client that ifup starts in the unit of a switch would end with that unit: it gets a scope of its own there."""
    switch = offered(os.environ)
    scope = ["systemd-run", "--quiet", "--collect", "--scope", f"--unit={program.IFUP}-{switch}-{time.monotonic_ns()}"]
    command.run([*(scope if switch else ()), "ifup", *argv], timeout=120)


def listen(backend: Backend, bridge: str, *, is_on: bool) -> None:
    """Let the kernel take what routers announce at *bridge*, as ifup does, and ask them; or let it do what it does by itself.

    networkd listens itself, and keeps the kernel from it.
    """
    if not isinstance(backend, Ifupdown) and is_networkd_running():
        return
    folder = "/proc/sys/net/ipv6/conf"
    value = "2" if is_on else (atomic.read_text(f"{folder}/default/accept_ra") or "1").strip()
    with open(f"{folder}/{bridge}/accept_ra", "w", encoding="ascii") as setting:
        setting.write(value)
    if is_on:
        # The kernel asks when a link comes up, and an answer may be minutes away otherwise. Without an address of the link nobody is asked.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as ask,
        ):
            ask.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
            ask.sendto(_SOLICITATION, ("ff02::2", 0, 0, socket.if_nametoindex(bridge)))


def forget(backend: Backend, bridge: str) -> None:
    """Let ifupdown know that the bridge is gone."""
    if isinstance(backend, Ifupdown):
        _note_state(backend, bridge, is_up=False)


def _note_state(backend: Ifupdown, bridge: str, *, is_up: bool) -> None:
    """ifupdown takes down only what it has noted as up, and would bring up the rest once more; ifupdown2 looks at the kernel."""
    if backend.is_second or not os.path.isdir(os.path.dirname(IFSTATE)):
        return
    own = f"{IFSTATE}.{bridge}"
    descriptor = os.open(f"{os.path.dirname(IFSTATE)}/.ifstate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        lines = [line for line in (atomic.read_text(IFSTATE) or "").splitlines() if line.partition("=")[0] != bridge]
        lines += [f"{bridge}={bridge}"] if is_up else []
        atomic.write_file(IFSTATE, "".join(line + "\n" for line in lines))
        if is_up:
            atomic.write_file(own, f"{bridge}\n")
        else:
            atomic.remove_file(own)
    finally:
        os.close(descriptor)


def _stop_client(bridge: str) -> None:
    """The client that ifup started: as ifdown would, without taking the bridge down."""
    if os.path.exists(f"/run/dhclient.{bridge}.pid"):
        command.run(["dhclient", "-r", "-pf", f"/run/dhclient.{bridge}.pid", bridge], timeout=60, check=False)
    elif shutil.which("dhcpcd"):
        command.run(["dhcpcd", "-k", bridge], timeout=60, check=False)
    # Not each client takes its lease along.
    command.run(["ip", "-4", "address", "flush", "dev", bridge, "dynamic"], check=False)
