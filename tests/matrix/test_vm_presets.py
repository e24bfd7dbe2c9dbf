# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine gets of its image's presets, and how its seed is said to what reads it; proven with virsh, qemu-img and the seed itself."""

from __future__ import annotations

import io
import json
import typing as t
from pathlib import Path

import pycdlib
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import record
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.machines import IMAGE, POOL, attribute, definition, device, volume

VM = KvmVm()
NAME = f"{machines.PREFIX}-main"
RECORDS = Path("/var/lib/homelab_hybrid/guests")
KEY = "ssh-ed25519 AAAA me"
LINUX = {"seed": "cloud-init", "bus": "scsi", "user": "debian", "memory": 2 << 30, "disk": 16 << 20}
FREEBSD = {"seed": "nuageinit", "bus": "virtio", "user": "freebsd", "os_variant": "freebsd"}
WINDOWS = {"seed": "cloudbase-init", "bus": "sata", "os_variant": "windows"}
APPLIANCE = {"seed": "none"}
# Firmware without a system in it: no memory is taken before it is used.
PAPER = {"shutdown_timeout": 1, "force_stop": True}


@pytest.fixture(autouse=True)
def _plain(folder: Path) -> t.Iterator[None]:
    yield
    preset({})
    gone()


def gone() -> None:
    """No machine is there, and nothing that its firmware remembers."""
    machines.remove_machines()
    Path(f"/var/lib/libvirt/qemu/nvram/{NAME}_VARS.plain.fd").unlink(missing_ok=True)


def preset(presets: dict[str, t.Any]) -> None:
    """Let the image of the tests have these presets."""
    record.load("images", IMAGE).save(presets=presets or None)


def machine(**more: t.Any) -> dict[str, t.Any]:
    return {
        "name": NAME,
        "state": "stopped",
        "image": IMAGE,
        "disks": [{"name": "root", "pool": POOL}],
        **PAPER,
        **more,
    }


def seed_files(path: Path) -> dict[str, str]:
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    found = {}
    for child in iso.list_children(rr_path="/"):
        if child.is_file():
            name, stream = child.rock_ridge.name().decode(), io.BytesIO()
            iso.get_file_from_iso_fp(stream, rr_path="/" + name)
            found[name] = stream.getvalue().decode()
    iso.close()
    return found


def said(folder: Path) -> dict[str, t.Any]:
    """The files of its seed, those in JSON read."""
    found: dict[str, t.Any] = {}
    for name, text in seed_files(folder / f"{NAME}.seed.iso").items():
        try:
            found[name] = json.loads(text.removeprefix("#cloud-config\n"))
        except ValueError:
            found[name] = text
    return found


def test_a_machine_gets_what_its_image_asks_for(folder: Path) -> None:
    preset(LINUX)
    check_run_again(VM, machine(cloud_init={"ssh_keys": [KEY]}))
    root = definition(NAME)
    assert root.findtext("memory") == str(2 << 20)
    assert attribute(device(root, "disk", "root"), "target", "bus") == "scsi"
    assert attribute(device(root, "disk", "seed"), "target", "bus") == "scsi"
    assert volume(folder / f"{NAME}.root.qcow2")["virtual-size"] == 16 << 20
    assert json.loads((RECORDS / f"{NAME}.json").read_text())["presets"] == LINUX


def test_a_machine_starts_by_the_firmware_that_its_image_needs(folder: Path) -> None:
    preset({"firmware": "uefi"})
    outcome = check_run_again(VM, machine(memory="64"))
    assert outcome.plan.get("firmware.type").after == "uefi"
    assert definition(NAME).find("os").get("firmware") == "efi"
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])
    assert "/OVMF_CODE_4M.fd" in " ".join(machines.qemu_words(NAME)), "what has no secure boot"
    gone()
    check_run_again(VM, machine(memory="64", firmware={"type": "bios"}))
    assert definition(NAME).find("os").get("firmware") is None
    gone()
    preset({"firmware": "bios"})
    check_run_again(VM, machine(memory="64", firmware={"type": "uefi"}))
    assert definition(NAME).find("os").get("firmware") == "efi"


def test_a_machine_is_what_suits_the_system_in_its_image(folder: Path) -> None:
    preset({"os_variant": "windows"})
    lan = [{"name": "lan", "bridge": machines.BRIDGES[0]}]
    check_run_again(VM, machine(memory="64", networks=lan))
    root = definition(NAME)
    assert attribute(root, "clock", "offset") == "localtime"
    assert attribute(device(root, "disk", "root"), "target", "bus") == "sata"
    assert attribute(device(root, "interface", "lan"), "model", "type") == "e1000e"
    gone()
    preset({"os_variant": "windows", "bus": "virtio"})
    check_run_again(VM, machine(memory="64", os_variant="linux", networks=lan))
    root = definition(NAME)
    assert attribute(root, "clock", "offset") == "utc"
    assert attribute(device(root, "interface", "lan"), "model", "type") == "virtio"
    gone()
    check_run_again(VM, machine(memory="64"))
    assert attribute(device(definition(NAME), "disk", "root"), "target", "bus") == "virtio", "the image knows better"


