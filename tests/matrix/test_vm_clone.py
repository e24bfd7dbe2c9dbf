# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones and templates of virtual machines, raw on btrfs and qcow2 in a plain folder. Proven with qemu-io, qemu-img and virsh."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines, two_pools
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import Child
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    PAPER,
    command,
    definition,
    state_of,
    virsh,
    volume,
)
from ansible_collections.homelab.hybrid.tests.harness.two_pools import (
    BTRFS,
    DISKS,
    FORMATS,
    NAME,
    holds,
    make,
    needs_firmware,
    path_of,
    remember,
    write,
)

VM = KvmVm()
TEMPLATE: dict[str, t.Any] = {"name": NAME, "template": True}
CLONE = f"{machines.PREFIX}-clone"
FROM: dict[str, t.Any] = {"name": CLONE, "state": "stopped", **PAPER, "clone_from": {"guest": NAME}}
OWN_NVRAM = Path("/var/lib/libvirt/qemu/nvram") / f"{CLONE}_VARS.fd"
LINKED: dict[str, t.Any] = {**FROM, "clone_from": {"guest": NAME, "mode": "linked"}}
KEEP: dict[str, t.Any] = {"guest": NAME, "name": "before"}


def told(name: str) -> dict[str, t.Any]:
    guests: list[dict[str, t.Any]] = read_guests({"name": [name]}, Host())["guests"]
    return guests[0]


def clone_change(outcome: Outcome) -> str:
    return str(next(change.after for change in outcome.plan.changes if change.path == "clone_from"))


def backing(path: Path) -> str | None:
    found: str | None = volume(path).get("full-backing-filename")
    return found


@pytest.mark.parametrize("power", ["stopped", "started"])
def test_a_clone_has_the_disks_of_its_origin_and_an_identity_of_its_own(
    pool: str, pool_folder: Path, power: str
) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    if power == "started":
        virsh("start", NAME)
    outcome = check_run_again(VM, FROM)
    assert ("shares its blocks" if pool == BTRFS else "a copy of at most") in clone_change(outcome)
    warnings = " ".join(outcome.plan.warnings)
    assert f"{CLONE} has no seed (cloud_init)" in warnings
    assert (f"{NAME} is held still" in warnings) is (power == "started" and pool == BTRFS)
    assert state_of(NAME) == ("running" if power == "started" else "shut off")
    assert virsh("domuuid", NAME) != virsh("domuuid", CLONE)
    write(pool, pool_folder, 2)
    assert holds(pool, pool_folder, 1, CLONE) and holds(pool, pool_folder, 2)
    assert [backing(path_of(pool, pool_folder, disk, CLONE)) for disk in DISKS] == [None, None]
    assert told(CLONE)["clone_from"] == {"guest": NAME, "snapshot": None, "linked": False}
    check_run_again(VM, {"name": NAME, **PAPER, "state": "absent", "delete": ["disks"]})
    unchanged(VM, FROM)
    check_run_again(VM, {"name": CLONE, "state": "started"}, ["state"])


def test_a_clone_can_have_a_larger_disk_another_pool_and_fewer_of_them(
    pool: str, pool_folder: Path, pool_folders: dict[str, Path]
) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    other = machines.POOL if pool == BTRFS else BTRFS
    smaller = {**FROM, "disks": [{"name": "root", "size": "1M"}]}
    refuse(VM, smaller, "disks[root].size: 1MiB is less than the disk of")
    disks = [{"name": "root", "size": "3M", "pool": other}, {"name": "data", "state": "absent"}]
    check_run_again(VM, {**FROM, "disks": disks})
    place = pool_folders[other] / f"{CLONE}.root.{FORMATS[other]}"
    assert volume(place)["virtual-size"] == 3 << 20
    assert "read 65536/65536" in command("qemu-io", "-r", "-f", FORMATS[other], "-c", "read -P 1 0 64k", str(place))
    assert not path_of(pool, pool_folder, "data", CLONE).exists()
    refuse(
        VM,
        {**LINKED, "name": f"{CLONE}-2", "disks": disks},
        "root comes to the storage pool",
    )


