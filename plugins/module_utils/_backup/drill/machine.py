# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A virtual machine that came out of a backup, as it is tried: started by libvirt, with its cards in the network of the drill."""

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t

from ..._core import atomic, libraries, paths
from ..._core.errors import ApplyError
from ..._core.removal import remove_tree
from ..._core.units import KIB, MIB, show_size
from ..._guest.content import show_copied
from ..._guest.identity import link_name
from ..._guest.ownership import Ownership
from ..._guest.record import RecordedFile
from ..._guest.record import load as load_record
from ..._host import probe
from ..._host.libvirt import errors_of
from ..._host.snapshot import Host
from ..._storage.driver import Driver
from ..._vm import power
from ..._vm.agent import Agent, AgentError, AgentSilent
from ..._vm.agent_session import connect
from ..._vm.xml import channel, memory
from ..._vm.xml import domain as domain_xml
from ..manifest import Manifest
from ..repository import Repository
from ..restore import machine
from ..restore.spec import Spec
from ..restore.state import State
from .health import MUTE, SERVICES, Answer, Check
from .inside import INIT, JOURNAL, data_of, init_of, last_of
from .isolated_machine import Card, disks_of, is_mute, isolate
from .network import Network
from .plan import Place, scratch_name

_FOLDER = os.path.join(paths.DRILLS, "vm")
_AGENT_SECONDS, _SECONDS = 10, 60.0
# What QEMU takes beside the memory of the guest, for its devices and itself.
_BESIDE_BYTES = 192 * MIB
# 0: it is empty; 1: something lies there; 2: it is not there.
_LOOK = '[ -e "$0" ] || exit 2; if [ -d "$0" ]; then [ -z "$(ls -A "$0")" ]; else [ ! -s "$0" ]; fi'
_ROUTE = re.compile(r"\b(via|dev) (\S+)")
_NAMES = 'cd "$0" 2> /dev/null && ls'


