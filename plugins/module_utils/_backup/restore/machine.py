# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A virtual machine out of a backup: its disks, its definition, and what it remembers beside its disks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import typing as t
import uuid

from ..._core import atomic, command, libraries, lock, paths
from ..._core.converge import Work
from ..._core.errors import ApplyError
from ..._core.plan import Step
from ..._core.removal import remove_tree
from ..._guest import beside
from ..._guest.allocation import check_macs
from ..._guest.identity import link_name
from ..._guest.ownership import Ownership
from ..._guest.record import RecordedFile, RecordedVolume, load
from ..._guest.recorded import load_file
from ..._host import remote
from ..._host.libvirt import errors_of
from ..._host.snapshot import Host
from ..._storage.choice import drivers_of
from ..._storage.driver import Attempt, Driver
from ..._storage.volume import BLOCK, Volume, of_guest
from ..._vm import firmware, power, storage
from ..._vm.capture import BESIDE, FLAGS, SEED
from ..._vm.firmware import NVRAM, TPM
from ..._vm.options import SEED_DISK
from ..._vm.returning import Place, rewrite
from ..._vm.xml import domain as domain_xml
from .source import Source
from .spec import Spec
from .state import State

_CHUNK = 1 << 20


def claim(spec: Spec, state: State, own: Ownership) -> None:
    """The record of a machine that is begun, with its volumes.

    :raises ApplyError:
    """
    with lock.allocations():
        check_macs(spec.name, state.macs)
        own.save(state.begun(spec))


def fill(
    state: State,
    item: str,
    volume: Volume,
    driver: Driver,
    source: Source,
    own: Ownership,
    fds: t.Sequence[int],
) -> Attempt:
    """Begin *volume* with what the backup has of the disk *item*, without what is zero in it.

    :raises ApplyError, CommandError, RepositoryError: nothing of it is left then.
    """
    its = state.of_backup().volumes[item]
    form = its["format"] if its["format"] in driver.formats else driver.formats[0]
    attempt = driver.create(volume, size=int(its["size"]), format=form, keep_fds=fds)
    image = ["qemu-nbd", f"--format={attempt.format}", "--discard=unmap", "--detect-zeroes=unmap", attempt.path]
    argv = ["nbdcopy", "--destination-is-zero", "-", "--", "[", *image, "]"]
    try:
        content = source.reading(state.chosen.id, os.path.join(state.chosen.folder, its["file"]))
        with content as stream, command.writing(argv, keep_fds=fds) as sink:
            shutil.copyfileobj(stream, sink, _CHUNK)
    except Exception:
        # What did not fit would keep its pool full.
        driver.purge(volume)
        raise
    return attempt


def define(
    spec: Spec, state: State, source: Source, own: Ownership, work: Work
) -> t.Generator[Step, None, t.Sequence[str]]:
    """Make the machine of the disks that are in their places. Returns what of it did not come back, as sentences.

    :raises ApplyError, RepositoryError: nothing of it is left then.
    """
    try:
        with beside_in(paths.restore_folder(state.chosen.id), state, source) as found:
            told = yield from Definition(spec, state, own, work.host, found).steps(work)
    except Exception:
        _give_up(spec.name, own, work)
        raise
    return told


def forget(name: str) -> None:
    """Take away the definition of a machine that was begun, and what it got beside its disks.

    :raises ApplyError:
    """
    library, host = libraries.libvirt(), Host()
    domain, record = host.domains.get(name), load_file(host.record("guests", name))
    with errors_of(f"remove the half-made {name}", ApplyError):
        # One that somebody else has defined meanwhile is not ours.
        if domain is not None and domain.UUIDString() == record.uuid:
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(library.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | library.VIR_DOMAIN_UNDEFINE_KEEP_TPM)
    for its in record.files.values():
        if its.is_fresh:
            remove(its.path)


def _give_up(name: str, own: Ownership, work: Work) -> None:
    drivers = drivers_of(work.host)
    forget(name)
    for volume in (its.volume for its in own.record.volumes.values() if its.is_fresh):
        drivers[volume.pool].retire(volume)
        drivers[volume.pool].purge(volume)
    own.remove()


def lay_beside(spec: Spec, state: State, source: Source, name: str, host: Host) -> dict[str, t.Any]:
    """What the backup has beside the disks comes beside the snapshot *name* of the machine that is there. Returns what that says of it.

    :raises RepositoryError:
    """
    places = firmware.places(host.definition(spec.name).root)
    with beside_in(paths.restore_folder(state.chosen.id), state, source) as found:
        words = [word for word in places if os.path.exists(os.path.join(found, word))]
        if words:
            beside.make_folder(spec.name, name)
        for word in words:
            beside.put(os.path.join(found, word), os.path.join(paths.snapshot_folder(spec.name, name), word))
    return {"beside": tuple(words), "nvram": places.get(NVRAM, "") if NVRAM in words else ""}


def start(name: str) -> None:
    """Start it.

    :raises ApplyError:
    """
    host = Host()
    power.start(host.domains[name], Ownership(host.record("guests", name)))


