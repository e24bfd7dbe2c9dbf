# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A running container: what it has now."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from .._core import atomic, command, libraries
from .._core.errors import HybridError, ObserveError
from .._core.waiting import wait_until
from .._host import vlans
from .._host.lxc import lxc_path
from . import cgroup
from .card import Address, Nic
from .config import unescape_path
from .mount import Mounted
from .namespaces import in_namespaces
from .state import Live

_SETTLED = ("RUNNING", "FROZEN", "STOPPED")
_HALF_FROZEN_SECONDS = 10


def handle(name: str) -> t.Any:
    """liblxc's handle of a container, which reads its configuration anew."""
    return libraries.lxc().Container(name, lxc_path())


def is_unloadable(name: str) -> bool:
    """Whether liblxc cannot load the configuration. Ask only where its files are known to be harmless."""
    try:
        handle(name)
    except RuntimeError:
        return True
    return False


def settled_state(container: t.Any) -> str:
    """``RUNNING``, ``FROZEN`` or ``STOPPED``, once it is on its way no longer. One that stays half frozen is ``FROZEN``: who froze it was killed,
    and its monitor (LXC 5.0) tells ``FREEZING`` from then on.

    :raises ObserveError: when it stays on its way.
    """
    with _as_error(ObserveError):
        began = time.monotonic()
        state: str = wait_until(
            f"the container {container.name} to be started or stopped (it is {container.state})",
            lambda: _settled(container.state, time.monotonic() - began),
            timeout_seconds=30,
        )
    return state


def _settled(state: str, waited_seconds: float) -> str | None:
    if state == "FREEZING" and waited_seconds >= _HALF_FROZEN_SECONDS:
        return "FROZEN"
    return state if state in _SETTLED else None


@contextlib.contextmanager
def _as_error(error: type[HybridError]) -> t.Iterator[None]:
    try:
        yield
    except HybridError as exc:
        raise error(exc.message, **exc.facts) from exc


def observe(
    container: t.Any,
    host_links: t.Mapping[str, t.Mapping[str, t.Any]],
    port_vlans: t.Mapping[str, int],
    rates: t.Mapping[str, tuple[int, int]] | None = None,
    keys: t.Iterable[str] = (),
    *,
    is_v2: bool,
) -> Live:
    """What the running container has now. *port_vlans* and *rates* are those of ``Host``, the latter where they matter; of *keys* it
    is told what the monitor holds. *is_v2* says which family of control groups the host has.

    :raises ObserveError:
    """
    pid = int(container.init_pid)
    dummy, items = cgroup.family(is_v2=is_v2)
    limits = {item: value for item in items if (value := get_item(container, item)) is not None}
    seen = in_namespaces(pid, ("net", "uts"), _look_inside, error=ObserveError)
    if _is_of_host(pid, "net"):
        seen["links"] = []  # they are the host's
    return Live(
        pid=pid,
        limits=limits,
        hostname=seen["hostname"],
        nics=nics_of(seen["links"], seen["routes"], host_links, port_vlans, rates),
        mounted=mounts_of(f"/proc/{pid}/mountinfo"),
        memory_in_use=memory_in_use(get_item(container, "memory.stat") or ""),
        uptime_seconds=uptime(pid),
        held={key: container.get_running_config_item(key) or "" for key in keys},
    )


def _is_of_host(pid: int, kind: str) -> bool:
    """Whether the process has a namespace of the host."""
    return os.path.samefile(f"/proc/{pid}/ns/{kind}", f"/proc/self/ns/{kind}")


def get_item(container: t.Any, item: str) -> str | None:
    """A file of the container's control group; ``None`` where the mounted family has no such file."""
    for dummy in range(5):
        try:
            value = container.get_cgroup_item(item)
        except KeyError:
            return None
        except ValueError:
            # The file grew between the two looks that the binding takes at it.
            continue
        return value.strip() if isinstance(value, str) and value else None
    raise ObserveError(f"{item} of the container {container.name} could not be read")


def _look_inside() -> dict[str, t.Any]:
    # Of all tables: without the word, ip tells the routes of one family alone.
    told = command.run(["ip", "-j", "-d", "-batch", "-"], input="addr show\nroute show table all default\n")
    entries = _entries_in(told)
    return {
        "hostname": os.uname().nodename,
        "links": [entry for entry in entries if "ifname" in entry],
        "routes": [entry for entry in entries if "dst" in entry and entry.get("table", "main") == "main"],
    }


