# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a definition: read typed, edited in place, everything else untouched."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm import firmware
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import controller
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import firmware as firmware_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import nic as nic_

BY_HAND = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <!-- made by hand -->
  <name>nas</name>
  <uuid>5830dfdb-37ea-4c1c-9731-790ac404b5ba</uuid>
  <title>NAS</title>
  <metadata><x:note xmlns:x='urn:x'>keep &amp; care</x:note></metadata>
  <memory unit='GiB'>2</memory>
  <currentMemory unit='MiB'>1536</currentMemory>
  <vcpu placement='static' current='1'>4</vcpu>
  <vcpus><vcpu id='0' enabled='yes'/></vcpus>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='network'/><boot dev='hd'/></os>
  <cpu><topology sockets='1' dies='1' cores='2' threads='2'/></cpu>
  <devices>
    <!-- the fast one -->
    <disk type='block' device='disk'><driver name='qemu' type='raw' io='native'/><source dev='/dev/sdx'/><target dev='vda' bus='virtio'/></disk>
    <unknown future='yes'/>
    <interface type='network'><mac address='52:54:00:AA:00:01'/><source network='default'/><model type='virtio'/></interface>
    <graphics type='spice'/><channel type='spicevmc'/><video><model type='qxl'/></video>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline><qemu:arg value='-s'/></qemu:commandline>
