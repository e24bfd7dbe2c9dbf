# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How each option of a container is read: its value in what is kept of it, and while it runs. Those of cards and mounts stand there."""

from __future__ import annotations

import typing as t

from .._core.decide import SAME
from . import cgroup, cpuset, guest_files, nesting
from .state import Definition, Live

LimitReader = t.Callable[[t.Mapping[str, str]], t.Any]


class Reader:
    """How one option is read. *read* gives what is kept, *seen* what is while it runs; both get the declared value, for what has
    more than one form. Without *seen* there is no live value.
    """

    __slots__ = ("read", "seen")

    def __init__(
        self,
        read: t.Callable[[Definition, t.Any], t.Any],
        seen: t.Callable[[Definition, Live, t.Any], t.Any] | None = None,
    ) -> None:
        self.read = read
        self.seen = seen


def _limit(read: LimitReader) -> Reader:
    return Reader(lambda kept, declared: read(kept.limits), lambda kept, live, declared: read(live.limits))


def _cpus(kept: Definition) -> tuple[int, ...]:
    return cgroup.read_cpus(kept.limits)


def _seen_cpus(kept: Definition, live: Live) -> tuple[int, ...]:
    """The kernel shows all CPUs where none are chosen."""
    chosen, seen = _cpus(kept), cgroup.read_cpus(live.limits)
    return chosen if seen == (chosen or kept.cpus) else seen


_CORES = Reader(lambda kept, declared: len(_cpus(kept)), lambda kept, live, declared: len(_seen_cpus(kept, live)))


def _read_hostname(kept: Definition, declared: str | None) -> str | None:
    """It stands in the configuration and inside: whichever differs from what is declared."""
    there = (kept.config.get("lxc.uts.name") or "", kept.inside.hostname)
    return next((name for name in there if name is not None and name != declared), declared)


def _read_keys(kept: Definition, declared: tuple[str, ...] | None) -> tuple[str, ...]:
    return guest_files.keys_there(kept.inside.keys, declared or (), kept.ssh_keys)


# Those of the options whose home is the record are read by their rows.
READ = {
    "unprivileged": Reader(lambda kept, declared: bool(kept.config.values("lxc.idmap"))),
    "memory": _limit(cgroup.read_memory),
    "swap": _limit(cgroup.read_swap),
    "vcpus": _CORES,
    "cpu.cores": _CORES,
    "cpu.limit": _limit(cgroup.read_limit),
    "cpu.weight": Reader(
        lambda kept, declared: cgroup.read_weight(kept.limits, declared),
        lambda kept, live, declared: cgroup.read_weight(live.limits, declared),
    ),
    "cpu.pin": Reader(
        lambda kept, declared: cpuset.show(_cpus(kept)),
        lambda kept, live, declared: cpuset.show(_seen_cpus(kept, live)),
    ),
    "pids": _limit(cgroup.read_pids),
    "hostname": Reader(_read_hostname, lambda kept, live, declared: live.hostname),
    "dns.servers": Reader(lambda kept, declared: guest_files.resolver(kept.inside.resolv_conf)[0]),
    "dns.search": Reader(lambda kept, declared: guest_files.resolver(kept.inside.resolv_conf)[1]),
    "ssh_keys": Reader(_read_keys),
    "features.nesting": Reader(
        lambda kept, declared: nesting.is_nesting(kept.config),
        lambda kept, live, declared: nesting.PROC in live.mounted and nesting.SYS in live.mounted,
    ),
    "autostart": Reader(lambda kept, declared: kept.config.get("lxc.start.auto") == "1"),
}


def kept_value(kept: Definition, path: str, declared: t.Any = None) -> t.Any:
    """The value of an option in what is kept, in the light of what is *declared*."""
    return READ[path].read(kept, declared)


def live_value(kept: Definition, live: Live, path: str, declared: t.Any = None) -> t.Any:
    """The value of an option while the container runs; ``SAME`` where there is none beside what is kept."""
    seen = READ[path].seen
    return SAME if seen is None else seen(kept, live, declared)