@contextlib.contextmanager
def beside_in(folder: str, state: State, source: Source) -> t.Iterator[str]:
    """The small files that the backup has beside the disks, below *folder*, which is gone then. Yields where."""
    remove(folder)
    inner = os.path.join(state.chosen.folder, BESIDE)
    os.makedirs(folder, mode=0o700)
    try:
        source.restore(state.chosen.id, folder, inner)
        yield os.path.join(folder, inner.lstrip("/"))
    finally:
        remove(folder)


class Definition:
    """The definition of one machine that comes out of a backup. *root* is that once all is laid out, *places* has what lies beside its disks."""

    def __init__(self, spec: Spec, state: State, own: Ownership, host: Host, kept: str) -> None:
        self.spec = spec
        self.state = state
        self.own = own
        self.host = host
        self.kept = kept
        self.drivers = drivers_of(host)
        self.manifest = state.of_backup()
        self.was = load(self.manifest.record, exists=True)
        self.root = domain_xml.parse(self.manifest.definition)
        self.uuid = self._uuid()
        self.places = self._places()
        self.seed = self._seed()

    def _kept(self, name: str) -> str:
        return os.path.join(self.kept, name)

    def _uuid(self) -> str:
        """Its own, unless it is another machine, or another one has it by now."""
        before = domain_xml.read(self.root).uuid
        taken = {its.UUIDString() for its in self.host.domains.values()}
        return before if before not in taken and not self.spec.is_renamed else str(uuid.uuid4())

    def _places(self) -> dict[str, str]:
        """Where its UEFI variables and its TPM come to lie, of which the backup has any."""
        before, found = firmware.places(self.root), {}
        if os.path.exists(self._kept(NVRAM)):
            like = before[NVRAM]
            found[NVRAM] = firmware.own_nvram(self.spec.name, like) if self.spec.is_renamed else like
        if os.path.exists(self._kept(TPM)):
            found[TPM] = firmware.tpm_folder(self.uuid)
        for path in found.values():
            if os.path.lexists(path):
                raise ApplyError(f"{path} is there already, and was not made for {self.spec.name}. Move it away")
        return found

    def _seed(self) -> Volume | None:
        """The volume of its cloud-init data, of which the backup has some: in the pool in which it was, or in that of the disks."""
        before = self.was.volumes.get(SEED_DISK)
        if before is None or not os.path.exists(self._kept(SEED)):
            return None
        pools = [self.spec.pool, before.volume.pool, *(its.pool for its in self.state.volumes.values())]
        pool = next(pool for pool in pools if pool in self.drivers)
        return of_guest(str(pool), self.spec.name, SEED_DISK, BLOCK)

    def steps(self, work: Work) -> t.Generator[Step, None, t.Sequence[str]]:
        told = yield from self.lay_out()
        flags = json.loads(atomic.read_text(self._kept(FLAGS)) or "{}")
        with errors_of(f"define {self.spec.name}", ApplyError):
            domain = self.host.connection.defineXML(domain_xml.to_text(self.root))
            if not self.spec.is_renamed:
                domain.setAutostart(int(bool(flags.get("autostart"))))
        yield Step("defined")
        files = {name: its.settled() for name, its in self.own.record.files.items()}
        self.own.save(files=files)
        pools = {its.pool for its in self.state.volumes.values()}
        return [*told, *storage.refresh(work, pools)]

    def lay_out(self) -> t.Generator[Step, None, list[str]]:
        """Bring what belongs to it beside its disks to its place. Returns what of it did not come back, as sentences.

        :raises ApplyError, CommandError:
        """
        self._claim()
        yield Step("record of what is beside written")
        if self.seed is not None:
            with open(self._kept(SEED), "rb") as stream:
                self.drivers[self.seed.pool].write(self.seed, stream.read())
            yield Step("seed in place")
        for word, path in self.places.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            beside.put(self._kept(word), path)
            yield Step(f"{word} in place")
        return rewrite(self.root, self.was, self._place(), is_other=self.spec.is_renamed, is_there=remote.is_there)

    def _claim(self) -> None:
        """What it gets beside its disks is its own, from before it is made."""
        volumes = dict(self.own.record.volumes)
        if self.seed is not None:
            if self.drivers[self.seed.pool].exists(self.seed):
                place = self.drivers[self.seed.pool].location(self.seed)
                raise ApplyError(f"{place} is there, kept of an earlier {self.spec.name}. Delete it")
            volumes[SEED_DISK] = RecordedVolume(self.seed, is_fresh=True)
        files = {word: RecordedFile(path, is_fresh=True) for word, path in self.places.items()}
        self.own.save(uuid=self.uuid, volumes=volumes, files=files)

    def _place(self) -> Place:
        disks = {
            str(self.manifest.volumes[item]["target"]): self.drivers[volume.pool].disk_source(volume)
            for item, volume in self.state.volumes.items()
        }
        new = {card: mac for card, mac in self.state.macs.items() if mac != self.manifest.macs.get(card)}
        links = self.host.links if self.spec.is_renamed else {}
        taps = {card: link_name(self.spec.name, card, links) for card in self.state.macs if self.spec.is_renamed}
        seed = None if self.seed is None else self.drivers[self.seed.pool].disk_source(self.seed).path
        return Place(self.spec.name, self.uuid, disks, seed, new, taps, self.spec.network, self.places)


def remove(path: str) -> None:
    """Take a file or a folder away that may be there."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        atomic.remove_file(path)
