# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What lay in the mounts of a container that is tried, where that is in its backup: in a volume of the drill, and never at its place on the host."""

from __future__ import annotations

import os

from ..._container import rootfs
from ..._container.capture import MOUNTS
from ..._core.errors import ApplyError
from ..._guest.content import show_copied
from ..._guest.ownership import Ownership
from ..._guest.record import RecordedVolume
from ..._storage.driver import Driver
from ..._storage.volume import FILESYSTEM, Volume, of_guest
from ..manifest import Manifest
from ..repository import Repository
from ..restore.container import bring
from ..stored import Stored


def bring_mounts(
    its: Stored, manifest: Manifest, name: str, root: Volume, driver: Driver, repository: Repository, own: Ownership
) -> str:
    """Bring what the mounts in *its* held into a volume beside *root* of the guest *name*. Returns the folder, in which each has its name.

    :raises ApplyError, CommandError, RepositoryError:
    """
    inner = os.path.join(its.folder, MOUNTS)
    sizes = repository.sizes(its.id, inner, [f"/{mount}" for mount in manifest.mounts])
    needed, left = sum(size or 0 for size in sizes.values()), driver.usage().available
    if needed > left:
        raise ApplyError(
            f"what its backup has of its mounts takes {show_copied(needed)}, and the storage pool {root.pool} has {show_copied(left)} left"
        )
    volume = of_guest(root.pool, name, MOUNTS, FILESYSTEM)
    own.save(volumes={**own.record.volumes, MOUNTS: RecordedVolume(volume, is_fresh=True)})
    attempt = driver.create(volume, keep_fds=repository.fds)
    bring(its.id, inner, attempt.path, repository, repository.fds)
    ids = own.record.idmap
    if ids and manifest.idmap and ids != manifest.idmap:
        by = ids[0] - manifest.idmap[0]
        # Where the kernel maps the owners it does so here, too.
        for mount in (mount for mount, told in manifest.mounts.items() if not told["mapped"]):
            rootfs.shift(os.path.join(attempt.path, mount), rootfs.Shift(by, by, manifest.idmap))
    # liblxc has to pass it as root of the container.
    start = ids[0] if ids else 0
    os.chown(attempt.path, start, start)
    os.chmod(attempt.path, 0o700)
    driver.publish(attempt)
    return driver.location(volume)