</domain>"""
SCALARS = {
    "description": "<b>&]]>",
    "vcpus": 3,
    "cpu.cores": 2,
    "cpu.max_cores": 8,
    "cpu.type": "Westmere",
    "cpu.flags": ("+aes", "-x2apic"),
    "cpu.topology.sockets": 2,
    "cpu.topology.dies": 3,
    "cpu.topology.cores": 4,
    "cpu.topology.threads": 5,
    "memory": 1048576,
    "memory_max": 4194304,
    "boot.kernel": "/k",
    "boot.initrd": "/i",
    "boot.cmdline": "a 'b' \"c\" <d>",
    "os_variant": "windows",
    "graphics.type": "vnc",
    "graphics.listen": "192.0.2.1",
    "graphics.port": 5999,
    "graphics.password": "<b>&\"'x",
    "video": "bochs",
    "tablet": True,
    "rng": True,
    "watchdog.model": "i6300esb",
    "watchdog.action": "pause",
    "vsock": 77,
    "serial": True,
    "agent": True,
}


# What each is a part of.
WHOLE = {
    **dict.fromkeys(("graphics.listen", "graphics.port", "graphics.password"), ("graphics.type", "vnc")),
    "watchdog.action": ("watchdog.model", "i6300esb"),
}


def fresh():
    root = domain_xml.new("vm", "5830dfdb-37ea-4c1c-9731-790ac404b5ba", "tcg")
    domain_xml.WRITE["memory_max"](root, 262144)
    domain_xml.WRITE["memory"](root, 262144)
    return root


@pytest.mark.parametrize("source", [BY_HAND, domain_xml.to_text(fresh())], ids=["by hand", "new"])
@pytest.mark.parametrize("path", SCALARS)
def test_what_is_written_is_read_back(source, path):
    root = domain_xml.parse(source)
    if path in WHOLE:
        whole, value = WHOLE[path]
        domain_xml.WRITE[whole](root, value)
    domain_xml.WRITE[path](root, SCALARS[path])
    again = domain_xml.read(domain_xml.parse(domain_xml.to_text(root)))
    assert again.values[path] == SCALARS[path]


@pytest.mark.parametrize("path", SCALARS)
def test_what_is_written_twice_changes_nothing(path):
    root = domain_xml.parse(BY_HAND)
    domain_xml.WRITE[path](root, SCALARS[path])
    once = domain_xml.to_text(root)
    domain_xml.WRITE[path](root, SCALARS[path])
    assert domain_xml.to_text(root) == once


@pytest.mark.parametrize("path", [path for path in SCALARS if path not in ("graphics.type", "os_variant")])
def test_an_edit_keeps_everything_else(path):
    root = domain_xml.parse(BY_HAND)
    before = domain_xml.read(root)
    domain_xml.WRITE[path](root, SCALARS[path])
    text = domain_xml.to_text(root)
    for kept in (
        "made by hand",
        "the fast one",
        'future="yes"',
        "keep &amp; care",
        'value="-s"',
        'io="native"',
        "<title>NAS</title>",
    ):
        assert kept in text
    after = domain_xml.read(root)
    for side in ("disks", "nics"):
        assert [it.values for it in getattr(after, side)] == [it.values for it in getattr(before, side)]


def test_a_definition_is_read_in_canonical_form():
    domain = domain_xml.read(domain_xml.parse(BY_HAND))
    # Without a balloon it has all of it, whatever is written.
    assert (domain.values["memory"], domain.values["memory_max"]) == (2048 * 1024, 2048 * 1024)
    assert (domain.values["vcpus"], domain.values["cpu.max_cores"]) == (1, 4)
    assert domain.boot_classes == ("network", "hd") and not domain.has_balloon and domain.type == "kvm"
    (disk,), (nic,) = domain.disks, domain.nics
    assert (disk.source, *(disk.value(key) for key in ("format", "cache", "discard"))) == (
        "/dev/sdx",
        "raw",
        "default",
        False,
    )
    assert (nic.mac, nic.type, nic.source, nic.value("link"), nic.value("mtu")) == (
        "52:54:00:aa:00:01",
        "network",
        "default",
        "up",
        0,
    )


def test_no_screen_takes_off_what_needs_one():
    root = domain_xml.parse(BY_HAND)
    domain_xml.WRITE["graphics.type"](root, "none")
    assert [node.tag for node in root.find("devices") if node.tag in ("graphics", "channel", "video")] == []


def test_the_maximum_follows_and_the_topology_fits():
    root = domain_xml.parse(BY_HAND)
    domain_xml.WRITE["vcpus"](root, 8)
    assert root.find("vcpu").text == "8" and root.find("vcpu").get("current") is None
    assert root.find("cpu/topology").get("sockets") == "2" and root.find("vcpus") is None
    assert domain_xml.read(root).fitting_topology(9) is None
    domain_xml.WRITE["memory"](root, 8 * 1024**2)
    assert domain_xml.read(root).values["memory_max"] == 8 * 1024**2


def ports_of(root):
    return [node for node in root.iterfind("devices/controller") if node.get("model") == "pcie-root-port"]


def test_a_new_machine_has_spare_ports():
    root = fresh()
    assert root.find("cpu/model").text == "Nehalem"
    assert domain_xml.new("a", "b", "kvm").find("cpu").get("mode") == "host-passthrough"
    controller.add_ports(root)
    assert len(ports_of(root)) == 14 and domain_xml.read(root).free_ports == 14


def test_a_machine_with_many_devices_has_a_port_for_each_and_some_more():
    root = fresh()
    keys = {"format": "raw", "readonly": False}
    for number in range(12):
        domain_xml.add_disk(root, f"v{number}", f"/p/v{number}", {**keys, "bus": "virtio"})
        domain_xml.add_disk(root, f"s{number}", f"/p/s{number}", {**keys, "bus": "scsi"})
    domain_xml.WRITE["agent"](root, True)
    controller.add_ports(root)
    # Disks on virtio, SCSI twice, channels, USB and the balloon; and eight more.
    assert len(ports_of(root)) == 12 + 5 + 8


def test_devices_bear_their_names_and_find_free_targets():
    root = fresh()
    keys = {"format": "qcow2", "bus": "virtio", "serial": "", "cache": "none", "discard": True, "readonly": True}
    domain_xml.add_disk(root, "root", "/p/a.qcow2", keys)
    domain_xml.add_disk(root, "data", "/dev/x", {**keys, "bus": "scsi"}, taken={"sda"})
    domain_xml.add_disk(root, "late", "/p/b.qcow2", keys, taken={"vdb"})
    domain_xml.add_nic(
        root,
        "lan",
        {"bridge": "br0", "vlan": 10, "mac": "52:54:00:00:00:01", "model": "virtio", "mtu": 9000, "link": "down"},
        "vm.lan",
    )
    domain = domain_xml.read(root)
    assert [(disk.alias, disk.target) for disk in domain.disks] == [("root", "vda"), ("data", "sdb"), ("late", "vdc")]
    assert root.find("devices/disk[2]").get("type") == "block" and domain.scsi_numbers == {0}
    (nic,) = domain.nics
    assert (nic.alias, nic.source, nic.tap) == ("lan", "br0", "vm.lan")
    assert [nic.value(key) for key in ("vlan", "link", "mtu")] == [10, "down", 9000]
    for disk in domain.disks:
        assert tuple(disk.value(key) for key in ("cache", "discard", "readonly")) == ("none", True, True)


CARD = "<interface type='bridge'><source bridge='br0'/>{}<model type='virtio'/></interface>"


@pytest.mark.parametrize(
    ("vlan", "read"),
    [
        ("", 0),
        ("<vlan><tag id='10'/></vlan>", 10),
        ("<vlan trunk='yes'><tag id='10'/></vlan>", "10"),
        ("<vlan trunk='yes'><tag id='10'/><tag id='20'/></vlan>", "10,20"),
        ("<vlan><tag id='10' nativeMode='untagged'/><tag id='20'/></vlan>", "10,20"),
    ],
)
def test_a_card_is_in_one_vlan_or_none_and_a_trunk_gives_way(vlan, read):
    node = domain_xml.parse(CARD.format(vlan))
    assert nic_.read(node).value("vlan") == read
    for wanted, written in ((30, "<vlan><tag id='30'/></vlan>"), (0, ""), (0, "")):
        nic_.WRITE["vlan"](node, wanted)
        (again, expected) = (domain_xml.parse(xml) for xml in (domain_xml.to_text(node), CARD.format(written)))
        assert sorted(map(domain_xml.to_text, again)) == sorted(map(domain_xml.to_text, expected))


def test_a_vlan_that_stands_is_left_as_it_is_written():
    text = CARD.format('<vlan><!-- the cameras --><tag id="10"/></vlan>')
    node = domain_xml.parse(text)
    before = domain_xml.to_text(node)
    nic_.WRITE["vlan"](node, 10)
    assert domain_xml.to_text(node) == before


@pytest.mark.parametrize("text", ["]]></description><devices/>", "&lt;&#0;", "'\"<!--", "Zoë 🐍"])
def test_no_text_becomes_markup(text):
    root = fresh()
    domain_xml.WRITE["description"](root, text)
    again = domain_xml.parse(domain_xml.to_text(root))
    assert domain_xml.read(again).values["description"] == text
    assert [node.tag for node in again] == [node.tag for node in root]


SECURE = """<domain><name>win</name><uuid>5830dfdb-37ea-4c1c-9731-790ac404b5ba</uuid>
  <os firmware='efi'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <firmware><feature enabled='yes' name='secure-boot'/></firmware>
    <loader readonly='yes' secure='yes' type='pflash'>/code</loader>%s</os>
  <features><acpi/><smm state='on'/></features>
  <devices>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='s'/><source type='dir' path='/old'/></backend>
      <alias name='tpm0'/></tpm>
    <tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>
  </devices></domain>"""


@pytest.mark.parametrize(
    ("nvram", "place"),
    [
        ("<nvram template='/vars'>/old</nvram>", "string(os/nvram)"),
        ("<nvram type='file' format='qcow2'><source file='/old'/></nvram>", "string(os/nvram/source/@file)"),
        ("", "''"),
    ],
)
def test_a_clone_starts_by_the_firmware_of_its_origin_and_has_nothing_that_is_only_that_ones(nvram, place):
    root = domain_xml.new("new", "9830dfdb-37ea-4c1c-9731-790ac404b5ba", "kvm")
    domain_xml.take_firmware(root, domain_xml.parse(SECURE % nvram), "/own")
    text = domain_xml.to_text(root)
    assert root.xpath(place) == ("/own" if nvram else "") and "/old" not in text and "alias" not in text
    assert (root.find("os").get("firmware"), root.find("os/loader").get("secure")) == ("efi", "yes")
    assert root.find("features/smm").get("state") == "on" and len(root.findall("os/type")) == 1
    assert [node.get("model") for node in root.iterfind("devices/tpm")] == ["tpm-crb"]
    assert root.find("devices/tpm/backend/encryption").get("secret") == "s"


def test_a_clone_of_what_runs_starts_by_the_file_that_libvirt_chose():
    root, like = domain_xml.new("new", "9830dfdb-37ea-4c1c-9731-790ac404b5ba", "kvm"), domain_xml.parse(SECURE % "")
    del like.find("os").attrib["firmware"]
    domain_xml.take_firmware(root, like, "/own")
    assert root.findtext("os/loader") == "/code" and root.find("os/firmware") is None


def test_a_machine_with_a_tpm_alone_starts_as_any_other():
    root, like = domain_xml.new("new", "9830dfdb-37ea-4c1c-9731-790ac404b5ba", "kvm"), domain_xml.parse(SECURE % "")
    for path in ("os/loader", "os/firmware", "features/smm"):
        like.find(path).getparent().remove(like.find(path))
    del like.find("os").attrib["firmware"]
    domain_xml.take_firmware(root, like, "")
    assert [node.tag for node in root.find("os")] == ["type"] and root.find("devices/tpm") is not None


@pytest.mark.parametrize(
    ("system", "does"),
    [
        ("<os><type>hvm</type></os>", False),
        ("<os><loader type='rom'>/bios</loader></os>", False),
        ("<os firmware='bios'/>", False),
        ("<os firmware='efi'/>", True),
        ("<os><loader type='pflash'>/code</loader></os>", True),
        ("<os><nvram>/vars</nvram></os>", True),
        ("", False),
    ],
)
def test_what_starts_by_uefi(system, does):
    assert (firmware_xml.read_type(ElementTree.fromstring(f"<domain>{system}</domain>")) == "uefi") is does


def test_uefi_variables_of_its_own_are_of_the_same_format():
    assert firmware.own_nvram("web", "/var/old.qcow2").endswith("/web_VARS.qcow2")
    assert firmware.own_nvram("web", "").endswith("/web_VARS.fd")