class Machine:
    """See ``kinds.Scratch``."""

    is_open = False

    def __init__(self, guest: str, network: Network, own: Ownership, drivers: t.Mapping[str, Driver]) -> None:
        self.name = scratch_name(guest)
        self.network = network
        self.own = own
        self.drivers = drivers
        self.host = Host()
        self.folder = os.path.join(_FOLDER, self.name)
        self.console = os.path.join(self.folder, "console.log")
        self.definition = ""
        self.cards: tuple[Card, ...] = ()
        self.has_agent = False
        self.known: tuple[Place, ...] = ()

    def obstacle(self, manifest: Manifest, checks: t.Sequence[Check]) -> str | None:
        """Why it cannot be tried now, as a sentence."""
        root = domain_xml.parse(manifest.definition)
        if is_mute(root, checks):
            return MUTE
        wanted, free = memory.read_maximum(root) * KIB + _BESIDE_BYTES, probe.read_free_memory()
        if wanted > free:
            return (
                f"it takes {show_copied(wanted)} of memory, and the host has {show_size(free // MIB * MIB) or 0} left"
            )
        return None

    def claim(self, manifest: Manifest) -> None:
        """Nothing: what it gets beside its disks is known by its definition."""

    def define(self, state: State, repository: Repository) -> tuple[str, ...]:
        """Lay out what is to be started. Returns what it has to do without.

        :raises ApplyError, CommandError, RepositoryError:
        """
        os.makedirs(self.folder, mode=0o711, exist_ok=True)
        spec = Spec(state.chosen.guest, self.name, repository.name)
        with machine.beside_in(os.path.join(self.folder, "beside"), state, repository) as kept:
            its = machine.Definition(spec, state, self.own, self.host, kept)
            before = disks_of(its.root)
            for dummy in its.lay_out():
                pass
        after = disks_of(its.root)
        gone = [f"its disk {target}, which is not in the backup" for target in before if target not in after]
        gone += [
            f"{source}, which was in its drive {target} and is not on this host"
            for target, source in before.items()
            if source and after.get(target) == ""
        ]
        done = isolate(its.root, name=self.name, kept=its.places, console=self.console, tap=self._tap)
        # libvirt makes of that what the backup did not have.
        self.own.save(files={word: RecordedFile(path, is_fresh=True) for word, path in done.beside.items()})
        self.cards, self.has_agent = done.cards, channel.find(its.root) is not None
        self.definition = domain_xml.to_text(its.root)
        self.known = tuple(self._given(its.manifest))
        return (*gone, *done.left_out)

    def _tap(self, number: int) -> str:
        return link_name(self.name, str(number), self.host.links)

    def _given(self, manifest: Manifest) -> t.Iterator[Place]:
        """The addresses that its cards were given, as its record says."""
        record = load_record(manifest.record, exists=True)
        segments = {card.mac: card.segment for card in self.cards}
        for addresses in (record.addresses, record.addresses6):
            for card, text in addresses.items():
                address, dummy, prefix = text.partition("/")
                segment = segments.get(manifest.macs.get(card, "").lower())
                if segment is not None:
                    yield Place(address, int(prefix or (128 if ":" in address else 32)), segment)

    def start(self) -> None:
        """Start it, in its network: it stands still until all its cards are there.

        :raises ApplyError, CommandError:
        """
        segments = {its.segment for its in self.cards}
        self.network.make(len(segments))
        self.network.serve(len(segments))
        library = libraries.libvirt()
        # It ends with this connection, so with this process.
        flags = library.VIR_DOMAIN_START_PAUSED | library.VIR_DOMAIN_START_AUTODESTROY
        with errors_of("start it", ApplyError):
            domain = self.host.connection.createXML(self.definition, flags)
        for card in self.cards:
            self.network.take_in(card.tap)
            self.network.plug_in(card.tap, card.segment)
        power.resume(domain)

    def is_running(self) -> bool:
        """Whether it runs, and did not end by itself."""
        domain = self._domain()
        return domain is not None and bool(_unless_gone(domain.isActive))

    def _domain(self) -> t.Any:
        """The machine, ``None`` where it is not there, or is not the one that this drill made."""
        library = libraries.libvirt()
        try:
            domain = self.host.connection.lookupByName(self.name)
        except library.libvirtError as exc:
            if exc.get_error_code() == library.VIR_ERR_NO_DOMAIN:
                return None
            raise ApplyError(f"libvirt does not tell what became of it: {exc.get_error_message()}") from exc
        return domain if domain.UUIDString() == self.own.record.uuid else None

    def init(self) -> Answer:
        """Whether its boot has come to its end: what its agent says, and a shell inside where there is one."""
        if not self.has_agent:
            return Answer("init", True, "it runs, and has no agent that could be asked")
        try:
            agent = self._agent()
            agent.ask("guest-ping")
            try:
                return init_of(agent.run("/bin/sh", ["-c", INIT]).stdout.decode(errors="replace"))
            except AgentError:
                # Windows, or an agent that runs no programs.
                return Answer("init", True, "its agent answers")
        except AgentSilent as exc:
            return Answer("init", False, exc.message)

    def _agent(self) -> Agent:
        until = time.monotonic() + _SECONDS

        def pause(seconds: float) -> None:
            if time.monotonic() > until:
                raise AgentSilent(f"what was asked of it took longer than {_SECONDS:g} s")
            time.sleep(seconds)

        return Agent(connect(self.name, _AGENT_SECONDS), pause)

    def run(self, line: str) -> tuple[bool, str]:
        """Whether a shell inside ends with 0, and what it said last."""
        if not self.has_agent:
            return False, "it has no agent that would run it"
        try:
            done = self._agent().run("/bin/sh", ["-c", line])
        except (AgentError, AgentSilent) as exc:
            return False, exc.message
        out, err = (last_of(text.decode(errors="replace")) for text in (done.stdout, done.stderr))
        if done.rc != 0:
            return False, f"it ended with {done.rc}: {err or out or 'no message'}"
        return True, out or "it ended with 0"

    def services(self) -> dict[str, str]:
        """What its services say of themselves: the texts of their files, by name.

        :raises AgentSilent:
        """
        if not self.has_agent:
            return {}
        agent = self._agent()
        try:
            names = agent.run("/bin/sh", ["-c", _NAMES, SERVICES]).stdout.decode(errors="replace").split("\n")
            return {
                name.removesuffix(".json"): b"".join(agent.read(f"{SERVICES}/{name}")).decode(errors="replace")
                for name in names
                if name.endswith(".json")
            }
        except AgentError:
            return {}

    def missing(self, data_paths: t.Mapping[str, bool]) -> list[Answer]:
        """What of its data came back.

        :raises AgentSilent:
        """
        return [self._judged(path, must_have=must_have) for path, must_have in data_paths.items()]

    def _judged(self, path: str, *, must_have: bool) -> Answer:
        if not self.has_agent:
            return Answer(f"data {path}", True, "it was not looked at, as it has no agent that would")
        try:
            rc = self._agent().run("/bin/sh", ["-c", _LOOK, path]).rc
        except AgentError as exc:
            return Answer(f"data {path}", False, exc.message)
        return data_of(path, is_empty={0: True, 1: False}.get(rc), must_have=must_have)

    def places(self) -> list[Place]:
        """Where it is in the network of the drill: as its agent says, or else where it was given an address or was heard.

        :raises CommandError:
        """
        segments = {card.mac: card.segment for card in self.cards}
        try:
            return list(self._told(segments)) if self.has_agent else [*self.known, *self.network.heard(segments)]
        except (AgentError, AgentSilent):
            return [*self.known, *self.network.heard(segments)]

    def _told(self, segments: t.Mapping[str, int]) -> t.Iterator[Place]:
        agent = self._agent()
        links = agent.ask("guest-network-get-interfaces")
        gateways: dict[str, list[str]] = {}
        with contextlib.suppress(AgentError):
            for family in ("-4", "-6"):
                # A small one has no JSON: default via 10.0.0.1 dev eth0
                for line in agent.run("/bin/sh", ["-c", f"ip {family} route show default"]).stdout.decode().split("\n"):
                    found = dict(_ROUTE.findall(line))
                    gateways.setdefault(found.get("dev", ""), []).append(found.get("via", ""))
        for link in links:
            segment = segments.get(str(link.get("hardware-address") or "").lower())
            for its in link.get("ip-addresses") or () if segment is not None else ():
                ways = tuple(gateways.get(str(link.get("name")), ()))
                yield Place(str(its["ip-address"]), int(its["prefix"]), int(segment or 0), ways)

    def inner_network(self) -> str | None:
        """See ``asking.Patient``."""
        return None

    def boot_log(self) -> str:
        """What it wrote while it booted: its serial console, and its journal where it has one."""
        console = atomic.read_text(self.console) or ""
        if not self.has_agent:
            return console
        try:
            return console + self._agent().run("/bin/sh", ["-c", JOURNAL]).stdout.decode(errors="replace")
        except (AgentError, AgentSilent) as exc:
            return f"{console}{exc.message}\n"

    def remove(self) -> None:
        """End it, and take away what was made of it but its volumes.

        :raises ApplyError, CommandError:
        """
        domain = None if self.own.record.uuid is None else self._domain()
        if domain is not None:
            with errors_of("end it", ApplyError):
                _unless_gone(domain.destroy)
        self.network.remove()
        for its in self.own.record.files.values():
            machine.remove(its.path)
        if os.path.isdir(self.folder):
            remove_tree(self.folder)


def _unless_gone(act: t.Callable[[], t.Any]) -> t.Any:
    """What *act* on a machine returns; ``None`` where that has ended meanwhile: nothing is left of it then."""
    library = libraries.libvirt()
    try:
        return act()
    except library.libvirtError as exc:
        if exc.get_error_code() not in (library.VIR_ERR_NO_DOMAIN, library.VIR_ERR_OPERATION_INVALID):
            raise
        return None
