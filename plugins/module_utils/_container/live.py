# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A running container: what it has now, and how that is changed while it runs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import stat
import time
import typing as t

from .._core import atomic, command, libraries
from .._core.errors import ApplyError, HybridError, ObserveError
from .._core.waiting import wait_until
from .._host import links, vlans
from . import cgroup
from .config import unescape_path
from .idmap import root_of
from .items import NetLines
from .namespaces import checked, in_namespaces
from .state import Address, Live, Mounted, Nic

_libc = ctypes.CDLL(None, use_errno=True)
# x86-64, arm64 and every architecture since 2019 share these numbers.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_IDMAP = 0x1, 0x100000
_MNT_DETACH = 2
_SETTLED = ("RUNNING", "FROZEN", "STOPPED")


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def handle(name: str) -> t.Any:
    """liblxc's handle of a container, which reads its configuration anew."""
    return libraries.lxc().Container(name)


def settled_state(container: t.Any) -> str:
    """``RUNNING``, ``FROZEN`` or ``STOPPED``, once it is on its way no longer.

    :raises ObserveError: when it stays on its way.
    """
    with _as_error(ObserveError):
        state: str = wait_until(
            f"the container {container.name} to be started or stopped (it is {container.state})",
            lambda: container.state if container.state in _SETTLED else None,
            timeout_seconds=30,
        )
    return state


@contextlib.contextmanager
def _as_error(error: type[HybridError]) -> t.Iterator[None]:
    try:
        yield
    except HybridError as exc:
        raise error(exc.message, **exc.facts) from exc


def observe(
    container: t.Any, host_links: t.Mapping[str, t.Mapping[str, t.Any]], port_vlans: t.Mapping[str, int]
) -> Live:
    """What the running container has now. *port_vlans* are those of ``Host``.

    :raises ObserveError:
    """
    pid = int(container.init_pid)
    items = {
        item: value for item in (*cgroup.V1_ITEMS, *cgroup.V2_ITEMS) if (value := get_item(container, item)) is not None
    }
    seen = in_namespaces(pid, ("net", "uts"), _look_inside, error=ObserveError)
    return Live(
        pid=pid,
        items=items,
        hostname=seen["hostname"],
        nics=nics_of(seen["links"], seen["routes"], host_links, port_vlans),
        mounts=mounts_of(f"/proc/{pid}/mountinfo"),
        memory_in_use=memory_in_use(get_item(container, "memory.stat") or ""),
        uptime_seconds=uptime(pid),
    )


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


def _look_inside() -> dict[str, t.Any]:
    routes = command.run(["ip", "-j", "route", "show", "default"]) or "[]"
    routes6 = command.run(["ip", "-6", "-j", "route", "show", "default"]) or "[]"
    return {
        "hostname": os.uname().nodename,
        "links": json.loads(command.run(["ip", "-j", "-d", "addr", "show"]) or "[]"),
        "routes": [*json.loads(routes), *json.loads(routes6)],
    }


