# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A system that is installed: the machine runs its installer once, whoever is killed meanwhile, and no disk with a system is touched."""

from __future__ import annotations

import json
import stat
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import installers, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import (
    check_run_again,
    converge_now,
    refuse,
    unchanged,
)
from ansible_collections.homelab.hybrid.tests.harness.kill import Child, survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    POOL,
    attribute,
    definition,
    running,
    state_of,
    virsh,
)

VM = KvmVm()
NAME = f"{machines.PREFIX}-inst"
FOLDER = Path(paths.installer_folder(NAME))


@pytest.fixture(scope="module")
def media(machine_host: Path) -> Path:
    """Where the media of the tests lie: QEMU's user can read it."""
    folder = machine_host.parent / "media"
    folder.mkdir(mode=0o711)
    return folder


@pytest.fixture(scope="module")
def firmware(media: Path) -> Path:
    return installers.firmware_iso(media / "firmware.iso")


@pytest.fixture(scope="module")
def kernel_medium(media: Path) -> Path:
    return installers.kernel_iso(media / "kernel.iso")


def machine(state: str = "stopped", **install: t.Any) -> dict[str, t.Any]:
    return {
        "name": NAME,
        "state": state,
        "memory": "256",
        "disks": [{"name": "root", "pool": POOL, "size": "8M"}],
        "install": {"timeout": 240, **install},
        "shutdown_timeout": 0,
        "force_stop": True,
    }


def recorded() -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(Path(paths.record_path("guests", NAME)).read_text()))


def on_disk(folder: Path) -> bytes:
    (disk,) = folder.glob(f"{NAME}.root*")
    return installers.first_bytes(disk)


def console() -> str:
    file = FOLDER / "console.log"
    return file.read_text() if file.exists() else ""


def drives(root: t.Any) -> list[str | None]:
    return [attribute(node, "source", "file") for node in root.iterfind("devices/disk[@device='cdrom']")]


