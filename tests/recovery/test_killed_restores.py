# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores of containers that are killed at each of their steps, on btrfs and in a plain folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills
from ansible_collections.homelab.hybrid.tests.matrix.test_restore_container import (
    OTHER,
    PARAMS,
    RESTORE,
    all_gone,
    backed_up,
    note,
    noted,
)

pytestmark = pytest.mark.usefixtures("no_container", "_repository")


def test_a_restore_that_is_killed_is_finished_by_the_next() -> None:
    backed_up()

    def verify(outcome: Outcome) -> None:
        assert noted(ct.rootfs(OTHER)) == "old"
        assert ct.state(OTHER) == "STOPPED"
        assert [path.name for path in (ct.FOLDER / "pool").iterdir() if path.name.startswith(".")] == []

    survive_kills(RESTORE, {**PARAMS, "as": OTHER}, begin=lambda: all_gone(OTHER), verify=verify, moments=2)


def test_one_over_another_that_is_killed_is_finished_by_the_next() -> None:
    backed_up()

    def begin() -> None:
        ct.clean()
        ct.make(state="stopped", networks=[ct.LAN])
        note("new")

    def verify(outcome: Outcome) -> None:
        assert noted(ct.rootfs()) == "old"
        assert noted(ct.FOLDER / "pool" / f"{ct.NAME}.rootfs@before-revert-1") == "new"
        assert Path(paths.record_path("guests", ct.NAME)).exists()

    survive_kills(RESTORE, {**PARAMS, "allow": ["overwrite"]}, begin=begin, verify=verify, moments=2)
