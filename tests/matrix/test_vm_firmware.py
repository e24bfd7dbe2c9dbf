# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By what a machine starts, its type and its TPM: beside what virsh, QEMU's own command line and the files on the host say."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import descriptors
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import hand_made, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import PAPER, attribute, definition, running, virsh
from ansible_collections.homelab.hybrid.tests.harness.two_pools import needs_firmware

pytestmark = needs_firmware

VM = KvmVm()
NAME = f"{machines.PREFIX}-firmware"
OVMF = "/usr/share/OVMF/OVMF_"
NVRAM = Path("/var/lib/libvirt/qemu/nvram")
TPMS = Path("/var/lib/libvirt/swtpm")
MADE: dict[str, t.Any] = {"name": NAME, **PAPER, "state": "started"}
GONE: dict[str, t.Any] = {"name": NAME, **PAPER, "state": "absent"}
PATHS = ["firmware.type", "firmware.secure_boot", "firmware.enrolled_keys"]
WAYS = {
    "plain": ({"type": "uefi"}, "CODE_4M.fd", "VARS_4M.fd"),
    "enrolled": ({"secure_boot": True}, "CODE_4M.ms.fd", "VARS_4M.ms.fd"),
    "secure": ({"secure_boot": True, "enrolled_keys": False}, "CODE_4M.secboot.fd", "VARS_4M.fd"),
}
TPM = {"version": "2.0"}
ACPI = "<features><acpi/></features>"


def variables(way: str) -> Path:
    return NVRAM / f"{NAME}_VARS.{way}.fd"


@pytest.fixture(autouse=True)
def clean(folder: Path) -> t.Iterator[None]:
    yield
    for name in machines.virsh("list", "--all", "--name").split():
        if name == NAME:
            shutil.rmtree(tpm_folder(), ignore_errors=True)
    for file in NVRAM.glob(f"{NAME}*"):
        file.unlink()


def tpm_folder() -> Path:
    return TPMS / definition(NAME).findtext("uuid", "none")


def line_of_qemu() -> str:
    """What QEMU was started with."""
    pid = Path(f"/run/libvirt/qemu/{NAME}.pid").read_text(encoding="utf-8").strip()
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def by_hand(rest: str, before: str, after: str) -> None:
    """A q35 of somebody else, with *after* in the place of *before*."""
    hand_made.make(NAME, machine="q35", rest=rest)
    define(virsh("dumpxml", NAME, "--inactive").replace(before, after))


def define(xml: str) -> None:
    file = NVRAM / f"{NAME}.xml"
    file.write_text(xml, encoding="utf-8")
    virsh("define", str(file))


# ---- firmware ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_new_machine_starts_by_the_firmware_that_is_written(way: str) -> None:
    wanted, code, template = WAYS[way]
    outcome = check_run_again(VM, {**MADE, "firmware": wanted})
    planned = {change.path: change.after for change in outcome.plan.changes if change.path in PATHS}
    assert planned == dict(zip(PATHS, ["uefi", way != "plain", way == "enrolled"], strict=True))
    root = running(NAME)
    assert root.findtext("os/loader") == f"{OVMF}{code}"
    assert (root.findtext("os/nvram"), attribute(root, "os/nvram", "template")) == (
        str(variables(way)),
        f"{OVMF}{template}",
    )
    line = line_of_qemu()
    assert f"{OVMF}{code}" in line and str(variables(way)) in line
    assert ("smm=on" in line) is (way != "plain") and ("secure,value=on" in line) is (way != "plain")
    # The keys are in the variables, and nobody has to enroll them.
    assert (b"Microsoft Corporation KEK CA" in variables(way).read_bytes()) is (way == "enrolled")
    gone = check_run_again(VM, GONE, ["state"])
    assert gone.plan.kept == [str(variables(way))] and variables(way).exists()
    check_run_again(VM, {**GONE, "delete": ["nvram"]}, ["nvram"])
    assert not variables(way).exists()


def test_without_a_word_a_machine_starts_by_bios() -> None:
    check_run_again(VM, {**MADE, "firmware": {"type": "bios"}})
    assert definition(NAME).find("os/loader") is None and "pflash" not in line_of_qemu()
    unchanged(VM, {**MADE, "firmware": {"type": "bios", "secure_boot": False}})


