# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that has lost its guests, pools, bridges and all that the collection remembers of them gets them back from its repository.

On a bare Debian that is tried by tests/recovery/test_lost_host.py.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.tests.harness import backups, labs
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.labs import FIRST, FOLDER, MACHINE, SECOND, Lab, changed, power

pytestmark = pytest.mark.usefixtures("lab_host")
REPOSITORY = Path(f"{FOLDER}-backups")
DISK = FOLDER / "pool" / f"{MACHINE}.root.qcow2"
NOTE = FOLDER / "pool" / f"{FIRST}.rootfs" / "etc" / "note"
RUNNING = {FIRST: "running", SECOND: "running", MACHINE: "running"}


@pytest.fixture
def _backed_up(lab: Lab) -> t.Iterator[None]:
    """A backup of one container and of the machine, each with something of its own in it."""
    backups.set_up(REPOSITORY, guests=[FIRST, MACHINE])
    # In a cell nobody may link the program of the jobs into /usr/local/sbin.
    lab.host["hypervisor_backup_repositories"] = backups.declared(REPOSITORY)["repositories"]
    NOTE.write_text("kept")
    labs.run("virsh", "-c", "qemu:///system", "destroy", MACHINE)
    labs.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", str(DISK))
    labs.run("virsh", "-c", "qemu:///system", "start", MACHINE)
    backups.backup("run", backups.JOB)
    yield
    backups.tear_down(REPOSITORY)


def who() -> dict[str, t.Any]:
    """Who the guests are, as LXC, libvirt and the record say."""
    config = (Path("/var/lib/lxc") / FIRST / "config").read_text().splitlines()
    record = json.loads(Path(paths.record_path("guests", FIRST)).read_text())
    return {
        "config": [line for line in config if line.startswith(("lxc.net", "lxc.idmap"))],
        "record": {key: record.get(key) for key in ("idmap", "macs", "addresses")},
        "uuid": labs.run("virsh", "-c", "qemu:///system", "domuuid", MACHINE),
        "cards": labs.run("virsh", "-q", "-c", "qemu:///system", "domiflist", MACHINE).split()[4:],
        "owner": NOTE.parent.stat().st_uid,
    }


def lose_the_host() -> None:
    """All but the archive of the image, which the inventory names, and the repository."""
    archive = (FOLDER / "tiny.tar.zst").read_bytes()
    labs.tear_down()
    assert converge_now(backups.BACKUP, backups.gone()).error is None
    FOLDER.mkdir()
    (FOLDER / "tiny.tar.zst").write_bytes(archive)
    assert power() == {} and not Path(paths.record_path("guests", FIRST)).exists()


@pytest.mark.usefixtures("_backed_up")
def test_a_host_comes_back_from_its_inventory_and_its_repository(lab: Lab) -> None:
    was = who()
    lose_the_host()
    checked = lab.play("rebuild", "--check")
    assert checked.returncode == 0 and "What comes back is known after apply" in checked.stdout, checked.stdout
    assert power() == {} and not (FOLDER / "pool").exists()

    limited = lab.play("rebuild", "--limit", FIRST)
    assert limited.returncode and f"{FIRST} would be made anew" in limited.stdout, limited.stdout
    whole = lab.play("rebuild")
    assert whole.returncode and f"{SECOND} has no backup" in whole.stdout, whole.stdout
    other = lab.play("rebuild", rebuild_host="another")
    assert f"{FIRST} has no backup of the host another" in other.stdout, other.stdout
    assert power() == {}
    # What belongs on paper is shown by the run that makes the host know the repository, once, and has no secret on it.
    assert [its.stdout.count("RECOVERY SHEET") for its in (checked, limited, whole, other)] == [0, 0, 1, 0]
    assert backups.PASSWORD not in whole.stdout + whole.stderr

    planned = lab.play("rebuild", "--check", rebuild_anew=True)
    assert planned.returncode == 0, planned.stdout
    table = planned.stdout.partition("Say what comes back")[2].partition("TASK")[0]
    assert FIRST in table and MACHINE in table and SECOND not in table and power() == {}

    done = lab.play("rebuild", rebuild_anew=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == RUNNING and who() == was and NOTE.read_text() == "kept"
    read = labs.run("qemu-io", "-U", "-r", "-f", "qcow2", "-c", "read -P 7 1M 64k", str(DISK))
    assert "read 65536/65536" in read and "failed" not in read

    again = lab.play("site")
    assert again.returncode == 0 and changed(again) == 0, again.stdout
    again = lab.play("rebuild")
    assert again.returncode == 0 and changed(again) == 0 and "no guest to bring back" in again.stdout, again.stdout
