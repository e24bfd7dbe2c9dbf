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

from ..._core import atomic, paths
from ..._core.errors import ObserveError
from ..._core.units import show_moment
from ..._host.snapshot import Host
from ..._storage.choice import drivers_of
from ..._storage.driver import SEND
from .. import manifest as manifests
from ..config import load as load_jobs
from ..history import FAILED, OK, loaded
from ..manifest import Manifest
from ..stored import seconds_of
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


def read_replication(host: Host, now: float | None = None) -> dict[str, list[dict[str, t.Any]]]:
    """The ``replicas`` that lie here, and the ``replications`` of guests of this host: when each went to another one last."""
    moment = time.time() if now is None else now
    replicas = [
        {
            "guest": its.manifest.guest,
            "kind": its.manifest.kind,
            "origin": its.origin,
            "pool": its.pool,
            "made": show_moment(its.manifest.made),
            "age": max(0, int(moment - its.manifest.made)),
            "consistent": its.manifest.consistent,
            "bytes": its.manifest.used_bytes,
            "path": its.folder,
        }
        for its in copies_of(host)
    ]
    return {"replicas": replicas, "replications": _replications(moment)}


def _replications(now: float) -> list[dict[str, t.Any]]:
    found = []
    for name, job in sorted(load_jobs(atomic.read_text(paths.BACKUP_CONFIG)).replications.items()):
        last = loaded(atomic.read_text(paths.replication_report(name))).get("last") or {}
        for guest, results in sorted(last.items()):
            went, failed = results.get(OK) or {}, results.get(FAILED) or {}
            made = seconds_of(went["made"]) if went else None
            found.append(
                {
                    "job": name,
                    "guest": guest,
                    "target": job.host,
                    "pool": job.pool,
                    "made": went.get("made"),
                    "age": None if made is None else max(0, int(now - made)),
                    "error": failed.get("error") if str(failed.get("when")) > str(went.get("when", "")) else None,
                }
            )
    return found
