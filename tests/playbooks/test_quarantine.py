# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook deletes lies in the quarantine, is told by report, and goes with the lab."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._quarantine.resource import GuestQuarantine
from ansible_collections.homelab.hybrid.tests.harness import labs
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.labs import FIRST, MACHINE, SECOND, Lab, power

pytestmark = pytest.mark.usefixtures("lab_host", "_settings")
POOL = labs.FOLDER / "pool"


@pytest.fixture
def _settings() -> t.Iterator[None]:
    """A quarantine as the role sets it up under systemd."""
    Path(paths.QUARANTINE).write_text('{"days": 3}')
    yield
    Path(paths.QUARANTINE).unlink()
    for name in (FIRST, SECOND, MACHINE):
        assert converge_now(GuestQuarantine(), {"name": name, "moment": "all", "state": "absent"}).error is None


def lying(name: str) -> list[Path]:
    return sorted(POOL.glob(f"{name}@*"))


def test_what_is_deleted_is_told_comes_back_and_goes_with_the_lab(lab: Lab) -> None:
    done = lab.play("decommission", "--limit", f"{SECOND},{MACHINE}", guest_delete=["rootfs", "disks"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in the quarantine until" in done.stdout and power() == {FIRST: "running"}
    assert len(lying(SECOND)) == len(lying(MACHINE)) == 1
    told = lab.report()["quarantine"]
    assert {each["guest"]: each["kind"] for each in told} == {SECOND: "container", MACHINE: "vm"}
    assert SECOND in lab.play("report", report_fails=False).stdout.partition("What lies in the quarantine")[2]

    assert converge_now(GuestQuarantine(), {"name": SECOND}).error is None
    assert power() == {FIRST: "running", SECOND: "stopped"} and not lying(SECOND)
    done = lab.play("decommission", "--limit", SECOND, guest_delete=["rootfs"], guest_quarantine=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == {FIRST: "running"} and not lying(SECOND) and not (POOL / f"{SECOND}.rootfs").exists()

    done = lab.play("destroy", hybrid_is_disposable=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == {} and not POOL.exists()
    assert not [path.name for path in Path(paths.record_folder("guests")).glob(f"{labs.PREFIX}*")]