@pytest.mark.parametrize("power", ["stopped", "started"])
def test_a_clone_of_a_snapshot_has_what_was_there_then(pool: str, pool_folder: Path, power: str) -> None:
    make(pool, power)
    write(pool, pool_folder, 1)
    assert converge_now(GuestSnapshot(), KEEP).error is None
    write(pool, pool_folder, 2)
    linked = {**FROM, "clone_from": {"guest": NAME, "snapshot": "before", "mode": "linked"}}
    check_run_again(VM, linked)
    assert holds(pool, pool_folder, 1, CLONE)
    assert (backing(path_of(pool, pool_folder, "root", CLONE)) is None) is (pool == BTRFS)
    saying = f"the linked clone {CLONE} stands on it"
    refuse(GuestSnapshot(), {**KEEP, "state": "absent"}, saying)
    check_run_again(VM, {"name": CLONE, "state": "started"}, ["state"])


def test_what_linked_clones_stand_on_stays_as_it_is(pool: str, pool_folder: Path) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    assert "(linked)" in clone_change(check_run_again(VM, LINKED))
    assert told(NAME)["clones"] == [CLONE]
    base = path_of(pool, pool_folder, "root")
    assert backing(path_of(pool, pool_folder, "root", CLONE)) == (None if pool == BTRFS else str(base))
    saying = f"the linked clone {CLONE} stands on {NAME}"
    refuse(VM, {"name": NAME, "state": "started"}, saying)
    refuse(VM, {"name": NAME, "disks": [{"name": "root", "size": "3M"}]}, saying)
    refuse(VM, {"name": NAME, "state": "absent", "delete": ["disks"]}, saying)
    check_run_again(VM, {"name": CLONE, "state": "started"}, ["state"])
    write(pool, pool_folder, 3, CLONE)
    assert holds(pool, pool_folder, 1)
    check_run_again(VM, {"name": CLONE, **PAPER, "state": "absent", "delete": ["disks"]})
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])
    refuse(VM, LINKED, f"{NAME} runs, and what is linked stands on what does not change")


def test_disks_that_a_linked_clone_leaves_stand_on_their_origin_still(pool: str, pool_folder: Path) -> None:
    make(pool)
    write(pool, pool_folder, 1)
    check_run_again(VM, LINKED)
    check_run_again(VM, {"name": CLONE, **PAPER, "state": "absent"}, ["state"])
    saying = f"the linked clone {CLONE} stands on {NAME}"
    refuse(VM, {"name": NAME, "state": "started"}, saying)
    disks = [{"name": disk, "pool": pool} for disk in DISKS]
    check_run_again(VM, {"name": CLONE, "state": "stopped", **PAPER, "disks": disks, "allow": ["adopt"]})
    refuse(VM, {"name": NAME, "state": "absent", "delete": ["disks"]}, saying)
    assert holds(pool, pool_folder, 1, CLONE)
    check_run_again(VM, {"name": CLONE, **PAPER, "state": "absent", "delete": ["disks"]})
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])


def test_cloud_init_sees_another_instance_in_a_clone(pool: str, pool_folder: Path) -> None:
    make(pool)
    seeded = {"name": NAME, "cloud_init": {"user": "admin", "meta_data": "instance-id: mine"}}
    assert converge_now(VM, seeded).error is None
    outcome = check_run_again(VM, FROM)
    assert "cloud_init.user" in [change.path for change in outcome.plan.changes]
    assert "machine-id" not in " ".join(outcome.plan.warnings)
    seed = pool_folder / f"{CLONE}.seed.iso"
    for file, word in {"meta-data": CLONE, "user-data": "admin", "vendor-data": "/etc/machine-id"}.items():
        assert word in command("isoinfo", "-R", "-x", f"/{file}", "-i", str(seed))
    unchanged(VM, {**FROM, "cloud_init": {"user": "admin"}})
    other = {**FROM, "name": f"{CLONE}-2", "cloud_init": {"user_data": "#cloud-config\nbootcmd: [ls]\n"}}
    assert f"asks for its first address as {NAME} does" in " ".join(check_run_again(VM, other).plan.warnings)


