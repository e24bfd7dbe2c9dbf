# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores of virtual machines that are killed at each of their steps, raw on btrfs and qcow2 in a plain folder."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import taking
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.repository import Repository
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import state_of
from ansible_collections.homelab.hybrid.tests.harness.two_pools import FORMATS, NAME, clean, holds, make, write
from ansible_collections.homelab.hybrid.tests.matrix.conftest import pool, pool_folder
from ansible_collections.homelab.hybrid.tests.matrix.test_backup_vm import (
    JOB,
    REPOSITORY,
    RESTORE,
    files,
    repository,
)

__all__ = ["pool", "pool_folder", "repository"]


def test_a_restore_that_was_killed_is_finished_by_the_next(
    pool: str, pool_folder: Path, pool_folders: dict[str, Path], repository: Repository
) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    taking.take(NAME, JOB, Host())

    def begin() -> None:
        clean(pool_folders)

    def verify(dummy: Outcome) -> None:
        assert holds(pool, pool_folder, 1) and state_of(NAME) == "shut off"
        assert files(pool_folder) == [f"{NAME}.{disk}.{FORMATS[pool]}" for disk in ("data", "root")]
        assert not list(Path(paths.RUN).glob("restore/*"))

    params = {"name": NAME, "repository": REPOSITORY}
    assert survive_kills(RESTORE, params, begin=begin, verify=verify, moments=0) > 6