def in_time(ask: t.Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_installed(folder: Path) -> None:
    """The sector of the installer lies on the disk, and nothing of the installer is left."""
    assert installers.SYSTEM_TELLS.encode() in on_disk(folder)
    assert drives(definition(NAME)) == [] and definition(NAME).find("os/kernel") is None
    assert not FOLDER.exists() and recorded()["install"]["stage"] == "done" and "building" not in recorded()
    assert not any(volume.get("fresh") for volume in recorded()["volumes"].values())


def plain_paths(params: dict[str, t.Any]) -> list[str]:
    """What the plan of such a machine has without its installer."""
    plain = converge_now(VM, {**params, "install": None}, dry_run=True)
    assert plain.error is None, plain.error
    return [change.path for change in plain.plan.changes]


def test_the_firmware_boots_the_medium_once(folder: Path, firmware: Path) -> None:
    params = machine(media=str(firmware))
    run = check_run_again(VM, params, ["install", *plain_paths(params)])
    is_installed(folder)
    assert state_of(NAME) == "shut off" and recorded()["install"]["source"] == str(firmware)
    assert run.facts["guest"]["installing"] is False
    # It is never compared.
    unchanged(VM, {**params, "install": {"media": "/nowhere.iso"}})
    assert firmware.exists()


def test_it_runs_as_its_definition_says_when_its_installer_has_ended(folder: Path, firmware: Path) -> None:
    check_run_again(VM, machine("started", media=str(firmware)))
    is_installed(folder)
    now = running(NAME)
    assert state_of(NAME) == "running" and drives(now) == [] and now.find("devices/serial/log") is None
    assert now.findtext("on_reboot") == "restart"


def test_a_restart_on_the_way_is_part_of_it_where_the_guest_tells_the_end(folder: Path, media: Path) -> None:
    """The empty disk lets the firmware go on to the medium; behind the restart the disk comes first."""
    medium = installers.firmware_iso(media / "restarts.iso", restarts=True)
    params = machine("started", media=str(medium), done_when="serial", pattern=installers.SYSTEM_TELLS)
    run = check_run_again(VM, params)
    is_installed(folder)
    assert state_of(NAME) == "running" and drives(running(NAME)) == []
    assert [change.path for change in run.plan.changes if change.how.value == "restart"] == []


def test_a_restart_ends_it_where_going_off_does(folder: Path, media: Path) -> None:
    medium = installers.firmware_iso(media / "restarts.iso", restarts=True)
    check_run_again(VM, machine("present", media=str(medium)))
    is_installed(folder)
    assert state_of(NAME) == "shut off"


@pytest.mark.parametrize("answer", ["preseed", "kickstart", "autoinstall"])
def test_an_installer_finds_its_answer(folder: Path, kernel_medium: Path, answer: str) -> None:
    """By a kernel that its own medium has, to which words are given."""
    text = f"the answer of {answer}"
    params = machine(media=str(kernel_medium), answer=answer, answer_text=text, cmdline="tiny.word=1")
    run = check_run_again(VM, params)
    assert on_disk(folder).rstrip(b"\0") == text.encode() and not FOLDER.exists()
    assert text not in json.dumps(run.result()) and text not in Path(paths.record_path("guests", NAME)).read_text()
    assert recorded()["install"]["source"] == f"{kernel_medium} ({answer})"


@pytest.mark.parametrize("answer", ["preseed", "autounattend", "config"])
def test_a_kernel_of_the_host_is_booted_for_the_installation_alone(folder: Path, media: Path, answer: str) -> None:
    tiny, initrd = installers.kernel_and_initrd(media)
    text = f"the answer of {answer} and restart"
    words = f"{tiny.cmdline} quiet"
    check_run_again(
        VM, machine(kernel=str(tiny.kernel), initrd=str(initrd), cmdline=words, answer=answer, answer_text=text)
    )
    assert on_disk(folder).rstrip(b"\0") == text.encode() and not FOLDER.exists()
    assert definition(NAME).find("os/kernel") is None and state_of(NAME) == "shut off"


def test_only_the_user_of_qemu_reads_the_answer(folder: Path, kernel_medium: Path) -> None:
    """While it is at work; it waits for a mirror, and what it says of it is in the error."""
    params = machine(media=str(kernel_medium), answer="kickstart", answer_text="wait and fail", timeout=45)
    run = converge_now(VM, params)
    assert run.error is not None and "no mirror answers" in run.error.message, run.error
    assert run.changed and not [change.path for change in run.plan.changes if change.path == "install" and change.done]
    for name in ("answer.iso", "console.log"):
        assert stat.S_IMODE((FOLDER / name).stat().st_mode) == 0o600
    words = running(NAME).findtext("os/cmdline") or ""
    assert "inst.stage2=hd:LABEL=Tiny\\x201" in words and "inst.ks=hd:LABEL=OEMDRV:/ks.cfg" in words
    assert "ks.cfg of OEMDRV" in (FOLDER / "console.log").read_text()
    # A run that does not say install leaves it alone, and what it changes waits.
    apart = {"name": NAME, "state": "stopped", "memory": "300"}
    other = converge_now(VM, apart)
    assert other.error is None and state_of(NAME) == "running" and other.plan.restart_required == ["memory"]
    assert any("is being installed from" in warning for warning in other.plan.warnings)
    # The next one waits on for it.
    again = converge_now(VM, {**params, "install": {**params["install"], "timeout": 1}})
    assert again.error is not None and "waited 1 s for the installer" in again.error.message
    gone = converge_now(VM, {"name": NAME, "state": "absent", "delete": ["disks"]})
    assert gone.error is None and not FOLDER.exists() and not list(folder.glob(f"{NAME}*"))


def test_one_that_was_cut_off_begins_anew(folder: Path, kernel_medium: Path, media: Path) -> None:
    params = machine(media=str(kernel_medium), answer="kickstart", answer_text="wait and fail")
    for dummy in range(2):
        child = Child(VM, params)
        assert in_time(lambda: "no mirror answers" in console())
        begun = recorded()["install"]["begun"]
        child.kill()
        child.finish()
        virsh("destroy", NAME)
        (FOLDER / "console.log").unlink()
    assert begun > time.time() - 60
    # What it has is not told by nothing: it may be used since long, and is nobody's to wipe.
    file = Path(paths.record_path("guests", NAME))
    old = recorded()
    old["install"]["begun"] -= 1000
    file.write_text(json.dumps(old))
    message = refuse(VM, params, "may use by now what is on its disks")
    assert "allow: [adopt]" in message and "allow: [recreate]" in message
    disk = next(folder.glob(f"{NAME}.root*"))
    before = disk.stat().st_ino
    good = {**params, "install": {**params["install"], "answer_text": "all is well", "timeout": 240}}
    run = check_run_again(VM, {**params, "allow": ["adopt"]}, ["install"])
    assert run.facts["guest"]["installing"] is False and disk.stat().st_ino == before and not FOLDER.exists()
    taken = recorded()
    taken["install"].update(stage="begun")
    taken["volumes"]["root"]["fresh"] = True
    file.write_text(json.dumps({**taken, "building": True}))
    assert converge_now(VM, {**good, "allow": ["recreate"]}).error is None
    assert on_disk(folder).rstrip(b"\0") == b"all is well"


def test_a_disk_that_has_been_there_before_is_never_installed_on(folder: Path, firmware: Path) -> None:
    params = machine(media=str(firmware))
    disk = folder / f"{NAME}.root.qcow2"
    machines.command("qemu-img", "create", "-q", "-f", "qcow2", str(disk), "8M")
    machines.command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", str(disk))
    refuse(VM, params, "is there already, not made for this guest")
    run = check_run_again(VM, {**params, "allow": ["adopt"]})
    assert any("nothing is installed" in warning for warning in run.plan.warnings) and not run.plan.has("install")
    assert on_disk(folder) == b"\x07" * 512 and state_of(NAME) == "shut off"


def test_a_disk_beside_the_new_one_is_no_prey_of_an_installer(folder: Path, firmware: Path, media: Path) -> None:
    other = media / "other.qcow2"
    machines.command("qemu-img", "create", "-q", "-f", "qcow2", str(other), "8M")
    params = machine(media=str(firmware))
    params["disks"] = [*params["disks"], {"name": "old", "source": str(other)}]
    refuse(VM, params, "disks[old] has been there before")


@pytest.mark.parametrize(
    ("install", "saying"),
    [
        ({"media": "/nowhere/a.iso"}, "there is no /nowhere/a.iso on this host"),
        (
            {"media": "/etc/hostname", "answer": "preseed", "answer_text": "d-i answer string x"},
            "cannot be read as an ISO 9660 image",
        ),
        (
            {"media": "FIRMWARE", "answer": "autoinstall", "answer_text": "#cloud-config"},
            "has no kernel at /casper/vmlinuz",
        ),
        ({"media": machines.IMAGE}, "is an image of kind vm"),
    ],
)
def test_what_can_be_known_before_is_refused(
    folder: Path, firmware: Path, install: dict[str, t.Any], saying: str
) -> None:
    install = {**install, "media": str(firmware) if install["media"] == "FIRMWARE" else install["media"]}
    refuse(VM, machine(**install), saying)


def test_two_runs_at_once_wait_for_the_same_installer(folder: Path, kernel_medium: Path) -> None:
    params = machine(media=str(kernel_medium), answer="kickstart", answer_text="one for both")
    first = Child(VM, params)
    assert in_time(lambda: state_of(NAME) == "running")
    second = Child(VM, params)
    results = [child.finish()[1] for child in (first, second)]
    assert all(result is not None and "msg" not in result for result in results), results
    assert on_disk(folder).rstrip(b"\0") == b"one for both"
    unchanged(VM, params)


def test_a_crash_is_a_pause(folder: Path, firmware: Path) -> None:
    params = machine("started", media=str(firmware))

    def verify(outcome: t.Any) -> None:
        is_installed(folder)
        assert state_of(NAME) == "running"

    kills = survive_kills(VM, params, begin=machines.remove_machines, verify=verify, moments=6)
    assert kills > 8


def test_it_ends_where_libvirt_was_started_anew_meanwhile(folder: Path, firmware: Path) -> None:
    """libvirt knows no more then how the last run of a guest ended; its log does."""
    params = machine(media=str(firmware))
    child = Child(VM, params)
    assert in_time(lambda: state_of(NAME) == "running")
    child.kill()
    child.finish()
    assert in_time(lambda: state_of(NAME) == "shut off")
    before = next(folder.glob(f"{NAME}.root*")).stat().st_ino
    xml = virsh("dumpxml", NAME, "--inactive")
    virsh("undefine", NAME)
    again = FOLDER.parent.parent / f"{NAME}.xml"
    again.write_text(xml)
    virsh("define", str(again))
    again.unlink()
    assert converge_now(VM, params).error is None
    assert next(folder.glob(f"{NAME}.root*")).stat().st_ino == before
    is_installed(folder)