def nics_of(
    links: t.Iterable[t.Mapping[str, t.Any]],
    routes: t.Sequence[t.Mapping[str, t.Any]],
    host_links: t.Mapping[str, t.Mapping[str, t.Any]],
    port_vlans: t.Mapping[str, int],
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
    for line in (atomic.read_text(path) or "").splitlines():
        fields = line.split(" ")
        place = f"{fields[2]} {unescape_path(fields[3])}"
        found[unescape_path(fields[4])] = Mounted(place, "ro" in fields[5].split(","))
    return found


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


def set_hostname(pid: int, hostname: str) -> None:
    """:raises ApplyError:"""
    data = hostname.encode()
    in_namespaces(pid, ("uts",), lambda: checked(_libc.sethostname(data, len(data)), "set the host name"))


def add_nic(pid: int, lines: NetLines) -> None:
    """Plug a new interface into the running container, with its address.

    :raises CommandError, ApplyError:
    """
    mtu = ["mtu", str(lines.mtu)] if lines.mtu else []
    # A bridge without a MAC of its own takes the lowest of its ports'; fe: is never that.
    here = ["ip", "link", "add", lines.pair, "address", "fe" + lines.mac[2:], *mtu]
    there = ["peer", "name", lines.device, "address", lines.mac, *mtu, "netns", str(pid)]
    command.run([*here, "type", "veth", *there])
    if lines.link == "up":
        plug(lines.pair, lines.bridge)
        links.put_into_vlan(lines.pair, lines.vlan)
    command.run(["ip", "link", "set", lines.pair, "up"])
    in_namespaces(pid, ("net",), lambda: command.run(["ip", "link", "set", lines.device, "up"]))
    if lines.ip not in ("dhcp", "none"):
        set_address(pid, lines.device, None, lines.ip)
        if lines.gateway:
            set_gateway(pid, lines.device, None, lines.gateway)


def remove_nic(host_name: str) -> None:
    """Take both ends away."""
    command.run(["ip", "link", "delete", host_name])


def plug(host_name: str, bridge: str | None) -> None:
    """Plug the host's end into *bridge*, or out of any."""
    command.run(["ip", "link", "set", host_name, *(["master", bridge] if bridge else ["nomaster"])])


def set_mtu(pid: int, nic: Nic, mtu: int) -> None:
    command.run(["ip", "link", "set", nic.host, "mtu", str(mtu or 1500)])
    in_namespaces(pid, ("net",), lambda: command.run(["ip", "link", "set", nic.device, "mtu", str(mtu or 1500)]))


def set_address(pid: int, device: str, old: str | None, new: str | None) -> None:
    """The interface has the address *new*, and *old* no more."""

    def do() -> None:
        # The first address of a network takes the others of it along when it goes, so it goes first.
        if old and old != new:
            command.run(["ip", "address", "delete", old, "dev", device], check=False)
        if new:
            command.run(["ip", "address", "replace", new, "dev", device])

    in_namespaces(pid, ("net",), do)


def set_gateway(pid: int, device: str, old: str | None, new: str | None) -> None:
    """The default route of the interface leads to *new*, and not to *old*."""

    def do() -> None:
        if old and old != new:
            command.run(["ip", _family(old), "route", "delete", "default", "via", old, "dev", device], check=False)
        if new:
            command.run(["ip", _family(new), "route", "replace", "default", "via", new, "dev", device])

    in_namespaces(pid, ("net",), do)


def _family(address: str) -> str:
    return "-6" if ":" in address else "-4"


def reload_networkd(name: str) -> None:
    """Let systemd-networkd of the guest read its files again, where it runs."""
    command.run(
        attach(name, ["sh", "-c", "systemctl is-active -q systemd-networkd && networkctl reload"]),
        timeout=30,
        check=False,
    )


def attach(name: str, argv: t.Sequence[str]) -> list[str]:
    """The command line that runs *argv* inside, with an environment of its own."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["lxc-attach", "-n", name, "--clear-env", "-v", path, "-v", "HOME=/root", "--", *argv]


def mount(pid: int, source: str, path: str, *, is_readonly: bool, is_mapped: bool, idmap: t.Sequence[str]) -> None:
    """Bind *source* of the host to *path* inside the running container; what is missing of the path is made for root inside.

    :raises ApplyError:
    """
    tree = checked(
        _libc.syscall(
            _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
        ),
        f"open {source}",
    )
    try:
        if is_mapped:
            with open(f"/proc/{pid}/ns/user", "rb") as namespace:
                # An idmapping counts for one mount; liblxc applies it to the uppermost only, too.
                _set_attributes(tree, _MOUNT_ATTR_IDMAP, namespace.fileno(), 0)
        if is_readonly:
            _set_attributes(tree, _MOUNT_ATTR_RDONLY, 0, 0)
        root = root_of(idmap) or (0, 0)
        is_folder = os.path.isdir(source)

        def do() -> None:
            _make_target(path, root, is_folder)
            checked(
                _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH),
                f"mount {source} at {path}",
            )

        in_namespaces(pid, ("mnt",), do)
    except OSError as exc:
        raise ApplyError(
            f"{source} could not be mounted at {path} of the running container: {exc.strerror or exc}"
        ) from exc
    finally:
        os.close(tree)


def _set_attributes(tree: int, attributes: int, userns_fd: int, flags: int) -> None:
    wanted = _MountAttr(attr_set=attributes, userns_fd=userns_fd)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    checked(
        _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | flags, ctypes.byref(wanted), size),
        "set the attributes of the mount (its file system may not know owners that are mapped)",
    )


def _make_target(path: str, root: tuple[int, int], is_folder: bool) -> None:
    parts = [part for part in path.split("/") if part]
    for length in range(1, len(parts) + 1):
        place = "/" + "/".join(parts[:length])
        if os.path.lexists(place):
            continue
        if length < len(parts) or is_folder:
            os.mkdir(place, 0o755)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        os.chown(place, *root, follow_symlinks=False)
    if stat.S_ISDIR(os.stat(path).st_mode) != is_folder:
        raise ApplyError(f"{path} is {'no' if is_folder else 'a'} folder inside the container")


def unmount(pid: int, path: str) -> None:
    """Take the mount at *path* away; a program that has a file of it open keeps that.

    :raises ApplyError:
    """
    in_namespaces(pid, ("mnt",), lambda: checked(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"unmount {path}"))
