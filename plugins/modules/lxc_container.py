# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lxc_container
short_description: Keep an LXC container
version_added: 0.1.0
description:
  - Makes, changes, starts, stops and removes a system container.
  - What can be changed while the container runs is changed in it and in its configuration, all in one run. What is not written is left as it is.
  - A container that somebody made by hand is changed in place. Every line of its configuration that is not concerned stays, comments and order among them.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._guest
  - homelab.hybrid._stop
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.lxc
  - homelab.hybrid._plan
notes:
  - Of a container that was made by hand the files count too that it includes (C(lxc.include), C(lxc.mount.fstab)). They are never written;
    a change is written into the configuration of the container so that it counts.
  - One whose configuration LXC cannot load can be stopped and taken away. Everything else is refused, and says why it cannot be loaded.
  - When a guest restarts itself LXC makes it anew of what it was started with. What was changed since is named in a warning, comes back with
    the next run, and for good with O(state=restarted).
options:
  state:
    description:
      - V(present) makes the container or changes it, and leaves one that is there running or stopped as it is. A new one is not started.
      - V(started) and V(running) are the same, so are V(stopped) and V(shutdown), and V(paused) and V(frozen).
      - V(restarted) stops and starts it on every run, which reads its configuration anew.
      - V(absent) stops it and takes its definition away. Its root stays, and is named in RV(kept), unless O(delete) names it.
    type: str
    choices: [present, started, running, stopped, shutdown, restarted, paused, frozen, absent]
    default: present
  image:
    description:
      - The image that a new container is made of, by its name in M(homelab.hybrid.image). Needed to make one.
      - It is not looked at once the container is there.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
    aliases: [ostemplate]
  clone_from:
    description:
      - The container that a new one is cloned from, in the place of O(image). It is not looked at once the clone is there.
      - V(guest=base) is the short form of a dictionary with that key alone.
      - The clone gets its root, and O(rootfs.pool), O(rootfs.size) and O(unprivileged) of it where nothing else is written. Everything
        else is as for any new container; networks and limits are those of the task.
      - It is nobody's double. C(/etc/machine-id) is empty, ssh host keys are made anew, the host name, the MAC addresses and the ids are
        its own, cloud-init sees another instance, and nothing is left of the addresses that were written for its origin.
      - On V(ignore:btrfs) the clone shares its blocks with its origin. Elsewhere it is a copy, whose size the plan says before.
      - A container that runs is cloned as a power cut would leave it, and held still meanwhile where that takes more than a moment.
    type: dict
    suboptions:
      guest:
        description:
          - The name of the container.
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
          - V(linked) makes a clone that stands on what its origin holds. Its origin, or the snapshot, cannot be changed, reverted or taken
            away as long as the clone is there. It takes a template, a snapshot, or a container that is stopped, in the same pool, and
            a pool that shares blocks.
          - V(full) makes a clone that stands for itself.
          - Without it a clone of a template is linked where its pool can, and any other is full.
        type: str
        choices: [linked, full]
  rootfs:
    description:
      - Where the root file system of the container is.
    type: dict
    suboptions:
      pool:
        description:
          - The storage pool, by its name in M(homelab.hybrid.storage_pool). Needed to make a container. The root is not moved to another one.
          - 'B(In short:) fixed once it stands. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
      size:
        description:
          - How large the root may grow. The file system enforces it, for what the container makes in subvolumes of its own too.
          - It takes a pool of type V(ignore:btrfs), or one of type V(ignore:dir) on ext4 or XFS that is mounted with C(prjquota).
            Elsewhere it is refused. Inside the container C(df) shows the whole pool with V(ignore:btrfs).
          - 'B(In short:) more is live, less is refused. C(unset) sets it to nothing. Allowed: whole MiB, 16 MiB to 64 TiB.'
        type: str
  unprivileged:
    description:
      - Whether root of the container is an ordinary user of the host, with a range of ids that no other container has.
      - A new container is unprivileged, unless this says otherwise. It cannot be changed later.
      - 'B(In short:) fixed once it stands. A new one has V(true).'
    type: bool
  networks:
    description:
      - The network interfaces. Those that are not listed are left as they are, and named in RV(unmanaged), unless O(exact) says otherwise.
      - They are added, removed and changed while the container runs.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - A name for the interface. It is not that of the device inside, which is C(eth0) and so on.
          - An interface of a container that was made by hand is called V(ignore:net0) and so on, or by any name beside its O(networks[].mac).
        type: str
        required: true
      state:
        description:
          - V(absent) removes the interface.
        type: str
        choices: [present, absent]
        default: present
      bridge:
        description:
          - The bridge that it is plugged into. Needed to add an interface.
          - 'B(In short:) live. Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
        type: str
      vlan:
        description:
          - The VLAN of the interface, from 1 to 4094. The container sends and gets its packets without a tag.
          - The bridge has to know VLANs (O(homelab.hybrid.bridge#module:vlan_aware)). It is refused with one that does not.
          - Where it is not given, a new interface is in the VLAN that the bridge gives to all its ports.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 4094.'
        type: int
        aliases: [tag]
      mac:
        description:
          - The hardware address. Where it is not given, one is derived when the interface is added, and kept.
          - A change waits for a restart.
          - 'B(In short:) for the next boot. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
        type: str
        aliases: [hwaddr]
      ip:
        description:
          - V(dhcp), V(none), V(auto), or an IPv4 or IPv6 address with its prefix length. A new interface asks by DHCP.
          - V(auto) takes a free IPv4 address of the bridge's network once and keeps it. It is in no DHCP range, reservation or lease of the bridge, no other
            container has it, and nobody answers to it (ARP). V(auto:10.20.0.65-10.20.0.126/24) takes one of these, which may be of IPv6 too.
          - A fixed address that somebody else on the bridge has is refused, with the MAC address that answers.
          - V(dhcp) needs systemd-networkd or ifupdown in the image. With V(none) the container configures the interface itself.
          - 'B(In short:) live. A new one has V(dhcp). Allowed: dhcp, none, auto, or an address with its prefix length such as 192.0.2.10/24.'
        type: str
      gateway:
        description:
          - The default gateway of a fixed address.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv4 or IPv6 address.'
        type: str
      ip6:
        description:
          - An IPv6 address with its prefix length beside the IPv4 address or V(dhcp) of O(networks[].ip), or V(slaac), or V(auto). A guest whose only
            address is of IPv6 has it in O(networks[].ip).
          - V(slaac) is what it gets where nothing is written. It gives itself an address from what a router announces, as a bridge with
            C(address6) does.
          - V(auto) takes a free address of the bridge's IPv6 network once and keeps it, as O(networks[].ip) does with V(auto). Neighbours are asked by ND.
            V(auto:fd00:20::100-fd00:20::1ff/64) takes one of these.
          - A fixed address that somebody else on the bridge has is refused, with the MAC address that answers.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv6 address with its prefix length such as 2001:db8::10/64, slaac, or auto.'
        type: str
      gateway6:
        description:
          - The default gateway of a fixed address in O(networks[].ip6). Without it the guest takes the one that a router announces.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv6 address, such as 2001:db8::1 or fe80::1.'
        type: str
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
          - The largest packet, in bytes.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 576 to 65535.'
        type: int
      link:
        description:
          - V(down) takes the interface out of its bridge, as pulling the cable does.
          - 'B(In short:) live. C(unset) sets it to V(up).'
        type: str
        choices: [up, down]
  mounts:
    description:
      - Folders and files of the host that are seen inside. Their content is never touched.
      - Those that are not listed are left as they are, and named in RV(unmanaged), unless O(exact) says otherwise.
      - They are added, removed and changed while the container runs.
      - What is mounted below a folder of the host is seen inside too, and is as read-only as the folder.
      - In an unprivileged container the owners are mapped, so that what is root's on the host is root's inside. Where the file system of the
        source, or of what is mounted below it, knows no mapped owners (NFS, FUSE, overlay), that is mounted without them; a warning says
        whose files are whose then.
      - Where LXC cannot do that by itself, a program on the host does it at each start, also where the guest restarts itself.
      - What could not be mounted at the next start is refused - a folder behind one that others may not pass, and a path that leads over a
        link inside.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - A name for the mount. A mount of a container that was made by hand is found by its path.
        type: str
        required: true
      state:
        description:
          - V(absent) takes the mount away. A program that has a file of it open keeps that.
        type: str
        choices: [present, absent]
        default: present
      source:
        description:
          - The folder or file of the host. It has to exist.
          - 'B(In short:) live. Allowed: an absolute path other than /, without ''..''.'
        type: str
      path:
        description:
          - Where it is seen inside. Missing folders are made.
          - 'B(In short:) live. Allowed: an absolute path other than /, without ''..''.'
        type: str
        aliases: [mp]
      readonly:
        description:
          - Whether it can only be read inside.
          - 'B(In short:) live. C(unset) sets it to no.'
        type: bool
      mapped:
        description:
          - Whether the owners of the host are mapped in an unprivileged container. A new mount has them mapped where its file system can do
            that; V(true) refuses one that cannot, V(false) leaves them as they are on the host. In a privileged container they are the
            host's always.
          - 'B(In short:) live.'
        type: bool
      map_ids:
        description:
          - Which users and groups of the host are which inside, in the words that C(raw.idmap) of Incus has - V(both media 105) lets the files of
            the user and of the group media of the host be those of 105 inside, and what 105 writes inside be theirs on the host.
            A name inside has to be there already.
          - All other owners are mapped as without it. Those of the host that have the number of one inside which stands for another are
            nobody's (65534), and so is who has the number inside of one that is mapped elsewhere, who can write nothing new there.
          - Needs a file system that can map owners.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: uid, gid or both, then the user or group of the host, then that inside, by name
            or number.'
        type: list
        elements: str
      backup:
        description:
          - Whether what is mounted is in the backups of the container. Without it a backup has of a mount no more than the line that makes it, as
            of Proxmox's bind mounts.
          - The folder or file of the host is read where it lies. In the mode V(snapshot) of a job that is while the container goes on writing to it;
            in V(suspend) and V(stop) the container is held until all of it is stored, and with hooks what those after the backup undo is undone only
            then. What is mounted below it is not in the backup. Where the source is not there, or its file system is not mounted, the
            backup of the container fails.
          - A restore of the container leaves the source as it is, as that may be others' too. M(homelab.hybrid.guest_restore) with C(paths) brings
            what lay in the mount into a folder.
          - 'B(In short:) live. C(unset) sets it to no.'
        type: bool
  memory:
    description:
      - How much memory it may use, in whole MiB from V(16MiB) on. A number is in MiB; sizes such as V(2GiB) and V(512M) count in powers of 1024.
      - While the container runs, a limit below what it uses is refused.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: whole MiB, 16 MiB to 64 TiB.'
    type: str
  devices:
    description:
      - Devices of the host that are seen inside. The guest gets a node of its own of each, with its own owner, group and mode.
        That of the host is left as it is.
      - Those that are not listed are left as they are, and named in RV(unmanaged), unless O(exact) says otherwise.
      - They are added, removed and changed while the container runs. The node is made anew before each start, with the numbers that the
        device has then, by a program that is put into C(/var/lib/homelab_hybrid/programs); the nodes lie in C(/dev/homelab_hybrid).
      - In a privileged container, or another whose configuration denies devices, the control groups are told to let the device through too.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - A name for the device.
        type: str
        required: true
      state:
        description:
          - V(absent) takes the device away.
        type: str
        choices: [present, absent]
        default: present
      type:
        description:
          - V(node) is any device by its O(devices[].path), which it has inside too.
          - V(serial) is a serial port by its O(devices[].id), its name in C(/dev/serial/by-id), which it has inside too.
          - V(usb) is a USB device by its O(devices[].id). It is found wherever it is plugged in, and is in C(/dev/bus/usb) inside.
          - Several containers may have one device. One that is on USB and that a virtual machine runs with is refused.
          - 'B(In short:) live. A new one has V(node).'
        type: str
        choices: [node, serial, usb]
      path:
        description:
          - The device of the host, such as C(/dev/dri/renderD128), C(/dev/net/tun) or C(/dev/fuse). Needed for the type V(node).
          - 'B(In short:) live. Allowed: a path below /dev of letters, digits and _.:@+#=/-, and none that every guest has of its own.'
        type: str
      id:
        description:
          - What a device of the type V(serial) or V(usb) is known by, wherever it is plugged in.
          - 'B(In short:) live. Allowed: a name in /dev/serial/by-id, or vendor:product or vendor:product:serial of a USB device, both numbers as
            lsusb shows them.'
        type: str
      mode:
        description:
          - Who may do what with it inside. A new device has the mode that it has on the host.
          - 'B(In short:) live. Allowed: four octal digits in quotes such as ''0660''.'
        type: str
      gid:
        description:
          - The group of the guest that it belongs to, by its name in the guest's own C(/etc/group) or by its number inside.
            A name that is not there yet is told of in a warning, and the device belongs to root's group until a run finds it.
          - A new device belongs to the group that has it on the host, by its name, and where the guest has no such group to root's.
          - 'B(In short:) live. Allowed: the name of a group of the guest, or a number from 0 to 65535.'
        type: str
      optional:
        description:
          - Whether the container can do without it. One that is not there is then told of in a warning, and comes with a run or start
            that finds it. Otherwise a run is refused without it, and the container does not start.
            In its place LXC leaves an empty file, which nobody may read.
          - 'B(In short:) live. C(unset) sets it to no.'
        type: bool
  features:
    description:
      - What the container may do beyond what every container may. Each stands for exact lines of LXC, with and without AppArmor on the host.
    type: dict
    suboptions:
      nesting:
        description:
          - Whether it may run containers of its own. The kernel lets those have a C(/proc) and C(/sys) of their own only beside ones that
            nothing covers, which are then below C(/dev/.lxc) inside, as with LXC's C(nesting.conf). Leave it off in a privileged container.
          - 'B(In short:) for the next boot. C(unset) sets it to no.'
        type: bool
      docker:
        description:
          - V(true) stands for O(features.nesting). Docker and Podman run so in an unprivileged container, with overlay2 on ext4, XFS and btrfs.
          - On a host with AppArmor some versions of LXC and runc do not go together (CVE-2025-52881). It is refused where the container has
            such a runc (of C(containerd.io) or C(runc)) already, and a warning tells of it otherwise.
        type: bool
      fuse:
        description:
          - V(true) stands for a device O(devices) with the name C(fuse), C(/dev/fuse), that everybody inside may use. V(false) takes it away.
        type: bool
      tun:
        description:
          - V(true) stands for a device O(devices) with the name C(tun), C(/dev/net/tun), that everybody inside may use. V(false) takes it away.
            VPNs need it.
        type: bool
      keyctl:
        description:
          - Has no effect, as LXC blocks no keys of the kernel. It is there for definitions that come from Proxmox.
        type: bool
      mknod:
        description:
          - V(true) is refused. The devices that a container needs are listed in O(devices).
        type: bool
  swap:
    description:
      - How much swap it may use on top of O(memory), which has to be limited too, in whole MiB. V(0) is none.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 0, or whole MiB, 64 TiB at most.'
    type: str
  vcpus:
    description:
      - The same as O(cpu.cores).
      - 'B(In short:) live. Allowed: 1 to 710.'
    type: int
  cpu:
    description:
      - Which CPUs it may use, and how much of them.
    type: dict
    suboptions:
      cores:
        description:
          - How many CPUs it sees and may use. They are chosen once, those that the fewest other containers have.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 710.'
        type: int
      limit:
        description:
          - How much CPU time it may use, in CPUs. V(1.5) is one and a half.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 0.01 to 8192 CPUs.'
        type: float
      weight:
        description:
          - Its share of CPU time when CPUs are short, from 1 to 10000. Everybody has 100.
          - 'B(In short:) live. C(unset) sets it to V(100). Allowed: 1 to 10000.'
        type: int
      pin:
        description:
          - The CPUs that it may use, such as V(0-1,3), instead of a number in O(cpu.cores).
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: CPU numbers and ranges of them such as 0-1,3.'
        type: str
  pids:
    description:
      - How many processes it may have.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 4194304.'
    type: int
  hostname:
    description:
      - Its host name. A new container has its own name.
      - 'B(In short:) live. Allowed: labels of letters, digits and ''-'' between dots, 64 characters at most.'
    type: str
  dns:
    description:
      - The resolver of the container, written to its C(/etc/resolv.conf).
      - A new container whose image has no such file gets the name servers of the host, unless this says otherwise.
    type: dict
    suboptions:
      servers:
        description:
          - The addresses of the name servers.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv4 or IPv6 address.'
        type: list
        elements: str
      search:
        description:
          - The domains that short names are looked for in.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: labels of letters, digits and ''-'' between dots, 64 characters at most.'
        type: list
        elements: str
  ssh_keys:
    description:
      - The public keys with which root may log in. Keys that were added by others stay; those that were listed here and no longer are go.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: a public key as in authorized_keys, such as ''ssh-ed25519 AAAA... me@there''.'
    type: list
    elements: str
  wait_for:
    description:
      - What to wait for when the container is started or runs. V(ip) is an address of each interface that is to have one, a
        lease where it asks by DHCP. V(systemd) is the end of its boot.
    type: list
    elements: str
    choices: [ip, systemd]
    default: []
  backup:
    description:
      - What a backup asks of the container. Jobs of C(hypervisor_backup_jobs) of the role P(homelab.hybrid.hypervisor#role) take it, with no control node.
      - C(unset=[backup]) takes it off as a whole.
    type: dict
    suboptions:
      hooks:
        description:
          - What is run inside the container around each backup, by C(/bin/sh) as root. One that does not run is backed up without it.
          - The roles of services bring hooks of their own, programs in C(/etc/homelab_hybrid/backup.d) of the container, which run between the two. Where one
            of its services brings none, the backup is as a power cut would leave it.
        type: dict
        suboptions:
          before:
            description:
              - Commands, one after another, that write down what the files of a running program do not hold, as dumps of databases do. The backup holds
                what they wrote. Where one fails there is no backup of this container in that run, and the report says which one.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
            type: list
            elements: str
          after:
            description:
              - Commands, one after another, that undo what those before the backup did. They run as soon as the guest is captured, before all of it is
                stored (with a mount that is in the backup, C(mounts[].backup), after that), and whatever became of that. Where the program that backs up was
                killed they are run by the next backup or C(homelab-hybrid-backup tidy). One that fails makes the run fail, and the backup stays.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
            type: list
            elements: str
      exclude:
        description:
          - Paths of files and folders whose content is not in a backup, such as caches. A folder itself is, empty, with its owner and mode.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..'' and without patterns.'
        type: list
        elements: str
      data_paths:
        description:
          - Where in the container the data lies that a backup is made for. A backup warns where one of them is not in it, as it is not there
            or lies on a mount.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..''.'
        type: list
        elements: str
      health:
        description:
          - What shows that the container is well, beside what its services say of themselves. A drill (C(drill) of C(hypervisor_backup_jobs)) asks for it
            in a copy that came out of a backup, from inside its network. C(tcp:5432) is a port that takes connections, C(http:8080/health) a page that is
            served, and C(command:systemctl is-active web) a line for C(/bin/sh) that ends with 0 inside.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: tcp:PORT, http:PORT/PATH, https:PORT/PATH or command:LINE FOR A SHELL.'
        type: list
        elements: str
  allow:
    description:
      - The losses that are permitted in this run.
      - V(adopt) uses the root again that an earlier container of that name left, with all that is in it.
    type: list
    elements: str
    choices: [adopt]
    default: []
  delete:
    description:
      - What O(state=absent) may delete. V(rootfs) and V(volumes) are the root file system, if this module made it. V(snapshots) are those that
        M(homelab.hybrid.guest_snapshot) made of it; they are kept with it otherwise, and without it.
    type: list
    elements: str
    choices: [rootfs, volumes, snapshots]
    default: []
  quarantine:
    description:
      - Whether what O(delete) names of a container lies in the quarantine of its storage pools first, from where M(homelab.hybrid.guest_quarantine)
        takes it back. V(false) deletes it at once.
      - What lies there keeps the image, the ids and the room that it takes. The name, the MACs and the addresses are free at once.
      - When it is not set, it lies there as long as C(hypervisor_quarantine) of the role P(homelab.hybrid.hypervisor#role) says. A host that the
        role has not set up for that deletes at once, since nothing there would ever take it away. V(true) is 7 days there.
    type: bool
  exact:
    description:
      - Which lists are complete, so that what is there and not listed is taken away.
    type: list
    elements: str
    choices: [networks, mounts, devices]
    default: []
seealso:
  - module: homelab.hybrid.image
  - module: homelab.hybrid.storage_pool
  - module: homelab.hybrid.bridge
  - module: homelab.hybrid.kvm_vm
  - plugin: homelab.hybrid.lxc
    plugin_type: connection
"""

EXAMPLES = r"""
- name: Keep a container with a fixed address
  homelab.hybrid.lxc_container:
    name: adguard
    state: started
    image: debian-12
    rootfs:
      pool: main
    memory: 512MiB
    cpu:
      cores: 1
    networks:
      - name: lan
        bridge: br0
        ip: 192.168.1.10/24
        gateway: 192.168.1.1
    dns:
      servers: [192.168.1.1]
    autostart: true
    wait_for: [ip, systemd]

- name: Give a running container more memory and a folder of the host
  homelab.hybrid.lxc_container:
    name: jellyfin
    memory: 4GiB
    mounts:
      - name: media
        source: /srv/media
        path: /media
        readonly: true

- name: Give it the graphics card, for the group render as the guest numbers it
  homelab.hybrid.lxc_container:
    name: jellyfin
    devices:
      - name: gpu
        path: /dev/dri/renderD128
        gid: render
        optional: true

- name: Let Docker run in a container, and a VPN
  homelab.hybrid.lxc_container:
    name: jellyfin
    features:
      docker: true
      tun: true

- name: Put a container into the VLAN of the cameras
  homelab.hybrid.lxc_container:
    name: frigate
    networks:
      - name: cameras
        bridge: br0
        vlan: 30
        ip: 192.168.30.5/24

- name: Take the limit of its memory off
  homelab.hybrid.lxc_container:
    name: jellyfin
    unset: [memory]

- name: Take a container away and keep its root
  homelab.hybrid.lxc_container:
    name: adguard
    state: absent

- name: Take it away with its root
  homelab.hybrid.lxc_container:
    name: adguard
    state: absent
    delete: [rootfs]
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
  sample: [{path: memory, before: 512MiB, after: 1GiB, how: live, done: true}]
restart_required:
  description: The options that only a restart brings into force.
  returned: always
  type: list
  elements: str
  sample: ["networks[lan].mac"]
kept:
  description: What O(state=absent) left on the host.
  returned: always
  type: list
  elements: str
  sample: [/srv/guests/adguard.rootfs]
unmanaged:
  description: The interfaces, mounts and devices that are there and not listed, where the list is written.
  returned: always
  type: list
  elements: str
  sample: ["networks[net1]"]
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
  description: The container as it is after the run, or with C(--check) as it is now.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    kind:
      description: Always V(container).
      type: str
      returned: always
    state:
      description: V(started), V(stopped), V(paused) or V(absent).
      type: str
      returned: always
    description:
      description: What it is for.
      type: str
      returned: always
    tags:
      description: The words that group it.
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
      description: How many CPUs it may use.
      type: int
      returned: always
    memory_kib:
      description: The limit of its memory in KiB. Not set without one.
      type: int
      returned: always
    memory:
      description: The limit of its memory, for a person to read.
      type: str
      returned: always
    networks:
      description: Its interfaces, each with O(networks[].name), C(bridge), C(mac), C(device) inside, C(host_device), C(addresses) and C(link).
      type: list
      elements: dict
      returned: always
    mounts:
      description: Its mounts, each with C(name), C(source), C(path) and C(readonly).
      type: list
      elements: dict
      returned: always
    devices:
      description: Its devices of the host, each with C(name), C(type), C(path), C(mode) and C(gid), the group inside.
      type: list
      elements: dict
      returned: always
    disks:
      description: Its root, with C(name), C(pool), C(path), C(size_bytes) and C(size). The sizes are not set where nothing limits it.
      type: list
      elements: dict
      returned: always
    addresses:
      description: Its addresses, without prefix lengths.
      type: list
      elements: str
      returned: always
    uptime_seconds:
      description: For how long it has run. Not set while it does not run.
      type: int
      returned: always
    pid:
      description: The process of its init on the host. Not set while it does not run.
      type: int
      returned: always
    image:
      description: The image that it was made of.
      type: str
      returned: always
    unprivileged:
      description: Whether root inside is an ordinary user of the host.
      type: bool
      returned: always
    managed:
      description: Whether this collection has a record of it.
      type: bool
      returned: always
    problem:
      description: Why LXC cannot load its configuration. Null where it can.
      type: str
      returned: always
"""

from ..module_utils._container.options import ARGUMENTS, CONSTRAINTS
from ..module_utils._container.resource import LxcContainer
from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run


def main() -> None:
    run(LxcContainer(), ARGUMENTS, host=Host, libraries=("lxc", "libvirt"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
