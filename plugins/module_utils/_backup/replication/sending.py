# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""One run of a job of replication: each of its guests as it is now to the other host, and there what is new of it alone.

What was sent is kept here as long as it is the last that lies there: the next difference is made to it.
"""

from __future__ import annotations

import contextlib
import platform
import time
import typing as t

from ..._core import command, paths
from ..._core.errors import ApplyError, HybridError
from ..._core.units import KIB, show_moment
from ..._guest.capture import Wish
from ..._guest.record import GuestRecord
from ..._host.snapshot import Host
from ..._storage.choice import drivers_of
from ..._storage.driver import Sending
from ..._storage.volume import Volume
from ..config import Replication
from ..guests import guests_of
from ..history import Told
from ..running import Say, reporting, reporting_guest
from ..sendable import send_obstacle
from ..taking import captured
from ..words import OK
from .kept import drop, drop_orphans, kept_of
from .naming import Kept, kept_name, moment_of
from .stream import parts
from .target import Target


def run(job: Replication, host: Host, say: Say) -> bool:
    """Run *job*. Answers whether all went well; the report says what did not."""
    with reporting(paths.replication_report(job.name), say, job=job.name, target=job.host, pool=job.pool) as report:
        guests = guests_of(job, host)
        target = Target(job, platform.node())
        target.prepare()
        for guest in guests:
            report["guests"].append(_run_one(guest, target, host, say))
        host.drop()
        for origin in drop_orphans(job.name, guests, host):
            say(f"{origin} is no longer replicated by {job.name}, and nothing is kept of it for that")
    return bool(report["result"] == OK)


def _run_one(guest: str, target: Target, host: Host, say: Say) -> Told:
    with reporting_guest(guest, say) as told:
        told |= replicate(guest, target, host)
        how = "whole" if told["whole"] else "what is new"
        say(f"{guest}: {told['new']} new bytes in {told['sent']} that were sent ({how}, {told['consistent']})")
    return told


def replicate(guest: str, target: Target, host: Host) -> Told:
    """Bring *guest* as it is now to the other host. Returns what is told of it: of the bytes that were sent, those are new that are content.

    :raises HybridError: when it could not be; the copies that were there are there still.
    """
    run = _Replication(guest, target, host)
    try:
        with captured(guest, host, run.asked) as its:
            run.send(its.fds)
            target.lay_beside(guest, run.moment, its.folder, its.fds)
            # Where its answer is lost, nobody knows here which of the two stands there: the next run asks, and both are kept until then.
            run.may_stand = True
            copies = target.finish(guest, run.moment, run.identities)
            drop(run.before, host)
    except BaseException:
        if not run.may_stand:
            run.give_up()
        raise
    return {
        "made": show_moment(its.manifest.made),
        "consistent": its.captured.consistent,
        "whole": run.is_full,
        "sent": run.sent,
        "new": run.new,
        "copies": len(copies),
        "warnings": list(its.captured.warnings),
    }


class _Replication:
    """One guest on its way."""

    def __init__(self, guest: str, target: Target, host: Host) -> None:
        self.guest = guest
        self.target = target
        self.host = host
        self.moment = ""
        self.before: list[Kept] = []
        self.common: list[Kept] = []
        self.since: dict[Volume, Volume | None] = {}
        self.kept: dict[str, Volume] = {}
        self.sent = self.new = 0
        self.may_stand = False

    @property
    def _job(self) -> Replication:
        return self.target.job

    @property
    def identities(self) -> dict[str, str]:
        """By item what tells what was kept of it from all else."""
        return {item: self._driver(kept).identity(kept) for item, kept in self.kept.items()}

    @property
    def is_full(self) -> bool:
        """Whether anything was sent as a whole."""
        return None in self.since.values()

    def _driver(self, volume: Volume) -> Sending:
        return t.cast(Sending, drivers_of(self.host)[volume.pool])

    def asked(self, folder: str, record: GuestRecord, dummy: t.Sequence[int]) -> Wish:
        """See ``taking.captured``. Nothing is done to the guest before the other host has answered."""
        why = send_obstacle(self.guest, record, self.host)
        if why is not None:
            raise ApplyError(why)
        known = self.target.look(self.guest)
        self.before = kept_of(self._job.name, self.host, self.guest)
        whole = [its for its in self.before if self._driver(its.volume).exists(its.volume)]
        self.common = [its for its in whole if self._driver(its.volume).identity(its.volume) in known]
        self.moment = moment_of(time.time())
        return Wish(self.guest, folder, keep=self.keep)

    def keep(self, volumes: t.Mapping[str, Volume]) -> None:
        """Keep the volumes at the one moment that the guest is held for."""
        for item, volume in volumes.items():
            since = next((its.volume for its in self.common if _is_of(its, volume)), None)
            self.since[volume] = since
            name = kept_name(self._job.name, self.moment)
            self.kept[item] = self._driver(volume).keep_for_sending(volume, name, since)

    def send(self, fds: t.Sequence[int]) -> None:
        """Send what was kept, or what is new in it."""
        is_whole = False
        for (item, kept), since in zip(self.kept.items(), self.since.values(), strict=True):
            with (
                self.target.receiving(self.guest, self.moment, item, fds) as pipe,
                command.reading(self._driver(kept).sending(kept, since), keep_fds=fds) as stream,
            ):
                is_whole = self._pass_on(stream, pipe)
            if not is_whole:
                raise ApplyError(f"{item} of {self.guest} broke off on its way")

    def _pass_on(self, stream: t.IO[bytes], pipe: t.IO[bytes]) -> bool:
        began, sent, is_whole = time.monotonic(), 0, False
        for part in parts(stream):
            pipe.write(part.text)
            sent += len(part.text)
            self.new += part.data
            is_whole = part.is_last
            if self._job.bandwidth:
                time.sleep(max(0.0, began + sent / (self._job.bandwidth * KIB) - time.monotonic()))
        self.sent += sent
        return is_whole

    def give_up(self) -> None:
        """What was kept for nothing goes; what cannot go now goes after the next that stands."""
        for kept in self.kept.values():
            with contextlib.suppress(HybridError):
                self._driver(kept).retire(kept)
                self._driver(kept).purge(kept)


def _is_of(kept: Kept, volume: Volume) -> bool:
    return (kept.volume.pool, kept.origin) == (volume.pool, volume.name)
