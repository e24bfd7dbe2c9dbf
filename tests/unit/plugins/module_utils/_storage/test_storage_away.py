# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage pool on a mount from elsewhere that does not answer: nothing of it is asked, and it is made when the mount does."""

from __future__ import annotations

import os
import types
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host import libvirt, mounts, remote
from ansible_collections.homelab.hybrid.plugins.module_utils._host.mount_record import MountRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._host.pool_record import PoolRecord
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import FOLDER, Host
from ansible_collections.homelab.hybrid.plugins.module_utils._storage import observe
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool

MEDIA = MountRecord(path="/srv/media", type="nfs", source="nas:/tank", wait_for_guest="nas")
POOL = {"name": "far", "path": "/srv/media/pool", "state": "started"}


class Its(Host):
    """A host with libvirt and without anything."""

    known: t.ClassVar[dict[str, t.Any]] = {}

    @property
    def pools(self) -> t.Any:
        return self.known

    @property
    def domains(self) -> t.Any:
        return {}

    @property
    def containers(self) -> t.Any:
        return {}

    def connection(self) -> t.Any:
        return None

    def pool_record(self, name: str) -> PoolRecord:
        return PoolRecord.load({"path": POOL["path"], "type": "dir"} if self.known else {})


@pytest.fixture(autouse=True)
def _away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks below the mount waits for its server."""
    monkeypatch.setattr(remote, "remotes", lambda: (MEDIA,))
    monkeypatch.setattr(remote, "_has_answered", lambda point: False)
    monkeypatch.setattr(observe, "read_space", lambda pool: None)
    monkeypatch.setattr(observe, "uses", lambda host: types.SimpleNamespace(below=lambda folder: (), of=lambda it: ()))
    for module, name in ((os.path, "lexists"), (os.path, "realpath"), (os, "statvfs"), (os, "listdir"), (os, "stat")):
        own = getattr(module, name)

        def look(path: t.Any, *more: t.Any, own: t.Any = own, **further: t.Any) -> t.Any:
            assert not str(path).startswith(MEDIA.path), f"somebody asks for {path}"
            return own(path, *more, **further)

        monkeypatch.setattr(module, name, look)
    assert mounts.read_mounts()


def test_a_new_one_is_planned_and_says_that_its_server_does_not_answer() -> None:
    outcome = converge(StoragePool(), POOL, host=Its(), dry_run=True)
    assert outcome.error is None and outcome.changed
    assert outcome.plan.assumed == ["folder /srv/media/pool"]
    (warning,) = outcome.plan.warnings
    assert warning.startswith(
        "nas:/tank, which is mounted at /srv/media, does not answer, and /srv/media/pool lies there"
    )
    claims = StoragePool().claims(StoragePool().parse(POOL), outcome.state)
    assert (claims.folders, claims.room) == ({"/srv/media/pool"}, None)


def test_one_that_stands_differs_in_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    its = libvirt.Pool("far", "dir", POOL["path"], True, True, None)
    monkeypatch.setattr(Its, "known", {"far": its})
    outcome = converge(StoragePool(), POOL, host=Its(), dry_run=True)
    assert outcome.error is None and not outcome.changed, outcome.plan.result()


def test_one_of_btrfs_is_refused() -> None:
    outcome = converge(StoragePool(), {**POOL, "type": "btrfs"}, host=Its(), dry_run=True)
    assert outcome.error is not None and "/srv/media/pool lies on nfs" in outcome.error.message


def test_it_comes_after_its_server_only_where_it_is_not_taken_away() -> None:
    resource = StoragePool()
    wanted = Reference(FOLDER, POOL["path"])
    assert wanted in resource.requires(resource.parse(POOL))
    assert wanted not in resource.requires(resource.parse({"name": "far", "state": "absent"}))