def test_what_is_written_goes_before_the_presets(folder: Path) -> None:
    preset(LINUX)
    disks = [
        {"name": "root", "pool": POOL, "bus": "virtio", "size": "32MiB"},
        {"name": "data", "pool": POOL, "size": "1MiB"},
    ]
    outcome = check_run_again(VM, machine(memory="64", disks=disks))
    assert outcome.plan.warnings and any(
        "64MiB is less than the 2GiB that its image asks for" in its for its in outcome.plan.warnings
    )
    root = definition(NAME)
    assert root.findtext("memory") == "65536"
    assert [attribute(device(root, "disk", name), "target", "bus") for name in ("root", "data")] == ["virtio", "virtio"]
    assert volume(folder / f"{NAME}.root.qcow2")["virtual-size"] == 32 << 20


def test_other_presets_change_no_machine_that_stands(folder: Path) -> None:
    preset(LINUX)
    params = machine(cloud_init={"user": "joe"})
    check_run_again(VM, params)
    preset(WINDOWS)
    unchanged(VM, params)
    check_run_again(VM, {**params, "cloud_init": {"user": "ann"}}, ["cloud_init.user"])
    (user,) = said(folder)["user-data"]["users"]
    assert (user["name"], user["groups"]) == ("ann", ["sudo"]), (
        "the seed is told to what read it when the machine was made"
    )


def test_a_new_disk_on_another_image_has_the_bus_of_that(folder: Path) -> None:
    preset({})
    check_run_again(VM, machine())
    preset(WINDOWS)
    more = [{"name": "root", "pool": POOL}, {"name": "second", "pool": POOL, "image": IMAGE}]
    check_run_again(VM, {"name": NAME, "disks": more}, ["disks[second]"])
    root = definition(NAME)
    assert [attribute(device(root, "disk", name), "target", "bus") for name in ("root", "second")] == ["virtio", "sata"]


