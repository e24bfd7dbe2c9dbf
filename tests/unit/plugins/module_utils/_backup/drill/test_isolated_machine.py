# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.drill.isolated_machine import (
    Card,
    IsolatedMachine,
    disks_of,
    isolate,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml import domain as domain_xml

UUID = "5830dfdb-37ea-4c1c-9731-790ac404b5ba"
DEFINITION = f"""<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web+drill</name>
  <uuid>{UUID}</uuid>
  <memory unit='GiB'>2</memory>
  <memoryBacking><hugepages/><locked/><source type='memfd'/></memoryBacking>
  <sysinfo type='smbios'><system><entry name='uuid'>11111111-37ea-4c1c-9731-790ac404b5ba</entry><entry name='serial'>7</entry></system></sysinfo>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><loader type='pflash'>/OVMF.fd</loader><nvram>/nvram/web_VARS.fd</nvram></os>
  <on_crash>coredump-destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <!-- the fast one -->
    <disk type='file' device='disk'><source file='/pool/web+drill.root.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='network' device='cdrom'><source protocol='http' name='x.iso'><host name='mirror'/></source><target dev='sda' bus='sata'/></disk>
    <interface type='bridge'>
      <mac address='52:54:00:AA:00:01'/><source bridge='br0'/><virtualport type='openvswitch'/><vlan><tag id='10'/></vlan><target dev='web.lan'/>
      <model type='virtio'/><driver queues='2'/><filterref filter='clean-traffic'/><bandwidth><inbound average='1'/></bandwidth>
      <link state='up'/><mtu size='9000'/><boot order='1'/><alias name='ua-lan'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
    <interface type='bridge'><mac address='52:54:00:aa:00:02'/><source bridge='br0'/><model type='virtio'/></interface>
    <interface type='direct'><mac address='52:54:00:aa:00:03'/><source dev='eno1' mode='bridge'/><model type='e1000'/></interface>
    <interface type='bridge'><mac address='52:54:00:aa:00:04'/><source bridge='br0'/><vlan><tag id='10'/></vlan><model type='virtio'/></interface>
    <interface type='user'><mac address='52:54:00:aa:00:05'/><model type='virtio'/></interface>
    <interface type='hostdev' managed='yes'><mac address='52:54:00:aa:00:06'/></interface>
    <serial type='tcp'><source mode='bind' host='0.0.0.0' service='2445'/><protocol type='telnet'/><target type='isa-serial' port='0'/></serial>
    <serial type='dev'><source path='/dev/ttyS1'/><target type='isa-serial' port='1'/></serial>
    <console type='tcp'><target type='serial' port='0'/></console>
    <console type='unix'><source mode='bind' path='/run/c'/><target type='virtio' port='1'/></console>
    <parallel type='dev'><source path='/dev/parport0'/><target port='0'/></parallel>
    <channel type='unix'><source mode='bind' path='/run/mine'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <graphics type='spice' port='5901'/><video><model type='virtio'><acceleration accel3d='yes'/></model></video>
    <sound model='ich9'/><audio id='1' type='pulseaudio' serverName='/run/p'><input mixingEngine='no'/></audio>
    <redirdev bus='usb' type='spicevmc'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'><source type='dir' path='/srv/tpm'/></backend></tpm>
    <filesystem type='mount'><driver type='virtiofs'/><source dir='/srv/media'/><target dir='media'/></filesystem>
    <hostdev mode='subsystem' type='usb'><source><vendor id='0x10c4'/><product id='0xea60'/></source><alias name='ua-zigbee'/></hostdev>
    <hostdev mode='subsystem' type='mdev' model='vfio-pci'><source/></hostdev>
    <vsock model='virtio'><cid auto='no' address='78'/></vsock>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='1.2.3.4' service='7'/></backend></rng>
    <memory model='nvdimm'><source><path>/srv/nvdimm</path></source><target><size unit='MiB'>256</size></target></memory>
    <input type='evdev'><source dev='/dev/input/event1'/></input><input type='tablet' bus='usb'/>
    <watchdog model='i6300esb' action='dump'/><memballoon model='virtio'/>
    <future reach='far'/>
  </devices>
  <qemu:commandline><qemu:arg value='-netdev'/><qemu:arg value='user,id=out'/></qemu:commandline>
</domain>"""


@pytest.fixture(scope="module")
def root() -> t.Any:
    return domain_xml.parse(DEFINITION)


@pytest.fixture(scope="module")
def its(root: t.Any) -> IsolatedMachine:
    return isolate(root, name="web+drill", kept=(), console="/drill/console.log", tap=lambda number: f"tap{number}")


def tags(root: t.Any, name: str) -> list[t.Any]:
    return list(root.findall(f"devices/{name}"))


