# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines that are deleted lie in the quarantine of their pools, and come back, on btrfs and in a plain folder. Proven by virsh."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import aside
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._quarantine.resource import GuestQuarantine
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, two_pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import PAPER, state_of, virsh
from ansible_collections.homelab.hybrid.tests.harness.two_pools import NAME, holds, make, needs_firmware, write

VM, RESTORE = KvmVm(), GuestQuarantine()
RECORDS = Path(paths.record_folder("guests"))
NVRAM = Path("/var/lib/libvirt/qemu/nvram")
DELETE = ["disks", "seed", "snapshots", "nvram", "tpm"]
GONE: dict[str, t.Any] = {
    "name": NAME,
    "state": "absent",
    "delete": DELETE,
    "quarantine": True,
    "shutdown_timeout": 1,
    "force_stop": True,
}
LATEST = {"name": NAME, "moment": "latest"}
DISKS = ["volumes[root]", "volumes[data]"]


@pytest.fixture
def plain(pool_folders: dict[str, Path]) -> t.Iterator[Path]:
    """The folder of the plain pool. No machine stands before or after the test."""
    two_pools.clean(pool_folders)
    yield pool_folders[machines.POOL]
    two_pools.clean(pool_folders)


def entries() -> list[Path]:
    return sorted(RECORDS.glob(f"{NAME}@*.json"))


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_machine_comes_back_as_it_was(pool: str, pool_folder: Path, state: str) -> None:
    make(pool, state)
    write(pool, pool_folder, 0x5A)
    virsh("autostart", NAME)
    before = virsh("dumpxml", "--inactive", "--security-info", NAME)
    check_run_again(VM, GONE, ["state", "disks[root]", "disks[data]"])
    assert state_of(NAME) == "" and not list(pool_folder.glob(f"{NAME}.*")) and not (RECORDS / f"{NAME}.json").exists()
    assert len(list(pool_folder.glob(f"{NAME}@*"))) == 2
    assert f"{NAME}." not in virsh("vol-list", pool)
    check_run_again(RESTORE, LATEST, ["state", *DISKS])
    assert virsh("dumpxml", "--inactive", "--security-info", NAME) == before
    assert "Autostart:      enable" in virsh("dominfo", NAME)
    assert holds(pool, pool_folder, 0x5A) and not entries() and f"{NAME}.root" in virsh("vol-list", pool)
    virsh("start", NAME)
    assert state_of(NAME) == "running"


def test_the_name_and_the_mac_are_free_at_once(plain: Path) -> None:
    card = {"name": "lan", "bridge": machines.BRIDGES[0]}
    wanted = {
        "name": NAME,
        "state": "stopped",
        **PAPER,
        "disks": [{"name": "root", "pool": machines.POOL, "size": "1M"}],
        "networks": [card],
    }
    assert converge_now(VM, wanted).error is None
    mac = virsh("domiflist", NAME).split()[-1]
    assert converge_now(VM, GONE).error is None
    assert converge_now(VM, wanted).error is None
    assert virsh("domiflist", NAME).split()[-1] == mac
    refuse(RESTORE, LATEST, f"there is a guest {NAME}")


def test_snapshots_come_back_with_their_machine(pool: str, pool_folder: Path) -> None:
    make(pool)
    write(pool, pool_folder, 0x11)
    before = {"guest": NAME, "name": "before"}
    assert converge_now(GuestSnapshot(), before).error is None
    write(pool, pool_folder, 0x22)
    check_run_again(VM, GONE, ["state", "disks[root]", "disks[data]", "snapshots[before]"])
    check_run_again(RESTORE, LATEST, ["state", *DISKS, "snapshots[before]"])
    unchanged(GuestSnapshot(), before)
    assert converge_now(GuestSnapshot(), {**before, "state": "reverted", "allow": ["revert"]}).error is None
    assert holds(pool, pool_folder, 0x11)


