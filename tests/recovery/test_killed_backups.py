# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a running container that are killed at each program that they run, on btrfs and in a plain folder.

Proven with LXC and the host's own tools.
"""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

pytestmark = pytest.mark.usefixtures("no_container", "_repository")


@pytest.mark.parametrize("mode", ["snapshot", "suspend", "stop"])
def test_a_run_that_is_killed_anywhere_leaves_nothing_that_the_next_does_not_take_back(pool: str, mode: str) -> None:
    hooks = {"before": ["touch /held"], "after": ["rm -f /held"]}
    ct.make(state="started", wait_for=[], backup={"hooks": hooks})
    converge_now(backups.BACKUP, backups.declared(ct.REPOSITORY, mode=mode))
    backups.backup("run", backups.JOB)
    killed = []
    for number in range(1, 60):
        before = backups.killed_before(number)
        if before is None:
            break
        killed.append(before)
        backups.backup("tidy")
        assert ct.left_of_a_backup() == [], before
        assert ct.state() == "RUNNING" and not (ct.rootfs() / "held").exists(), before
    assert sum("lxc-attach" in step for step in killed) == 4, killed
    assert any("mount --bind" in step for step in killed) and any("restic backup" in step for step in killed), killed
    assert any(("btrfs" if pool == "btrfs" else "rsync") in step for step in killed), killed
    backups.backup("run", backups.JOB)
    assert ct.left_of_a_backup() == [] and ct.state() == "RUNNING"
