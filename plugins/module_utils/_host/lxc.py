# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What liblxc keeps on this host: the configuration files of the containers, and which of them run."""

from __future__ import annotations

import os
import re
import shutil
import stat
import typing as t

from .._core import libraries
from .._core.claims import addresses_in
from .._core.errors import MissingLibrary

_GLOBAL = "/etc/lxc/lxc.conf"
_DEFAULT_PATH = "/var/lib/lxc"
_LXCPATH = re.compile(r"^\s*lxc\.lxcpath\s*=\s*(\S.*?)\s*$", re.MULTILINE)

# liblxc dies of a file that includes itself, and a larger one than this is no configuration.
_DEEPEST = 16
_MOST_BYTES = 1 << 20

_LINK = re.compile(r"^\s*lxc\.(?:net\.(\d+)|network(?:\.\d+)?)\.link\s*=\s*(\S+)\s*$", re.MULTILINE)
_VLAN = re.compile(r"^\s*lxc\.net\.(\d+)\.veth\.vlan\.(?:tagged\.)?id\s*=\s*\d", re.MULTILINE)
_MAC = re.compile(r"^\s*lxc\.(?:net\.\d+|network(?:\.\d+)?)\.hwaddr\s*=\s*([0-9A-Fa-f:]+)\s*$", re.MULTILINE)
_ADDRESS = re.compile(r"^\s*lxc\.net\.\d+\.ipv[46]\.address\s*=\s*(\S+)", re.MULTILINE)
# A value may stand in quotes.
_INCLUDE = re.compile(r"""^\s*lxc\.include\s*=\s*(["']?)(\S.*?)\1\s*$""", re.MULTILINE)
_TABLE = re.compile(r"""^\s*lxc\.mount(?:\.fstab)?\s*=\s*(["']?)(\S.*?)\1\s*$""", re.MULTILINE)
# The keys, of LXC 1 to 6, whose values name paths of the host. Those of others, such as lxc.environment, are the guest's.
_WITH_PATHS = re.compile(
    r"^[ \t]*lxc\.(rootfs|mount|include|hook|console|log|seccomp)(?:\.\S*?|file)?[ \t]*=[ \t]*([\"']?)(.*?)\2[ \t]*$",
    re.MULTILINE,
)
_PATHS = re.compile(r"(?:^|[\s:=,])(/[^\s:,]*)")
# What LXC 1 and 2 knew and LXC 3 and later refuse, as in lxc-update-config.
_OLD = re.compile(
    r"^\s*(lxc\.(?:utsname|rootfs|rootfs\.backend|mount|pts|tty|devttydir|console|aa_profile|aa_allow_incomplete|se_context"
    r"|id_map|init_cmd|init_uid|init_gid|network(?:\.[a-z0-9_.]+)?|haltsignal|rebootsignal|stopsignal|seccomp|loglevel|logfile"
    r"|limit\.[a-z]+|kmsg|syslog))\s*=",
    re.MULTILINE,
)


class Included(t.NamedTuple):
    """A line of a file that a configuration includes. *origin* is the path of that file."""

    origin: str
    text: str