def test_a_layout_knows_the_presets_of_an_image_that_it_makes(folder: Path, tmp_path: Path) -> None:
    name = f"{machines.PREFIX}-fresh"
    machines.command("qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "8M")
    image = {
        "name": name,
        "kind": "vm",
        "path": str(tmp_path / "disk.qcow2"),
        "presets": {"bus": "sata", "memory": "1536MiB"},
    }
    params = {"images": [image], "vms": [machine(image=name)]}
    try:
        check, run = converge_layout(params, dry_run=True), converge_layout(params, dry_run=False)
        assert check.error is None and run.error is None, (check.error, run.error)
        (planned,) = [change for change in check.result()["plan"] if change["path"].endswith("disks[root]")]
        assert planned["after"]["bus"] == "sata"
        assert definition(NAME).findtext("memory") == str(1536 << 10)
        assert not converge_layout(params, dry_run=False).result()["changed"]
    finally:
        machines.remove_machines()
        converge_now(Image(), {"name": name, "state": "absent"})


# ---- what reads the seed ---------------------------------------------------------------------------------------------


def test_freebsd_is_told_in_words_of_nuageinit(folder: Path) -> None:
    preset(FREEBSD)
    check_run_again(VM, machine(cloud_init={"user": "joe", "ssh_keys": [KEY], "packages": ["sudo"]}))
    files = said(folder)
    assert files.keys() == {"meta-data", "user-data", "network-config"}
    told = files["user-data"]
    assert told["users"][0] == {
        "name": "joe",
        "groups": "wheel",
        "shell": "/bin/sh",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [KEY],
    }
    assert (told["packages"], told["ssh_pwauth"]) == (["sudo"], False)
    change = check_run_again(VM, {"name": NAME, "cloud_init": {"packages": ["vim"]}}, ["cloud_init.packages"])
    assert any("nuageinit reads its seed at the first start alone" in its for its in change.plan.warnings)


def test_windows_is_told_in_words_of_cloudbase_init(folder: Path) -> None:
    preset(WINDOWS)
    check_run_again(VM, machine(state="started", memory="64", cloud_init={"ssh_keys": [KEY]}))
    files = said(folder)
    assert files.keys() == {"meta-data", "user-data"}
    assert files["meta-data"] == {"instance-id": NAME, "local-hostname": NAME, "public-keys": [KEY]}
    drive = device(machines.running(NAME), "disk", "seed")
    assert attribute(drive, "target", "bus") == "sata" and drive.get("device") == "cdrom"
    assert attribute(drive, "source", "file") == str(folder / f"{NAME}.seed.iso") and drive.find("readonly") is not None
    unchanged(VM, {"name": NAME, "exact": ["cdroms", "disks"], "cdroms": [], "disks": [{"name": "root"}]})
    refuse(
        VM,
        {"name": NAME, "cdroms": [{"name": "seed"}]},
        "cdroms[seed]: this name belongs to the disk that cloud_init makes",
    )
    check_run_again(VM, {"name": NAME, "cloud_init": {"user": "joe"}}, ["cloud_init.user"])
    assert said(folder)["user-data"]["users"] == [
        {"name": "joe", "groups": "Administrators", "ssh_authorized_keys": [KEY]}
    ]


@pytest.mark.parametrize(
    ("presets", "cloud_init", "sentence"),
    [
        (APPLIANCE, {"user": "joe"}, "cloud_init.user: nothing in its image reads a seed"),
        (FREEBSD, {"user_data": "#cloud-config\nmounts: []\n"}, "cloud_init.user_data: nuageinit does not know mounts"),
        (FREEBSD, {"user": "joe", "user_data": "#!/bin/sh\nls\n"}, "cloud_init.user: nuageinit reads user_data alone"),
        (WINDOWS, {"packages": ["vim"]}, "cloud_init.packages: cloudbase-init installs no packages"),
        (
            WINDOWS,
            {"user_data": "#cloud-boothook\nls\n"},
            "cloud_init.user_data: cloudbase-init knows no user data that begins so",
        ),
    ],
)
def test_what_the_reader_of_a_seed_does_not_know_is_refused(folder: Path, presets, cloud_init, sentence) -> None:
    preset(presets)
    refuse(VM, machine(cloud_init=cloud_init), sentence)
    assert machines.state_of(NAME) == "" and not (folder / f"{NAME}.seed.iso").exists()


def test_it_is_refused_of_a_machine_that_stands_as_well(folder: Path) -> None:
    preset(FREEBSD)
    check_run_again(VM, machine(cloud_init={"user": "joe"}))
    refuse(
        VM,
        {"name": NAME, "cloud_init": {"user_data": "#!/bin/sh\nls\n"}},
        "cloud_init.user: nuageinit reads user_data alone",
    )
    swap = {"name": NAME, "cloud_init": {"user_data": "#!/bin/sh\nls\n"}, "unset": ["cloud_init.user"]}
    check_run_again(VM, swap, ["cloud_init.user", "cloud_init.user_data"])


# ---- what another seed does -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_another_seed_does_what_on_change_says(folder: Path, state: str) -> None:
    params = machine(state=state, memory="64", cloud_init={"user": "joe"})
    check_run_again(VM, params)
    before = said(folder)["meta-data"]["instance-id"]
    assert before == NAME
    ignored = {**params, "cloud_init": {"user": "ann", "on_change": "ignore"}}
    seen = unchanged(VM, ignored)
    assert not seen.plan.restart_required and said(folder)["user-data"]["users"][0]["name"] == "joe"
    next_boot = {**params, "cloud_init": {"user": "ann", "on_change": "next_boot"}}
    outcome = check_run_again(VM, next_boot, ["cloud_init.user"])
    assert (said(folder)["user-data"]["users"][0]["name"], said(folder)["meta-data"]["instance-id"]) == ("ann", before)
    assert outcome.plan.restart_required == ([] if state == "stopped" else ["cloud_init.user"])
    new = {**params, "cloud_init": {"user": "eve", "on_change": "new_instance"}}
    check_run_again(VM, new, ["cloud_init.user"])
    instance = said(folder)["meta-data"]["instance-id"]
    assert instance.startswith(f"{NAME}-") and said(folder)["user-data"]["users"][0]["name"] == "eve"
    unchanged(VM, new)
    assert said(folder)["meta-data"]["instance-id"] == instance
    check_run_again(VM, {**params, "cloud_init": {"user": "joe"}}, ["cloud_init.user"])
    assert said(folder)["meta-data"]["instance-id"] == instance, "the same instance, until another one is asked for"
    check_run_again(VM, {**params, "cloud_init": {"user": "eve", "on_change": "new_instance"}}, ["cloud_init.user"])
    assert said(folder)["meta-data"]["instance-id"] not in (instance, NAME)


def test_a_seed_that_is_ignored_is_made_with_its_machine(folder: Path) -> None:
    check_run_again(VM, machine(cloud_init={"user": "joe", "on_change": "ignore"}))
    assert said(folder)["user-data"]["users"][0]["name"] == "joe"
    wanted = {"name": NAME, "cloud_init": {"on_change": "ignore"}, "unset": ["cloud_init.user"]}
    refuse(VM, wanted, "unset: cloud_init.user is not taken off, as cloud_init.on_change says ignore")


def test_the_instance_that_meta_data_says_is_not_another_one(folder: Path) -> None:
    check_run_again(VM, machine(cloud_init={"user": "joe", "meta_data": "instance-id: mine\n"}))
    wanted = {"name": NAME, "cloud_init": {"user": "ann", "on_change": "new_instance"}}
    refuse(VM, wanted, "cloud_init.on_change: the instance is the one that meta_data says")
