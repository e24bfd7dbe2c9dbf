# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By what a machine starts: what descriptors say of a file, what follows from what is written, and what a host offers."""

from __future__ import annotations

import json

import pytest
from unit.plugins.module_utils._vm.test_plan import hows, plan, running, side, stopped

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import GuestRecord, RecordedFile
from ansible_collections.homelab.hybrid.plugins.module_utils._host import descriptors
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import firmware, offer
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.firmware import Firmware, Seen, Way
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import parse, with_create_defaults
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.state import State
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import firmware as firmware_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import machine, tpm

PLAIN, SECURE, ENROLLED = Way(True), Way(True, True), Way(True, True, True)
Q35, PC = "pc-q35-7.2", "pc-i440fx-7.2"
UUID = "9830dfdb-37ea-4c1c-9731-790ac404b5ba"


def descriptor(name="a", features=(), *, machines=("pc-q35-*",), **more):
    mapping = {
        "device": "flash",
        "executable": {"filename": f"/{name}.fd", "format": "raw"},
        "nvram-template": {"filename": f"/{name}.vars", "format": "raw"},
    }
    targets = [{"architecture": "aarch64", "machines": ["virt"]}, {"architecture": "x86_64", "machines": [*machines]}]
    return {"interface-types": ["uefi"], "mapping": mapping, "targets": targets, "features": [*features], **more}


# In the order of Debian's own.
DEBIAN = tuple(
    firmware.of_descriptor(its)
    for its in (
        descriptor("ms", ["enrolled-keys", "secure-boot", "requires-smm"]),
        descriptor("secboot", ["secure-boot", "requires-smm"]),
        descriptor("plain", machines=["pc-i440fx-*", "pc-q35-*"]),
    )
)


def seen(loader="", template="", secure=None, enrolled=None, *, is_uefi=True):
    return Seen(is_uefi, loader, template, secure, enrolled)


def test_a_descriptor_tells_of_a_uefi_with_variables_of_its_own():
    assert DEBIAN[0] == Firmware(
        "/ms.fd", "/ms.vars", frozenset({"enrolled-keys", "secure-boot", "requires-smm"}), ("pc-q35-*",)
    )
    assert [its.way for its in DEBIAN] == [ENROLLED, SECURE, PLAIN]
    assert [its.fits(PC) for its in DEBIAN] == [False, False, True]


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        "text",
        None,
        descriptor(**{"interface-types": ["bios"]}),
        descriptor(targets=[{"architecture": "aarch64", "machines": ["virt"]}]),
        descriptor(mapping={"device": "memory", "filename": "/bios.bin"}),
        descriptor(mapping={"device": "flash", "mode": "stateless", "executable": {"filename": "/a"}}),
        descriptor(mapping={"device": "flash", "executable": {"filename": "/a"}}),
    ],
)
def test_any_other_descriptor_tells_of_none(data):
    assert firmware.of_descriptor(data) is None


@pytest.mark.parametrize(
    ("its", "kind", "way"),
    [
        (seen(is_uefi=False), Q35, Way()),
        (seen("/bios.bin", is_uefi=False), Q35, None),
        (seen("/plain.fd"), Q35, PLAIN),
        (seen("/secboot.fd", "/ms.vars"), Q35, SECURE),
        (seen("/unknown.fd"), Q35, None),
        (seen(), Q35, ENROLLED),
        (seen(), PC, PLAIN),
        (seen(secure=False), Q35, PLAIN),
        (seen(secure=True, enrolled=False), Q35, SECURE),
        (seen(secure=True), PC, None),
        # What libvirt has chosen is in force, whatever it was told to look for.
        (seen("/ms.fd", secure=True, enrolled=False), Q35, ENROLLED),
    ],
)
def test_the_firmware_of_a_machine_is_what_its_descriptor_says(its, kind, way):
    assert firmware.way_of(its, kind, DEBIAN) == way