@pytest.mark.parametrize("power", ["stopped", "started"])
def test_another_firmware_keeps_the_variables_of_the_one_before(power: str) -> None:
    check_run_again(VM, {**MADE, "firmware": {"type": "uefi"}})
    if power == "stopped":
        check_run_again(VM, {**MADE, "state": "stopped"}, ["state"])
    wanted = {**MADE, "state": power, "firmware": {"secure_boot": True}}
    outcome = check_run_again(VM, wanted, PATHS[1:])
    assert outcome.plan.kept == [str(variables("plain"))] and variables("plain").exists()
    assert sorted(outcome.plan.restart_required) == (sorted(PATHS[1:]) if power == "started" else [])
    if power == "started":
        check_run_again(VM, {**wanted, "restart_policy": "if_needed"}, PATHS[1:])
    else:
        check_run_again(VM, {**wanted, "state": "started"}, ["state"])
    assert running(NAME).findtext("os/nvram") == str(variables("enrolled"))
    # It finds again what it had when it comes back, and what of it is ours goes by its word.
    back = check_run_again(VM, {**MADE, "restart_policy": "if_needed", "firmware": {"secure_boot": False}}, PATHS[1:])
    assert f"has the UEFI variables again that it had before: {variables('plain')}" in " ".join(back.plan.warnings)
    assert running(NAME).findtext("os/nvram") == str(variables("plain"))
    off = check_run_again(VM, {"name": NAME, **PAPER, "restart_policy": "if_needed", "unset": ["firmware"]}, [PATHS[0]])
    assert off.plan.kept == [str(variables("plain"))] and "pflash" not in line_of_qemu()
    outcome = check_run_again(VM, {**GONE, "delete": ["nvram"]})
    assert len(outcome.plan.changes) == 3 and not [*NVRAM.glob(f"{NAME}*")]


def test_variables_of_an_earlier_machine_are_taken_with_a_permit_alone() -> None:
    wanted = {**MADE, "firmware": {"type": "uefi"}}
    check_run_again(VM, wanted)
    check_run_again(VM, GONE, ["state"])
    with variables("plain").open("r+b") as stream:
        stream.write(b"first")
    refuse(VM, wanted, f"{variables('plain')} is there already")
    outcome = check_run_again(VM, {**wanted, "state": "present", "allow": ["adopt"]})
    assert "nvram" in [change.path for change in outcome.plan.changes]
    assert variables("plain").read_bytes()[:5] == b"first"
    # A file that nobody made for it is not taken by one that stands either.
    variables("enrolled").touch()
    refuse(VM, {**wanted, "state": "present", "firmware": {"secure_boot": True}}, "was not made for this guest")


@pytest.mark.parametrize("way", WAYS)
def test_the_firmware_of_a_machine_that_was_made_by_hand_is_known_by_its_descriptor(way: str) -> None:
    wanted, code, template = WAYS[way]
    own = NVRAM / f"{NAME}.mine.fd"
    secure = "" if way == "plain" else " secure='yes'"
    smm = ACPI if way == "plain" else "<features><acpi/><smm state='on'/></features>"
    loader = f"<loader readonly='yes' type='pflash'{secure}>{OVMF}{code}</loader>"
    by_hand(smm, "hvm</type>", f"hvm</type>{loader}<nvram template='{OVMF}{template}'>{own}</nvram>")
    before = virsh("dumpxml", NAME, "--inactive")
    unchanged(VM, {"name": NAME, "firmware": {"type": "uefi", **wanted}})
    unchanged(VM, {"name": NAME, "firmware": {"secure_boot": way != "plain", "enrolled_keys": way == "enrolled"}})
    assert virsh("dumpxml", NAME, "--inactive") == before
    virsh("start", NAME)
    unchanged(VM, {"name": NAME, "firmware": {"type": "uefi", **wanted}})
    other = {"firmware": {"type": "bios"}} if way == "plain" else {"firmware": {"secure_boot": False}}
    outcome = check_run_again(VM, {"name": NAME, **PAPER, **other, "restart_policy": "if_needed"})
    assert outcome.plan.kept == [str(own)] and own.exists()
    gone = check_run_again(VM, {**GONE, "delete": ["nvram"]})
    assert own.exists() and not variables("plain").exists()
    assert [change.path for change in gone.plan.changes] == ["state", *([] if way == "plain" else ["nvram"])]


def test_what_libvirt_chose_for_a_machine_of_somebody_else_is_read() -> None:
    by_hand(ACPI, "<os>", "<os firmware='efi'>")
    # Debian's first descriptor is that with secure boot and its keys.
    wanted = {"name": NAME, **PAPER, "firmware": {"type": "uefi", "secure_boot": True, "enrolled_keys": True}}
    unchanged(VM, wanted)
    virsh("start", NAME)
    unchanged(VM, wanted)
    assert running(NAME).findtext("os/loader") == f"{OVMF}CODE_4M.ms.fd"
    outcome = check_run_again(VM, {**GONE}, ["state"])
    assert outcome.plan.kept == [str(NVRAM / f"{NAME}_VARS.fd")]


