# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How each option of a container is read: its value in what is kept of it, and while it runs. Those of cards and mounts stand there."""

from __future__ import annotations

import typing as t

from .._core import startup
from .._core.decide import SAME
from . import cgroup, cpuset, guest_files
from .state import Live, State

LimitReader = t.Callable[[t.Mapping[str, str]], t.Any]


class Reader:
    """How one option is read. *read* gives what is kept, *seen* what is while it runs; both get the declared value, for what has
    more than one form. Without *seen* there is no live value.
    """

    __slots__ = ("read", "seen")

    def __init__(
        self,
        read: t.Callable[[State, t.Any], t.Any],
        seen: t.Callable[[State, Live, t.Any], t.Any] = lambda state, live, declared: SAME,
    ) -> None:
        self.read = read
        self.seen = seen


def _limit(read: LimitReader) -> Reader:
    return Reader(lambda state, declared: read(state.limits), lambda state, live, declared: read(live.items))


def _read_weight(state: State, declared: int | None) -> int:
    return cgroup.read_weight(state.limits, declared)


def _seen_weight(state: State, live: Live, declared: int | None) -> int:
    return cgroup.read_weight(live.items, declared)


def _read_cpus(state: State) -> tuple[int, ...]:
    return cgroup.read_cpus(state.limits)


def _seen_cpus(state: State, live: Live) -> tuple[int, ...]:
    """The kernel shows all CPUs where none are chosen."""
    kept, seen = _read_cpus(state), cgroup.read_cpus(live.items)
    return kept if seen == (kept or state.host.cpus) else seen


_CORES = Reader(
    lambda state, declared: len(_read_cpus(state)), lambda state, live, declared: len(_seen_cpus(state, live))
)


def _read_hostname(state: State, declared: str | None) -> str | None:
    """It stands in the configuration and inside: whichever differs from what is declared."""
    there = (state.config.get("lxc.uts.name") or "", state.inside.hostname)
    return next((name for name in there if name is not None and name != declared), declared)


def _read_keys(state: State, declared: tuple[str, ...] | None) -> tuple[str, ...]:
    return guest_files.keys_there(state.inside.keys, declared or (), state.record.get("ssh_keys") or ())


def _read_startup(path: str) -> Reader:
    return Reader(lambda state, declared: startup.recorded(state.record)[path])


READ = {
    "unprivileged": Reader(lambda state, declared: state.is_unprivileged),
    "memory": _limit(cgroup.read_memory),
    "swap": _limit(cgroup.read_swap),
    "vcpus": _CORES,
    "cpu.cores": _CORES,
    "cpu.limit": _limit(cgroup.read_limit),
    "cpu.weight": Reader(_read_weight, _seen_weight),
    "cpu.pin": Reader(
        lambda state, declared: cpuset.show(_read_cpus(state)),
        lambda state, live, declared: cpuset.show(_seen_cpus(state, live)),
    ),
    "pids": _limit(cgroup.read_pids),
    "hostname": Reader(_read_hostname, lambda state, live, declared: live.hostname),
    "dns.servers": Reader(lambda state, declared: guest_files.resolver(state.inside.resolv_conf)[0]),
    "dns.search": Reader(lambda state, declared: guest_files.resolver(state.inside.resolv_conf)[1]),
    "ssh_keys": Reader(_read_keys),
    "autostart": Reader(lambda state, declared: state.config.get("lxc.start.auto") == "1"),
    **{path: _read_startup(path) for path in startup.PATHS},
    "description": Reader(lambda state, declared: state.record.get("description", "")),
    "tags": Reader(lambda state, declared: tuple(sorted(state.record.get("tags") or ()))),
    "protection": Reader(lambda state, declared: bool(state.record.get("protection"))),
}
