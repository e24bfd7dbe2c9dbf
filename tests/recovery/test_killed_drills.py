# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills that are killed at each program that they run: of a container on btrfs and in a plain folder, and of a virtual machine.

Proven with ip, ps and virsh.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import backups, machines
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

MACHINE = f"{machines.PREFIX}-killed"


@pytest.mark.usefixtures("no_container", "_repository")
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


@pytest.fixture
def _machine() -> t.Iterator[None]:
    """A machine that runs firmware alone, and an empty repository with a job of it."""
    repository = Path("/var/tmp/hlvm-drill-repository")
    with machines.surroundings():
        backups.set_up(repository, guests=[MACHINE], drill={"timeout": 1})
        params = {"name": MACHINE, "state": "started", **machines.PAPER, "agent": False}
        disk = {"name": "root", "pool": machines.POOL, "size": "4M"}
        card = {"name": "lan", "bridge": machines.BRIDGES[0]}
        outcome = converge_now(
            KvmVm(), {**params, "disks": [disk], "networks": [card], "backup": {"health": ["tcp:1"]}}
        )
        assert outcome.error is None, outcome.error
        yield
        backups.backup("tidy", check=False)
        backups.tear_down(repository)


@pytest.mark.usefixtures("_machine")
def test_a_drill_of_a_machine_that_is_killed_anywhere_leaves_nothing_that_tidy_does_not_take_away() -> None:
    backups.backup("run", backups.JOB)
    number = machines.virsh("domid", MACHINE)
    killed = []
    for step in range(1, 60):
        # Firmware alone is never well.
        before = backups.killed_before(step, "drill", fails=True)
        if before is None:
            break
        killed.append(before)
        backups.backup("tidy")
        assert machines.left_of_a_drill() == [], before
        assert machines.virsh("domid", MACHINE) == number, before
    for word in ("restic restore", "netns add", "netns homelab", "master segment0", "neighbour", "netns delete"):
        assert any(word in step for step in killed), killed
