# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The quarantine: what of guests was deleted and lies in its pools for a time. Only reads.

What was set aside of a guest is a guest of its own in the records, ``NAME@MOMENT``, which no hypervisor knows: so its ids stay taken, and
what it stands on stays. Its MACs and addresses are in what its record says of the guest, where nobody looks for those that are taken.
"""

from __future__ import annotations

import json
import time
import typing as t

from .._core import atomic, paths
from .._core.errors import ObserveError
from .._core.record import Record
from .._core.units import show_moment
from .._host.snapshot import Host
from .._storage.choice import drivers_of
from .._storage.driver import Snapshotting
from .._storage.volume import Volume
from .record import GuestRecord, Quarantine
from .recorded import load_file
from .spec import GuestSpec

DEFAULT_DAYS = 7
MARK = "@"
_DAY_SECONDS = 86400


def observe_quarantine(spec: GuestSpec, host: Host) -> dict[str, t.Any]:
    """What the state of a guest has of the quarantine.

    :raises ObserveError:
    """
    begun = next((name for name, its in of_guest(spec.name, host).items() if _is_begun(its)), None)
    if spec.state != "absent" or not spec.delete or spec.quarantine is False:
        return {"begun": begun}
    if begun is not None:
        return {"begun": begun, "quarantined_until": float(host.record("guests", begun).data["quarantine"]["until"])}
    days = days_of_host()
    if spec.quarantine is None and not days:
        return {}
    return {"quarantined_until": time.time() + (days or DEFAULT_DAYS) * _DAY_SECONDS}


def days_of_host() -> int | None:
    """For how many days what is deleted lies in the quarantine; ``None`` where nothing on this host would ever take it away.

    :raises ObserveError:
    """
    text = atomic.read_text(paths.QUARANTINE)
    if text is None:
        return None
    try:
        return int(json.loads(text)["days"])
    except (ValueError, KeyError, TypeError) as exc:
        raise ObserveError(
            f"{paths.QUARANTINE} cannot be read ({exc}). The role homelab.hybrid.hypervisor writes it"
        ) from exc


def of_guest(guest: str, host: Host) -> dict[str, Record]:
    """The records of what lies in the quarantine of *guest*, the oldest first."""
    return {
        name: its
        for name, its in sorted(host.guest_records.items())
        if name.startswith(f"{guest}{MARK}") and _guest_in(its) == guest
    }


def _guest_in(file: Record) -> str | None:
    its = file.data.get("quarantine")
    return str(its.get("guest")) if isinstance(its, dict) else None


def _is_begun(file: Record) -> bool:
    return bool(file.data["quarantine"].get("begun"))


def moment_of(name: str) -> str:
    """By what what lies in the quarantine is told from what else lies there of its guest."""
    return name.rpartition(MARK)[2]


def read_quarantine(host: Host) -> list[dict[str, t.Any]]:
    """What lies in the quarantine of *host*, in the order in which it goes. A record that cannot be read says nothing."""
    found = []
    for name, file in host.guest_records.items():
        if _guest_in(file) is not None:
            try:
                record = load_file(file)
            except ObserveError:
                continue
            found.append(told_of(name, record, host))
    return sorted(found, key=lambda its: (its["until"], its["guest"]))


def told_of(name: str, record: GuestRecord, host: Host) -> dict[str, t.Any]:
    """What is told of one that lies in the quarantine."""
    its = t.cast(Quarantine, record.quarantine)
    volumes = all_volumes(record)
    return {
        "guest": its.guest,
        "kind": record.kind,
        "moment": moment_of(name),
        "since": show_moment(its.since),
        "until": show_moment(its.until),
        "pools": sorted({volume.pool for volume in volumes}),
        "volumes": [str(volume) for volume in volumes],
        "bytes": sum(_bytes_of(volume, host) for volume in volumes),
    }


def all_volumes(record: GuestRecord) -> list[Volume]:
    """The volumes of a record, with those of its snapshots."""
    return [
        *(its.volume for its in record.volumes.values()),
        *(volume for its in record.snapshots.values() for volume in its.volumes.values()),
    ]


def _bytes_of(volume: Volume, host: Host) -> int:
    driver = drivers_of(host).get(volume.pool)
    return t.cast(Snapshotting, driver).used_bytes(volume) if driver is not None and driver.exists(volume) else 0
