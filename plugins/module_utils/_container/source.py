# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The container that a new one is cloned from."""

from __future__ import annotations

from .._guest.content import Source
from .._guest.origin import read_source
from .._guest.recorded import load_file
from .._guest.spec import GuestSpec
from .._host.snapshot import Host
from .._storage.choice import drivers_of
from .._storage.driver import LIMIT
from .content import look
from .state import ROOTFS


def observe_source(spec: GuestSpec, host: Host) -> Source | None:
    """What *spec* is cloned from; ``None`` where there is no such guest, or it is cloned from none.

    :raises ObserveError:
    """
    name, pool = spec.origin, spec.get("rootfs.pool")
    if name is None or (name not in host.containers and name not in host.domains):
        return None
    if name in host.domains:
        return Source("vm")
    record = load_file(host.record("guests", name))
    pools = {ROOTFS: pool} if pool else {}
    snapshot = spec.get("clone_from.snapshot")
    source = read_source(name, snapshot, "container", record, look(name, record, host), host, pools=pools)
    return source._replace(values=_inherited(source, pool, host))


def _inherited(source: Source, pool: str | None, host: Host) -> dict[str, object]:
    """What a clone has of it where nothing else is declared: where its root lies, how large it may become, whose files they are."""
    root = source.parts.get(ROOTFS)
    if root is None:
        return {}
    found: dict[str, object] = {"rootfs.pool": root.volume.pool, "unprivileged": source.idmap is not None}
    driver = drivers_of(host).get(pool or root.volume.pool)
    if driver is None:
        return found  # it is made before, by the same layout
    size = source.sizes.get(ROOTFS)
    return {**found, "rootfs.size": size} if size and driver.obstacle(LIMIT) is None else found