def test_of_two_descriptors_of_one_file_that_counts_whose_variables_the_machine_has():
    twins = (DEBIAN[0]._replace(executable="/code"), DEBIAN[1]._replace(executable="/code"))
    assert firmware.way_of(seen("/code", "/secboot.vars"), Q35, twins) == SECURE
    assert firmware.way_of(seen("/code", "/mine.vars"), Q35, twins) == ENROLLED


@pytest.mark.parametrize(
    ("kind", "secure", "enrolled", "now", "way"),
    [
        (None, None, None, Way(), Way()),
        ("uefi", None, None, Way(), PLAIN),
        (None, True, None, Way(), ENROLLED),
        (None, None, True, PLAIN, ENROLLED),
        (None, True, False, Way(), SECURE),
        (None, True, None, PLAIN, ENROLLED),
        (None, True, None, SECURE, SECURE),
        (None, False, None, ENROLLED, PLAIN),
        ("bios", None, None, ENROLLED, Way()),
        ("uefi", None, None, ENROLLED, ENROLLED),
        (None, None, False, ENROLLED, SECURE),
    ],
)
def test_what_is_not_written_follows_from_what_is(kind, secure, enrolled, now, way):
    assert firmware.wanted_way(dict(zip(firmware.PATHS, (kind, secure, enrolled), strict=True)), now) == way


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"firmware": {"type": "bios", "secure_boot": True}}, "firmware.secure_boot"),
        ({"firmware": {"enrolled_keys": True}, "unset": ["firmware.type"]}, "firmware.enrolled_keys"),
        ({"firmware": {"enrolled_keys": True, "secure_boot": False}}, "firmware.enrolled_keys"),
        ({"tpm": {"version": "1.2", "model": "crb"}}, "tpm.model"),
        ({"unset": ["tpm.version"]}, "unset"),
        ({"machine": "virt"}, "machine"),
        ({"machine": "pc-q35-"}, "machine"),
        ({"disks": [{"name": "nvram"}]}, "disks[nvram]"),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_read(params, key):
    with pytest.raises(SpecError) as told:
        parse({"name": "vm", **params})
    assert told.value.facts["key"] == key


def test_a_new_machine_has_what_follows_from_what_is_written():
    spec = with_create_defaults(parse({"name": "vm", "firmware": {"secure_boot": True}, "tpm": {"model": "tis"}}))
    assert [spec.get(path) for path in firmware.PATHS] == ["uefi", True, True]
    assert (spec.get("tpm.version"), spec.get("tpm.model"), spec.get("machine")) == ("2.0", "tis", "q35")
    plain = with_create_defaults(parse({"name": "vm"}))
    assert not {*firmware.PATHS, "tpm.version"} & {*plain.values}


# ---- what a host offers -------------------------------------------------------------------------------------------------------

ALL = offer.Offer(Q35, None, ("/ms.fd", "/secboot.fd", "/plain.fd"), DEBIAN, ("1.2", "2.0"), ("tpm-tis", "tpm-crb"))


def test_a_firmware_is_offered_that_a_descriptor_tells_of_and_qemu_can_start():
    assert [ALL.obstacle_to_firmware(way) for way in (Way(), PLAIN, SECURE, ENROLLED)] == [None] * 4
    assert "Install the package ovmf" in str(ALL._replace(loaders=("/plain.fd",)).obstacle_to_firmware(ENROLLED))
    assert "no firmware with UEFI for" in str(ALL._replace(firmwares=()).obstacle_to_firmware(PLAIN))
    older = ALL._replace(machine=PC)
    assert older.obstacle_to_firmware(PLAIN) is None
    assert "It takes a machine of the type q35" in str(older.obstacle_to_firmware(SECURE))