@pytest.fixture
def firmware(pool: str, pool_folder: Path) -> t.Iterator[dict[str, Path]]:
    make(pool)
    with two_pools.firmware(pool_folder) as files:
        remember(files, b"first")
        yield files
    OWN_NVRAM.unlink(missing_ok=True)


def first_bytes(path: Path) -> bytes:
    return path.read_bytes()[:5]


@needs_firmware
@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
@pytest.mark.parametrize("power", ["shut off", "paused"])
def test_a_clone_has_the_uefi_variables_of_its_origin_and_a_tpm_of_its_own(
    pool: str, pool_folder: Path, firmware: dict[str, Path], power: str
) -> None:
    if power == "paused":
        virsh("start", NAME, "--paused")  # what runs writes to its variables
    OWN_NVRAM.touch()
    refuse(VM, FROM, f"{OWN_NVRAM} is there already, and was not made for this guest")
    OWN_NVRAM.unlink()
    outcome = check_run_again(VM, FROM)
    assert "nvram" in [change.path for change in outcome.plan.changes]
    assert f"{CLONE} gets a TPM of its own" in " ".join(outcome.plan.warnings)
    assert first_bytes(OWN_NVRAM) == b"first"
    root = definition(CLONE)
    assert root.findtext("os/nvram") == str(OWN_NVRAM)
    assert root.findtext("os/loader") == definition(NAME).findtext("os/loader")
    assert state_of(NAME) == power
    virsh("start", CLONE)
    place = Path("/var/lib/libvirt/swtpm") / root.findtext("uuid", "")
    assert (place / "tpm2" / "tpm2-00.permall").is_file() and not (place / "tpm2" / "secret").exists()
    unchanged(VM, {**FROM, "state": "started"})
    outcome = converge_now(VM, {"name": CLONE, **PAPER, "state": "absent"})
    assert outcome.error is None and outcome.plan.kept.count(str(OWN_NVRAM)) == 1 and OWN_NVRAM.exists()
    gone = {"name": CLONE, **PAPER, "state": "absent", "delete": ["disks", "nvram"]}
    check_run_again(VM, gone, ["disks[root]", "disks[data]", "nvram"])
    assert not OWN_NVRAM.exists() and first_bytes(firmware["nvram"]) == b"first" and firmware["tpm"].exists()
    assert (place / "tpm2" / "tpm2-00.permall").is_file()  # what a TPM has sealed stays with any other word
    check_run_again(VM, {**gone, "delete": ["tpm"]}, ["tpm"])
    assert not place.exists()


@needs_firmware
@pytest.mark.parametrize("pool", [BTRFS], indirect=True)
def test_a_clone_of_a_snapshot_has_the_uefi_variables_of_then(
    pool: str, pool_folder: Path, firmware: dict[str, Path]
) -> None:
    assert converge_now(GuestSnapshot(), KEEP).error is None
    remember(firmware, b"later")
    of_then, gone = {**FROM, "clone_from": {"guest": NAME, "snapshot": "before"}}, {"name": CLONE, "state": "absent"}
    for attempt in (1, 2):
        steps = Child(VM, of_then, kill_at=4).finish()[0]
        assert steps[-1] == "nvram copied" and first_bytes(OWN_NVRAM) == b"first"
        if attempt == 1:
            check_run_again(VM, gone, ["state"])
            assert not OWN_NVRAM.exists()
    check_run_again(VM, FROM)
    assert first_bytes(OWN_NVRAM) == b"later"
    check_run_again(VM, gone, ["state"])
    check_run_again(VM, {**gone, "delete": ["disks", "nvram"]}, ["disks[root]", "disks[data]", "nvram"])