def test_what_somebody_has_defined_meanwhile_comes_with_a_restart_as_it_is() -> None:
    hand_made.make(NAME, machine="q35", rest=ACPI)
    virsh("start", NAME)
    own, folder = NVRAM / f"{NAME}.mine.fd", tpm_folder()
    tpm = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm></devices>"
    loader = f"<loader readonly='yes' type='pflash'>{OVMF}CODE_4M.fd</loader><nvram>{own}</nvram>"
    define(virsh("dumpxml", NAME, "--inactive").replace("hvm</type>", f"hvm</type>{loader}").replace("</devices>", tpm))
    before = virsh("dumpxml", NAME, "--inactive")
    wanted = {"name": NAME, **PAPER, "firmware": {"type": "uefi"}, "tpm": TPM}
    assert sorted(unchanged(VM, wanted).plan.restart_required) == ["firmware.type", "tpm.version"]
    check_run_again(VM, {**wanted, "restart_policy": "if_needed"}, ["firmware.type", "tpm.version"])
    assert virsh("dumpxml", NAME, "--inactive") == before and str(own) in line_of_qemu()
    gone = check_run_again(VM, {**GONE, "delete": ["nvram", "tpm"]}, ["state"])
    assert sorted(gone.plan.kept) == sorted(map(str, (own, folder))) and own.exists() and folder.exists()
    shutil.rmtree(folder)


def test_a_firmware_that_no_descriptor_tells_of_is_left_alone() -> None:
    by_hand("", "hvm</type>", "hvm</type><loader type='rom'>/usr/share/seabios/bios-256k.bin</loader>")
    unchanged(VM, {"name": NAME, "firmware": {"type": "bios"}})
    refuse(
        VM,
        {"name": NAME, "firmware": {"type": "uefi"}},
        "starts by /usr/share/seabios/bios-256k.bin, of which no descriptor",
    )


def test_a_machine_without_acpi_does_not_start_by_uefi() -> None:
    hand_made.make(NAME, machine="q35")
    refuse(VM, {"name": NAME, "firmware": {"type": "uefi"}}, "has no ACPI, which UEFI needs")


def test_what_the_host_does_not_have_is_refused_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(VM, {**MADE, "machine": "pc", "firmware": {"secure_boot": True}}, "It takes a machine of the type q35")
    monkeypatch.setattr(descriptors, "read", list)
    refuse(VM, {**MADE, "firmware": {"type": "uefi"}}, "Install the package ovmf")
    refuse(VM, {**MADE, "firmware": {"type": "bios", "secure_boot": True}}, "a BIOS has no secure boot")
    refuse(VM, {**MADE, "firmware": {"enrolled_keys": True, "secure_boot": False}}, "Write firmware.secure_boot: true")


def test_a_snapshot_of_another_firmware_comes_back_to_that_alone() -> None:
    disk = {"disks": [{"name": "root", "pool": machines.POOL, "size": "1M"}]}
    plain, secure = {"firmware": {"type": "uefi", "secure_boot": False}}, {"firmware": {"secure_boot": True}}
    off = {"name": NAME, **PAPER, "state": "stopped"}
    assert converge_now(VM, {**MADE, **disk, **plain}).error is None
    assert converge_now(VM, off).error is None
    assert converge_now(GuestSnapshot(), {"guest": NAME, "name": "before"}).error is None
    check_run_again(VM, {**off, **secure}, PATHS[1:])
    back = {"guest": NAME, "name": "before", "state": "reverted", "allow": ["revert"]}
    refuse(GuestSnapshot(), back, f"UEFI variables of another firmware ({variables('plain')})")
    clone = {"name": f"{NAME}-2", "clone_from": {"guest": NAME, "snapshot": "before"}}
    refuse(VM, clone, "its snapshot has the UEFI variables of another firmware")
    check_run_again(VM, {**off, **plain}, PATHS[1:])
    check_run_again(GuestSnapshot(), back)
    check_run_again(VM, {**GONE, "delete": ["disks", "nvram", "snapshots"]})


# ---- machine -----------------------------------------------------------------------------------------------------------------


def test_a_machine_is_of_the_type_that_is_written_and_the_word_stands_for_each_version() -> None:
    card = {"networks": [{"name": "lan", "bridge": machines.BRIDGES[0]}]}
    disks = {"disks": [{"name": "data", "pool": machines.POOL, "size": "1M"}]}
    outcome = check_run_again(VM, {**MADE, "machine": "pc", "firmware": {"type": "uefi"}, **card, **disks})
    assert outcome.plan.get("machine") is not None
    assert attribute(definition(NAME), "os/type", "machine").startswith("pc-i440fx-")
    assert definition(NAME).find("devices/controller[@model='pcie-root']") is None
    # Devices come and go on it as well.
    check_run_again(VM, {**MADE, "networks": [{"name": "wan", "bridge": machines.BRIDGES[1]}]}, ["networks[wan]"])
    assert len(running(NAME).findall("devices/interface")) == 2
    refuse(VM, {**MADE, "machine": "q35"}, "its devices have the places that they have on one. Make a new machine")