class Container:
    """A container by its configuration file.

    *config* is its text, *included* what each ``lxc.include`` of it stands for, by its value; *tables* the lines of the files that
    ``lxc.mount.fstab`` names, as far as all that can be read. *problem* says why liblxc cannot load it, if that is known without it.
    """

    __slots__ = ("config", "included", "is_running", "name", "problem", "tables")

    def __init__(
        self,
        name: str,
        config: str,
        is_running: bool = False,
        *,
        included: t.Mapping[str, tuple[Included, ...]] | None = None,
        tables: t.Mapping[str, tuple[str, ...]] | None = None,
        problem: str | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.is_running = is_running
        self.included: t.Mapping[str, tuple[Included, ...]] = included or {}
        self.tables: t.Mapping[str, tuple[str, ...]] = tables or {}
        self.problem = problem

    @property
    def _effective(self) -> str:
        """The configuration with all that it includes."""
        lines = (line.text for its in self.included.values() for line in its)
        return "\n".join((*lines, self.config))

    @property
    def paths(self) -> list[str]:
        """Every path of the host that the configuration and its files name, those files among them."""
        files = (line.origin for its in self.included.values() for line in its)
        entries = (f"lxc.mount.entry = {line}" for its in self.tables.values() for line in its)
        found = [*files]
        for key, dummy, value in _WITH_PATHS.findall("\n".join((self._effective, *entries))):
            # A root may have spaces in its name; in an entry of fstab they are written as \040.
            whole = key == "rootfs" and " " in value
            found += [value.partition(":")[2] or value] if whole else _PATHS.findall(value)
        return [*dict.fromkeys(path.replace("\\040", " ") for path in found)]

    @property
    def bridges(self) -> set[str]:
        """The links of the host that its interfaces are plugged into, or stand on."""
        return {link for dummy, link in _LINK.findall(self._effective)}

    @property
    def macs(self) -> list[str]:
        """The MACs that the configuration gives to its interfaces; LXC makes a digit by chance of each x, which is none."""
        return [mac.lower() for mac in _MAC.findall(self._effective)]

    @property
    def addresses(self) -> list[str]:
        """The addresses that the configuration gives to its interfaces."""
        return addresses_in(*_ADDRESS.findall(self._effective))

    @property
    def vlan_bridges(self) -> set[str]:
        """Those on which it is in a VLAN."""
        text = self._effective
        numbers = set(_VLAN.findall(text))
        return {link for number, link in _LINK.findall(text) if number in numbers}


# What an include stands for, and why liblxc would not read it.
_Lines = tuple[tuple[Included, ...], list[str]]


class _Unreadable(Exception):
    """Why a file is no configuration."""


def lxc_path() -> str:
    """The folder of the containers, as liblxc's programs take it."""
    try:
        found = _LXCPATH.findall(_read_file(_GLOBAL))
    except _Unreadable:
        found = []
    return found[-1].rstrip("/") or "/" if found else _DEFAULT_PATH


def config_path(name: str) -> str:
    return os.path.join(lxc_path(), name, "config")


def read_containers() -> dict[str, Container]:
    """All containers by name. Needs no library and starts no process; what is odd of one is said of that one."""
    folder = lxc_path()
    running = running_names(folder=folder)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return {}
    known: dict[str, _Lines] = {}
    paths = {name: os.path.join(folder, name, "config") for name in names}
    found = (read_container(name, path, is_running=name in running, known=known) for name, path in paths.items())
    return {container.name: container for container in found if container is not None}


def read_container(
    name: str, path: str, *, is_running: bool = False, known: dict[str, _Lines] | None = None
) -> Container | None:
    """The container whose configuration is the file *path*; ``None`` where there is none. *known* keeps what an include stands for.

    Why liblxc cannot load it is its *problem*. All that can be read of it is read nevertheless, as it is asked before a deletion.
    """
    try:
        text = _read_file(path)
    except _Unreadable as exc:
        return Container(name, "", is_running, problem=str(exc)) if os.path.lexists(path) else None
    known = {} if known is None else known
    included: dict[str, tuple[Included, ...]] = {}
    tables: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    for dummy, value in _INCLUDE.findall(text):
        if value not in known:
            own: list[str] = []
            known[value] = (tuple(_read_included(value, (path,), own, set())), own)
        included[value], its_problems = known[value]
        problems += its_problems
    effective = "\n".join((text, *(line.text for its in included.values() for line in its)))
    for dummy, value in _TABLE.findall(effective):
        try:
            tables[value] = tuple(_read_file(value).split("\n"))
        except _Unreadable as exc:
            problems.append(str(exc))
    old = _OLD.search(effective)
    if old is not None:
        problems.append(f"{old.group(1)} is a key of LXC 1 or 2. Run lxc-update-config -c {path}")
    return Container(name, text, is_running, included=included, tables=tables, problem=next(iter(problems), None))


def _read_included(value: str, above: tuple[str, ...], problems: list[str], seen: set[str]) -> t.Iterator[Included]:
    """The lines that an ``lxc.include`` stands for, in the order in which liblxc reads them. *problems* gets why it would not.

    After a problem each file is read once, lest those of a folder that include each other are read in every order.
    """
    for path in _files_of(value):
        if path in above or len(above) > _DEEPEST:
            problems.append(f"{above[-1]} includes {path}, which includes it in turn")
            continue
        if problems and path in seen:
            continue
        seen.add(path)
        try:
            lines = _read_file(path).split("\n")
        except _Unreadable as exc:
            problems.append(str(exc))
            continue
        for line in lines:
            inner = _INCLUDE.match(line)
            if inner is None:
                yield Included(path, line)
            else:
                yield from _read_included(inner.group(2), (*above, path), problems, seen)


def _files_of(value: str) -> list[str]:
    """Of a folder liblxc reads the files whose names end in ``.conf``, as the folder lists them. One that is written with a slash at
    its end may be missing.
    """
    if not os.path.isdir(value):
        return [] if value.endswith("/") and not os.path.lexists(value.rstrip("/")) else [value]
    return [os.path.join(value, name) for name in os.listdir(value) if name.endswith(".conf")]


def _read_file(path: str) -> str:
    """The text of a regular file, without waiting for anybody.

    :raises _Unreadable:
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise _Unreadable(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            kind = (
                "larger than 1 MiB"
                if stat.S_ISREG(status.st_mode)
                else "no file but " + _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
            )
            raise _Unreadable(f"{path} is {kind}")
        data = b""
        while len(data) <= _MOST_BYTES and (chunk := os.read(descriptor, _MOST_BYTES)):
            data += chunk
        return data.decode(errors="surrogateescape")
    finally:
        os.close(descriptor)


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def running_names(lines: t.Iterable[str] | None = None, *, folder: str = _DEFAULT_PATH) -> set[str]:
    """The containers whose monitor listens: on the abstract socket ``@/var/lib/lxc/NAME/command`` (LXC 5 and 6)."""
    prefix, suffix = f"@{folder}/", "/command"
    if lines is None:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as stream:
            lines = stream.readlines()
    sockets = (line.rstrip("\n").split(" ")[-1] for line in lines)
    return {name[len(prefix) : -len(suffix)] for name in sockets if name.startswith(prefix) and name.endswith(suffix)}


def missing() -> str | None:
    """Why no container can be made on this host, as a sentence; ``None`` when it can."""
    if not os.path.isdir(lxc_path()) or shutil.which("lxc-start") is None:
        return "LXC is not installed on this host. The role homelab.hybrid.hypervisor installs it"
    try:
        libraries.lxc()
    except MissingLibrary as exc:
        return exc.message
    return None
