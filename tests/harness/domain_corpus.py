# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains of the elements that libvirt documents (formatdomain), drawn into machines as somebody else might have them.

An element stands for one choice of its author. Of elements that exclude each other a machine gets one.
"""

from __future__ import annotations

import random
import typing as t

_NO_USB = "<controller type='usb' model='none'/>"

# What stands beside the devices, by what of it there can be one of.
PARTS: dict[str, tuple[str, ...]] = {
    "title": ("<title>A title &amp; more</title>",),
    "description": ("<description>Two\nlines &lt;b&gt;</description>",),
    "metadata": (
        "<metadata><x:note xmlns:x='http://example.com/x' x:by='me'><x:deep/>text</x:note></metadata>",
        (
            "<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
            "<libosinfo:os id='http://debian.org/debian/12'/></libosinfo:libosinfo></metadata>"
        ),
    ),
    "genid": ("<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>",),
    "vcpu": (
        "<vcpu placement='static' current='2'>4</vcpu>",
        (
            "<vcpu current='1'>2</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>"
            "<vcpu id='1' enabled='no' hotpluggable='yes'/></vcpus>"
        ),
        "<vcpu cpuset='0'>2</vcpu>",
    ),
    "iothreads": ("<iothreads>2</iothreads>",),
    "cputune": (
        (
            "<cputune><shares>512</shares><period>100000</period><quota>50000</quota>"
            "<emulator_quota>-1</emulator_quota></cputune>"
        ),
        "<cputune><vcpupin vcpu='0' cpuset='0'/><emulatorpin cpuset='0'/></cputune>",
    ),
    "memtune": (
        "<memtune><soft_limit unit='MiB'>512</soft_limit><swap_hard_limit unit='MiB'>2048</swap_hard_limit></memtune>",
    ),
    "backing": (
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
        "<memoryBacking><nosharepages/><locked/></memoryBacking>",
    ),
    "numatune": ("<numatune><memory mode='preferred' nodeset='0'/></numatune>",),
    "blkiotune": ("<blkiotune><weight>500</weight></blkiotune>",),
    "resource": ("<resource><partition>/machine</partition></resource>",),
    "sysinfo": (
        "<sysinfo type='smbios'><bios><entry name='vendor'>Someone</entry></bios></sysinfo>",
        "<sysinfo type='fwcfg'><entry name='opt/com.example/name'>a value</entry></sysinfo>",
    ),
    "features": (
        (
            "<features><acpi/><apic/><pae/><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/>"
            "</hyperv><vmport state='off'/></features>"
        ),
        (
            "<features><acpi/><apic eoi='on'/><kvm><hidden state='on'/></kvm><pmu state='off'/><smm state='off'/>"
            "</features>"
        ),
        "<features/>",
        (
            "<features><acpi/><apic/><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/>"
            "<spinlocks state='on' retries='4096'/><vpindex state='on'/><runtime state='on'/><synic state='on'/>"
            "<stimer state='on'><direct state='on'/></stimer><reset state='on'/><vendor_id state='on' value='KVM Hv'/>"
            "<frequencies state='on'/><reenlightenment state='on'/><tlbflush state='on'/><ipi state='on'/></hyperv>"
            "<kvm><poll-control state='on'/></kvm><vmcoreinfo state='on'/><msrs unknown='ignore'/></features>"
        ),
    ),
    "cpu": (
        (
            "<cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model>"
            "<feature policy='disable' name='svm'/></cpu>"
        ),
        "<cpu mode='host-model' check='none'><model fallback='forbid'/></cpu>",
        "<cpu mode='maximum'/>",
        (
            "<cpu mode='host-passthrough' check='none' migratable='off'><cache mode='passthrough'/>"
            "<feature policy='disable' name='vmx'/></cpu>"
        ),
    ),
    "clock": (
        (
            "<clock offset='localtime'><timer name='rtc' tickpolicy='catchup' track='guest'/>"
            "<timer name='hypervclock' present='yes'/></clock>"
        ),
        "<clock offset='variable' adjustment='3600' basis='utc'/>",
        "<clock offset='timezone' timezone='Europe/Berlin'/>",
        (
            "<clock offset='localtime'><timer name='hpet' present='no'/><timer name='tsc' frequency='3504000000' mode='native'/>"
            "<timer name='kvmclock' present='no'/></clock>"
        ),
    ),
    "events": (
        "<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>coredump-destroy</on_crash>",
    ),
    "pm": ("<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>",),
    "perf": ("<perf><event name='cpu_cycles' enabled='no'/></perf>",),
    "seclabel": ("<seclabel type='none' model='none'/>",),
    "qemu": (
        (
            "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
            "<qemu:arg value='-name'/><qemu:arg value='x'/>"
            "<qemu:env name='A' value='b'/></qemu:commandline>"
        ),
    ),
}

OS_PARTS: tuple[str, ...] = (
    "<boot dev='network'/><boot dev='hd'/>",
    "<bootmenu enable='yes' timeout='3000'/>",
    "<bios rebootTimeout='0'/><smbios mode='host'/>",
    (
        "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
        "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/somebody_VARS.fd</nvram>"
    ),
    "<firmware><feature enabled='no' name='secure-boot'/><feature enabled='no' name='enrolled-keys'/></firmware>",
    "<kernel>/boot/none</kernel><initrd>/boot/none-too</initrd><cmdline>console=ttyS0 a=&quot;b&quot;</cmdline>",
)

# Disks, the place of their file left open. The first key that each is about is in its words.
DISKS: tuple[str, ...] = (
    (
        "<disk type='file' device='disk'>"
        "<driver name='qemu' type='raw' cache='none' io='native' discard='unmap' detect_zeroes='unmap'/>"
        "<source file='{}'/><target dev='vd{}' bus='virtio'/><iotune><total_iops_sec>500</total_iops_sec>"
        "</iotune></disk>"
    ),
    (
        "<disk type='file' device='disk' snapshot='no'>"
        "<driver name='qemu' type='raw' error_policy='stop' rerror_policy='ignore'/>"
        "<source file='{}' index='1'><seclabel relabel='no'/></source><target dev='vd{}' bus='virtio'/>"
        "<serial>ABC 1</serial>"
        "<shareable/><address type='pci' domain='0x0000' bus='0x00' slot='0x1{}' function='0x0'/></disk>"
    ),
    (
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>"
        "<target dev='sd{}' bus='scsi'/>"
        "<wwn>5000c50015ea71ad</wwn><vendor>ACME</vendor><product>Disk</product></disk>"
    ),
    (
        "<disk type='file' device='disk'><driver name='qemu' type='raw' copy_on_read='on'/><source file='{}'/>"
        "<target dev='vd{}' bus='virtio'/><blockio logical_block_size='512' physical_block_size='4096'/>"
        "<geometry cyls='20' heads='16' secs='63'/></disk>"
    ),
    "<disk type='file' device='cdrom'><target dev='sd{1}' bus='sata'/><readonly/></disk>",
    (
        "<disk type='file' device='cdrom'><source file='{}' startupPolicy='optional'/>"
        "<target dev='sd{}' bus='sata' tray='open'/><readonly/></disk>"
    ),
    "<disk type='file' device='floppy'><source file='{}'/><target dev='fda' bus='fdc'/></disk>",
    (
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'>"
        "<host name='127.0.0.1' port='10999'/>"
        "</source><target dev='vd{1}' bus='virtio'/></disk>"
    ),
    (
        "<disk type='network' device='disk'><source protocol='rbd' name='pool/image'>"
        "<host name='h' port='6789'/><snapshot name='s'/>"
        "<auth username='a'><secret type='ceph' usage='u'/></auth></source><target dev='vd{1}' bus='virtio'/></disk>"
    ),
    (
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>"
        "<target dev='sd{}' bus='usb' removable='on'/></disk>"
    ),
    (
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>"
        "<backenddomain name='x'/><target dev='vd{}' bus='virtio'/>"
        "<transient/></disk>"
    ),
)

# Cards; the MAC and the bridge are left open.
CARDS: tuple[str, ...] = (
    (
        "<interface type='bridge'><mac address='{}'/><source bridge='{}'/><model type='virtio'/>"
        "<driver name='vhost' queues='2' rx_queue_size='256'/>"
        "<link state='down'/><mtu size='1400'/></interface>"
    ),
    (
        "<interface type='bridge' trustGuestRxFilters='yes'><mac address='{}' type='static'/>"
        "<source bridge='{}'/><model type='e1000'/>"
        "<guest dev='eth7'/><target dev='mine0'/><coalesce><rx><frames max='7'/></rx></coalesce></interface>"
    ),
    (
        "<interface type='bridge'><mac address='{}'/><source bridge='{}'/><model type='rtl8139'/><port isolated='yes'/>"
        "<filterref filter='clean-traffic'><parameter name='IP' value='10.0.0.1'/></filterref>"
        "<rom bar='off'/></interface>"
    ),
    (
        "<interface type='bridge'><mac address='{}'/><source bridge='{}'/><model type='virtio'/><bandwidth>"
        "<inbound average='1000' peak='5000' burst='1024'/>"
        "<outbound average='128'/></bandwidth><tune><sndbuf>1600</sndbuf></tune><boot order='1'/></interface>"
    ),
    (
        "<interface type='user'><mac address='{}'/><ip family='ipv4' address='172.17.2.0' prefix='24'/>"
        "<model type='virtio'/></interface>"
    ),
    "<interface type='direct'><mac address='{}'/><source dev='{}' mode='vepa'/><model type='virtio'/></interface>",
    (
        "<interface type='ethernet'><mac address='{}'/><target dev='hlvmtap9' managed='no'/>"
        "<model type='virtio'/></interface>"
    ),
    (
        "<interface type='udp'><mac address='{}'/><source address='127.0.0.1' port='11115'>"
        "<local address='127.0.0.1' port='11116'/></source></interface>"
    ),
    (
        "<interface type='network'><mac address='{}'/><source network='nowhere' portgroup='p'/><virtualport>"
        "<parameters/></virtualport>"
        "<model type='virtio'/></interface>"
    ),
)

# Every other device; the first word of each is what there can be one of.
DEVICES: dict[str, tuple[str, ...]] = {
    "emulator": ("<emulator>/usr/bin/qemu-system-x86_64</emulator>",),
    "graphics": (
        "<graphics type='vnc' port='-1' autoport='yes' passwd='secret' passwdValidTo='2030-01-01T00:00:00' sharePolicy='force-shared'/>",
        (
            "<graphics type='spice' autoport='yes'><listen type='address' address='127.0.0.1'/>"
            "<image compression='off'/><mouse mode='client'/></graphics>"
            "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
        ),
    ),
    "video": (
        "<video><model type='virtio' heads='2' primary='yes'><resolution x='800' y='600'/></model></video>",
        "<video><model type='none'/></video>",
    ),
    "sound": (
        "<sound model='ich9'><codec type='micro'/></sound>",
        "<sound model='ich6'><codec type='duplex'/><audio id='2'/></sound><sound model='ac97'/><audio id='2' type='none'/>",
        "<sound model='usb'/>",
    ),
    "serial": (
        (
            "<serial type='pty'><target type='isa-serial' port='0'/></serial><console type='pty'>"
            "<target type='virtio' port='1'/></console>"
        ),
        (
            "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='2445'/><protocol type='telnet'/>"
            "<target port='1'/></serial>"
        ),
        "<serial type='file'><source path='/var/tmp/hlvm-serial.log' append='on'/><target port='0'/></serial>",
    ),
    "parallel": ("<parallel type='null'><target port='0'/></parallel>",),
    "channel": (
        "<channel type='unix'><source mode='bind'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        "<channel type='pty'><target type='virtio' name='other'/></channel>",
    ),
    "input": (
        "<input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/>",
        "<input type='tablet' bus='virtio'/><input type='mouse' bus='usb'/>",
        "<input type='evdev'><source dev='/dev/input/event1234' grab='all' repeat='on'/></input>",
    ),
    "rng": (
        "<rng model='virtio'><rate period='2000' bytes='1234'/><backend model='builtin'/></rng>",
        (
            "<rng model='virtio'><backend model='egd' type='udp'><source mode='bind' service='1234'/>"
            "<source mode='connect' host='127.0.0.1' service='1234'/></backend></rng>"
        ),
    ),
    "watchdog": (
        "<watchdog model='i6300esb' action='poweroff'/>",
        "<watchdog model='ib700' action='inject-nmi'/>",
        "<watchdog model='i6300esb'/>",
    ),
    "crypto": ("<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>",),
    "balloon": (
        "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='10'/></memballoon>",
        "<memballoon model='none'/>",
    ),
    "panic": ("<panic model='isa'/>",),
    "vsock": (
        "<vsock model='virtio'><cid auto='yes'/></vsock>",
        "<vsock model='virtio-non-transitional'><cid auto='no' address='4711'/></vsock>",
    ),
    "shmem": (
        "<shmem name='hlvm_shmem'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>",
        (
            "<shmem name='hlvm_shmem'><model type='ivshmem-doorbell'/><server path='/tmp/hlvm-shmem.socket'/>"
            "<msi vectors='32' ioeventfd='on'/></shmem>"
        ),
    ),
    "filesystem": (
        (
            "<filesystem type='mount' accessmode='mapped'><source dir='/var/tmp'/><target dir='shared'/>"
            "<readonly/></filesystem>"
        ),
        (
            "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='1024'/>"
            "<binary path='/usr/lib/qemu/virtiofsd' xattr='on'><cache mode='always'/></binary>"
            "<source dir='/var/tmp'/><target dir='tagged'/></filesystem>"
        ),
    ),
    "scsi": ("<controller type='scsi' index='0' model='virtio-scsi'><driver queues='2' iommu='off'/></controller>",),
    "usb": (
        "<controller type='usb' model='qemu-xhci' ports='8'/><hub type='usb'/>",
        _NO_USB,
    ),
    "serials": ("<controller type='virtio-serial' ports='16' vectors='4'/>",),
    "redirdev": (
        (
            "<redirdev bus='usb' type='tcp'><source mode='connect' host='127.0.0.1' service='4000'/></redirdev>"
            "<redirfilter><usbdev class='0x08' allow='yes'/></redirfilter>"
        ),
    ),
    "hostdev": (
        (
            "<hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1234'/>"
            "<product id='0xbeef'/></source></hostdev>"
        ),
        (
            "<hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/>"
            "<source><address domain='0x0000' bus='0x77' slot='0x1f' function='0x7'/></source><rom bar='off'/></hostdev>"
        ),
        (
            "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci' display='off'>"
            "<source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>"
        ),
    ),
    "smartcard": ("<smartcard mode='host'/>",),
    "tpm": (
        "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
        (
            "<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'>"
            "<active_pcr_banks><sha256/></active_pcr_banks></backend></tpm>"
        ),
        (
            "<tpm model='tpm-tis'><backend type='external'>"
            "<source type='unix' mode='connect' path='/tmp/hlvm-swtpm.sock'/></backend></tpm>"
        ),
    ),
}


# What of it no machine of the hosts on which the tests run starts with.
_ELSEWHERE = (
    "swap_hard_limit",
    "<locked",
    "vsock",
    "redirdev",
    "hostdev",
    "smartcard",
    "tpm",
    "seclabel",
    "protocol=",
    "bandwidth",
    "managed='no'",
    "nowhere",
    "type='udp'",
    "backenddomain",
    "<kernel>",
    "<loader",
    "<firmware>",
    "vpindex",
    "host-passthrough",
    "tsc",
    "evdev",
    "egd",
    "doorbell",
    "virtiofs",
    _NO_USB,
)


class Drawn(t.NamedTuple):
    """A machine: its XML, and the elements in it."""

    xml: str
    elements: tuple[str, ...]


def draw(
    dice: random.Random,
    name: str,
    file: t.Callable[[str], str],
    bridge: str,
    number: int,
    *,
    can_start: bool = False,
) -> Drawn:
    """The *number*th machine. *file* makes a disk file by its last name. *can_start*: without what only other hosts have.

    The number alone says the first choice of each kind, so that a few machines have each element once; the rest is drawn.
    """
    kinds = [*PARTS, *DEVICES]
    known = {**PARTS, **DEVICES}
    # One that is drawn may be refused beside the others: libvirt has the last word.
    chosen = {kind for index, kind in enumerate(kinds) if index % 5 == number % 5} | set(dice.sample(kinds, 6))
    words = {kind: known[kind][(number // 5) % len(known[kind])] for kind in sorted(chosen)}
    letters = "abcdefgh"
    disks = [DISKS[number % len(DISKS)], *dice.sample(DISKS, dice.randrange(3))]
    cards = [CARDS[number % len(CARDS)], *dice.sample(CARDS, dice.randrange(2))]
    words.update({f"disk {at}": _disk(text, file, letters[at]) for at, text in enumerate(dict.fromkeys(disks))})
    words.update(
        {f"card {at}": text.format(f"52:54:00:ab:09:0{at}", bridge) for at, text in enumerate(dict.fromkeys(cards))}
    )
    if words.get("usb") == _NO_USB:
        words = {kind: text for kind, text in words.items() if text == _NO_USB or "usb" not in text}
    system = OS_PARTS[number % len(OS_PARTS)] if number % 2 and "boot order" not in str(words) else ""
    if "virtiofs" in str(words):
        # Its daemon reads the guest's memory.
        words["backing"] = PARTS["backing"][0]
    if "OVMF" in system or "<firmware>" in system:
        # UEFI needs ACPI.
        words["features"] = PARTS["features"][0]
    if can_start:
        words = {kind: text for kind, text in words.items() if not any(mark in text for mark in _ELSEWHERE)}
        system = "" if any(mark in system for mark in _ELSEWHERE) else system
    return assemble(name, words, system, dice.choice(("pc", "q35")))


def _disk(text: str, file: t.Callable[[str], str], letter: str) -> str:
    return text.format(file(f"{letter}.img") if "{}" in text else "", letter, "abcdefgh".index(letter) + 6)


def assemble(name: str, words: t.Mapping[str, str], system: str, machine: str) -> Drawn:
    parts = "".join(text for kind, text in words.items() if kind in PARTS)
    devices = "".join(text for kind, text in words.items() if kind not in PARTS)
    vcpu = "" if "vcpu" in words else "<vcpu>1</vcpu>"
    xml = (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>{vcpu}"
        f"<os{' firmware=' + repr('efi') if '<firmware>' in system else ''}>"
        f"<type arch='x86_64' machine='{machine}'>hvm</type>{system}</os>{parts}<devices>{devices}</devices>"
        f"</domain>"
    )
    return Drawn(xml, (*words.values(), *([system] if system else [])))
