# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What lies in the quarantine of a guest, and whether it could come back. Only reads."""

from __future__ import annotations

import os
import typing as t

from .._core.paths import snapshot_folder
from .._guest.allocation import taken_macs
from .._guest.plan import snapshot_path
from .._guest.quarantine import moment_of, of_guest, told_of
from .._guest.record import GuestRecord, Quarantine, load
from .._guest.recorded import load_file, load_others
from .._guest.removal import obstacle_to_deletion
from .._host import handed_out
from .._host.snapshot import Host
from .._storage.choice import absence, drivers_of
from .._storage.volume import Volume
from .spec import Spec
from .state import Entry, State


def observe(spec: Spec, host: Host) -> State:
    """Read what lies in the quarantine of the guest of *spec*.

    :raises ObserveError:
    """
    record = load_file(host.record("guests", spec.name))
    found = {name: load_file(file) for name, file in of_guest(spec.name, host).items()}
    is_known = spec.name in host.domains or spec.name in host.containers
    entries = {moment_of(name): _entry(name, its, record, host) for name, its in found.items()}
    told = tuple(told_of(name, its, host) for name, its in found.items())
    return State(entries, is_known, record, told)


def _entry(name: str, record: GuestRecord, own: GuestRecord, host: Host) -> Entry:
    places: dict[str, str] = {}
    stuck: list[str] = []
    taken: list[str] = []
    its = t.cast(Quarantine, record.quarantine)
    before = load(its.record, exists=True)
    for item, recorded in record.volumes.items():
        _look(f"volumes[{item}]", recorded.volume, name, host, places, stuck)
        if item in before.volumes and _is_taken(before.volumes[item].volume, host):
            taken.append(f"{before.volumes[item].volume} is there by now. Move it away, or take away what it is of")
    for item, file in record.files.items():
        if os.path.lexists(file.path):
            places[item] = file.path
        if item in before.files and os.path.lexists(before.files[item].path):
            taken.append(f"{before.files[item].path} is there by now. Move it away, or take away what it is of")
    for item, snapshot in record.snapshots.items():
        inner: dict[str, str] = {}
        for part, volume in snapshot.volumes.items():
            _look(part, volume, name, host, inner, stuck)
        folder = snapshot_folder(name, item)
        inner |= {"beside": folder} if os.path.isdir(folder) else {}
        if inner:
            places[snapshot_path(item)] = ", ".join(inner.values())
    both = sorted(
        {*record.volumes, *record.files} & {*own.volumes, *own.files} | {*record.snapshots} & {*own.snapshots}
    )
    if both:
        taken.append(f"{', '.join(both)} is kept of a later {its.guest}. Delete that first")
    return Entry(name, record, places, tuple(stuck), (*taken, *_whose_cards(its.guest, before, host)))


def _look(what: str, volume: Volume, name: str, host: Host, places: dict[str, str], stuck: list[str]) -> None:
    driver = drivers_of(host).get(volume.pool)
    why = absence(host, volume.pool)
    if driver is not None and why is None and driver.exists(volume):
        places[what] = driver.location(volume)
        why = obstacle_to_deletion(name, places[what], host)
        why = why and f"{places[what]}: {why}"
    elif why is not None:
        places[what] = str(volume)
    if why is not None:
        stuck.append(why)


def _is_taken(volume: Volume, host: Host) -> bool:
    driver = drivers_of(host).get(volume.pool)
    return driver is not None and driver.exists(volume)


def _whose_cards(guest: str, record: GuestRecord, host: Host) -> list[str]:
    """What others have by now of the MACs and addresses that it had."""
    owners = taken_macs(host, guest)
    found = [
        f"the MAC {mac} of its card {card} is {owners[mac]}'s by now"
        for card, mac in record.macs.items()
        if mac in owners
    ]
    mine = {*record.addresses.values(), *record.addresses6.values()}
    for other, its in load_others(host.guest_records).items():
        if other != guest:
            same = sorted(mine & {*its.addresses.values(), *its.addresses6.values()})
            found += [f"its address {address} is {other}'s by now" for address in same]
    kept = {(bridge, ip): other for (bridge, dummy, ip), other in handed_out.owners(host).items() if other != guest}
    for bridge, dummy, ip in record.reservations:
        if (bridge, ip) in kept:
            found.append(f"its address {ip} on {bridge} is {kept[bridge, ip]}'s by now")
    return found
