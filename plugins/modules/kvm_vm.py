#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm
short_description: Keep a KVM virtual machine
version_added: 0.1.0
description:
  - Makes, changes and removes a virtual machine of libvirt, with its disks on storage pools and its network cards on bridges.
  - Every change reaches a running machine where QEMU can take it live. What cannot waits for the next boot and is listed in
    RV(restart_required) until then; the machine is never restarted unless O(restart_policy) or O(state) says so.
  - What is not written is not compared and not touched. A machine that was made by hand can be changed like any other; what libvirt
    keeps of it and this module does not know stays as it is.
  - No disk is ever deleted, shrunk or replaced unless O(delete) or O(allow) says so.
  - Where KVM does not work the machine is emulated, with a warning. What a machine runs with is decided when it is made.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.libvirt
  - homelab.hybrid._guest
  - homelab.hybrid._stop
  - homelab.hybrid._plan
options:
  state:
    description:
      - V(present) makes the machine or changes it, and leaves one that is there running or stopped as it is. A new machine is not started.
      - V(started) (or V(running)) and V(stopped) (or V(shutdown)) also say whether it runs. It is stopped by asking the guest; see
        O(shutdown_timeout) and O(force_stop).
      - V(restarted) stops and starts a machine that runs, on every run, and starts one that does not.
      - V(paused) holds its CPUs. V(suspended) saves a running machine to disk; V(started) wakes it up again. One that stays so is never
        restarted; what needs that waits.
      - V(absent) stops the machine and takes it away. Its disks and its seed stay, and are named in RV(kept), unless O(delete) names them.
    type: str
    choices: [present, started, running, stopped, shutdown, restarted, paused, suspended, absent]
    default: present
  os_variant:
    description:
      - The system inside. It says what a new machine, disk and network card gets where nothing else is written. It is kept in the definition in the words of
        libosinfo, as virt-manager and virt-install have it.
      - V(linux) and V(freebsd) get virtio throughout.
      - V(windows) gets disks on V(ignore:sata), cards of the model V(ignore:e1000e), a screen (VNC) and no virtio-rng, as it has no driver for
        virtio until somebody installs one; its clock is in local time, and where KVM works it finds what it knows of Microsoft's own hypervisor (Hyper-V),
        as far as libvirt says that the host has it.
      - V(other) gets what most systems know, disks on V(ignore:sata), V(ignore:e1000) and a screen.
      - Of a machine that stands it changes the clock and what is found of Hyper-V, and what is added later. Its disks and cards stay what they are.
      - 'B(In short:) for the next boot. C(unset) sets it to V(linux).'
    type: str
    choices: [linux, windows, freebsd, other]
  vcpus:
    description:
      - How many virtual CPUs the machine has. A new one has 1. More come live up to O(cpu.max_cores), fewer with the next boot.
      - Short for O(cpu.cores).
      - 'B(In short:) more is live, less is for the next boot. Allowed: 1 to 710.'
    type: int
  cpu:
    description:
      - The virtual CPUs, where more than their number is said.
    type: dict
    suboptions:
      cores:
        description:
          - How many virtual CPUs the machine has.
          - 'B(In short:) more is live, less is for the next boot. Allowed: 1 to 710.'
        type: int
      max_cores:
        description:
          - Up to how many can be added while it runs. A new machine can have no more than it starts with.
          - 'B(In short:) for the next boot. Allowed: 1 to 710.'
        type: int
      type:
        description:
          - Which CPU the guest sees. V(host-passthrough) (or V(host)) is that of the host, V(host-model) as much of it as libvirt can
            describe, V(maximum) (or V(max)) all that QEMU can do, anything else the name of a model, with which the machine looks the same
            on every host that has it.
          - A new machine has V(host-passthrough) where KVM works, and V(Nehalem) where it is emulated, the oldest that is an x86-64-v2.
          - What this host lacks of it is refused with its name.
          - 'B(In short:) for the next boot. Allowed: host-passthrough (or host), host-model, maximum (or max), or a model that virsh cpu-models
            x86_64 names.'
        type: str
      flags:
        description:
          - What the CPU has beside its type, and what of that it has not, such as V(+aes) and V(-pcid). Compared as a whole.
          - V(+vmx) (Intel) or V(+svm) (AMD) lets the guest run machines of its own, where the host permits it. V(host-passthrough) has it anyway.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: features of CPUs after a + or a -, such as +aes and -vmx.'
        type: list
        elements: str
      topology:
        description:
          - How the CPUs lie together, as some systems count sockets (their licences do). Without it each CPU is a socket.
          - All of it multiplies to O(cpu.max_cores). Of a new machine it says how many CPUs that has, where nothing else does. A part that
            is not written is as it was, or 1.
        type: dict
        suboptions:
          sockets:
            description:
              - Sockets.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 710.'
            type: int
          dies:
            description:
              - Dies in each socket.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 710.'
            type: int
          cores:
            description:
              - Cores in each die.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 710.'
            type: int
          threads:
            description:
              - Threads of each core.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 710.'
            type: int
  memory:
    description:
      - The memory of the guest, in MiB or as a size such as V(4GiB). A new machine has V(1GiB).
      - Changed live through the balloon, up to O(memory_max). More than that waits for the next boot, and raises O(memory_max).
      - The balloon is compared as it was asked for, not as far as the guest has come.
      - 'B(In short:) live. A new one has V(1GiB). Allowed: whole MiB, 16 MiB to 64 TiB.'
    type: str
  memory_max:
    description:
      - Up to where O(memory) can grow while the machine runs. A new machine has no more than O(memory).
      - 'B(In short:) for the next boot. Allowed: whole MiB, 16 MiB to 64 TiB.'
    type: str
  machine:
    description:
      - The type of the machine, its chipset and how QEMU's devices behave. V(q35) has PCI Express, and is what a new machine is. V(pc) is
        the i440FX with PCI alone, for systems that are older than that.
      - With a version such as V(pc-q35-9.0) its devices behave as in that version of QEMU, which Windows asks for at times. Without one it
        gets the newest when it is made and stays with that; the word then stands for each version, so that a newer QEMU is no change.
      - A machine that stands does not become the other of the two, as its devices would be in other places.
      - 'B(In short:) for the next boot. A new one has V(q35). Allowed: q35, pc, or one of a version such as pc-q35-9.0.'
    type: str
  firmware:
    description:
      - By what the machine starts. The file of the firmware, and what it needs, libvirt chooses by the descriptors of the host.
      - The variables of UEFI lie in a file of their own for each of the three ways to start by it, as those of one would switch the
        secure boot of another off. Where the firmware becomes another the file stays, is named in RV(kept), and is taken up again
        where the machine comes back to it. What is kept of an earlier machine of that name a new one takes with O(allow=adopt) alone.
    type: dict
    suboptions:
      type:
        description:
          - V(bios) is SeaBIOS. V(uefi) is OVMF, of the Debian package C(ovmf). A new machine has V(bios) where nothing here is written.
          - 'B(In short:) for the next boot. C(unset) sets it to V(bios).'
        type: str
        choices: [bios, uefi]
      secure_boot:
        description:
          - Whether UEFI can refuse what is not signed. It takes a O(machine) of V(q35), and means O(firmware.type=uefi).
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
      enrolled_keys:
        description:
          - Whether the variables begin with Microsoft's keys, by which Windows and the signed shim of the distributions start. Secure boot
            that is new has them where nothing else is written. With V(false) everything starts until somebody enrolls keys in the guest.
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
  tpm:
    description:
      - A TPM, emulated by C(swtpm). The secrets in it lie in a folder that libvirt names after the UUID of the machine.
      - Where it is taken off (C(unset=[tpm])) that folder stays, is named in RV(kept), and is taken up again with the next TPM of this
        machine. What is kept of an earlier machine of that name a new one takes, with its UUID, with O(allow=adopt) alone.
    type: dict
    suboptions:
      version:
        description:
          - V(2.0) is what Windows 11 asks for, and what a new TPM is where only O(tpm.model) is written. Each version has secrets of its own.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing.'
        type: str
        choices: ['1.2', '2.0']
      model:
        description:
          - How the guest sees it. A new TPM 2.0 is V(crb), one of 1.2 is V(tis).
          - 'B(In short:) for the next boot. C(unset) sets it to nothing.'
        type: str
        choices: [crb, tis]
  image:
    description:
      - The image (see M(homelab.hybrid.image), kind C(vm)) of the first disk that has neither an image nor a source of its own.
      - Used when the machine is made, and never compared later.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
    aliases: [ostemplate]
  clone_from:
    description:
      - The machine that a new one is cloned from, in the place of O(image). It is not looked at once the clone is there.
      - V(guest=base) is the short form of a dictionary with that key alone.
      - The clone gets every disk of it that this collection made, on the same bus, and what its seed said of O(cloud_init.user),
        O(cloud_init.ssh_keys), O(cloud_init.packages) and O(cloud_init.user_data) where nothing else is written. A disk in O(disks) may
        be larger or in another pool; one with C(state=absent) is not cloned. Everything else is as for any new machine.
      - It has a UUID, MAC addresses and a seed of its own, so that cloud-init sees another instance and makes its host name, ssh host keys
        and C(/etc/machine-id) anew at its first start, before it asks for an address. Where O(cloud_init.user_data) may need the network
        before cloud-init's last stages, or O(cloud_init.meta_data) is written, that is when the network is up.
      - It is a machine of the same O(machine) and starts as its origin does. Of UEFI it has the variables, in a file of its own. A TPM
        it gets with nothing in it, as a TPM says who a machine is. What it opens disks with (BitLocker, systemd-cryptenroll) stays
        with the origin, and the clone asks for its recovery key.
      - What lies inside its disks nobody opens. Where it has no seed, leave C(/etc/machine-id) and the ssh host keys out of its origin, or
        take C(virt-sysprep).
      - On V(ignore:btrfs) the clone shares its blocks with its origin. Elsewhere it is a copy, whose size the plan says before.
      - A machine that runs is cloned with the file systems frozen by its agent where that answers, otherwise as a power cut would leave
        them. It is held still for a moment, or goes on while QEMU copies its disks.
    type: dict
    suboptions:
      guest:
        description:
          - The name of the machine.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
        required: true
      snapshot:
        description:
          - A snapshot of it, by its name in M(homelab.hybrid.guest_snapshot). Without one the clone gets what is there now.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
        type: str
      mode:
        description:
          - V(linked) makes disks that stand on those of its origin. Its origin, or the snapshot, cannot be changed, reverted or taken
            away as long as the clone is there. It takes a template, a snapshot, or a machine that is stopped, in the same pool.
          - V(full) makes disks that stand for themselves, but for an image on which those of its origin stand.
          - Without it a clone of a template is linked where its pool can, and any other is full.
        type: str
        choices: [linked, full]
  install:
    description:
      - The installer that makes the system of a new machine, in the place of O(image) and O(clone_from). The machine runs it once, from
        its media and with its answer. Then these are taken away, and it starts as it is declared, or stays off as O(state) says.
        It is not looked at once the system is there.
      - The run waits for the end without holding a lock. Of a run that is killed the next one waits on. A machine that was cut off, as by
        the host, begins anew with empty disks within O(install.timeout); later somebody may use what is on them, and it is refused
        without V(adopt) or V(recreate) in O(allow).
      - An installer writes to whatever disk it finds. Nothing is installed where the first disk has been there before, and beside one that has
        it is refused.
      - What the installer writes to the serial console is in the error when it does not end.
      - A run without this option leaves a machine to its installer, and what it changes waits.
    type: dict
    suboptions:
      media:
        description:
          - What the machine boots, an ISO on the host by its path, or an image of the kind V(iso) by its name (see M(homelab.hybrid.image)).
          - 'B(In short:) Allowed: an absolute path on the host, or the name of an image.'
        type: str
      extra_media:
        description:
          - More media that are in drives meanwhile, such as one with drivers.
          - 'B(In short:) Allowed: an absolute path on the host, or the name of an image.'
        type: list
        elements: str
      kernel:
        description:
          - The kernel of an installer on the host that is booted directly, as of a netboot archive. O(install.media) may be there beside it.
          - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
        type: str
      initrd:
        description:
          - Its initial RAM disk.
          - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
        type: str
      cmdline:
        description:
          - More words for the command line of the kernel. What the kind of the answer needs and the serial console are on it already.
          - 'B(In short:) Allowed: one line of text.'
        type: str
      answer:
        description:
          - What the text in O(install.answer_text) is. The installer finds it by itself.
          - V(preseed) for Debian, C(/preseed.cfg) in its initial RAM disk. V(autoinstall) for Ubuntu, the C(user-data) on a medium with the
            label C(cidata). V(kickstart) for Fedora and RHEL with what descends from it, C(ks.cfg) on one with the label C(OEMDRV). The kernel
            is taken out of O(install.media) for these and booted directly, so that nobody is asked.
          - V(autounattend) for Windows, C(autounattend.xml) on a medium. A key is pressed when the medium asks for one.
          - V(config) for OPNsense, C(/conf/config.xml) on a medium, for its importer. The key and the drive that this asks for on the
            serial console are given. The nano image needs no O(install.media), it is O(image) or that of a disk.
          - V(truenas) for TrueNAS from 25.04 on, whose installer reads none and is asked over the network, from this host, at the address that
            is known of the machine. The text is a JSON object with what its method C(install) takes, at least C(authentication). The system goes
            to the first disk, known by its size. Disks that have been there before and devices of the host are not in the machine meanwhile.
            With C(address) the text says where the installer answers, as behind a bridge on which this host sees no leases.
        type: str
        choices: [preseed, kickstart, autoinstall, autounattend, config, truenas]
      answer_text:
        description:
          - The answer. It may hold passwords, and is never shown. On the host only QEMU reads it, until the installer has ended.
          - 'B(In short:) Allowed: text of at least 8 characters.'
        type: str
      done_when:
        description:
          - How the end is seen. V(powered_off), as it is without this option, when the machine goes off, or restarts where that would begin
            it again. V(agent) when the guest agent answers, V(port) when O(install.port) does, V(serial) when O(install.pattern) is on the
            serial console. Then the machine is stopped, and starts without its media.
          - An installer that goes off has ended in any case, but with V(serial) the pattern has to be there.
        type: str
        choices: [powered_off, agent, port, serial]
      port:
        description:
          - The TCP port, at any address that the machine is known by.
          - 'B(In short:) Allowed: 1 to 65535.'
        type: int
      pattern:
        description:
          - The regular expression for V(done_when=serial).
          - 'B(In short:) Allowed: a regular expression of Python, in one line.'
        type: str
      timeout:
        description:
          - How many seconds it may take, 3600 where nothing is said.
          - 'B(In short:) Allowed: 0 to 86400.'
        type: int
  disks:
    description:
      - The disks, by name. A disk that is not listed is left and named in RV(unmanaged), unless O(exact) says otherwise.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the disk. Its volume is called C(GUEST.NAME). The disks of a machine that was made by hand are called
            C(disk0), C(disk1) and so on until they get a name here by their source or serial, which they keep.
          - A declared source or serial says which disk is meant. A name does not move to another disk, and the place of one that
            went is no other's.
        type: str
        required: true
      state:
        description:
          - V(absent) unplugs the disk. Its file stays, and is named in RV(kept).
        type: str
        choices: [present, absent]
        default: present
      pool:
        description:
          - The storage pool in which the disk is made.
          - 'B(In short:) fixed once it stands. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
      size:
        description:
          - The size, in GiB or as a size such as V(500MiB). Needed for an empty disk; a disk with an image has at least the size of that.
          - A disk grows live. A shrink is refused.
          - 'B(In short:) more is live, less is refused. Allowed: whole sectors of 512 bytes.'
        type: str
      format:
        description:
          - The format of the file. A new disk is V(qcow2), and V(raw) in a pool of type V(ignore:btrfs), which has no other.
          - A V(raw) disk with an image is a full copy of it, and on btrfs a clone that shares its blocks.
          - 'B(In short:) fixed once it stands.'
        type: str
        choices: [qcow2, raw]
      image:
        description:
          - The image that the disk starts from. A V(qcow2) disk keeps only what differs from it. Never compared later.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
      source:
        description:
          - A file or block device that is there already, instead of a disk that is made. It is never deleted.
          - Another source for a disk that has one is refused without O(allow=replace_disk).
          - 'B(In short:) refused without C(allow=[replace_disk]). Allowed: an absolute path other than /, without ''..''.'
        type: str
      bus:
        description:
          - How the disk is plugged in. A new disk is V(virtio). V(ide) is only on a machine of the type C(pc).
          - 'B(In short:) for the next boot. A new one has V(virtio).'
        type: str
        choices: [virtio, scsi, sata, usb, ide]
      serial:
        description:
          - The serial number that the guest sees.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 20 letters, digits, blanks, ''_'', ''.'', ''+'' and ''-''.'
        type: str
      cache:
        description:
          - How the host caches the disk.
          - 'B(In short:) for the next boot. C(unset) sets it to V(default).'
        type: str
        choices: [default, none, writeback, writethrough, directsync, unsafe]
      io:
        description:
          - How QEMU reads and writes the disk, V(threads) by threads, V(native) by the kernel's asynchronous calls, V(io_uring) by its
            rings. V(native) needs a O(disks[].cache) of V(ignore:none) or V(ignore:directsync), and is refused without.
          - 'B(In short:) for the next boot. C(unset) sets it to V(default).'
        type: str
        choices: [default, threads, native, io_uring]
      iothread:
        description:
          - The number of the thread that serves the disk beside the CPUs of the machine, which is made where there is none. Disks with
            one number share it. Only a disk on V(ignore:virtio) has one.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 64.'
        type: int
      discard:
        description:
          - Whether blocks that the guest frees are given back to the host. True for a new disk that is made in a pool.
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
      readonly:
        description:
          - Whether the guest may only read. On SATA and IDE only a CD-ROM drive can be so, see O(cdroms).
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
      shareable:
        description:
          - Whether other machines may have the disk too, where it is shareable in each of them. What is in it has to be made for that,
            such as a file system of a cluster. It is C(raw), and should have the O(disks[].cache) V(ignore:none).
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
      rotation_rate:
        description:
          - How the disk turns, as the guest sees it, V(1) for one that does not (an SSD). On V(ignore:scsi), V(ignore:sata) and
            V(ignore:ide).
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 for a disk that does not turn, or 1025 to 65534 turns a minute.'
        type: int
      limits:
        description:
          - What the disk may read and write in a second. The limits of all together and those of reads and writes exclude each other.
        type: dict
        suboptions:
          iops:
            description:
              - Operations, reads and writes together.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 1000000000.'
            type: int
          bytes:
            description:
              - Bytes, reads and writes together.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: bytes a second, as a number or such as 50MiB.'
            type: str
          read_iops:
            description:
              - Reads.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 1000000000.'
            type: int
          read_bytes:
            description:
              - Bytes that are read.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: bytes a second, as a number or such as 50MiB.'
            type: str
          write_iops:
            description:
              - Writes.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 1000000000.'
            type: int
          write_bytes:
            description:
              - Bytes that are written.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: bytes a second, as a number or such as 50MiB.'
            type: str
  cdroms:
    description:
      - The CD-ROM drives, by name. A drive that is not listed is left and named in RV(unmanaged), unless O(exact) says otherwise.
      - The name is none of a disk or of a network card, as O(boot.order) names all of them.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the drive. The drives of a machine that was made by hand are called C(cdrom0), C(cdrom1) and so on until they
            get a name here by their medium, which they keep.
        type: str
        required: true
      state:
        description:
          - V(absent) unplugs the drive. The file of its medium stays, and is named in RV(kept).
        type: str
        choices: [present, absent]
        default: present
      source:
        description:
          - The medium, an ISO or another file or block device of the host, which is never deleted. A new drive without one is empty.
          - It is inserted, changed and ejected while the machine runs. Empty text, or C(unset), ejects it.
          - A medium that the guest holds, as while it is mounted, stays until the machine starts anew, and is named in
            RV(restart_required). With O(allow=eject) it is taken out at once. The same holds with libvirt 9.0 of Debian 12 for a
            drive that was plugged in while the machine ran.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..'', or empty text for an empty
            drive.'
        type: str
      image:
        description:
          - An image of the kind V(iso) in place of a O(cdroms[].source), as M(homelab.hybrid.image) keeps it. It is not taken away
            while it is in a drive.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
      bus:
        description:
          - How the drive is plugged in. A new drive is V(sata). V(ide) is only on a machine of the type C(pc),
            and a drive on V(usb) is never empty.
          - The kernel C(linux-image-cloud-amd64) of Debian has no driver for V(sata), V(ide) and V(usb). It sees a drive on V(scsi).
          - 'B(In short:) for the next boot. A new one has V(sata).'
        type: str
        choices: [sata, scsi, ide, usb]
  networks:
    description:
      - The network cards, by name. A card that is not listed is left and named in RV(unmanaged), unless O(exact) says otherwise.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the card. The cards of a machine that was made by hand are called C(net0), C(net1) and so on until they get a
            name here by their MAC or bridge, which they keep.
          - A declared MAC says which card is meant. A name does not move to another card, and the place of one that went is no other's.
          - The end of a new card on the host is called C(MACHINE.CARD), at each start. Where that has more than 15 characters it is the
            beginning of the machine's name and a digest.
        type: str
        required: true
      state:
        description:
          - V(absent) unplugs the card.
        type: str
        choices: [present, absent]
        default: present
      bridge:
        description:
          - The bridge that the card is plugged into. Needed for a new card. Changed live.
          - 'B(In short:) live. Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
        type: str
      vlan:
        description:
          - The VLAN of the card, from 1 to 4094. The guest sends and gets its packets without a tag. Changed live.
          - The bridge has to know VLANs (O(homelab.hybrid.bridge#module:vlan_aware)), and the hypervisor needs libvirt 11.0 or newer,
            as Debian 13 has it. It is refused where one of the two is missing.
          - Where it is not given, a new card is in the VLAN that the bridge gives to all its ports.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 4094.'
        type: int
        aliases: [tag]
      mac:
        description:
          - The MAC address. One that is not written is derived when the card is made, and stays.
          - 'B(In short:) for the next boot. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
        type: str
        aliases: [hwaddr]
      ip:
        description:
          - V(dhcp), V(none), V(auto), or an IPv4 address with its prefix length.
          - On a bridge with a DHCP server of this host (O(homelab.hybrid.bridge#module:dhcp)) the server keeps the address for the MAC address of
            the card, under the name of the machine, as long as the card has it. An address that it keeps or has leased for another is refused,
            and so is one that somebody on the bridge answers to (ARP).
          - On any other bridge the seed of O(cloud_init) tells it, with O(networks[].gateway) and O(networks[].dns), unless
            O(cloud_init.network_config) is written. Where there is no seed either it is refused. cloud-init takes what a seed says of the network
            when it first meets an instance, and again with O(cloud_init.on_change=new_instance).
          - V(auto) takes a free address of the bridge's network once and keeps it. V(auto:10.20.0.65-10.20.0.126/24) takes one of these.
          - V(dhcp) and V(none) both mean that no server keeps an address for the card; with V(none) a seed lets the card ask for none.
          - Of a running machine another address is listed in RV(restart_required) until it has it. One that asks again before, as DHCP clients do
            after half of their lease, gets it then.
          - 'B(In short:) for the next boot. C(unset) sets it to V(dhcp). Allowed: dhcp, none, auto, or an address with its prefix length such as
            192.0.2.10/24.'
        type: str
      gateway:
        description:
          - The default gateway of an address that the seed tells. A DHCP server tells its own.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv4 or IPv6 address.'
        type: str
      ip6:
        description:
          - An IPv6 address with its prefix length beside what O(networks[].ip) says, or V(slaac), or V(auto).
          - The seed of O(cloud_init) tells it on every kind of bridge, as no DHCP server of this host keeps addresses of IPv6. Without a seed, or
            beside O(cloud_init.network_config), it is refused, and so is one that somebody on the bridge answers to (ND). When a machine that
            stands takes it from its seed is said under O(networks[].ip) and O(cloud_init.on_change); with V(ignore) there it is not compared.
          - V(slaac) is what it gets where nothing is written. It gives itself an address from what a router announces, as a bridge with
            C(address6) does.
          - V(auto) takes a free address of the bridge's IPv6 network once and keeps it. V(auto:fd00:20::100-fd00:20::1ff/64) takes one of these.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv6 address with its prefix length such as 2001:db8::10/64,
            slaac, or auto.'
        type: str
      gateway6:
        description:
          - The default gateway of a fixed address in O(networks[].ip6). Without it the guest takes the one that a router announces.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv6 address, such as 2001:db8::1 or fe80::1.'
        type: str
      dns:
        description:
          - The DNS servers that the seed tells the card. A DHCP server tells its own.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv4 or IPv6 address.'
        type: list
        elements: str
      model:
        description:
          - What the guest sees. A new card is V(virtio). V(igb) needs QEMU 8.0 and libvirt 9.3, which Debian 13 has.
          - 'B(In short:) for the next boot. A new one has V(virtio).'
        type: str
        choices: [virtio, e1000, e1000e, igb, rtl8139, vmxnet3]
      queues:
        description:
          - How many pairs of queues the card has, so that as many CPUs of the guest can send and receive at once. Only a V(ignore:virtio)
            card has more than one.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 256.'
        type: int
      link:
        description:
          - Whether the cable is plugged in. Changed live.
          - 'B(In short:) live. C(unset) sets it to V(up).'
        type: str
        choices: [up, down]
      rate_limit:
        description:
          - How fast the guest may get and send through the card, in bits per second such as V(100Mbit), powers of 1000.
          - It holds after a restart of the guest and of the host.
        type: dict
        suboptions:
          in:
            description:
              - What it gets.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 8kbit to 100Gbit, with kbit, Mbit or Gbit (powers of 1000), a multiple of
                8kbit.'
            type: str
          out:
            description:
              - What it sends.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 8kbit to 100Gbit, with kbit, Mbit or Gbit (powers of 1000), a multiple of
                8kbit.'
            type: str
      mtu:
        description:
          - The MTU of the card.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 576 to 65535.'
        type: int
  devices:
    description:
      - PCI and USB devices of the host that the machine has for itself. Those that are not listed are left as they are, and named in RV(unmanaged),
        unless O(exact) says otherwise.
      - A PCI device is taken from the host's driver when the machine starts with it or gets it, and is given back after (C(managed) of libvirt).
        That needs an IOMMU, and goes only for all devices of an IOMMU group at once.
      - What the host itself needs is refused, and named - the card of its default route or of the connection to it, a port of a bridge, a disk
        that is mounted or that something stands on. So is what another machine runs with.
      - A machine with a PCI device is not saved to disk (O(state=suspended)).
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - A name for the device. Those of a machine that was made by hand are called C(device0), C(device1) and so on until they get a name here by
            what they are known by, which they keep.
        type: str
        required: true
      state:
        description:
          - V(absent) takes the device away from the machine.
        type: str
        choices: [present, absent]
        default: present
      type:
        description:
          - What kind of device it is. Needed beside O(devices[].id); an address is that of a PCI device, and a port one of USB.
          - 'B(In short:) live.'
        type: str
        choices: [pci, usb]
      address:
        description:
          - The PCI device by its address, as C(lspci -D) shows it.
          - 'B(In short:) live. Allowed: the address of a PCI device as lspci shows it, such as 0000:03:00.0.'
        type: str
      id:
        description:
          - The device by vendor and product, as C(lspci -nn) and C(lsusb) show them. Where the host has two such devices it is refused, with the list of
            them. A USB device can have its serial behind it.
          - With a serial libvirt knows the device by the number that it has until it is pulled out. Each run gives it anew where that has changed.
          - 'B(In short:) live. Allowed: vendor:product as lspci -nn and lsusb show it, such as 8086:1533, and of a USB device also
            vendor:product:serial.'
        type: str
      port:
        description:
          - The USB device by where it is plugged in, as the kernel names it in C(/sys/bus/usb/devices).
          - libvirt knows it by the number that it has until it is pulled out. Each run gives the machine what is plugged in there now. A machine that
            starts with its host is better given an O(devices[].id).
          - 'B(In short:) live. Allowed: the bus and the port of a USB device as the kernel names them, such as 1-2 or 1-2.4.'
        type: str
      optional:
        description:
          - Whether the machine starts without the USB device. It gets the device with a run that finds it.
          - 'B(In short:) live. C(unset) sets it to no.'
        type: bool
  shares:
    description:
      - Folders of the host that the machine shares with it by virtiofs. Their content is never touched.
      - The guest mounts one by its name, as in C(mount -t virtiofs media /srv/media). Owners are the same on both sides.
      - Those that are not listed are left as they are, and named in RV(unmanaged), unless O(exact) says otherwise.
      - With its first share a machine gets memory that the server of the share sees too (C(memfd)), from its next start on. After that shares come
        and go while it runs.
      - The host needs C(virtiofsd), which the role P(homelab.hybrid.hypervisor#role) installs. A machine with a share is not saved to disk
        (O(state=suspended)).
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the share, which is its tag in the guest. It has at most 36 characters.
          - A share of a machine that was made by hand has its tag as its name where that is declared. Others are called C(share0), C(share1) and so on
            until they get a name here by their source, which they keep; their tag stays.
        type: str
        required: true
      state:
        description:
          - V(absent) takes the share away from the machine.
        type: str
        choices: [present, absent]
        default: present
      source:
        description:
          - The folder of the host. It has to exist. Needed for a new share.
          - 'B(In short:) for the next boot. Allowed: an absolute path other than /, without ''..''.'
        type: str
      readonly:
        description:
          - Whether the guest may not write to it. Needs libvirt 11.0 or newer, as Debian 13 has it, and is refused before.
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
      cache:
        description:
          - What the guest keeps of the files in its memory. V(auto) leaves that to the server, V(none) sees at once what others write,
            V(always) is for a folder that nobody else writes to.
          - 'B(In short:) for the next boot. C(unset) sets it to V(auto).'
        type: str
        choices: [auto, none, always]
  cloud_init:
    description:
      - What cloud-init in the guest finds on its first boot, on a small read-only disk (NoCloud) that lies beside the first disk.
      - A change is written at once, reaches the guest with its next boot, and is done there as far as cloud-init does things again, unless
        O(cloud_init.on_change) says otherwise.
      - Of an image whose presets say so (M(homelab.hybrid.image)) it is FreeBSD's nuageinit or Windows' cloudbase-init that reads the seed.
        What these do not understand of it is refused. nuageinit reads it at the first boot alone, and neither reads anything beside
        O(cloud_init.user_data).
    type: dict
    suboptions:
      user:
        description:
          - A user who may use sudo without a password.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: a Unix user name: 1 to 32 lower case letters, digits, ''_'' and
            ''-''.'
        type: str
      ssh_keys:
        description:
          - The public keys with which O(cloud_init.user) can log in, or the image's own user where none is written.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: a public key as in authorized_keys, such as ''ssh-ed25519 AAAA...
            me@there''.'
        type: list
        elements: str
      packages:
        description:
          - Packages to install.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: names of packages.'
        type: list
        elements: str
      user_data:
        description:
          - The user data as text, of any kind that what reads it knows. The shortcuts above are vendor data beside it, which it overrides.
          - May hold secrets, and is never shown. At least 8 characters.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: text of at least 8 characters.'
        type: str
      meta_data:
        description:
          - The meta data as YAML text. Otherwise the guest's name is its instance and its host name.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: YAML as text.'
        type: str
      network_config:
        description:
          - The network configuration as YAML text (version 1 or 2). Otherwise each card asks by DHCP, unless O(networks[].ip) or
            O(networks[].ip6) say other.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: YAML as text.'
        type: str
      files:
        description:
          - Files for a system that looks for a medium of its own and knows nothing of NoCloud, in the place of everything else here. A dictionary
            of paths and texts as JSON (filter C(to_json)), such as C(network/my-network) for Home Assistant OS.
          - May hold secrets, and is never shown.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: paths and texts, as JSON.'
        type: str
      label:
        description:
          - The label of the medium with O(cloud_init.files), by which the system finds it, such as C(CONFIG). V(cidata) where nothing is written.
          - 'B(In short:) for the next boot. C(unset) sets it to V(cidata). Allowed: 1 to 16 letters, digits and ''_''.'
        type: str
      on_change:
        description:
          - What another seed does to a machine that stands. V(next_boot) has it read at the next boot as of the same instance, so that
            cloud-init does what it does at every boot. V(new_instance) makes it that of another instance, for which cloud-init does all
            of it again, with new ssh host keys. V(ignore) leaves the seed as it is, and compares nothing of it.
          - V(next_boot) unless another is written.
        type: str
        choices: [ignore, next_boot, new_instance]
  boot:
    description:
      - Where the machine boots from.
    type: dict
    suboptions:
      order:
        description:
          - Names of disks, CD-ROM drives and network cards, the first to try first.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: names of disks, cdroms and networks, each once.'
        type: list
        elements: str
      once:
        description:
          - The name of a disk, a CD-ROM drive or a network card that the machine boots from before all others when this run starts it,
            such as a medium to rescue it. Its O(boot.order) counts again when it was switched off; until then a reboot inside of it
            begins there too. A machine that this run does not start is left.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
        type: str
      kernel:
        description:
          - A kernel on the host that is booted directly.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..''.'
        type: str
      initrd:
        description:
          - The initial RAM disk for O(boot.kernel), on the host.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..''.'
        type: str
      cmdline:
        description:
          - The command line for O(boot.kernel).
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: one line of text.'
        type: str
  graphics:
    description:
      - The screen, as somebody sees it who connects to the host.
    type: dict
    suboptions:
      type:
        description:
          - V(vnc), V(spice), or V(none) for a machine without a screen. A new one has V(none), and V(vnc) where O(os_variant) is V(windows)
            or V(other).
          - 'B(In short:) for the next boot. C(unset) sets it to V(none).'
        type: str
        choices: [none, vnc, spice]
      listen:
        description:
          - The address of the host on which it listens. Without it only programs of the host itself reach the screen; C(ssh -L) or virt-viewer
            bring it to another place.
          - Neither VNC nor SPICE encrypts here what it sends.
          - 'B(In short:) for the next boot. C(unset) sets it to V(127.0.0.1). Allowed: an IPv4 or IPv6 address.'
        type: str
      port:
        description:
          - The TCP port on which it listens. Without it libvirt takes a free one at each start, from 5900 on.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 5900 to 65535.'
        type: int
      password:
        description:
          - What the viewer asks for. VNC knows exactly 8 characters of it, as shorter ones are refused here and longer ones by libvirt; SPICE knows longer
            ones.
          - It is compared with the one that the definition has.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: text of at least 8 characters.'
        type: str
  video:
    description:
      - The video card. A screen that comes to a machine without one brings V(virtio) where O(os_variant) is V(linux), and V(vga) elsewhere.
      - What QEMU of the host does not have is refused, with the package that has it.
      - 'B(In short:) for the next boot. C(unset) sets it to V(none).'
    type: str
    choices: [none, virtio, vga, qxl, bochs, cirrus]
  tablet:
    description:
      - Whether the pointer is where the mouse of the viewer is (a tablet on USB), and is not moved by it. A new machine with a screen has one.
      - 'B(In short:) on is live, off is for the next boot. C(unset) sets it to no.'
    type: bool
  serial:
    description:
      - Whether there is a serial console (C(virsh console)). A new machine has one.
      - 'B(In short:) for the next boot. C(unset) sets it to no. A new one has V(true).'
    type: bool
  rng:
    description:
      - Whether the host lends the guest randomness (virtio-rng). A new machine has it, unless O(os_variant) is V(windows) or V(other).
      - 'B(In short:) on is live, off is for the next boot. C(unset) sets it to no. A new one has V(true).'
    type: bool
  watchdog:
    description:
      - A watchdog, which does something to a guest that hangs. The guest has to run a program that answers it (systemd does with
        C(RuntimeWatchdogSec)).
      - Removed with C(unset=[watchdog]). The one that a q35 has by itself is left alone.
    type: dict
    suboptions:
      model:
        description:
          - What the guest has a driver for. It is a PCI card, for which a machine that runs has no slot.
          - 'B(In short:) . C(unset) sets it to nothing.'
        type: str
        choices: [i6300esb]
      action:
        description:
          - What is done to a guest that does not answer. A new watchdog does V(reset).
          - 'B(In short:) for the next boot. C(unset) sets it to V(reset).'
        type: str
        choices: [reset, shutdown, poweroff, pause, none, dump, inject-nmi]
  vsock:
    description:
      - A socket between the guest and the host that needs no network. V(auto), or the number (CID) of the guest, which no other has.
      - It needs C(/dev/vhost-vsock) on the host.
      - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: auto, or a number from 3 to 4294967294.'
    type: str
  agent:
    description:
      - Whether there is a channel for the QEMU guest agent. A new machine has one.
      - 'B(In short:) on is live, off is for the next boot. C(unset) sets it to no. A new one has V(true).'
    type: bool
  wait_for:
    description:
      - What to wait for when the machine runs, one after another, V(agent) for an answer of the guest agent, V(ip) for an address (told
        by the agent, a DHCP lease or the host's neighbours; each fixed one of O(networks) where there are such, and its bridge is asked for
        it), V(ssh) for an ssh server that greets. Each is bounded by O(wait_timeout).
    type: list
    elements: str
    choices: [agent, ip, ssh]
    default: []
  backup:
    description:
      - What a backup asks of the machine. Jobs of C(hypervisor_backup_jobs) of the role P(homelab.hybrid.hypervisor#role) take it, with no control node.
      - C(unset=[backup]) takes it off as a whole.
    type: dict
    suboptions:
      hooks:
        description:
          - What is run inside the machine around each backup, by C(/bin/sh) as root through the guest agent. One that does not run is backed up without it.
          - The roles of services bring hooks of their own, programs in C(/etc/homelab_hybrid/backup.d) of the machine, which run between the two. Where one
            of its services brings none, the backup is as a power cut would leave it.
        type: dict
        suboptions:
          before:
            description:
              - Commands, one after another, that write down what the files of a running program do not hold, as dumps of databases do. The backup holds
                what they wrote. Where one fails there is no backup of this machine in that run, and the report says which one.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
            type: list
            elements: str
          after:
            description:
              - Commands, one after another, that undo what those before the backup did. They run as soon as the guest is captured, before all of it is
                stored, and whatever became of that. Where the program that backs up was killed they are run by the next backup or
                C(homelab-hybrid-backup tidy). One that fails makes the run fail, and the backup stays.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
            type: list
            elements: str
      exclude:
        description:
          - Refused, as a backup has the disks of a machine whole. It is an option of containers.
          - 'B(In short:) Allowed: an absolute path other than /, without ''..'' and without patterns.'
        type: list
        elements: str
      data_paths:
        description:
          - Where in the machine the data lies that a backup is made for. Restores and drills are told of it.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..''.'
        type: list
        elements: str
      health:
        description:
          - What shows that the machine is well, beside what its services say of themselves. A drill (C(drill) of C(hypervisor_backup_jobs)) asks for it
            in a copy that came out of a backup, from inside its network. C(tcp:5432) is a port that takes connections, C(http:8080/health) a page that is
            served, and C(command:systemctl is-active web) a line for C(/bin/sh) that ends with 0 inside.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: tcp:PORT, http:PORT/PATH, https:PORT/PATH or command:LINE FOR A SHELL.'
        type: list
        elements: str
  allow:
    description:
      - The losses that are permitted in this run.
      - V(adopt) lets a new disk take a volume that is there already, kept of an earlier guest of this name or made by somebody else. It
        belongs to this guest then, and O(delete) can delete it. So it is with UEFI variables and a TPM that a new machine finds. Of a
        machine whose O(install) was cut off long ago it takes the disks as they are.
      - V(eject) takes a medium out of a drive also while the guest holds it. What reads from it there gets errors.
      - V(recreate) makes the disks of a machine anew whose O(install) was cut off long ago.
      - V(replace_disk) lets a disk get another O(disks[].source).
    type: list
    elements: str
    choices: [adopt, eject, recreate, replace_disk]
    default: []
  delete:
    description:
      - What O(state=absent) deletes of what this module made, V(disks) for the volumes, V(seed) for the disk of O(cloud_init), V(nvram)
        for the variables of UEFI, V(tpm) for the secrets of a TPM, without which nobody opens what is sealed by them.
      - V(snapshots) are those that M(homelab.hybrid.guest_snapshot) made of it, which are kept with its disks otherwise, and those that libvirt keeps
        itself, with which it is not taken away otherwise.
    type: list
    elements: str
    choices: [disks, nvram, seed, snapshots, tpm]
    default: []
  quarantine:
    description:
      - Whether what O(delete) names of a machine lies in the quarantine of its storage pools first, from where M(homelab.hybrid.guest_quarantine)
        takes it back. V(false) deletes it at once.
      - What lies there keeps the image, the ids and the room that it takes. The name, the MACs and the addresses are free at once.
      - When it is not set, it lies there as long as C(hypervisor_quarantine) of the role P(homelab.hybrid.hypervisor#role) says. A host that the
        role has not set up for that deletes at once, since nothing there would ever take it away. V(true) is 7 days there.
    type: bool
  exact:
    description:
      - The lists that are complete. What such a list does not name is unplugged. Nothing is deleted by that.
    type: list
    elements: str
    choices: [disks, cdroms, networks, devices, shares]
    default: []
seealso:
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.image
  - module: homelab.hybrid.storage_pool
  - module: homelab.hybrid.bridge
"""

EXAMPLES = r"""
- name: Keep a Debian machine, and wait until it can be reached
  homelab.hybrid.kvm_vm:
    name: builder
    memory: 2GiB
    memory_max: 4GiB
    cpu:
      cores: 2
      max_cores: 4
    disks:
      - name: root
        pool: main
        image: debian-13-vm
        size: 20GiB
      - name: data
        pool: main
        size: 100GiB
    networks:
      - name: lan
        bridge: br0
    cloud_init:
      user: admin
      ssh_keys:
        - "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    autostart: true
    wait_for: [agent, ssh]

- name: Give it more memory and a larger disk while it runs
  homelab.hybrid.kvm_vm:
    name: builder
    memory: 3GiB
    disks:
      - name: data
        size: 200GiB

- name: Install from an ISO, with a screen
  homelab.hybrid.kvm_vm:
    name: appliance
    memory: 4GiB
    disks:
      - name: root
        pool: main
        size: 32GiB
    cdroms:
      - name: installer
        source: /srv/iso/appliance.iso
    boot:
      order: [root, installer]
    graphics:
      type: vnc
    networks:
      - name: wan
        bridge: br1
      - name: lan
        bridge: br0

- name: Take the installer out again while the machine runs
  homelab.hybrid.kvm_vm:
    name: appliance
    cdroms:
      - name: installer
        source: ""

- name: Give a machine a card of the host by its address, and a stick wherever it is plugged in
  homelab.hybrid.kvm_vm:
    name: appliance
    devices:
      - name: wan
        address: "0000:03:00.0"
      - name: zigbee
        type: usb
        id: 10c4:ea60
        optional: true

- name: Share a folder of the host with a machine, which mounts it by its name (mount -t virtiofs media /srv/media)
  homelab.hybrid.kvm_vm:
    name: builder
    shares:
      - name: media
        source: /srv/media

- name: Keep a machine for Windows, which asks for secure boot and a TPM, and can be seen from another computer
  homelab.hybrid.kvm_vm:
    name: desktop
    os_variant: windows
    memory: 4GiB
    graphics:
      listen: 0.0.0.0
      password: eight888
    vcpus: 2
    firmware:
      secure_boot: true
    tpm:
      version: "2.0"
    disks:
      - name: root
        pool: main
        size: 64GiB
    networks:
      - name: lan
        bridge: br0

- name: Install Debian from its netinst medium, with an answer for every question
  homelab.hybrid.kvm_vm:
    name: metal
    state: started
    memory: 2GiB
    disks:
      - name: root
        pool: main
        size: 20GiB
    networks:
      - name: lan
        bridge: br0
    install:
      media: /srv/iso/debian-13-netinst.iso
      answer: preseed
      answer_text: "{{ lookup('ansible.builtin.template', 'preseed.cfg.j2') }}"
    wait_for: [ssh]

- name: Install Windows, with its drivers on a second medium
  homelab.hybrid.kvm_vm:
    name: windows
    state: started
    memory: 8GiB
    vcpus: 4
    os_variant: windows
    graphics:
      type: vnc
    disks:
      - name: root
        pool: main
        size: 64GiB
    networks:
      - name: lan
        bridge: br0
    install:
      media: /srv/iso/windows-server-2025.iso
      extra_media: [/srv/iso/virtio-win.iso]
      answer: autounattend
      answer_text: "{{ lookup('ansible.builtin.template', 'autounattend.xml.j2') }}"
      done_when: agent
      timeout: 7200

- name: Pull the cable of a machine
  homelab.hybrid.kvm_vm:
    name: builder
    networks:
      - name: lan
        link: down

- name: Take a machine away and keep its disks
  homelab.hybrid.kvm_vm:
    name: builder
    state: absent

- name: Take a machine away with all that was made for it
  homelab.hybrid.kvm_vm:
    name: builder
    state: absent
    delete: [disks, seed]
"""

RETURN = r"""
plan:
  description: What the run does, or with C(--check) would do, in the order of its steps.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The option, as it is written.
      type: str
      returned: always
    before:
      description: Its value before.
      type: raw
      returned: always
    after:
      description: Its value after.
      type: raw
      returned: always
    how:
      description: One of V(live), V(offline), V(next_boot), V(restart) and V(refused).
      type: str
      returned: always
    permit:
      description: The word for O(allow) that permits it.
      type: str
      returned: when the change is refused
    done:
      description: Whether it stands. Always false with C(--check).
      type: bool
      returned: always
  sample: [{path: memory, before: 2GiB, after: 3GiB, how: live, done: true}]
restart_required:
  description: The options that only a restart brings into force, of this run and of earlier ones.
  returned: always
  type: list
  elements: str
kept:
  description: The files that were left on the host when a disk was unplugged or the machine taken away, also what its UEFI and TPM remember.
  returned: always
  type: list
  elements: str
  sample: [/srv/guests/builder.data.qcow2]
unmanaged:
  description: Disks, CD-ROM drives and network cards that are there and not in a list that is written.
  returned: always
  type: list
  elements: str
assumed:
  description: What does not exist yet and was taken as given. Only with C(--check).
  returned: always
  type: list
  elements: str
needed:
  description: The words for O(allow) that would permit what was refused.
  returned: when a change was refused
  type: list
  elements: str
guest:
  description: The machine as it is after the run and its waits, or with C(--check) as it is now.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    kind:
      description: Always V(vm).
      type: str
      returned: always
    state:
      description: V(started), V(stopped), V(paused), V(suspended) or V(absent).
      type: str
      returned: always
    description:
      description: Its description.
      type: str
      returned: always
    tags:
      description: Its tags.
      type: list
      elements: str
      returned: always
    autostart:
      description: Whether it starts with the host.
      type: bool
      returned: always
    startup:
      description: When it starts and stops among the others, with C(order), C(up_delay) and C(down_delay). The order is null where it has none.
      type: dict
      returned: always
    vcpus:
      description: How many virtual CPUs it has.
      type: int
      returned: always
    memory_kib:
      description: Its memory.
      type: int
      returned: always
    memory:
      description: Its memory, for a person to read.
      type: str
      returned: always
    networks:
      description: Its network cards, each with its name, bridge, mac, addresses and link.
      type: list
      elements: dict
      returned: always
    disks:
      description: Its disks, each with its name, pool, path, size_bytes and size.
      type: list
      elements: dict
      returned: always
    cdroms:
      description: Its CD-ROM drives, each with its name, its bus and the path of its medium. That is null for an empty drive.
      type: list
      elements: dict
      returned: always
    addresses:
      description: All its addresses that are known.
      type: list
      elements: str
      returned: always
    uptime_seconds:
      description: For how long it has run.
      type: int
      returned: always
    pid:
      description: The process of QEMU.
      type: int
      returned: always
    os_variant:
      description: The system in it, as O(os_variant) or whoever made it says.
      type: str
      returned: always
    installing:
      description: Whether it has an installer (O(install)) that has not come to its end.
      type: bool
      returned: always
    image:
      description: The image that it was made of.
      type: str
      returned: always
    managed:
      description: Whether this collection keeps a record of it.
      type: bool
      returned: always
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run
from ..module_utils._vm.options import ARGUMENTS, CONSTRAINTS
from ..module_utils._vm.resource import KvmVm


def main() -> None:
    run(KvmVm(), ARGUMENTS, host=Host, libraries=("libvirt", "lxml"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