@needs_firmware
def test_uefi_variables_and_the_tpm_come_back(plain: Path) -> None:
    firmware = {"firmware": {"type": "uefi"}, "tpm": {"version": "2.0"}}
    disks = [{"name": "root", "pool": machines.POOL, "size": "1M"}]
    wanted = {"name": NAME, "state": "started", **PAPER, **firmware, "disks": disks}
    assert converge_now(VM, wanted).error is None
    virsh("destroy", NAME)
    files = {
        word: Path(its["path"]) for word, its in json.loads((RECORDS / f"{NAME}.json").read_text())["files"].items()
    }
    assert files.keys() == {"nvram", "tpm"}
    files["nvram"].write_bytes(files["nvram"].read_bytes()[:-4] + b"mine")
    (files["tpm"] / "secret").write_text("mine")
    check_run_again(VM, GONE, ["state", "disks[root]", "nvram", "tpm"])
    assert not files["nvram"].exists() and not files["tpm"].exists()
    check_run_again(RESTORE, LATEST, ["state", "volumes[root]", "nvram", "tpm"])
    assert files["nvram"].read_bytes().endswith(b"mine") and (files["tpm"] / "secret").read_text() == "mine"
    assert converge_now(VM, GONE).error is None
    end = {"name": NAME, "moment": "all", "state": "absent"}
    assert converge_now(RESTORE, end).error is None
    assert (
        not list(NVRAM.glob(f"{NAME}*"))
        and not list(files["tpm"].parent.glob(f"{files['tpm'].name}*"))
        and not entries()
    )


def test_an_image_stays_while_a_disk_in_the_quarantine_stands_on_it(plain: Path, tmp_path: Path) -> None:
    name = f"{machines.PREFIX}-base-image"
    machines.command("qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "1M")
    image = {"name": name, "kind": "vm", "path": str(tmp_path / "disk.qcow2")}
    assert converge_now(Image(), image).error is None
    disks = [{"name": "root", "pool": machines.POOL, "image": name}]
    assert converge_now(VM, {"name": NAME, "state": "stopped", **PAPER, "disks": disks}).error is None
    assert converge_now(VM, GONE).error is None
    refuse(Image(), {"name": name, "state": "absent"}, NAME)
    assert converge_now(RESTORE, {"name": NAME, "moment": "all", "state": "absent"}).error is None
    check_run_again(Image(), {"name": name, "state": "absent"})


def test_it_is_gone_from_libvirt_too_when_its_time_is_over(pool: str, pool_folder: Path) -> None:
    make(pool)
    assert converge_now(VM, GONE).error is None
    (entry,) = entries()
    data = json.loads(entry.read_text())
    data["quarantine"]["until"] = 1
    entry.write_text(json.dumps(data))
    assert aside.main() == 0
    assert not entries() and NAME not in virsh("vol-list", pool) and not list(pool_folder.glob(f"*{NAME}*"))


def test_a_removal_and_a_return_survive_every_kill(pool: str, pool_folder: Path, pool_folders: dict[str, Path]) -> None:
    def begin() -> None:
        two_pools.clean(pool_folders)
        make(pool)
        write(pool, pool_folder, 0x33)

    def lies(outcome: t.Any) -> None:
        assert state_of(NAME) == "" and len(list(pool_folder.glob(f"{NAME}@*"))) == 2 == len(
            [*pool_folder.glob(f"{NAME}*")]
        )
        (entry,) = entries()
        assert "begun" not in json.loads(entry.read_text())["quarantine"]

    def begin_return() -> None:
        begin()
        assert converge_now(VM, GONE).error is None

    def is_back(outcome: t.Any) -> None:
        assert state_of(NAME) == "shut off" and holds(pool, pool_folder, 0x33) and not entries()

    survive_kills(VM, GONE, begin=begin, verify=lies, moments=1)
    survive_kills(RESTORE, LATEST, begin=begin_return, verify=is_back, moments=1)