@pytest.mark.parametrize("pool", [machines.POOL], indirect=True)
def test_a_clone_is_a_machine_of_the_type_of_its_origin_and_starts_as_that_does(pool: str, pool_folder: Path) -> None:
    make(pool)
    source = f"<driver name='qemu' type='qcow2'/><source file='{path_of(pool, pool_folder, 'root')}'/>"
    disk = f"<disk type='file' device='disk'>{source}<target dev='vda'/></disk>"
    system = f"<os><type machine='pc'>hvm</type><loader type='pflash' readonly='yes'>{pool_folder}/code</loader></os>"
    file = pool_folder / f"{NAME}.xml"
    uuid = virsh("domuuid", NAME)
    rest = f"<memory>65536</memory>{system}<features><acpi/></features><devices>{disk}</devices>"
    file.write_text(f"<domain type='qemu'><name>{NAME}</name><uuid>{uuid}</uuid>{rest}</domain>", encoding="utf-8")
    virsh("define", str(file))
    refuse(VM, {**FROM, "firmware": {"type": "bios"}}, f"firmware.type: a clone starts as {NAME} does")
    outcome = check_run_again(VM, FROM)
    assert [change.after for change in outcome.plan.changes if change.path == "machine"] == ["pc"]
    root = definition(CLONE)
    assert root.find("os/type").get("machine") == definition(NAME).find("os/type").get("machine")  # type: ignore[union-attr]  # there is one
    assert root.findtext("os/loader") == f"{pool_folder}/code"
    check_run_again(VM, {"name": CLONE, "state": "absent", "delete": ["disks", "nvram"]})


@pytest.mark.parametrize(
    ("pool", "step"),
    [
        (BTRFS, "root cloned"),
        (machines.POOL, "copies begun"),
        (BTRFS, "volume root made"),
        (machines.POOL, "volume root made"),
    ],
    indirect=["pool"],
)
def test_a_machine_goes_on_when_a_run_that_cloned_it_was_killed(pool: str, pool_folder: Path, step: str) -> None:
    make(pool, "started")
    steps = Child(VM, FROM).finish()[0]
    assert converge_now(VM, {"name": CLONE, "state": "absent", "delete": ["disks"], **PAPER}).error is None
    assert step in steps, steps
    Child(VM, FROM, kill_at=steps.index(step) + 1).finish()
    # No check before it: QEMU goes on with what the killed run has begun.
    outcome = converge_now(VM, FROM)
    assert outcome.error is None, outcome.error
    unchanged(VM, FROM)
    assert state_of(NAME) == "running"
    assert virsh("domjobinfo", NAME).split()[-1] == "None"
    assert not [path for path in pool_folder.iterdir() if path.name.startswith(f".{CLONE}")]


def modes(pool: str, pool_folder: Path) -> set[int]:
    paths = [pool_folder / f"{NAME}.{disk}.{FORMATS[pool]}" for disk in ("root", "data")]
    return {stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_a_template_is_never_started_and_its_disks_are_not_written_to(pool: str, pool_folder: Path) -> None:
    make(pool, state="started")
    refuse(VM, TEMPLATE, f"{NAME} runs, and a template does not. Stop it first")
    check_run_again(
        VM, {**TEMPLATE, "state": "stopped", "force_stop": True, "shutdown_timeout": 0}, ["state", "template"]
    )
    assert modes(pool, pool_folder) == {0o400}
    refuse(VM, {"name": NAME, "state": "started"}, f"{NAME} is a template")
    refuse(VM, {"name": NAME, "disks": [{"name": "root", "size": "3M"}]}, "write template: false")
    check_run_again(VM, {"name": NAME, "unset": ["template"], "state": "started"}, ["template", "state"])
    assert (state_of(NAME), modes(pool, pool_folder) & {0o400}) == ("running", set())
