# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The definition of a machine that comes back from a backup, as it is in its new place."""

from __future__ import annotations

import typing as t

from .._core.keyed import claim_names
from .._guest.record import GuestRecord
from .._storage.driver import DiskSource
from . import firmware
from .firmware import NVRAM, TPM
from .naming import PLACES
from .options import SEED_DISK
from .xml import cdrom, disk, domain, hostdev, nic, vsock
from .xml.node import Node, child, name_of, remove, set_attribute


class Place(t.NamedTuple):
    """Where it comes back: under *name* and *uuid*, its *disks* by target on these files, its *seed* too.

    *macs* are the new ones by card, *taps* the names of their ends on the host, *bridge* is where all cards are plugged in; ``None`` and
    nothing for what stays as it was. *beside* has the places of its UEFI variables and its TPM.
    """

    name: str
    uuid: str
    disks: t.Mapping[str, DiskSource]
    seed: str | None
    macs: t.Mapping[str, str]
    taps: t.Mapping[str, str]
    bridge: str | None
    beside: t.Mapping[str, str]


def cards_of(root: Node, record: GuestRecord) -> dict[str, str]:
    """The MACs of the cards by their names."""
    things = claim_names(domain.read_nics(root), PLACES["networks"], recorded=record.names.get("networks")).things
    return {name: its.mac for name, its in things.items()}


def rewrite(
    root: Node, record: GuestRecord, its: Place, *, is_other: bool, is_there: t.Callable[[str], bool]
) -> list[str]:
    """Let the definition *root* be that of the machine in its new place. Returns what it has no more, as sentences.

    *is_there* says whether a file is on this host.
    """
    cards = {mac: name for name, mac in cards_of(root, record).items()}
    child(root, "name").text = its.name
    child(root, "uuid").text = its.uuid
    told = [*_rewrite_disks(root, its, is_other=is_other, is_there=is_there)]
    for node in root.findall("devices/interface"):
        card = cards.get(nic.READ["mac"](node), "")
        if card in its.macs:
            nic.WRITE["mac"](node, its.macs[card])
        if card in its.taps:
            set_attribute(node, "target", "dev", its.taps[card])
        if its.bridge is not None:
            nic.WRITE["bridge"](node, its.bridge)
    _rewrite_beside(root, its)
    if is_other:
        for node in hostdev.nodes(root):
            remove(node)
            told.append(f"{its.name} has none of the devices that the host gave to the machine that it is a copy of")
        if isinstance(vsock.read(root), int) and vsock.read(root):
            vsock.write(root, vsock.AUTO)
    return list(dict.fromkeys(told))


def _rewrite_disks(root: Node, its: Place, *, is_other: bool, is_there: t.Callable[[str], bool]) -> t.Iterator[str]:
    for node in root.findall("devices/disk"):
        target, source = node.find("target").get("dev"), disk.source_of(node)
        place = its.disks.get(target)
        if place is not None:
            disk.WRITE["source"](node, place.path)
            disk.WRITE["format"](node, place.format)
        elif name_of(node) == SEED_DISK and its.seed is not None:
            disk.WRITE["source"](node, its.seed)
        elif cdrom.is_drive(node):
            if source and not is_there(source):
                cdrom.WRITE["source"](node, "")
                yield f"the drive {target} of {its.name} is empty: {source} is not on this host"
        elif is_other or (source and not is_there(source)):
            remove(node)
            yield f"{its.name} has no disk {target}: {source or 'what it stood on'} was not in the backup"


def _rewrite_beside(root: Node, its: Place) -> None:
    variables, backend = root.find("os/nvram"), root.find("devices/tpm/backend[@type='emulator']")
    if variables is not None and NVRAM in its.beside:
        if variables.find("source") is not None:
            set_attribute(variables, "source", "file", its.beside[NVRAM])
        else:
            variables.text = its.beside[NVRAM]
    if backend is not None and its.beside.get(TPM) == firmware.tpm_folder(its.uuid):
        # It is where libvirt has it by itself.
        remove(backend.find("source"))