def test_a_tpm_is_offered_in_the_versions_and_models_that_there_are():
    assert ALL.obstacle_to_tpm("2.0", "crb") is None
    assert "emulates 2.0 alone" in str(ALL._replace(tpm_versions=("2.0",)).obstacle_to_tpm("1.2", "tis"))
    assert "only tis" in str(ALL._replace(tpm_models=("tpm-tis",)).obstacle_to_tpm("2.0", "crb"))
    assert "Install the packages swtpm" in str(ALL._replace(tpm_versions=()).obstacle_to_tpm("2.0", "crb"))


def test_what_is_not_offered_is_refused_in_the_plan():
    none = ALL._replace(firmwares=(), tpm_versions=())
    wanted = {"firmware": {"type": "uefi"}, "tpm": {"version": "2.0"}}
    found = {path: how for path, how in hows(stopped(offer=none), **wanted).items() if how == "refused"}
    assert [*found] == ["firmware.type", "tpm.version"]
    assert "refused" not in hows(stopped(offer=ALL), **wanted).values()
    gone = ALL._replace(obstacle="there is no such machine")
    assert hows(stopped(offer=gone), machine="pc-q35-9.9") == {"machine": "refused"}


def test_descriptors_of_a_later_folder_are_in_the_place_of_others(tmp_path):
    for folder, name, text in (
        ("usr", "40-a.json", json.dumps("a")),
        ("usr", "60-c.json", json.dumps("c")),
        ("usr", "50-hidden.json", json.dumps("hidden")),
        ("usr", "70-text.txt", json.dumps("text")),
        ("etc", "60-c.json", json.dumps("mine")),
        ("etc", "50-hidden.json", ""),
        ("etc", "10-first.json", json.dumps("first")),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    assert descriptors.read([str(tmp_path / each) for each in ("usr", "etc", "none")]) == ["first", "a", "mine"]


# ---- a machine that stands ----------------------------------------------------------------------------------------------------


def nvram(way):
    return firmware.nvram_of("vm", way)


def uefi(way):
    """A side of a machine that starts by *way*."""
    its = side(**{path.replace(".", "__"): value for path, value in way.values.items()})
    its.domain.places = {"nvram": nvram(way)}
    return its


def test_another_firmware_leaves_the_variables_and_takes_up_its_own():
    known = GuestRecord(
        exists=True, files={"nvram": RecordedFile(nvram(PLAIN)), "nvram@x": RecordedFile(nvram(SECURE))}
    )
    now = running(uefi(PLAIN), record=known, remembered={nvram(PLAIN), nvram(SECURE)})
    told = plan(now, firmware={"secure_boot": True, "enrolled_keys": False})
    assert {change.path: change.how.value for change in told.changes} == {"firmware.secure_boot": "next_boot"}
    assert (
        told.kept == [nvram(PLAIN)]
        and f"has the UEFI variables again that it had before: {nvram(SECURE)}" in told.warnings[0]
    )
    strange = now.replace(record=GuestRecord(exists=True), remembered={nvram(ENROLLED)})
    assert "was not made for this guest" in str(plan(strange, firmware={"secure_boot": True}).refused[0].reason)


def test_what_follows_is_told_with_what_is_written():
    assert hows(stopped(uefi(PLAIN)), firmware={"secure_boot": True}) == {
        "firmware.secure_boot": "offline",
        "firmware.enrolled_keys": "offline",
    }
    assert hows(stopped(uefi(ENROLLED)), unset=["firmware"]) == dict.fromkeys(firmware.PATHS, "offline")
    assert hows(stopped(uefi(ENROLLED)), firmware={"type": "uefi"}) == {}


def test_a_word_for_the_type_of_the_machine_stands_for_each_version():
    its = side(machine=Q35)
    assert hows(stopped(its), machine="q35") == {} and hows(stopped(its), machine="pc-q35-9.0") == {
        "machine": "offline"
    }
    assert hows(running(its), machine="pc-q35-9.0") == {"machine": "next_boot"}
    assert hows(stopped(its), machine="pc") == {"machine": "refused"}


def test_a_tpm_that_goes_leaves_its_secrets():
    its = side(tpm__version="2.0", tpm__model="crb")
    folder = firmware.tpm_folder(its.domain.uuid)
    told = plan(stopped(its, remembered={folder}), unset=["tpm"])
    assert [change.path for change in told.changes] == ["tpm.version", "tpm.model"] and told.kept == [folder]
    back = plan(stopped(remembered={folder}), tpm={"version": "2.0"})
    assert f"has again what it held before: {folder}" in back.warnings[0]
    assert hows(stopped(side(tpm__version=tpm.OTHER)), tpm={"version": "2.0"}) == {"tpm.version": "refused"}


def test_a_new_machine_takes_what_is_kept_of_another_with_a_permit_alone():
    folder = firmware.tpm_folder(UUID)
    known = GuestRecord(exists=True, files={"nvram": RecordedFile(nvram(PLAIN)), "tpm": RecordedFile(folder)})
    now = State(record=known, remembered={nvram(PLAIN), folder}, machine_id="m")
    wanted = {"firmware": {"type": "uefi"}, "tpm": {"version": "2.0"}}
    refused = plan(now, **wanted).refused
    assert [(change.path, change.permit) for change in refused] == [("nvram", "adopt"), ("tpm", "adopt")]
    told = plan(now, **wanted, allow=["adopt"])
    assert not told.refused and {change.path for change in told.changes} >= {"nvram", "tpm"}
    assert not plan(now, firmware={"secure_boot": True}).refused


def test_files_have_names_of_their_own_in_a_record():
    assert firmware.recorded_as("nvram", "/a", {}) == "nvram"
    assert firmware.recorded_as("nvram", "/a/b", {"nvram": "/c"}) == "nvram@b"
    assert firmware.recorded_as("nvram", "/c", {"nvram@x": "/c"}) == "nvram@x"
    assert [firmware.word_of(name) for name in ("nvram@b", "tpm", "root", "nvram2")] == ["nvram", "tpm", "", ""]
    assert firmware.uuid_of_tpm(firmware.tpm_folder(UUID)) == UUID


# ---- the definition -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [PLAIN, SECURE, ENROLLED])
def test_the_firmware_is_left_to_libvirt_and_the_variables_are_named(way):
    root = domain_xml.new("vm", UUID, "tcg")
    for each in (ENROLLED, way):
        firmware_xml.write(root, each, "/vars")
    its = firmware_xml.read(domain_xml.parse(domain_xml.to_text(root)))
    assert its == Seen(True, "", "", way.secure_boot, way.enrolled_keys)
    assert root.findtext("os/nvram") == "/vars" and len(root.findall("os/firmware")) == 1
    firmware_xml.write(root, Way(), "")
    assert domain_xml.to_text(root) == domain_xml.to_text(domain_xml.new("vm", UUID, "tcg"))


def test_a_tpm_is_written_with_the_model_of_its_version():
    root = domain_xml.new("vm", UUID, "tcg")
    before = domain_xml.to_text(root)
    tpm.write_version(root, "2.0")
    assert (tpm.read_version(root), tpm.read_model(root)) == ("2.0", "crb")
    tpm.write_version(root, "1.2")
    assert (tpm.read_version(root), tpm.read_model(root)) == ("1.2", "tis")
    tpm.write_model(root, "crb")
    tpm.write_version(root, "2.0")
    assert (tpm.read_version(root), tpm.read_model(root)) == ("2.0", "crb")
    tpm.write_version(root, "")
    tpm.write_model(root, "")
    assert domain_xml.to_text(root) == before and tpm.read_version(root) == tpm.read_model(root) == ""


def test_an_older_machine_has_no_ports_of_pci_express():
    root = domain_xml.new("vm", UUID, "tcg", "pc")
    domain_xml.add_ports(root)
    assert root.find("devices/controller") is None and machine.read(root) == "pc"
    machine.write(root, PC)
    assert machine.read(root) == PC
    assert [machine.family(each) for each in (PC, Q35, "q35", "microvm")] == ["pc", "q35", "q35", "microvm"]
