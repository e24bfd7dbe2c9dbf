# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills of a container that are killed at each program that they run, on btrfs and in a plain folder. Proven with ip and ps."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct

pytestmark = pytest.mark.usefixtures("no_container", "_repository")


def test_a_drill_that_is_killed_anywhere_leaves_nothing_that_tidy_does_not_take_away() -> None:
    ct.make(state="started", wait_for=[], networks=[ct.LAN])
    backups.backup("run", backups.JOB)
    killed = []
    for number in range(1, 60):
        before = backups.killed_before(number, "drill")
        if before is None:
            break
        killed.append(before)
        backups.backup("tidy")
        assert ct.left_of_a_drill() == [], before
        assert ct.state() == "RUNNING", before
    for word in ("restic restore", "netns add", "lxc-start", "lxc-stop", "netns delete"):
        assert any(word in step for step in killed), killed
    backups.backup("drill", backups.JOB)
    assert ct.left_of_a_drill() == [] and ct.state() == "RUNNING"
