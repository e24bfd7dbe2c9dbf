# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is wrong on a host, in sentences. Each has a key: by it one knows again tomorrow what was told today."""

from __future__ import annotations

import typing as t

from .._backup.words import FAILED
from .._core import paths
from .._core.units import MIB, show_size
from .spec import FAILURE

Told = t.Mapping[str, t.Any]
# Of a pool for which warn_free says nothing.
WARN_FREE = "10%"
# How the keys of what is wrong of a job begin, by the unit that finds it.
_WORDS = {
    paths.BACKUP_UNIT: "backup",
    paths.VERIFY_UNIT: "verify",
    paths.DRILL_UNIT: "drill",
    paths.REPLICATION_UNIT: "replication",
}


class Condition(t.NamedTuple):
    """*text* is for a person. What *happened* is told once; anything else lasts, is told again, and is told when it is over. Who is told *on*
    that word hears of it, of some only the targets that *to* names.
    """

    key: str
    text: str
    happened: bool = False
    on: str = FAILURE
    to: frozenset[str] = frozenset()


class Went(t.NamedTuple):
    """That the last run of a job went well: when it *ended*, a sentence of it, and as of a ``Condition`` who hears of it."""

    ended: str
    text: str
    to: frozenset[str] = frozenset()


def of_jobs(jobs: t.Iterable[Told], what: str = "backup") -> t.Iterator[Condition]:
    """What is wrong of ``backup_jobs``, or of those of another kind, *what*, as ``_backup.seen`` has them."""
    for job in jobs:
        to = hearing(job)
        for key, text in _wrong_of(job, what):
            yield Condition(key, text, to=to)


def hearing(job: Told) -> frozenset[str]:
    """The targets that hear of the job."""
    return frozenset(job.get("notify") or ())


def _wrong_of(job: Told, what: str) -> t.Iterator[tuple[str, str]]:
    name, verify, drill = job["name"], job.get("verify") or {}, job.get("drill") or {}
    if job["result"] == FAILED:
        whys = [job["error"]] if job["error"] else [f"{guest}: {why}" for guest, why in job["failed"].items()]
        yield f"{what} {name} failed", f"The {what} job {name} failed at {job['ended']}: {'; '.join(whys)}"
    if job["overdue"]:
        last = f"ran last at {job['began']}" if job["began"] else "has never run"
        yield f"{what} {name} overdue", f"The {what} job {name} did not run: it was due at {job['due']}, and {last}"
    if verify.get("result") == FAILED:
        yield (
            f"verify {name} failed",
            f"Reading the backups of {name} failed at {verify['when']}: {verify.get('error')}",
        )
    if verify.get("overdue"):
        yield f"verify {name} overdue", f"The backups of {name} were not read: {_missed(verify, verify['when'])}"
    if drill.get("overdue"):
        yield f"drill {name} overdue", f"The backups of {name} were not tried: {_missed(drill, drill['began'])}"


def _missed(its: Told, last: str | None) -> str:
    return f"that was due at {its['due']}, and {f'was done last at {last}' if last else 'was never done'}"


def of_drills(guests: t.Iterable[Told], jobs: t.Iterable[Told] = ()) -> t.Iterator[Condition]:
    """What is wrong of the drills in ``backups``, as ``_backup.seen`` has them with the *jobs*."""
    to = {job["name"]: hearing(job) for job in jobs}
    for its in guests:
        drill = its.get("drill") or {}
        if drill.get("result") == FAILED:
            job = drill.get("job")
            text = f"The drill of {its['guest']} failed at {drill.get('ended')}: {drill.get('error')}"
            yield Condition(f"drill {job} failed of {its['guest']}", text, to=to.get(str(job), frozenset()))


class Pool(t.NamedTuple):
    """The room of a storage pool, in bytes, what of it lies in its quarantine, and when that goes. *warn_free* is as the pool's option has it."""

    name: str
    capacity: int
    available: int
    warn_free: int | str | None = None
    quarantined: int = 0
    until: str | None = None

    @property
    def least(self) -> int:
        """The room below which it fills up."""
        threshold = WARN_FREE if self.warn_free is None else self.warn_free
        return self.capacity * int(threshold[:-1]) // 100 if isinstance(threshold, str) else threshold


def of_pools(pools: t.Iterable[Pool]) -> t.Iterator[Condition]:
    """The pools that fill up."""
    for its in pools:
        if its.available >= its.least:
            continue
        text = f"The storage pool {its.name} fills up: {_size(its.available)} of {_size(its.capacity)} are free"
        if its.quarantined:
            text += (
                f". {_size(its.quarantined)} lie in its quarantine, the first of it until {its.until}; "
                "homelab.hybrid.guest_quarantine empties it before"
            )
        yield Condition(f"pool {its.name}", text)


def of_switch(switch: Told) -> t.Iterator[Condition]:
    """A change of the host's network that went back."""
    if switch.get("state") == "rolled_back":
        text = f"The change of the network at {switch.get('bridge')} of {switch.get('began')} was taken back: {switch.get('reason')}"
        yield Condition(f"switch {switch.get('id')}", text, happened=True)


def of_units(failed: t.Iterable[str], known: t.Collection[str]) -> t.Iterator[Condition]:
    """The units that *failed*, but for those of which a condition of the keys *known* says more."""
    for unit in failed:
        verb, at, job = unit.removesuffix(".service").partition("@")
        word = _WORDS.get(verb)
        if not (at and word and any(key.startswith(f"{word} {job} failed") for key in known)):
            yield Condition(f"unit {unit}", f"{unit} failed. journalctl -u {unit} says why")


def of_drift(entries: t.Iterable[str]) -> t.Iterator[Condition]:
    """What the last report found that is not as it is declared."""
    lines = list(entries)
    if lines:
        yield Condition("drift", f"The host is not as it is declared: {'; '.join(lines)}")


def of_restart(packages: t.Sequence[str] | None) -> t.Iterator[Condition]:
    """That Debian asks for a restart, since these *packages* were updated; ``None`` where it does not."""
    if packages is not None:
        yield Condition("restart", f"The host waits for a restart: {', '.join(packages) or 'an update asks for it'}")


def _size(size: int) -> str:
    return show_size(size // MIB * MIB) or "0" if size >= MIB else f"{size} bytes"
