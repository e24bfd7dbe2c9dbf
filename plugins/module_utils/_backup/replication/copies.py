# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The copies of guests of other hosts that lie in the storage pools of this one. Only reads."""

from __future__ import annotations

import json
import os
import time
import typing as t

from ..._core import atomic
from ..._core.errors import ObserveError
from ..._core.units import age_of, show_moment
from ..._host.snapshot import Host
from ..._storage.choice import drivers_of
from ..._storage.driver import SEND
from .. import manifest as manifests
from ..manifest import Manifest
from .naming import FOLDER, MOMENT


class Copy(t.NamedTuple):
    """One copy of one guest, whole, in *folder*."""

    pool: str
    origin: str
    moment: str
    folder: str
    manifest: Manifest


def copies_in(folder: str) -> list[str]:
    """The moments of the whole copies in the *folder* of a guest, the newest first."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted((name for name in names if MOMENT.fullmatch(name)), reverse=True)


def copies_of(host: Host) -> list[Copy]:
    """The copies that lie here, the newest of each guest first. One whose manifest nobody can read is left out."""
    found = []
    for name, driver in sorted(drivers_of(host).items()):
        top = os.path.join(driver.path, FOLDER)
        if SEND not in driver.can or not os.path.isdir(top):
            continue
        for origin in sorted(os.listdir(top)):
            for of in sorted(os.listdir(os.path.join(top, origin))):
                place = os.path.join(top, origin, of)
                for moment in copies_in(place):
                    manifest = _manifest(os.path.join(place, moment))
                    if manifest is not None:
                        found.append(Copy(name, origin, moment, os.path.join(place, moment), manifest))
    return found


def _manifest(folder: str) -> Manifest | None:
    try:
        return manifests.load(json.loads(atomic.read_text(os.path.join(folder, manifests.FILE)) or "{}"))
    except (ValueError, ObserveError):
        return None


def read_replicas(host: Host) -> list[dict[str, t.Any]]:
    """What is told of the copies that lie here."""
    now = time.time()
    return [
        {
            "guest": its.manifest.guest,
            "kind": its.manifest.kind,
            "origin": its.origin,
            "pool": its.pool,
            "made": show_moment(its.manifest.made),
            "age": age_of(its.manifest.made, now),
            "consistent": its.manifest.consistent,
            "bytes": its.manifest.used_bytes,
            "path": its.folder,
        }
        for its in copies_of(host)
    ]
