# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CD-ROM drives and their media. What needs a guest that mounts them is in ``test_vm_guest``."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._image.store import file_of
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import seed
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import disk, image, make
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, POOL, definition, running, virsh

VM, IMAGES = KvmVm(), Image()
NAME = f"{machines.PREFIX}-cdroms"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}
NEW = {**PLAIN, "memory": "64"}
EMPTY = "<disk type='file' device='cdrom'><target dev='{}' bus='{}'/><readonly/></disk>"
WITH_IDE = {"machine": "pc"}


def cdroms(*items: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {**PLAIN, "cdroms": list(items), **more}


def media(root: machines.Element) -> list[tuple[str | None, str | None]]:
    """The target and the medium of each drive."""
    drives = root.findall("devices/disk[@device='cdrom']")
    return [(machines.attribute(its, "target", "dev"), machines.attribute(its, "source", "file")) for its in drives]


def inserted(name: str) -> str:
    """What QEMU itself has in its drives."""
    return virsh("qemu-monitor-command", name, "--hmp", "info block")


def isos(folder: Path, *words: str) -> list[str]:
    return [str(image(folder / f"{NAME}-{word}.iso")) for word in words]


@pytest.mark.parametrize("state", ["stopped", "started"])
@pytest.mark.parametrize("bus", ["sata", "scsi", "usb"])
def test_a_new_machine_has_its_drive_and_the_medium_in_it(folder: Path, bus: str, state: str) -> None:
    (iso,) = isos(folder, "a")
    run = check_run_again(VM, cdroms({"name": "cd", "source": iso, "bus": bus}, memory="64", state=state))
    (node,) = definition(NAME).iterfind("devices/disk")
    assert (node.get("device"), machines.attribute(node, "target", "bus")) == ("cdrom", bus)
    assert machines.device(definition(NAME), "disk", "cd") is not None and node.find("readonly") is not None
    assert run.facts["guest"]["cdroms"] == [{"name": "cd", "path": iso, "bus": bus}]
    assert run.facts["guest"]["disks"] == []
    if state == "started":
        assert iso in inserted(NAME)


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_medium_is_inserted_changed_and_ejected(folder: Path, state: str) -> None:
    first, second = isos(folder, "first", "second")
    assert check_run_again(VM, cdroms({"name": "cd"}, memory="64", state=state)).plan.has("cdroms[cd]")
    how = "live" if state == "started" else "offline"
    for path in (first, second, ""):
        run = check_run_again(VM, cdroms({"name": "cd", "source": path}), ["cdroms[cd].source"])
        assert run.plan.changes[0].how.value == how and run.plan.restart_required == []
        assert media(definition(NAME)) == [("sda", path or None)]
        if state == "started":
            assert media(running(NAME)) == [("sda", path or None)]
            assert (path in inserted(NAME)) if path else ("second" not in inserted(NAME))
    check_run_again(VM, cdroms({"name": "cd", "source": first}), ["cdroms[cd].source"])
    run = check_run_again(VM, {**PLAIN, "unset": ["cdroms[cd].source"]}, ["cdroms[cd].source"])
    assert (run.plan.changes[0].before, run.plan.changes[0].after) == (first, None)
    assert media(definition(NAME)) == [("sda", None)] and os.path.exists(first)


@pytest.mark.parametrize(("bus", "is_live"), [("sata", False), ("scsi", True), ("usb", True)])
def test_a_drive_comes_and_goes(folder: Path, bus: str, is_live: bool) -> None:
    (iso,) = isos(folder, "a")
    assert converge_now(VM, {**NEW, "state": "started"}).error is None
    run = check_run_again(VM, cdroms({"name": "cd", "source": iso, "bus": bus}), ["cdroms[cd]"])
    assert run.plan.restart_required == ([] if is_live else ["cdroms[cd]"])
    assert len(media(running(NAME))) == is_live
    check_run_again(VM, cdroms({"name": "cd"}, restart_policy="if_needed"), [] if is_live else ["cdroms[cd]"])
    assert iso in inserted(NAME)
    # Firmware without an operating system lets nothing go.
    run = check_run_again(VM, cdroms({"name": "cd", "state": "absent"}), ["cdroms[cd]"])
    assert run.plan.kept == [iso] and media(definition(NAME)) == []
    check_run_again(VM, cdroms({"name": "cd", "state": "absent"}, restart_policy="if_needed"))
    assert media(running(NAME)) == [] and os.path.exists(iso)


def test_an_empty_drive_comes_with_its_medium_or_the_next_boot(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    assert converge_now(VM, {**NEW, "state": "started"}).error is None
    for name in ("one", "two"):
        run = check_run_again(VM, cdroms({"name": name, "bus": "scsi"}), [f"cdroms[{name}]"])
        assert f"cdroms[{name}]" in run.plan.restart_required and media(running(NAME)) == []
    check_run_again(VM, cdroms({"name": "one", "source": iso}), ["cdroms[one]", "cdroms[one].source"])
    assert iso in inserted(NAME)
    check_run_again(VM, cdroms({"name": "two"}, restart_policy="if_needed"), ["cdroms[two]"])
    assert [path for dummy, path in media(running(NAME))] == [iso, None]


def test_a_drive_on_usb_is_never_empty(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    refuse(VM, cdroms({"name": "cd", "bus": "usb"}, memory="64"), "Write another bus")
    check_run_again(VM, cdroms({"name": "cd", "bus": "usb", "source": iso}, memory="64", state="started"))
    refuse(VM, cdroms({"name": "cd", "source": ""}), "take the drive away with state: absent")
    refuse(VM, {**PLAIN, "unset": ["cdroms[cd].source"]}, "take the drive away with state: absent")


def test_a_drive_moves_to_another_bus_with_the_next_boot(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    assert converge_now(VM, cdroms({"name": "cd", "source": iso}, memory="64", state="started")).error is None
    run = check_run_again(VM, cdroms({"name": "cd", "bus": "scsi"}), ["cdroms[cd].bus"])
    assert run.plan.restart_required == ["cdroms[cd].bus"]
    check_run_again(VM, cdroms({"name": "cd", "bus": "scsi"}, restart_policy="if_needed"), ["cdroms[cd].bus"])
    assert iso in inserted(NAME) and machines.attribute(running(NAME), "devices/disk/target", "bus") == "scsi"


def test_ide_is_only_where_the_machine_has_it(folder: Path) -> None:
    assert converge_now(VM, NEW).error is None
    refuse(VM, cdroms({"name": "cd", "bus": "ide"}), "Write sata or scsi")
    machines.remove_machines()
    refuse(VM, cdroms({"name": "cd", "bus": "ide"}, memory="64"), "Write sata or scsi")
    check_run_again(VM, cdroms({"name": "cd", "bus": "ide"}, memory="64", machine="pc", state="started"))
    machines.remove_machines()
    make(NAME, disk(image(folder / f"{NAME}.img")))
    check_run_again(VM, cdroms({"name": "cd", "bus": "ide"}), ["cdroms[cd]"])
    assert media(definition(NAME)) == [("hda", None)]
    check_run_again(VM, {**PLAIN, "state": "started"}, ["state"])


# ---- machines made by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_the_drives_of_a_hand_made_machine_are_known_by_their_places(folder: Path, state: str) -> None:
    (iso,) = isos(folder, "a")
    make(NAME, disk(image(folder / f"{NAME}.img")) + EMPTY.format("hdc", "ide") + EMPTY.format("hdd", "ide"))
    if state == "started":
        virsh("start", NAME)
    run = unchanged(VM, cdroms(disks=[]))
    assert run.plan.unmanaged == ["disks[disk0]", "cdroms[cdrom0]", "cdroms[cdrom1]"]
    check_run_again(VM, cdroms({"name": "cdrom1", "source": iso}), ["cdroms[cdrom1].source"])
    assert media(definition(NAME)) == [("hdc", None), ("hdd", iso)]
    # A name that it gets by its medium it keeps, whatever is in it later.
    unchanged(VM, cdroms({"name": "installer", "source": iso}))
    check_run_again(VM, cdroms({"name": "installer", "source": ""}), ["cdroms[installer].source"])
    run = check_run_again(VM, cdroms({"name": "installer", "state": "absent"}), ["cdroms[installer]"])
    assert media(definition(NAME)) == [("hdc", None)]


def test_a_list_that_is_complete_leaves_no_other_drive(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    make(NAME, EMPTY.format("sda", "sata") + EMPTY.format("sdb", "sata"), machine="q35")
    check_run_again(
        VM, cdroms({"name": "cdrom1", "source": iso}, exact=["cdroms"]), ["cdroms[cdrom0]", "cdroms[cdrom1].source"]
    )
    assert media(definition(NAME)) == [("sdb", iso)]


def test_what_else_a_hand_made_drive_says_stays(folder: Path) -> None:
    first, second = isos(folder, "first", "second")
    drive = (
        f"<disk type='file' device='cdrom'><driver name='qemu' type='raw' cache='none'/>"
        f"<source file='{first}' startupPolicy='optional'/><target dev='hda' bus='ide' tray='open'/><readonly/>"
        "<serial>S1</serial></disk>"
    )
    make(NAME, drive)
    check_run_again(VM, cdroms({"name": "cdrom0", "source": second}), ["cdroms[cdrom0].source"])
    (node,) = definition(NAME).iterfind("devices/disk")
    source = node.find("source")
    assert source is not None and source.attrib == {"file": second, "startupPolicy": "optional"}
    assert node.findtext("serial") == "S1" and machines.attribute(node, "driver", "cache") == "none"
    assert machines.attribute(node, "target", "tray") is None


def test_a_drive_of_the_host_that_cannot_be_read_stays_what_it_is(folder: Path) -> None:
    device = folder / "no-driver"
    os.mknod(device, 0o600 | stat.S_IFBLK, os.makedev(250, 0))
    try:
        make(
            NAME,
            f"<disk type='block' device='cdrom'><source dev='{device}'/><target dev='hda' bus='ide'/><readonly/></disk>",
        )
        check_run_again(VM, cdroms({"name": "cdrom0", "source": str(device)}, description="changed"), ["description"])
        check_run_again(VM, cdroms({"name": "cdrom0", "source": ""}), ["cdroms[cdrom0].source"])
        check_run_again(VM, {**PLAIN, "state": "absent"}, ["state"])
    finally:
        device.unlink()


# ---- one place for them --------------------------------------------------------------------------------------------------------


def test_a_medium_among_the_disks_is_refused_with_the_place_for_it(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    other = str(image(folder / f"{NAME}-medium.img"))
    for state in ("present", "absent"):
        refuse(VM, {**NEW, "disks": [{"name": "x", "source": iso, "state": state}]}, "Write it under cdroms")
    make(NAME, EMPTY.format("hdc", "ide").replace("<target", f"<source file='{other}'/><target"))
    for item in ({"name": "cdrom0"}, {"name": "cdrom0", "state": "absent"}, {"name": "x", "source": other}):
        refuse(VM, {**PLAIN, "disks": [item]}, "Write it under cdroms")
    refuse(VM, {**NEW, "disks": [{"name": "x", "source": other, "bus": "sata", "readonly": True}]}, "cdroms")


def test_disks_drives_and_cards_share_their_names(folder: Path) -> None:
    card = {"name": "x", "bridge": BRIDGES[0]}
    root = {"name": "root", "pool": POOL, "size": "1M"}
    refuse(VM, cdroms({"name": "x"}, memory="64", networks=[card]), "one of its own")
    refuse(VM, cdroms({"name": "root"}, memory="64", disks=[root]), "one of its own")
    assert converge_now(VM, {**NEW, "disks": [root]}).error is None
    refuse(VM, cdroms({"name": "root"}), "one of its own")


def test_a_machine_boots_from_its_medium_behind_its_disk(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    both = {"disks": [{"name": "root", "pool": POOL, "size": "1M"}], "boot": {"order": ["root", "cd"]}}
    check_run_again(VM, cdroms({"name": "cd", "source": iso}, memory="64", state="started", **both))
    orders = {
        its.get("device"): machines.attribute(its, "boot", "order") for its in definition(NAME).iterfind("devices/disk")
    }
    assert orders == {"disk": "1", "cdrom": "2"}
    check_run_again(VM, {**PLAIN, "boot": {"order": ["cd"]}}, ["boot.order"])
    refuse(VM, {**PLAIN, "boot": {"order": ["dvd"]}}, "no disk, CD-ROM drive or network card dvd")


def boots_from(root: machines.Element) -> dict[str | None, str | None]:
    return {
        (machines.attribute(its, "alias", "name") or "").removeprefix("ua-"): machines.attribute(its, "boot", "order")
        for its in root.iterfind("devices/disk")
    }


@pytest.mark.parametrize("order", [["root", "cd"], []])
@pytest.mark.parametrize("state", ["new", "stopped", "started"])
def test_a_machine_is_started_from_its_medium_for_once(folder: Path, state: str, order: list[str]) -> None:
    (iso,) = isos(folder, "a")
    lasting = {"root": "1", "cd": "2"} if order else {"root": None, "cd": None}
    whole = cdroms(
        {"name": "cd", "source": iso},
        memory="64",
        disks=[{"name": "root", "pool": POOL, "size": "1M"}],
        boot={"order": order},
    )
    once = {"boot": {"order": order, "once": "cd"}}
    if state != "new":
        assert converge_now(VM, {**whole, "state": state}).error is None
    target = "restarted" if state == "started" else "started"
    run = check_run_again(VM, {**whole, **once, "state": target})
    assert boots_from(running(NAME)) == {"cd": "1", "root": "2"}
    assert boots_from(definition(NAME)) == lasting and run.plan.restart_required == []
    # It is started, and nothing is due: not even for who has what waits for a restart done at once.
    unchanged(VM, {**whole, **once, "state": "started", "restart_policy": "if_needed"})
    check_run_again(VM, {**PLAIN, "state": "restarted"})
    assert boots_from(running(NAME)) == boots_from(definition(NAME)) == lasting
    refuse(VM, {**PLAIN, "boot": {"once": "dvd"}}, "boot.once: there is no disk, CD-ROM drive or network card dvd")


# ---- media of the image store --------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(folder: Path) -> t.Iterator[str]:
    """An image of the kind iso."""
    source = folder / f"{NAME}-kept.iso"
    source.write_bytes(seed.build({"user-data": "kept"}))
    name = f"{machines.PREFIX}-iso"
    assert converge_now(IMAGES, {"name": name, "kind": "iso", "path": str(source)}).error is None
    yield name
    machines.remove_machines()
    assert converge_now(IMAGES, {"name": name, "state": "absent"}).error is None


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_an_image_of_the_kind_iso_is_a_medium_and_stays_while_it_is_in_a_drive(kept: str, state: str) -> None:
    check_run_again(VM, cdroms({"name": "cd"}, memory="64", state=state))
    check_run_again(VM, cdroms({"name": "cd", "image": kept}), ["cdroms[cd].source"])
    ((dummy, path),) = media(definition(NAME))
    assert path == file_of(kept, "iso")
    if state == "started":
        assert path in inserted(NAME)
    refuse(IMAGES, {"name": kept, "state": "absent"}, NAME)
    check_run_again(VM, cdroms({"name": "cd", "source": ""}), ["cdroms[cd].source"])


def test_an_image_that_is_no_medium_or_missing_is_refused(folder: Path) -> None:
    refuse(VM, cdroms({"name": "cd", "image": machines.IMAGE}, memory="64"), "a drive needs one of the kind iso")
    wanted = cdroms({"name": "cd", "image": f"{machines.PREFIX}-none"}, memory="64")
    assert f"image {machines.PREFIX}-none" in converge_now(VM, wanted, dry_run=True).plan.assumed
    run = converge_now(VM, wanted)
    assert run.error is not None and f"{machines.PREFIX}-none" in run.error.message and not run.changed
    both = {"name": "cd", "image": machines.IMAGE, "source": "/srv/a.iso"}
    refuse(VM, cdroms(both, memory="64"), "write one of the two")


# ---- media that are not ours -----------------------------------------------------------------------------------------------------


def test_machines_share_a_medium_and_take_none_with_them(folder: Path) -> None:
    (iso,) = isos(folder, "a")
    for name in (NAME, f"{NAME}-2"):
        check_run_again(VM, cdroms({"name": "cd", "source": iso}, name=name, memory="64", state="started"))
    for name in (NAME, f"{NAME}-2"):
        run = check_run_again(VM, {**PLAIN, "name": name, "state": "absent", "delete": ["disks"]}, ["state"])
        assert run.plan.kept == [f"{iso} (not made by this collection)"]
    assert os.path.exists(iso)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_medium_that_is_missing_is_taken_as_given_by_a_check_and_stops_a_run_before_it_writes(
    folder: Path, is_there: bool
) -> None:
    if is_there:
        assert converge_now(VM, cdroms({"name": "cd"}, memory="64", state="started")).error is None
        before = virsh("dumpxml", NAME)
    wanted = cdroms({"name": "cd", "source": "/srv/none.iso"}, memory="64")
    check = converge_now(VM, wanted, dry_run=True)
    assert check.error is None and check.plan.assumed == ["file /srv/none.iso"]
    run = converge_now(VM, wanted)
    assert run.error is not None and "no /srv/none.iso" in run.error.message and not run.changed
    assert virsh("dumpxml", NAME) == before if is_there else virsh("list", "--all", "--name") == ""


def test_a_medium_that_cannot_be_read_leaves_the_machine_able_to_start(folder: Path) -> None:
    assert converge_now(VM, cdroms({"name": "cd"}, memory="64", state="started")).error is None
    broken = folder / f"{NAME}-broken.iso"
    broken.mkdir()
    try:
        run = converge_now(VM, cdroms({"name": "cd", "source": str(broken)}))
        assert run.error is not None
    finally:
        broken.rmdir()
    assert media(definition(NAME)) == media(running(NAME)) == [("sda", None)]
    unchanged(VM, cdroms({"name": "cd", "source": ""}))