def _entries_in(text: str) -> list[dict[str, t.Any]]:
    """The entries of JSON lists that stand one behind the other."""
    found, rest, decoder = [], text.lstrip(), json.JSONDecoder()
    while rest:
        entries, end = decoder.raw_decode(rest)
        found += entries
        rest = rest[end:].lstrip()
    return found


def nics_of(
    links: t.Iterable[t.Mapping[str, t.Any]],
    routes: t.Sequence[t.Mapping[str, t.Any]],
    host_links: t.Mapping[str, t.Mapping[str, t.Any]],
    port_vlans: t.Mapping[str, int],
    rates: t.Mapping[str, tuple[int, int]] | None = None,
) -> tuple[Nic, ...]:
    """The interfaces inside, each with its end on the host (by the index that both ends know of each other)."""
    by_index = {link.get("ifindex"): link for link in host_links.values()}
    found = []
    for link in links:
        if link.get("link_type") != "ether" or "ifname" not in link:
            continue
        other = by_index.get(link.get("link_index"), {}) if link.get("link_netnsid") is not None else {}
        is_pair = other.get("linkinfo", {}).get("info_kind") == "veth" and other.get("link_index", 0) == link.get(
            "ifindex"
        )
        found.append(
            Nic(
                device=link["ifname"],
                mac=link.get("address", ""),
                host=other["ifname"] if is_pair else "",
                bridge=other.get("master", "") if is_pair else "",
                vlan=port_vlans.get(other["ifname"]) if is_pair else None,
                default_vlan=vlans.default_vlan(other.get("master", ""), host_links) or 0,
                rates=rates.get(other["ifname"], (0, 0)) if is_pair and rates is not None else None,
                mtu=int(link.get("mtu", 1500)),
                addresses=tuple(
                    _address(entry) for entry in link.get("addr_info", ()) if entry.get("scope") == "global"
                ),
                gateways=tuple(
                    route["gateway"] for route in routes if route.get("dev") == link["ifname"] and "gateway" in route
                ),
            )
        )
    return tuple(found)


def _address(entry: t.Mapping[str, t.Any]) -> Address:
    return Address(f"{entry['local']}/{entry['prefixlen']}", bool(entry.get("dynamic")))


def mounts_of(path: str) -> dict[str, Mounted]:
    """What is mounted where, by the ``mountinfo`` at *path*; the uppermost where one hides another."""
    found = {}
    # Not splitlines(): the kernel leaves other breaks than the line end in a path as they are.
    for line in (atomic.read_text(path) or "").split("\n"):
        fields = line.split(" ")
        if len(fields) < 6:
            continue
        place, options = f"{fields[2]} {unescape_path(_root_in(fields))}", fields[5].split(",")
        found[unescape_path(fields[4])] = Mounted(place, "ro" in options, "idmapped" in options)
    return found


def _root_in(fields: t.Sequence[str]) -> str:
    """What of its file system a line of ``mountinfo`` has mounted. NFS says ``/`` of every folder, and which it is as its source (6.12)."""
    type_, source = (*fields[fields.index("-", 6) + 1 :], "", "")[:2] if "-" in fields[6:] else ("", "")
    return source if type_ in ("nfs", "nfs4") else fields[3]


def place_of(source: str, mounts: t.Mapping[str, Mounted]) -> str | None:
    """The ``Mounted.place`` that a bind mount of *source* will have; ``None`` where there is no such path."""
    path = os.path.realpath(source)
    if not os.path.exists(path):
        return None
    below = [point for point in mounts if point == "/" or path == point or path.startswith(point + "/")]
    point = max(below, key=len)
    device, dummy, folder = mounts[point].place.partition(" ")
    rest = os.path.relpath(path, point)
    return f"{device} {folder if rest == '.' else os.path.join(folder, rest)}"


def memory_in_use(stat_text: str) -> int:
    """What of the memory no reclaim can free without swap, in KiB, from ``memory.stat`` of either family."""
    pairs = (line.split() for line in stat_text.splitlines())
    values = {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdecimal()}
    if "total_rss" in values:
        return (values["total_rss"] + values.get("total_shmem", 0)) // 1024
    return sum(values.get(key, 0) for key in ("anon", "shmem", "kernel_stack", "slab_unreclaimable")) // 1024


def uptime(pid: int) -> int:
    """For how many seconds the process has run."""
    text = atomic.read_text(f"/proc/{pid}/stat")
    if text is None:
        return 0
    ticks = int(text.rpartition(")")[2].split()[19])
    return max(0, int(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")))


def attach(name: str, argv: t.Sequence[str]) -> list[str]:
    """The command line that runs *argv* inside, with an environment of its own."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["lxc-attach", "-n", name, "--clear-env", "-v", path, "-v", "HOME=/root", "--", *argv]
