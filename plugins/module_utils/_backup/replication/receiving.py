# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The end of a replication on the host that guests come to. It is done by the code of the host that they come from, sent along.

What comes lies under a name of its own until all of it has come and was found whole: then one rename makes a copy of it.
"""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from ..._core import atomic, command, lock
from ..._core.errors import ApplyError, ObserveError
from ..._core.removal import remove_tree
from ..._host.snapshot import Host
from ..._storage.choice import absence, drivers_of
from ..._storage.driver import SEND, Sending
from .. import manifest as manifests
from .copies import copies_in
from .naming import BEGUN, FOLDER, GONE, MOMENT, VOLUMES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
# Another run sends the same guest, or what one that was killed has begun there still reads to its end.
_WAIT_SECONDS = 60.0
_PIECE = 1 << 20


class Receiver:
    """The copies of one guest of one host in one pool here. *asked* are the words that came."""

    def __init__(self, asked: t.Mapping[str, t.Any], host: Host) -> None:
        self.guest = _checked(asked["guest"])
        self.origin = _checked(asked["origin"])
        self.driver = _driver(str(asked["pool"]), host)
        self.folder = os.path.join(self.driver.path, FOLDER, self.origin, self.guest)
        self.moment = str(asked.get("moment") or "")
        if self.moment and not MOMENT.fullmatch(self.moment):
            raise ObserveError(f"{self.moment} is no moment of a copy")

    @property
    def begun(self) -> str:
        """Where the copy is until it is whole."""
        return os.path.join(self.folder, f".{self.moment}{BEGUN}")

    def _locked(self) -> t.ContextManager[lock.Held]:
        return lock.replicating(f"{self.origin}+{self.guest}", wait_seconds=_WAIT_SECONDS)

    def look(self) -> dict[str, t.Any]:
        """What lies here of the guest. What is not whole goes."""
        with self._locked():
            self._sweep()
            found = [
                self.driver.received(os.path.join(self.folder, moment, VOLUMES, item))
                for moment in copies_in(self.folder)
                for item in sorted(os.listdir(os.path.join(self.folder, moment, VOLUMES)))
            ]
        return {"identities": sorted(its for its in found if its)}

    def _sweep(self) -> None:
        for name in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else ():
            if name.startswith(".") and name.endswith((BEGUN, GONE)):
                self._remove(os.path.join(self.folder, name))

    def _remove(self, place: str) -> None:
        volumes = os.path.join(place, VOLUMES)
        for name in sorted(os.listdir(volumes)) if os.path.isdir(volumes) else ():
            self.driver.remove_received(os.path.join(volumes, name))
        remove_tree(place)

    def receive(self, item: str, stream: t.IO[bytes]) -> None:
        """Make of *stream* the volume of *item*."""
        with self._locked() as held:
            volumes = os.path.join(self.begun, VOLUMES)
            os.makedirs(os.path.join(self.driver.path, FOLDER), mode=0o700, exist_ok=True)
            os.makedirs(volumes, mode=0o700, exist_ok=True)
            before = set(os.listdir(volumes))
            with command.writing(self.driver.receiving(volumes), keep_fds=held.fds) as pipe:
                shutil.copyfileobj(stream, pipe, _PIECE)
            came = set(os.listdir(volumes)) - before
            if len(came) != 1:
                raise ApplyError(f"{item} of {self.guest} did not come")
            # It is read-only: within its folder alone it can get another name.
            os.rename(os.path.join(volumes, came.pop()), os.path.join(volumes, _checked(item)))

    def beside(self, stream: t.IO[bytes]) -> None:
        """Lay down what the guest has beside its volumes."""
        with self._locked() as held:
            os.makedirs(self.begun, mode=0o700, exist_ok=True)
            argv = ["tar", "--numeric-owner", "--xattrs", "-C", self.begun, "-xpf", "-"]
            with command.writing(argv, keep_fds=held.fds) as pipe:
                shutil.copyfileobj(stream, pipe, _PIECE)
            os.chmod(self.begun, 0o700)

    def finish(self, identities: t.Mapping[str, str], keep: int) -> dict[str, t.Any]:
        """It is whole: a copy from now on. All but the newest *keep* go."""
        with self._locked():
            for item, identity in identities.items():
                if self.driver.received(os.path.join(self.begun, VOLUMES, _checked(item))) != identity:
                    raise ApplyError(f"{item} of {self.guest} did not come whole")
            if not os.path.isfile(os.path.join(self.begun, manifests.FILE)):
                raise ApplyError(f"the manifest of {self.guest} did not come")
            command.run(["sync", "-f", self.folder])
            atomic.rename_new(self.begun, os.path.join(self.folder, self.moment))
            atomic.sync_folder(self.folder)
            for moment in copies_in(self.folder)[keep:]:
                place = os.path.join(self.folder, f".{moment}{GONE}")
                os.rename(os.path.join(self.folder, moment), place)
                self._remove(place)
            return {"moments": copies_in(self.folder)}


def _driver(pool: str, host: Host) -> Sending:
    why = absence(host, pool)
    if why is not None:
        raise ObserveError(f"what is replicated cannot come to this host: {why}")
    driver = drivers_of(host)[pool]
    if SEND not in driver.can:
        raise ObserveError(
            f"the storage pool {pool} of this host is not of type btrfs, and nothing can be replicated to it"
        )
    return t.cast(Sending, driver)


def _checked(name: t.Any) -> str:
    if not _NAME.fullmatch(str(name)):
        raise ObserveError(f"{name!r} is no name of a guest, an item or a host")
    return str(name)
