# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A container that came out of a backup, as it is tried: started by LXC in the network of the drill, out of a folder of its own."""

from __future__ import annotations

import json
import os
import typing as t

from ..._container import idmap, mounting
from ..._container.config import HOOK, Config
from ..._container.loading import errors_in, problem_of
from ..._container.mount import innermost
from ..._container.observe import free_ids
from ..._container.state import ROOTFS
from ..._container.tree import Tree
from ..._core import atomic, command, lock, paths
from ..._core.errors import ApplyError
from ..._core.removal import remove_tree
from ..._guest.ownership import Ownership
from ..._storage.driver import Driver
from ..manifest import Manifest
from ..repository import Repository
from ..restore.state import State
from .health import SERVICES, Answer, Check
from .inside import INIT, JOURNAL, data_of, init_of, last_of
from .isolated import Mount, Wire, isolated
from .mounts import bring_mounts
from .network import Network
from .plan import Place, scratch_name

_FOLDER = os.path.join(paths.DRILLS, "lxc")
_START_SECONDS, _SECONDS = 120.0, 60.0
_INSIDE = ["--clear-env", "-v", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "-v", "HOME=/root"]


class Container:
    """See ``kinds.Scratch``."""

    is_open = True

    def __init__(self, guest: str, network: Network, own: Ownership, drivers: t.Mapping[str, Driver]) -> None:
        self.name = scratch_name(guest)
        self.network = network
        self.own = own
        self.drivers = drivers
        self.folder = os.path.join(_FOLDER, self.name)
        self.console = os.path.join(self.folder, "console.log")
        self.wires: tuple[Wire, ...] = ()
        # The folders in which nothing lies, and what lies elsewhere, with where: both by their paths inside.
        self.emptied: tuple[str, ...] = ()
        self.brought: dict[str, str] = {}
        self.root = ""

    def _lxc(self, program: str, *words: str, check: bool = True, timeout: float = _SECONDS) -> str:
        """LXC's monitor is only heard in the network namespace that it was started in."""
        argv = [program, "-n", self.name, "-P", _FOLDER, *words]
        return command.run(self.network.within(argv), check=check, timeout=timeout)

    def obstacle(self, manifest: Manifest, checks: t.Sequence[Check]) -> str | None:
        """Nothing: a container can always be looked into, and takes no memory but what it uses."""
        return None

    def claim(self, manifest: Manifest) -> None:
        """Its ids are nobody else's: it shares no limit of the kernel with the guest that runs beside it.

        :raises ApplyError:
        """
        if manifest.idmap is None:
            return
        with lock.allocations():
            area = free_ids(self.name)
            if area is None:
                raise ApplyError(f"no {idmap.COUNT} ids in a row are left of root's in /etc/subuid and /etc/subgid")
            self.own.save(idmap=(area.start, area.count))

    def services(self) -> dict[str, str]:
        """What its services say of themselves: the texts of their files, by name."""
        tree = Tree(self.root)
        names = [name for name in tree.names_in(SERVICES) if name.endswith(".json")]
        return {name.removesuffix(".json"): tree.read(f"{SERVICES}/{name}") or "" for name in names}

    def missing(self, data_paths: t.Mapping[str, bool]) -> list[Answer]:
        """What of its data came back, before anything in it runs that would make them anew."""
        return [self._missing(path, must_have=must_have) for path, must_have in data_paths.items()]

    def _missing(self, path: str, *, must_have: bool) -> Answer:
        point = innermost(path, {point: point for point in (*self.emptied, *self.brought)})
        if point in self.emptied:
            return Answer(f"data {path}", True, "it is on the host, and not in the backup")
        if point is None:
            return _judged(Tree(self.root), path, path, must_have=must_have)
        folder, name = os.path.split(self.brought[point])
        return _judged(Tree(folder), f"/{name}{path.removeprefix(point)}", path, must_have=must_have)

    def define(self, state: State, repository: Repository) -> tuple[str, ...]:
        """Make it of the volumes that are in their places, from its definition. Returns what it has to do without.

        :raises ApplyError:
        """
        volume = state.volumes[ROOTFS]
        driver, ids = self.drivers[volume.pool], self.own.record.idmap
        self.root = driver.location(volume)
        brought: dict[Mount, str] = {}
        manifest = state.of_backup()
        os.chmod(self.root, int(manifest.volumes[ROOTFS]["mode"]))
        if manifest.mounts:
            place = bring_mounts(state.chosen, manifest, self.name, volume, driver, repository, self.own)
            brought = {(its["source"], its["path"]): os.path.join(place, it) for it, its in manifest.mounts.items()}
        lines = idmap.lines(idmap.Range(*ids)) if ids else []
        its = isolated(
            Config.parse(manifest.definition),
            root=driver.lxc_root(volume),
            ids=lines,
            console=self.console,
            brought=brought,
        )
        if HOOK in its.config.text:
            mounting.lay_down()
        self.brought = {path: place for (dummy, path), place in brought.items()}
        self.wires, self.emptied = its.wires, its.emptied
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        atomic.write_file(os.path.join(self.folder, "config"), its.config.text)
        problem = problem_of(self.name, _FOLDER)
        if problem is not None:
            raise ApplyError(f"LXC cannot load the configuration in the backup: {problem}")
        return its.left_out

    def start(self) -> None:
        """Start it, in its network.

        :raises ApplyError: with what liblxc said.
        """
        segments = {its.segment for its in self.wires}
        self.network.make(len(segments))
        for wire in self.wires:
            for gateway in wire.gateways:
                self.network.give(gateway, wire.segment)
        self.network.serve(len(segments))
        log = os.path.join(self.folder, "start.log")
        try:
            self._lxc("lxc-start", "-d", "-o", log, "-l", "ERROR", timeout=_START_SECONDS)
        except command.CommandError as exc:
            raise ApplyError(f"it did not start: {errors_in(log) or exc.message}") from exc
        try:
            for wire in self.wires:
                self.network.plug_in(wire.pair, wire.segment)
        except command.CommandError:
            if self.is_running():
                raise

    def is_running(self) -> bool:
        """Whether it runs, and did not end by itself."""
        return self._lxc("lxc-info", "-s", "-H", check=False).strip() == "RUNNING"

    def init(self) -> Answer:
        """Whether its boot has come to its end."""
        try:
            said = self._lxc("lxc-attach", *_INSIDE, "--", "/bin/sh", "-c", INIT, check=False)
        except command.CommandError as exc:
            said = exc.message
        return init_of(said)

    def run(self, line: str) -> tuple[bool, str]:
        """Whether a shell inside ends with 0, and what it said last."""
        try:
            said = self._lxc("lxc-attach", *_INSIDE, "--", "/bin/sh", "-c", line)
        except command.CommandError as exc:
            return False, f"it ended with {exc.rc}: {last_of(exc.stderr) or last_of(exc.stdout) or 'no message'}"
        return True, last_of(said) or "it ended with 0"

    def places(self) -> list[Place]:
        """Where it is in the network of the drill.

        :raises CommandError:
        """
        file = self.inner_network()
        if file is None:
            return []
        inside = ["nsenter", f"--net={file}", "ip", "-j"]
        gateways: dict[str, list[str]] = {}
        for family in ("-4", "-6"):
            for route in json.loads(command.run([*inside, family, "route", "show", "default"]) or "[]"):
                gateways.setdefault(route.get("dev", ""), []).append(route.get("gateway", ""))
        segments = {wire.pair: wire.segment for wire in self.wires}
        ends = {index: segments[pair] for pair, index in self.network.ends().items() if pair in segments}
        return [
            Place(its["local"], its["prefixlen"], ends[link["ifindex"]], tuple(gateways.get(link["ifname"], ())))
            for link in json.loads(command.run([*inside, "address", "show"]) or "[]")
            for its in (link.get("addr_info", ()) if link["ifindex"] in ends else ())
            if not its.get("tentative")
        ]

    def inner_network(self) -> str | None:
        """See ``asking.Patient``."""
        pid = self._lxc("lxc-info", "-p", "-H", check=False).strip()
        return f"/proc/{pid}/ns/net" if pid.isdecimal() else None

    def boot_log(self) -> str:
        """What it wrote while it booted: its console, and its journal where it has one."""
        console = atomic.read_text(self.console) or ""
        try:
            journal = self._lxc("lxc-attach", *_INSIDE, "--", "/bin/sh", "-c", JOURNAL, check=False)
        except command.CommandError as exc:
            journal = f"{exc.message}\n"
        return console + journal

    def remove(self) -> None:
        """End it, and take away what was made of it but its volumes.

        :raises ApplyError, CommandError:
        """
        if self.network.is_there:
            self._lxc("lxc-stop", "-k", check=False)
        # Its monitor is in there, and with that the container ends.
        self.network.remove()
        if os.path.isdir(self.folder):
            remove_tree(self.folder)


def _judged(tree: Tree, place: str, path: str, *, must_have: bool) -> Answer:
    """What came back of *path* inside, which is *place* in *tree*."""
    if not tree.has(place):
        return data_of(path, is_empty=None, must_have=must_have)
    try:
        with tree.folder_of(f"{place}/.") as (folder, dummy):
            is_empty = not os.listdir(folder)
    except NotADirectoryError:
        is_empty = not tree.read(place) and tree.obstacle(place) is None
    except OSError as exc:
        return Answer(f"data {path}", False, f"it cannot be read: {exc.strerror}")
    return data_of(path, is_empty=is_empty, must_have=must_have)