def test_each_card_is_what_it_was_and_its_end_reaches_nothing_of_the_host(root: t.Any, its: IsolatedMachine) -> None:
    cards = tags(root, "interface")
    assert [card.get("type") for card in cards] == ["ethernet"] * 5
    assert {child.tag for card in cards for child in card} == {
        *("mac", "model", "driver", "link", "mtu", "boot", "alias", "address", "target")
    }
    assert cards[0].find("target").attrib == {"dev": "tap0"} and cards[0].find("mtu").get("size") == "9000"
    assert cards[0].find("address").get("bus") == "0x01" and cards[2].find("model").get("type") == "e1000"


def test_cards_that_shared_a_bridge_and_a_vlan_share_a_segment(its: IsolatedMachine) -> None:
    macs = [f"52:54:00:aa:00:0{number}" for number in range(1, 6)]
    segments = [0, 1, 2, 0, 3]
    assert list(its.cards) == [Card(mac, f"tap{n}", segments[n]) for n, mac in enumerate(macs)]


def test_what_it_writes_to_its_first_serial_line_is_in_a_file_and_the_others_end_nowhere(
    root: t.Any, its: IsolatedMachine
) -> None:
    first, second = tags(root, "serial")
    assert first.get("type") == "file" and first.find("source").attrib == {
        "path": "/drill/console.log",
        "append": "off",
    }
    assert first.find("protocol") is None and first.find("target").get("type") == "isa-serial"
    others = [second, *tags(root, "console"), *tags(root, "parallel")]
    assert [(node.tag, node.get("type")) for node in others] == [
        ("serial", "null"),
        ("console", "null"),
        ("parallel", "null"),
    ]
    assert all(node.find("source") is None for node in others)
    (agent,) = tags(root, "channel")
    assert agent.find("source") is None and agent.find("target").get("name") == "org.qemu.guest_agent.0"


def test_one_without_a_serial_line_gets_one() -> None:
    root = domain_xml.parse("<domain><name>web</name><os/><devices/></domain>")
    isolate(root, name="web", kept=(), console="/log", tap=str)
    assert root.find("devices/serial").get("type") == "file" and root.find("devices/console") is None


def test_nothing_of_the_host_is_in_it_and_what_it_goes_without_is_told(root: t.Any, its: IsolatedMachine) -> None:
    for name in ("graphics", "filesystem", "hostdev", "vsock", "redirdev", "future"):
        assert not tags(root, name), name
    assert not root.findall("{http://libvirt.org/schemas/domain/qemu/1.0}commandline")
    assert [node.find("backend").get("model") for node in tags(root, "rng")] == ["random"]
    assert [node.get("type") for node in tags(root, "input")] == ["tablet"] and not tags(root, "memory")
    assert set(its.left_out) == {
        "what its definition tells QEMU itself",
        "the medium of its drive sda",
        "the card 52:54:00:aa:00:06, which is a device of the host",
        "its screen",
        "media, which is /srv/media of the host",
        "zigbee, which is a device of the host",
        "a device of the host",
        "its socket to the host",
        "random numbers that somebody else gives it",
        "a memory module that is a file of the host",
        "an input device of the host",
        "its future",
    }


def test_what_only_shows_and_hears_stays_without_anybody_who_looks(root: t.Any, its: IsolatedMachine) -> None:
    (audio,) = tags(root, "audio")
    assert dict(audio.attrib) == {"id": "1", "type": "none"} and not len(audio) and tags(root, "sound")
    assert root.find("devices/video/model").get("type") == "virtio"
    assert root.find("devices/video/model/acceleration") is None


def test_it_ends_when_it_ends_and_takes_nothing_that_the_host_keeps_for_others(
    root: t.Any, its: IsolatedMachine
) -> None:
    assert root.findtext("on_crash") == root.findtext("on_poweroff") == "destroy"
    assert root.find("devices/watchdog").get("action") == "reset"
    assert [node.tag for node in root.find("memoryBacking")] == ["source"]
    assert [node.get("name") for node in root.iterfind("sysinfo/system/entry")] == ["serial"]


def test_what_it_remembers_is_never_where_the_guest_itself_has_it(root: t.Any, its: IsolatedMachine) -> None:
    assert its.beside == {
        "nvram": "/var/lib/libvirt/qemu/nvram/web+drill_VARS.fd",
        "tpm": f"/var/lib/libvirt/swtpm/{UUID}",
    }
    assert root.findtext("os/nvram") == its.beside["nvram"] and root.find("devices/tpm/backend/source") is None


def test_what_the_backup_had_of_it_stays_where_it_was_laid() -> None:
    root = domain_xml.parse(DEFINITION.replace("/nvram/web_VARS.fd", "/nvram/laid.fd"))
    its = isolate(root, name="web+drill", kept=("nvram",), console="/log", tap=str)
    assert its.beside["nvram"] == root.findtext("os/nvram") == "/nvram/laid.fd"


def test_the_medium_of_a_drive_that_is_elsewhere_is_out() -> None:
    root = domain_xml.parse(DEFINITION)
    assert disks_of(root) == {"vda": "/pool/web+drill.root.qcow2", "sda": ""}
    isolate(root, name="web+drill", kept=(), console="/log", tap=str)
    assert root.findall("devices/disk")[1].find("source") is None
