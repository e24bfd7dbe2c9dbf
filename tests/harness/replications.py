# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that is replicated to another pool, as if that were on another host: this one, reached by OpenSSH."""

from __future__ import annotations

import json
import os
import platform
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import backups, loopback_ssh
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

JOB, FAR = "hlct-far", "hlct-far"
PLACE = ct.FOLDER / "far"
COPIES = PLACE / "+replicas" / platform.node() / ct.NAME


def hosts(disk: str) -> t.Any:
    """A fixture for the tests of one file: both hosts. See ``containers.set_up`` for *disk*."""

    @pytest.fixture(scope="module", autouse=True)
    def _hosts(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
        ct.set_up("btrfs", disk=f"{disk}.img")
        file = str(ct.FOLDER / f"{disk}-far.img")
        ct.run("truncate", "-s", "1G", file)
        outcome = converge_now(StoragePool(), {"name": FAR, "type": "btrfs", "path": str(PLACE), "source": file})
        assert outcome.error is None, outcome.error
        with loopback_ssh.serving(tmp_path_factory.mktemp("ssh")):
            yield
        converge_now(StoragePool(), {"name": FAR, "state": "absent", "allow": ["delete_data"]})
        ct.tear_down()

    return _hosts


@pytest.fixture(autouse=True)
def job() -> t.Iterator[None]:
    """The job of replication; afterwards nothing of it is left on either."""
    outcome = converge_now(backups.BACKUP, declared())
    assert outcome.error is None, outcome.error
    yield
    converge_now(backups.BACKUP, gone())
    for path in (backups.PROGRAM, paths.replication_report(JOB)):
        Path(path).unlink(missing_ok=True)
    for place in [*COPIES.glob("*/volumes/*"), *COPIES.glob(".*/volumes/*"), *PLACE.glob(f"{ct.PREFIX}*")]:
        ct.run("btrfs", "-q", "subvolume", "delete", str(place))
    shutil.rmtree(COPIES.parent, ignore_errors=True)


def declared(**job: t.Any) -> dict[str, t.Any]:
    wanted = {"name": JOB, "host": "127.0.0.1", "port": loopback_ssh.PORT, "pool": FAR, "schedule": "*:0/15", **job}
    return {"replications": [wanted]}


def gone() -> dict[str, t.Any]:
    return {"replications": [{"name": JOB, "state": "absent"}]}


def report() -> dict[str, t.Any]:
    told: dict[str, t.Any] = json.loads(Path(paths.replication_report(JOB)).read_text(encoding="utf-8"))
    return told


def replicate() -> dict[str, t.Any]:
    """What the report says of the container after a run that went well."""
    backups.backup("replicate", JOB)
    (told,) = report()["guests"]
    assert told["guest"] == ct.NAME
    return dict(told)


def copies() -> list[str]:
    """The whole copies that lie there."""
    return sorted(name for name in os.listdir(COPIES) if not name.startswith(".")) if COPIES.is_dir() else []


def begun() -> list[str]:
    """What lies there beside these."""
    return sorted(name for name in os.listdir(COPIES) if name.startswith(".")) if COPIES.is_dir() else []


def kept() -> list[str]:
    """What the host of the container keeps of it."""
    return sorted(path.name for path in (ct.FOLDER / "pool").iterdir() if "+replica+" in path.name)
