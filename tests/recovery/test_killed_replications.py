# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replications of a running container that are killed at each of their steps and in the middle of the stream, on both sides."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.replications import (
    COPIES,
    JOB,
    begun,
    copies,
    declared,
    hosts,
    job,
    kept,
    replicate,
    report,
)

pytestmark = pytest.mark.usefixtures("no_container")
__all__ = ["job"]
_hosts = hosts("killed")


def sending_slowly() -> subprocess.Popen[str]:
    """A run that is in the middle of a large file."""
    (ct.rootfs() / "large").write_bytes(os.urandom(20 << 20))
    converge_now(backups.BACKUP, declared(bandwidth=2000))
    run = subprocess.Popen(
        [backups.PROGRAM, "replicate", JOB], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while not list(COPIES.glob(".*/volumes/*/large")):
        assert time.monotonic() < until and run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.1)
    return run


def goes_on() -> None:
    """The next run brings the container there, and nothing of the one before is left."""
    converge_now(backups.BACKUP, declared())
    replicate()
    assert len(copies()) == 1 and len(kept()) == 1 and begun() == [] and ct.left_of_a_backup() == []


@pytest.mark.parametrize("program", ["btrfs -q send", "btrfs -q receive"])
def test_an_end_of_the_stream_that_is_killed_leaves_nothing_that_is_taken_for_a_copy(program: str) -> None:
    ct.make(state="started", wait_for=[])
    run = sending_slowly()
    ct.run("pkill", "-9", "-o", "-f", program)
    told = run.communicate(timeout=120)[1]
    assert run.returncode == 1, told
    assert report()["guests"][0]["result"] == "failed" and "ok" not in report()["last"][ct.NAME]
    assert copies() == [] and kept() == [] and ct.state() == "RUNNING"
    goes_on()


def test_a_sender_that_is_killed_as_a_whole_leaves_the_copy_that_was_there() -> None:
    ct.make(state="started", wait_for=[])
    replicate()
    before = copies()
    run = sending_slowly()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(timeout=60)
    assert copies() == before and ct.state() == "RUNNING"
    goes_on()
    assert copies() != before


def test_a_run_that_is_killed_at_any_step_is_taken_up_by_the_next() -> None:
    ct.make(state="started", wait_for=[])
    # The code is there then, and each run has the same steps.
    replicate()
    steps: list[str] = []
    while (before := backups.killed_before(len(steps) + 1, "replicate", JOB)) is not None:
        steps.append(before)
        assert len(copies()) <= 1 and ct.state() == "RUNNING", steps
    for words in ("snapshot", "ssh", "btrfs -q send"):
        assert any(words in step for step in steps), steps
    assert not replicate()["whole"]
    goes_on()
