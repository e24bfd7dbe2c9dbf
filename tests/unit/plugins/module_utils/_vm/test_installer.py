# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installer: what is declared of it, its answer, the one run of the machine, and what the plan makes of how far it has come."""

from __future__ import annotations

import io

import pycdlib
import pytest
from unit.plugins.module_utils._vm.test_plan import running, side, stopped

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.installing import (
    Installation,
    Installing,
    dump,
    load,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import answer
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.importing import answer_to
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.installation import _CONTROL
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.installer import (
    KINDS,
    LAYOUTS,
    command_line,
    installer_of,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.plan import plan_vm
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import FoundVolume, State
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.install import (
    InstallerRun,
    drives,
    is_installer_run,
    make_installer_run,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.node import make

TEXT = "the answer"
LOGIN = '{"authentication": {"username": "truenas_admin", "password": "ok-cider"}}'
MEDIA = {"media": "/srv/a.iso"}
ROOT = {"name": "root", "pool": "main", "size": "4"}


def declared(**install):
    return parse({"name": "vm", "install": install, "disks": [ROOT]})


@pytest.mark.parametrize(
    ("install", "saying"),
    [
        ({"answer": "preseed", "answer_text": TEXT}, "install.media: is needed"),
        ({**MEDIA, "answer_text": TEXT}, "install.answer: is needed"),
        ({**MEDIA, "answer": "guess", "answer_text": TEXT}, "one of preseed"),
        ({**MEDIA, "answer": "preseed", "answer_text": "short"}, "at least 8 characters"),
        ({**MEDIA, "cmdline": "quiet"}, "reaches a kernel that is booted directly"),
        ({"kernel": "/srv/linux", "answer": "preseed", "answer_text": TEXT}, "install.initrd: is needed"),
        ({**MEDIA, "done_when": "port"}, "install.port: belongs to done_when: port"),
        ({**MEDIA, "port": 22}, "install.port: belongs to done_when: port"),
        ({**MEDIA, "done_when": "serial"}, "install.pattern: belongs to done_when: serial"),
        ({**MEDIA, "done_when": "serial", "pattern": "("}, "no regular expression"),
        ({"media": "../a.iso"}, "install.media"),
        ({**MEDIA, "answer": "truenas", "answer_text": LOGIN, "done_when": "agent"}, "it is powered_off"),
        ({**MEDIA, "answer": "truenas", "answer_text": "no JSON at all"}, "has to be a JSON object"),
        ({**MEDIA, "answer": "truenas", "answer_text": LOGIN.replace("cider", "")}, "a password of at least 8"),
        ({**MEDIA, "extra_media": ["/a/../b"]}, "install.extra_media"),
    ],
)
def test_what_makes_no_installation_is_refused(install, saying):
    with pytest.raises(SpecError, match="install") as refused:
        declared(**install)
    assert saying in refused.value.message


@pytest.mark.parametrize("more", [{"image": "debian-13"}, {"clone_from": {"guest": "base"}}])
def test_a_system_comes_from_one_place(more):
    with pytest.raises(SpecError, match="installed, or it is there already"):
        parse({"name": "vm", "install": MEDIA, "disks": [ROOT], **more})


def test_without_its_channel_no_agent_tells_the_end():
    with pytest.raises(SpecError, match="no agent answers"):
        parse({"name": "vm", "install": {**MEDIA, "done_when": "agent"}, "agent": False, "disks": [ROOT]})


@pytest.mark.parametrize("kind", [kind for kind, its in KINDS.items() if its.label])
def test_the_medium_has_the_answer_where_its_installer_looks(kind):
    its = KINDS[kind]
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(answer.medium(its, TEXT)))
    assert image.pvd.volume_identifier.decode().strip() == its.label
    for names in ({"rr_path": f"/{its.file}"}, {"joliet_path": f"/{its.file}"}):
        found = io.BytesIO()
        image.get_file_from_iso_fp(found, **names)
        assert found.getvalue().decode() == TEXT
    found = sorted(child.rock_ridge.name().decode() for child in image.list_children(rr_path="/") if child.is_file())
    assert set(its.more) <= set(found)
    image.close()


@pytest.mark.parametrize("behind", range(4))
def test_what_is_laid_behind_an_initial_ram_disk_is_an_archive_of_the_kernel(behind):
    data = answer.archive("preseed.cfg", TEXT, behind=behind)
    start = data.index(b"070701")
    assert (behind + start) % 4 == 0 and not any(data[:start])
    header = [int(data[start + 6 + 8 * field : start + 14 + 8 * field], 16) for field in range(13)]
    size, name_size = header[6], header[11]
    assert data[start + 110 :].startswith(b"preseed.cfg\0") and name_size == len("preseed.cfg\0")
    content = start + (110 + name_size + 3) // 4 * 4
    assert data[content : content + size].decode() == TEXT and header[1] == 0o100600
    assert b"TRAILER!!!" in data[content:]


def test_a_medium_is_read_by_what_it_has_and_a_file_that_is_none_is_refused(tmp_path):
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", vol_ident="Ubuntu 26")
    image.add_directory("/CASPER", rr_name="casper")
    for number, name in enumerate(("vmlinuz", "initrd")):
        image.add_fp(io.BytesIO(name.encode()), len(name), f"/CASPER/F{number}.;1", rr_name=name)
    image.write(str(tmp_path / "a.iso"))
    image.close()
    with answer.Medium(str(tmp_path / "a.iso")) as iso:
        assert iso.layout(LAYOUTS["preseed"]) is None and iso.label == "Ubuntu 26"
        (its,) = LAYOUTS["autoinstall"]
        assert iso.layout(LAYOUTS["autoinstall"]) == its
        found = io.BytesIO()
        iso.copy(its.initrd, found)
        assert found.getvalue() == b"initrd"
    (tmp_path / "b.iso").write_bytes(b"nothing of the kind")
    with pytest.raises(ObserveError, match=r"b\.iso cannot be read"):
        answer.Medium(str(tmp_path / "b.iso"))


def test_the_words_of_the_user_come_last():
    its = installer_of(declared(**MEDIA, answer="kickstart", answer_text=TEXT, cmdline="quiet").values)
    line = command_line(its, LAYOUTS["kickstart"][0], "Alma 10")
    assert line.endswith(" quiet") and "inst.stage2=hd:LABEL=Alma\\x2010" in line and "console=ttyS0" in line


@pytest.mark.parametrize(
    ("install", "has_kernel", "expected"),
    [
        ({**MEDIA}, False, False),
        ({**MEDIA, "done_when": "agent"}, False, True),
        ({**MEDIA, "done_when": "agent"}, True, False),
        ({**MEDIA, "answer": "autounattend", "answer_text": TEXT}, False, True),
    ],
)
def test_a_restart_ends_the_run_where_it_would_begin_the_installer_again(install, has_kernel, expected):
    assert installer_of(declared(**install).values).restarts_as_itself(has_kernel=has_kernel) is expected


def definition():
    root = domain_xml.new("vm", "u", "tcg")
    domain_xml.WRITE["serial"](root, True)
    values = {"format": "qcow2", "bus": "virtio"}
    domain_xml.add_disk(root, "root", "/p/vm.root", values)
    domain_xml.add_disk(root, "seed", "/p/vm.seed", {**values, "readonly": True})
    return root


def test_the_run_of_an_installer_boots_the_disk_and_then_the_medium():
    root = definition()
    make_installer_run(root, InstallerRun("/log", media=("/a.iso", "/answer.iso"), restarts=True))
    orders = {node.find("source").get("file"): node.find("boot") for node in root.iterfind("devices/disk")}
    assert {path: node.get("order") for path, node in orders.items() if node is not None} == {
        "/p/vm.root": "1",
        "/a.iso": "2",
    }
    assert [node.get("device") for node in root.iterfind("devices/disk")] == ["disk", "disk", "cdrom", "cdrom"]
    assert root.findtext("on_reboot") == "restart" and is_installer_run(root, "/log")
    assert root.find("devices/console") is None and root.find("devices/serial").get("type") == "pty"


def test_one_that_is_asked_sees_what_was_made_for_it_and_nothing_else():
    root = definition()
    domain_xml.add_disk(root, "data", "/dev/sdx", {"format": "raw", "bus": "virtio"})
    devices = root.find("devices")
    for kind in ("pci", "usb"):
        devices.append(make("hostdev", mode="subsystem", type=kind))
    make_installer_run(root, InstallerRun("/log", media=("/a.iso",), restarts=True, only=("/p/vm.root",)))
    disks = [node.find("source").get("file") for node in root.iterfind("devices/disk")]
    assert disks == ["/p/vm.root", "/a.iso"] and root.find("devices/hostdev") is None


def test_a_kernel_is_booted_in_the_place_of_all_disks():
    root = definition()
    for node in list(root.find("devices").iterfind("serial")):
        root.find("devices").remove(node)
    run = InstallerRun("/log", media=("/a.iso",), kernel="/k", initrd="/i", cmdline="x")
    make_installer_run(root, run)
    assert [root.findtext(f"os/{tag}") for tag in ("kernel", "initrd", "cmdline")] == ["/k", "/i", "x"]
    assert root.find("devices/disk/boot") is None and root.findtext("on_reboot") == "destroy"
    assert is_installer_run(root, "/log") and not is_installer_run(definition(), "/log")


def test_a_record_is_read_as_it_was_written():
    for its in (
        Installation("a", 1.5, 60, "powered_off", asked="truenas"),
        Installation("a", 1.5, 60, "port", "over", 22, "x"),
    ):
        assert load(dump(its)) == its


def test_what_only_moves_the_cursor_is_nothing_to_read():
    assert _CONTROL.sub("", "\x1b[1;31mfailed\x1b[0m\x07 \x1b(Bnow") == "failed now"


# ---- the plan ---------------------------------------------------------------------------------------------------------------


def absent(**keys):
    return State(formats={"main": ("qcow2", "raw")}, machine_id="m", **keys)


def made(now, **params):
    return plan_vm(parse({"name": "vm", "disks": [ROOT], "install": MEDIA, **params}), now)


def test_nothing_of_a_new_machine_stands_until_it_is_installed():
    told = made(absent())
    assert told.get("install").after == "/srv/a.iso"
    assert told.awaited == [change.path for change in told.changes] and "state" in told.awaited


def found(path="/p/vm.root"):
    return FoundVolume(path, "qcow2", 4 << 30, is_ours=False)


def test_a_disk_with_a_system_is_taken_as_it_is():
    told = made(absent(found={"root": found()}), allow=["adopt"])
    assert not told.has("install") and not told.awaited and "nothing is installed" in told.warnings[-1]


def test_a_disk_beside_a_new_one_is_not_left_to_an_installer():
    disks = [ROOT, {"name": "old", "pool": "main", "size": "4"}]
    told = made(absent(found={"old": found()}), allow=["adopt"], disks=disks)
    (refused,) = told.refused
    assert refused.path == "install" and "disks[old] has been there before" in refused.reason
    with pytest.raises(SpecError, match="answer_text: is needed"):
        made(absent(), install={**MEDIA, "answer": "preseed"})
    with pytest.raises(SpecError, match="needs a disk"):
        made(absent(), disks=[{"name": "data", "source": "/a.img", "readonly": True}])


ASKED = {**MEDIA, "answer": "truenas", "answer_text": LOGIN}
NAS = {"name": "root", "pool": "main", "size": "16"}


def test_a_disk_beside_a_new_one_is_kept_from_an_installer_that_is_asked():
    disks = [NAS, {"name": "data", "source": "/dev/disk/by-id/x", "serial": "x"}]
    told = made(absent(), disks=disks, install=ASKED)
    assert not told.refused and told.get("install").after == "/srv/a.iso (truenas)"
    assert installer_of(declared(**ASKED).values).begun(0).asked == "truenas"
    with pytest.raises(SpecError, match=r"disks\[root\]\.size: .* no disk under 8000000000 bytes"):
        made(absent(), install=ASKED)


def test_what_is_not_there_is_refused_in_the_plan():
    (refused,) = made(absent(installer_obstacle="install.media: there is no /srv/a.iso on this host")).refused
    assert refused.path == "install"


UNDER_WAY = Installing("a.iso", runs=True)


@pytest.mark.parametrize("state", ["present", "stopped", "started", "restarted", "paused"])
def test_a_machine_is_left_to_its_installer(state):
    now = running(installing=UNDER_WAY)
    told = made(now, state=state)
    assert [change.path for change in told.changes] == ["install"] and told.awaited == ["install"]
    apart = plan_vm(parse({"name": "vm", "state": state, "memory": "512", "restart_policy": "if_needed"}), now)
    assert [(change.path, change.how.value) for change in apart.changes] == [("memory", "next_boot")]
    assert "is being installed from a.iso" in apart.warnings[0]


@pytest.mark.parametrize(
    ("state", "now", "expected"),
    [
        ("started", stopped(installing=Installing("a.iso", is_over=True)), {"install": "live", "state": "live"}),
        ("stopped", stopped(installing=Installing("a.iso", is_over=True)), {"install": "live"}),
        ("present", running(installing=Installing("a.iso", is_over=True, runs=True)), {"install": "restart"}),
        ("started", running(installing=Installing("a.iso", is_over=True, runs=True)), {"install": "restart"}),
        (
            "stopped",
            running(installing=Installing("a.iso", is_over=True, runs=True)),
            {"install": "live", "state": "live"},
        ),
        # Somebody has started it by hand meanwhile.
        ("started", running(installing=Installing("a.iso", is_over=True)), {"install": "live"}),
    ],
)
def test_a_machine_whose_installer_has_ended_starts_without_its_media(state, now, expected):
    assert {change.path: change.how.value for change in made(now, state=state).changes} == expected
    assert not plan_vm(parse({"name": "vm", "state": state}), now).changes


def test_what_changed_meanwhile_comes_into_force_with_that_restart():
    now = running(installing=Installing("a.iso", is_over=True, runs=True))
    told = made(now, serial=False, memory="512")
    assert {change.path: change.how.value for change in told.changes} == dict.fromkeys(
        ("serial", "memory", "install"), "restart"
    )


def test_one_that_was_cut_off_long_ago_is_nobodys_to_wipe():
    lost = stopped(side(), installing=Installing("a.iso", is_lost=True))
    (refused,) = made(lost).refused
    assert (refused.path, refused.permit) == ("install", "recreate") and "allow: [adopt]" in refused.reason
    assert [change.how.value for change in made(lost, allow=["adopt"]).changes] == ["live"]
    assert not plan_vm(parse({"name": "vm"}), lost).changes


def test_two_plans_with_a_wait_between_them_are_one():
    first = Plan(
        [Change("state", "absent", "started"), Change("install", None, "a", done=True)],
        awaited=["state"],
        warnings=["slow"],
    )
    second = Plan(
        [Change("install", "installing", "a", done=True), Change("memory", 1, 2, done=True)],
        kept=["/p"],
        warnings=["slow"],
    )
    both = first.followed_by(second)
    assert [(change.path, change.before, change.done) for change in both.changes] == [
        ("state", "absent", True), ("install", None, True), ("memory", 1, True)
    ]  # fmt: skip
    assert (both.kept, both.warnings) == (["/p"], ["slow"])
    again = Plan([Change("state", "absent", "started")], awaited=["state"]).followed_by(
        Plan([Change("install", "a", "b")])
    )
    assert not again.changes[0].done


WAITS = "Press any key to start the configuration importer: . . . "
ASKS = "\n<QEMU QEMU DVD-ROM>  at scbus0 target 0 lun 0 (pass0,cd0)\n\nSelect device to import from (e.g. ada0) or leave blank to exit: "


@pytest.mark.parametrize(
    ("console", "typed"),
    [
        ("Booting...", None),
        (WAITS, " "),
        # A line of the kernel may stand behind it.
        (f"{WAITS}\nda0 at umass-sim0", " "),
        (WAITS + ASKS, "cd1\n"),
        (f"{WAITS}{ASKS}cd1\n\nStarting import", None),
        (f"{WAITS}{ASKS}cd1\n\nThe file /conf/config.xml could not be found.\n{ASKS}", "cd0\n"),
    ],
)
def test_an_importer_is_answered_what_it_asks(console, typed):
    assert answer_to(console, ["cd1", "cd0"]) == typed


def test_the_drive_of_the_answer_is_named_first():
    """FreeBSD numbers drives by the ports of their controller; a disk there is none of them."""
    root = domain_xml.parse(
        "<domain><devices><disk device='disk'><target dev='sda' bus='sata'/></disk>"
        "<disk device='cdrom'><source file='/lib/own/answer.iso'/><target dev='sdc' bus='sata'/></disk>"
        "<disk device='cdrom'><source file='/srv/a.iso'/><target dev='sdb' bus='sata'/></disk></devices></domain>"
    )
    assert drives(root, "/lib/own") == ["cd1", "cd0"]