def test_a_version_is_for_the_next_boot_and_the_word_alone_is_no_change() -> None:
    check_run_again(VM, {**MADE, "machine": "pc-q35-7.1"})
    assert "pc-q35-7.1" in line_of_qemu()
    unchanged(VM, {**MADE, "machine": "q35"})
    outcome = check_run_again(VM, {**MADE, "machine": "pc-q35-7.2"}, ["machine"])
    assert outcome.plan.restart_required == ["machine"] and "pc-q35-7.1" in line_of_qemu()
    check_run_again(VM, {**MADE, "machine": "pc-q35-7.2", "restart_policy": "if_needed"}, ["machine"])
    assert "pc-q35-7.2" in line_of_qemu()
    refuse(VM, {**MADE, "machine": "pc-q35-99.9"}, "pc-q35-99.9")
    refuse(VM, {**MADE, "name": f"{NAME}-2", "machine": "pc-q35-99.9"}, "pc-q35-99.9")


# ---- TPM ---------------------------------------------------------------------------------------------------------------------


def test_a_tpm_is_emulated_and_what_it_holds_outlives_it() -> None:
    wanted = {**MADE, "tpm": TPM}
    outcome = check_run_again(VM, wanted)
    assert {change.path for change in outcome.plan.changes} >= {"tpm.version", "tpm.model"}
    folder, line = tpm_folder(), line_of_qemu()
    assert (folder / "tpm2" / "tpm2-00.permall").is_file()
    assert "-tpmdev" in line and "tpm-crb" in line
    (folder / "tpm2" / "secret").touch()
    off = {"name": NAME, **PAPER, "unset": ["tpm"]}
    outcome = check_run_again(VM, off, ["tpm.version", "tpm.model"])
    assert outcome.plan.kept == [str(folder)]
    assert sorted(outcome.plan.restart_required) == ["tpm.model", "tpm.version"]
    check_run_again(VM, {**off, "restart_policy": "if_needed"}, ["tpm.version", "tpm.model"])
    assert "tpm" not in line_of_qemu()
    outcome = check_run_again(VM, {**wanted, "tpm": {"model": "tis", "version": "2.0"}, "restart_policy": "if_needed"})
    assert f"has again what it held before: {folder}" in " ".join(outcome.plan.warnings)
    assert "tpm-tis" in line_of_qemu() and (folder / "tpm2" / "secret").is_file()
    # Of a machine that is taken away it is kept by name, and a new one takes it with a permit alone.
    assert check_run_again(VM, GONE, ["state"]).plan.kept == [str(folder)]
    refuse(VM, wanted, f"{folder} is there already")
    check_run_again(VM, {**MADE, "state": "present"})
    check_run_again(VM, {**GONE}, ["state"])
    check_run_again(VM, {**wanted, "allow": ["adopt"]})
    assert tpm_folder() == folder and (folder / "tpm2" / "secret").is_file()
    check_run_again(VM, {**GONE, "delete": ["tpm"]}, ["state", "tpm"])
    assert not folder.exists()


@pytest.mark.parametrize("power", ["stopped", "started"])
def test_a_tpm_comes_with_the_next_boot(power: str) -> None:
    check_run_again(VM, {**MADE, "state": power if power == "started" else "present"})
    wanted = {"name": NAME, **PAPER, "tpm": {"version": "1.2"}}
    outcome = check_run_again(VM, wanted, ["tpm.version"])
    assert outcome.plan.restart_required == (["tpm.version"] if power == "started" else [])
    root = definition(NAME)
    assert (attribute(root, "devices/tpm", "model"), attribute(root, "devices/tpm/backend", "version")) == (
        "tpm-tis",
        "1.2",
    )
    refuse(VM, {**wanted, "tpm": {"version": "1.2", "model": "crb"}}, "crb is a TPM 2.0")
    refuse(VM, {"name": NAME, "unset": ["tpm.model"]}, "Write unset: [tpm]")


def test_a_tpm_of_the_host_itself_is_left_alone() -> None:
    tpm = "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>"
    hand_made.make(NAME, tpm, machine="q35")
    refuse(VM, {"name": NAME, "tpm": TPM}, "is not an emulated one")
    refuse(VM, {"name": NAME, "unset": ["tpm"]}, "is not an emulated one")


def test_a_machine_that_was_made_by_hand_keeps_its_secrets_from_every_word() -> None:
    hand_made.make(NAME, "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>", machine="q35")
    virsh("start", NAME)
    folder = tpm_folder()
    unchanged(VM, {"name": NAME, "tpm": {"version": "2.0", "model": "tis"}})
    outcome = converge_now(VM, {**GONE, "delete": ["tpm", "nvram", "disks"]})
    assert outcome.error is None and outcome.plan.kept == [str(folder)] and folder.exists()
    shutil.rmtree(folder)
