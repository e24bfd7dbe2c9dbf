# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of two guests that is gone comes back on a bare Debian from its inventory and its repository alone.

The host is a system container of this one, as in the test of a bare host, and the repository is what is left of it.
"""

from __future__ import annotations

import copy
import json
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.playbooks import test_bare_host as bare
from ansible_collections.homelab.hybrid.tests.playbooks.test_bare_host import HOST, ROOTFS, Lines, Site, changed, inside

BACKUPS = ROOTFS / "srv" / "backups"
REPOSITORY: dict[str, t.Any] = {
    "hypervisor_backup_repositories": [
        {"name": "disk", "type": "local", "path": "/srv/backups/restic", "password": "correct horse battery"}
    ],
    "hypervisor_backup_jobs": [{"name": "nightly", "repository": "disk", "schedule": "daily", "keep": {"daily": 7}}],
}
# A host that was declared since, and that nobody has backed up.
NEWER = {"newer": {**bare.GUESTS["proxy"], "guest_spec": {"image": "tiny", "rootfs": {"pool": "lab"}}}}
DISK = "/srv/lab/sandbox.root.qcow2"
FOUND = ("-e", f"rebuild_host={HOST}")


@pytest.fixture(autouse=True)
def _ground() -> t.Iterator[None]:
    bare.tear_down()
    yield
    bare.tear_down()


def a_bare_host() -> None:
    bare.set_up()
    BACKUPS.mkdir()


def inventory(folder: Path, **more: t.Any) -> Site:
    folder.mkdir()
    guests = {name: {"guest_hypervisor": "alpha", **its} for name, its in {**bare.GUESTS, **more}.items()}
    hosts = {"alpha": {**copy.deepcopy(bare.ALPHA), **REPOSITORY}}
    return Site(folder, {"children": {"hypervisors": {"hosts": hosts}, "guests": {"hosts": guests}}})


def told(lines: Lines, task: str) -> str:
    return " ".join(json.dumps(line["result"]["msg"]) for line in lines if line["task"].endswith(task))


def seen() -> dict[str, t.Any]:
    """Who the guests are, as LXC, libvirt and the host's files say."""
    config = inside("cat", "/var/lib/lxc/proxy/config").splitlines()
    own = [line for line in config if line.startswith(("lxc.net", "lxc.idmap"))]
    cards = inside("virsh", "-q", "-c", "qemu:///system", "domiflist", "sandbox").split()[4:]
    uuid = inside("virsh", "-c", "qemu:///system", "domuuid", "sandbox")
    owner = inside("stat", "-c", "%u:%g", "/srv/lab/proxy.rootfs/var/note")
    return {"config": own, "cards": cards, "uuid": uuid, "owner": owner}


def power() -> tuple[str, str]:
    return (
        inside("virsh", "-q", "-c", "qemu:///system", "domstate", "sandbox"),
        inside("lxc-info", "-n", "proxy", "-s", "-H"),
    )


def test_a_host_of_two_guests_comes_back_from_its_inventory_and_its_repository(tmp_path: Path) -> None:
    a_bare_host()
    bare.start()
    inventory(tmp_path / "before").play("site")
    inside("lxc-attach", "-n", "proxy", "--", "/bin/sh", "-c", "echo kept > /var/note && chown 12:34 /var/note")
    inside("virsh", "-c", "qemu:///system", "destroy", "sandbox")
    inside("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", DISK)
    inside("virsh", "-c", "qemu:///system", "start", "sandbox")
    was = seen()
    inside("/usr/local/sbin/homelab-hybrid-backup", "run", "nightly")

    shutil.move(BACKUPS, tmp_path / "repository")
    bare.tear_down()
    a_bare_host()
    shutil.copytree(tmp_path / "repository", BACKUPS, dirs_exist_ok=True)
    bare.start()
    inside("hostname", "another")
    site = inventory(tmp_path / "after", **NEWER)
    checked = site.play("rebuild", "--check")
    assert "What comes back is known after apply" in told(checked, "Say what comes back")
    assert inside("ls", "/srv") == "backups\ntiny.tar.zst"

    refused = told(site.play("rebuild", fails=True), "that nobody named")
    assert f"was backed up on {HOST}" in refused and "newer has no backup" in refused and "rebuild_anew=true" in refused
    assert inside("ls", "/var/lib/lxc") == "" and inside("ls", "/srv/lab") == ""

    planned = site.play("rebuild", "--check", *FOUND, "-e", "rebuild_anew=true")
    assert all(name in told(planned, "Say what comes back") for name in bare.GUESTS)
    (restored,) = [line["result"]["results"] for line in planned if line["task"].endswith("Bring them back")]
    assert {its["item"]["guest"] for its in restored if its["plan"]} == {*bare.GUESTS}
    assert inside("ls", "/var/lib/lxc") == ""

    site.play("rebuild", *FOUND, "-e", "rebuild_anew=true")
    assert power() == ("running", "RUNNING") and inside("lxc-info", "-n", "newer", "-s", "-H") == "RUNNING"
    assert inside("lxc-attach", "-n", "proxy", "--", "/bin/cat", "/var/note") == "kept"
    assert seen() == was
    assert "10.93.63.10" in inside("lxc-info", "-n", "proxy", "-i")
    read = inside("qemu-io", "-U", "-f", "qcow2", "-r", "-c", "read -P 7 1M 64k", DISK)
    assert "Pattern verification failed" not in read and "read 65536/65536" in read

    assert changed(site.play("site")) == []
    again = site.play("rebuild", *FOUND)
    assert changed(again) == [] and "no guest to bring back" in told(again, "Say what comes back")
