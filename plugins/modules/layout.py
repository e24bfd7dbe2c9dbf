#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# DOCUMENTATION is made by "make docs" from the modules of the items.
from __future__ import annotations

DOCUMENTATION = r"""
module: layout
short_description: Keep a whole host, its bridges, pools, images and guests
version_added: 0.1.0
description:
  - Converges everything that a hypervisor has in one run, from lists whose items are the options of M(homelab.hybrid.bridge),
    M(homelab.hybrid.storage_pool), M(homelab.hybrid.image), M(homelab.hybrid.kvm_vm) and M(homelab.hybrid.lxc_container).
    An item does what its module would do with these options, no more and no less. What no list names is left as it stands.
  - The host is read once. Everything is planned before anything is touched. Then each item is planned again under its own
    locks and applied, in the order of what it requires, up to O(parallel) at once. Where nothing is to be done no process
    is started.
  - A failed item stops only what depends on it. The task fails when all others are done, and names what failed and what was
    skipped.
  - Before anything is applied the whole run is refused where two guests have one address, MAC address or name, two bridges
    one subnet, or two pools one folder; where guests are promised more memory than the host has (O(overcommit.memory)); where
    new disks do not fit their pool (O(overcommit.storage)); and where a bridge, pool or image is required that is not there
    and that no list makes, or that the run stops or takes away. Guests that are there count, listed or not; one whose change
    is refused counts as it is.
  - A guest that gets an address of one that goes comes after it, and is skipped where that one cannot be taken away.
  - An item whose O(vms[].wait_for) or O(containers[].wait_for) is written is waited for on every run; only an address that
    is known already is not asked for again. An item that waits makes room for the next.
  - The control node shows the plan as a whole and then the steps of each item as they come, also under ansible-runner and
    AWX. For that it rehearses the run first, and only a run that has something to do or to wait for goes on, in the background
    of the host.
  - The host keeps the code of the run, compiled, below C(/run) until it restarts or the code is not used for a day, and is
    not sent it again. A check writes that too, and nothing else.
  - When the control node is interrupted, or the connection to it breaks, the run goes on. The next run waits for its locks.
  - With C(ignore_unreachable) on the task, a host that cannot be reached is a result with RV(ignore:unreachable_host), and
    does not end the inventory host that carries the task.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.libvirt
  - homelab.hybrid._requirements.lxc
options:
  bridges:
    description:
      - The bridges of the host. An item has the options of M(homelab.hybrid.bridge).
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the bridge as Linux shows it. 1 to 15 letters, digits, C(_), C(.) and C(-), the first a letter or
            digit.
          - 'B(In short:) Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
        type: str
        required: true
      state:
        description:
          - V(present) makes the bridge or changes it, and leaves a bridge that is there started or stopped as it is. A new
            bridge is started.
          - V(started) and V(stopped) also say whether it is up. Stopping is refused while running guests are plugged in,
            and with O(bridges[].mode=ports).
          - V(absent) takes the bridge away. It is refused while it is the bridge of any guest, running or not.
          - Stopping it and taking it away are refused too while a link is plugged in that belongs to no guest and is none
            of O(bridges[].ports).
          - With O(bridges[].mode=ports) only a bridge that this module made goes. Its ports get back the MTU that they had.
          - With the last bridge that this module made, C(net.ipv4.ip_forward) and C(net.ipv6.conf.all.forwarding) become
            what they were before the first one, unless another bridge came since then, C(sysctl.d) has it on, or firewall
            rules of others translate addresses.
        type: str
        choices:
          - present
          - started
          - stopped
          - absent
        default: present
      mode:
        description:
          - How guests reach the network of the host. A new bridge has mode V(nat) unless another is written.
          - V(nat) gives them the address of the host for what they send.
          - V(routed) lets them send with their own addresses. The router of the network beyond must know the way back to
            them.
          - V(isolated) lets them reach each other and the host, and nothing else. DHCP tells them no gateway, and names outside
            of O(bridges[].dns) are not found unless O(bridges[].dns.forwarders) has servers to ask.
          - V(ports) plugs them into the network that O(bridges[].ports) lead to, as if they were machines beside this one.
          - Where it is not written, a bridge that is there keeps its mode. V(ports) cannot become one of the others, nor
            they V(ports).
          - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: fixed once it stands. A new
            one has V(nat).'
        type: str
        choices:
          - nat
          - routed
          - isolated
          - ports
      address:
        description:
          - The IPv4 address of the bridge with the length of its prefix, such as V(10.20.0.1/24). This or O(bridges[].address6)
            is needed to make a bridge, except with O(bridges[].mode=isolated).
          - Without it there is no DHCP, and no DNS unless there is O(bridges[].address6). V(none), or C(unset=[address]),
            takes it off an isolated bridge.
          - With O(bridges[].mode=ports) it is the address of this host, V(dhcp) where a server gives it, or V(none). Where
            the bridge has several fixed ones already, the one that is written takes the place of the first.
          - Refused where the subnet overlaps with that of another link of the host.
          - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: live. C(unset) sets it to nothing.
            Allowed: an IPv4 address with the length of its prefix, /8 to /30, such as 10.20.0.1/24, dhcp or none.'
        type: str
      address6:
        description:
          - The IPv6 address of the bridge with the length of its prefix, such as V(fd00:20::1/64), or V(none).
          - V(auto) is the first address of a private subnet of its own (C(fd), RFC 4193). It is drawn once from the host
            and the name of the bridge, and stays. Where the bridge has an IPv6 address already, that one stays.
          - Guests get addresses by themselves where the prefix is C(/64). The bridge announces it (SLAAC), and with O(bridges[].mode=nat)
            and O(bridges[].mode=routed) itself as their router. With another length they need addresses that are written.
          - With O(bridges[].mode=routed) it lies in a prefix that the router of the network beyond sends to this host.
          - Refused with O(bridges[].mode=nat) and O(bridges[].mode=routed) while a router tells this host its own IPv6 routes
            and C(net.ipv6.conf.LINK.accept_ra) is not C(2). The kernel would drop them as soon as it forwards. Where systemd-networkd
            keeps the link it sets that to C(0), and C(net.ipv6.conf.all.accept_ra) is to be C(2) in its place.
          - With O(bridges[].mode=ports) it is the address of this host, V(dhcp), or V(slaac), and not V(auto). With V(slaac)
            the host gives itself an address of what a router announces, and takes its way out from there, also while it forwards
            for other bridges (C(IPv6AcceptRA=yes) of systemd-networkd, C(inet6 auto) with C(accept_ra 2) of ifupdown). A
            fixed address that is written later stands beside it.
          - Where nothing is written there, the kernel and systemd-networkd decide. The kernel takes announcements unless
            it forwards, and newer versions of C(systemd-networkd) take none on bridges. A bridge that takes over a card which
            has its IPv6 from a router gets V(slaac).
          - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: live. C(unset) sets it to nothing.
            Allowed: an IPv6 address with the length of its prefix, such as fd00:20::1/64, auto, slaac, dhcp or none.'
        type: str
      nat6:
        description:
          - Whether what guests send by IPv6 gets the address of the host, with O(bridges[].mode=nat). It does once O(bridges[].address6)
            is written, unless this says otherwise. Without it the router of the network beyond must know the way back to
            them.
          - B(In short:) by a restart of the bridge. C(unset) sets it to no.
        type: bool
      dhcp:
        description:
          - The addresses that guests are given. Changes while guests are running reach them with their next request.
          - C(unset=[dhcp]) takes it off as a whole.
          - B(In short:) live. C(unset) sets it to nothing.
        type: dict
        suboptions:
          start:
            description:
              - The first address of the range. Needed together with O(bridges[].dhcp.end).
              - Where a network made by hand has several ranges, this is the first of them.
              - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
            type: str
          end:
            description:
              - The last address of the range.
              - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
            type: str
          hosts:
            description:
              - Guests that always get the same address. Entries that are not listed stay, and are named in RV(ignore:unmanaged),
                unless O(bridges[].exact) has V(dhcp.hosts).
              - B(In short:) live.
            type: list
            elements: dict
            suboptions:
              name:
                description:
                  - The host name of the guest, without a domain. An entry of another name with the same MAC address is renamed.
                  - 'B(In short:) live. Allowed: a host name of 1 to 63 letters, digits and ''-'', the first a letter, without
                    a domain.'
                type: str
                required: true
              mac:
                description:
                  - The MAC address of the guest. Needed unless the entry goes.
                  - 'B(In short:) live. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
                type: str
              ip:
                description:
                  - Its address, in the subnet of the bridge. Needed unless the entry goes.
                  - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
                type: str
              state:
                description:
                  - V(absent) takes the entry off.
                type: str
                choices:
                  - present
                  - absent
                default: present
      dns:
        description:
          - The name server on the address of the bridge. It knows the names of guests that got their address by DHCP.
        type: dict
        suboptions:
          domain:
            description:
              - The domain of the guests, such as V(lab.internal). Questions about it are never passed on.
              - 'B(In short:) by a restart of the bridge. C(unset) sets it to nothing. Allowed: a DNS name such as lab.internal.'
            type: str
          hosts:
            description:
              - Further names. Entries that are not listed stay, and are named in RV(ignore:unmanaged), unless O(bridges[].exact)
                has V(dns.hosts).
              - B(In short:) live.
            type: list
            elements: dict
            suboptions:
              name:
                description:
                  - The name.
                type: str
                required: true
              ip:
                description:
                  - Its IPv4 address. A name has the addresses that are written here, and no others; one of them is needed
                    unless the entry goes.
                  - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
                type: str
              ip6:
                description:
                  - Its IPv6 address.
                  - 'B(In short:) live. Allowed: an IPv6 address that others reach too, such as fd00:20::10.'
                type: str
              state:
                description:
                  - V(absent) takes the entry off.
                type: str
                choices:
                  - present
                  - absent
                default: present
          forwarders:
            description:
              - The addresses of the servers that all other questions are passed on to, in their order. Without them it is
                those of the host, or nobody with O(bridges[].mode=isolated).
              - 'B(In short:) by a restart of the bridge. C(unset) sets it to nothing. Allowed: addresses of DNS servers,
                such as 192.0.2.53.'
            type: list
            elements: str
      ports:
        description:
          - The links that are plugged into the bridge, with O(bridges[].mode=ports). They are network cards, bonds, VLANs
            and others that this host has.
          - A name alone stands for an item that has nothing else, C(ports=[eno1]).
          - Links that are not listed stay, and are named in RV(ignore:unmanaged), unless O(bridges[].exact) has V(ports).
            The links of guests are never listed.
          - A link that is plugged in must hang on nothing else. It may have addresses of its own where it is the only port
            of a new bridge and C(systemd-networkd) gives it all of them. The bridge takes over its addresses, DHCP with the
            lease, gateways, routes and MAC address then, as far as nothing else is written. That is confirmed, see the notes.
          - Any other new port that has addresses, or carries the ssh connection to this host or its default route, is refused.
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name of the link.
            type: str
            required: true
          pvid:
            description:
              - The VLAN of what comes without a tag, 1 to 4094, or V(0) to drop it. Needs O(bridges[].vlan_aware). V(1) unless
                it is written.
              - 'B(In short:) live. C(unset) sets it to V(1). Allowed: 0 to 4094.'
            type: int
          vids:
            description:
              - The VLANs that pass with a tag, as numbers and ranges such as V(30-39). Compared as a whole.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: VLANs from 1 to 4094 and ranges of them, such as
                20 and 30-39.'
            type: list
            elements: str
          state:
            description:
              - V(absent) takes the link off the bridge.
            type: str
            choices:
              - present
              - absent
            default: present
      gateway:
        description:
          - The IPv4 router that everything else goes through, in the subnet of O(bridges[].address). With O(bridges[].mode=ports).
          - Refused while the default route of this host goes through another link.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv4 address, such as 10.20.0.10.'
        type: str
      gateway6:
        description:
          - The IPv6 router that everything else goes through. With O(bridges[].mode=ports).
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv6 address, such as fd00:20::1 or fe80::1.'
        type: str
      mac:
        description:
          - The MAC address of the bridge, with O(bridges[].mode=ports). Without it the kernel takes that of a port, or networkd
            one of its own.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
        type: str
      stp:
        description:
          - Whether the bridge takes part in the spanning tree protocol, with O(bridges[].mode=ports). A new bridge does not.
          - B(In short:) live. C(unset) sets it to no.
        type: bool
      vlan_aware:
        description:
          - Whether the bridge keeps VLANs apart, with O(bridges[].mode=ports). Refused where the kernel cannot.
          - It is not taken off while guests are in VLANs of the bridge.
          - B(In short:) live. C(unset) sets it to no.
        type: bool
      mtu:
        description:
          - The largest packet that the bridge takes, 576 to 65535 bytes. The links of guests that are plugged in keep what
            they have.
          - With O(bridges[].mode=ports) the ports get it too, and what they had before when it is taken off.
          - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: live. C(unset) sets it to nothing.
            Allowed: 576 to 65535.'
        type: int
      autostart:
        description:
          - Whether the bridge is started with the host. A new bridge is, unless this says otherwise. One with O(bridges[].mode=ports)
            always is.
          - 'B(In short:) with nat, routed, isolated: live, with ports: on is live, off is refused. A new one has V(true).'
        type: bool
      confirm_timeout:
        description:
          - How many seconds a change that can cut off this host has to be made and confirmed, see the notes. V(60) unless
            it is written. Switches that run the spanning tree protocol let nothing through for the first 30 of them.
          - 'B(In short:) Allowed: 10 to 3600.'
        type: int
      verify:
        description:
          - Addresses that must answer to ping from this host after a change that can cut it off. Otherwise it is taken back.
          - 'B(In short:) Allowed: addresses that answer to ping, such as 192.0.2.1.'
        type: list
        elements: str
      exact:
        description:
          - The lists that are complete. What is there and not listed is taken off.
        type: list
        elements: str
        choices:
          - dhcp.hosts
          - dns.hosts
          - ports
        default: []
      unset:
        description:
          - Paths of options to take off again, such as V(description) or V(networks[lan].vlan).
          - A dictionary stands for all of its options, where each of them can be taken off.
          - An option that is simply no longer written is left as it stands.
          - Declaring an option and naming it here is refused.
        type: list
        elements: str
        default: []
  storage_pools:
    description:
      - The storage pools of the host. An item has the options of M(homelab.hybrid.storage_pool).
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the pool.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
        required: true
      state:
        description:
          - V(present) makes the pool or changes it, and leaves a pool that is there started or stopped as it is. A new pool
            is started.
          - V(started) and V(stopped) also say whether it is active. Stopping is refused while running guests use it.
          - V(absent) takes the pool away. It is refused while guests use it. A folder with content stays, and is named in
            RV(ignore:kept), unless this module made the folder and O(storage_pools[].allow=delete_data) is set. An empty
            folder that this module made goes. The same is true of the file system that this module made on O(storage_pools[].source);
            without it the source is unmounted and left as it is.
        type: str
        choices:
          - present
          - started
          - stopped
          - absent
        default: present
      type:
        description:
          - What the pool is made of.
          - V(dir) is a folder on any file system. Disks are qcow2 or raw files, and linked disks stand on the file of their
            image. The root of each container is unpacked. A root can have a size where the file system is ext4 or XFS and
            mounted with C(prjquota).
          - V(btrfs) is a folder on btrfs. The first guest of an image makes a copy of it in the pool, and each root and disk
            is a clone of that in the fraction of a second. Roots are subvolumes whose size is enforced; disks are raw files
            that are never copied on write. The quotas of the file system are enabled. Those that are enabled already stay
            as they are, full or simple; a file system that is made for the pool gets simple quotas where Linux (6.7) and
            btrfs-progs (6.7) know them. With simple quotas a size counts what the container wrote, and a subvolume that is
            made inside belongs to it from birth; with full quotas it counts what the image brought too, and the next run
            for the container takes such a subvolume in.
          - A new pool is of type V(dir) unless another is written. The type of a pool cannot be changed.
          - B(In short:) fixed once it stands. A new one has V(dir).
        type: str
        choices:
          - dir
          - btrfs
      path:
        description:
          - The folder of the pool, an absolute path. Needed to make a pool. It is made when it is missing.
          - With O(storage_pools[].type=btrfs) it lies on btrfs, or is where O(storage_pools[].source) is mounted. A folder
            that is made there is a subvolume of its own.
          - The folder of a pool cannot be changed; give the new pool another name.
          - 'B(In short:) fixed once it stands. Allowed: an absolute path other than /, without ''..''.'
        type: str
      source:
        description:
          - For O(storage_pools[].type=btrfs), a block device or an image file that is there. It is mounted at O(storage_pools[].path),
            now and whenever the host starts, by a line in C(/etc/fstab).
          - One that holds a btrfs is used as it is, and never formatted. One that is blank is formatted. What holds anything
            else, with a signature or without, is formatted with O(storage_pools[].allow=format) alone.
          - The source of a pool cannot be changed; give the new pool another name.
          - 'B(In short:) fixed once it stands. Allowed: an absolute path other than /, without ''..''.'
        type: str
      autostart:
        description:
          - Whether the pool is started with the host. A new pool is, unless this says otherwise.
          - B(In short:) live. A new one has V(true).
        type: bool
      warn_free:
        description:
          - Warn on every run while less than this is free, a percentage such as V(10%) or a size such as V(20G) (a bare number
            is in GiB).
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: a percentage from 0% to 99%, or a size such as 20G.'
        type: str
      allow:
        description:
          - The losses that are permitted in this run.
          - V(delete_data) lets O(storage_pools[].state=absent) delete the folder with all its content, if this module made
            the folder, or wipe O(storage_pools[].source), if this module formatted it.
          - V(format) lets a new pool format an O(storage_pools[].source) that holds something else than a btrfs.
        type: list
        elements: str
        choices:
          - delete_data
          - format
        default: []
      unset:
        description:
          - Paths of options to take off again, such as V(description) or V(networks[lan].vlan).
          - A dictionary stands for all of its options, where each of them can be taken off.
          - An option that is simply no longer written is left as it stands.
          - Declaring an option and naming it here is refused.
        type: list
        elements: str
        default: []
  images:
    description:
      - The images of the host. An item has the options of M(homelab.hybrid.image).
      - Of an item, O(images[].build) and O(images[].path) and O(images[].url) and O(images[].simplestreams) exclude each
        other.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the image.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
        required: true
      state:
        description:
          - V(present) makes the image unless it is there.
          - V(absent) deletes it from the store. It is refused while guests that were made of it are there, and while a disk
            stands on it. A file that O(images[].path) names stays.
        type: str
        choices:
          - present
          - absent
        default: present
      kind:
        description:
          - What guests are made of it, or V(iso) for a medium that they read. Needed to make an image. The kind of an image
            cannot be changed.
          - B(In short:) fixed once it stands.
        type: str
        choices:
          - container
          - vm
          - iso
      from:
        description:
          - V(catalogue) takes everything that is not written from an entry of the catalogue, for amd64, O(images[].url),
            O(images[].checksum), O(images[].signature) and O(images[].presets) among it. What is written goes before it,
            key by key; an empty O(images[].signature) drops that of the entry.
          - The entries are listed in the guide on images. The variable C(hypervisor_image_catalogue) of the host is a list
            of further ones, each with a C(name) and options of this module; one of a known name is laid over it.
          - An entry that a newer version of this collection changes changes no image that stands. See RV(ignore:image.stale).
        type: str
        choices:
          - catalogue
      entry:
        description:
          - The name of the entry, where it is not O(images[].name).
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
      version:
        description:
          - Another build than the entry names, such as V(44-1.8) of V(fedora-44), where its addresses have a place for it.
          - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
        type: str
      build:
        description:
          - Build the image of Debian or Ubuntu, from the mirrors in the host's own apt sources. The guests get the same sources,
            the host's apt proxy, and the certificate authorities that the administrator added in C(/usr/local/share/ca-certificates).
          - Every image has systemd with systemd-networkd, dbus, sudo, an OpenSSH server that makes its host keys at the first
            start, python3 and python3-apt for Ansible, iproute2, ping, and no manuals and translations. An image for virtual
            machines has Debian's cloud kernel, GRUB, cloud-init (seeds from a disk only), qemu-guest-agent and systemd-resolved
            as well.
          - Needed to make an image, unless O(images[].path), O(images[].url) or O(images[].simplestreams) is written. Read
            once, on creation; afterwards a difference is reported in RV(ignore:image.stale).
        type: dict
        suboptions:
          suite:
            description:
              - The release of Debian, or of Ubuntu.
              - Ubuntu needs an entry of its archive in the host's apt sources, with C(Signed-By) its C(ubuntu-archive-keyring.gpg)
                and best disabled there, so that the host itself takes nothing from it. Of Ubuntu the images of containers
                are built, those of virtual machines are fetched.
            type: str
            choices:
              - bookworm
              - trixie
              - jammy
              - noble
              - resolute
            required: true
          packages:
            description:
              - Debian packages beside those that every image has, without recommended ones.
              - 'B(In short:) Allowed: names of Debian packages: lower-case letters, digits, ''+'', ''-'' and ''.''.'
            type: list
            elements: str
          firmware:
            description:
              - The firmware that the disk of a virtual machine boots with. V(bios) unless another is written.
              - V(uefi) is a disk that boots by UEFI, with secure boot too, and by BIOS as well. It is some 70 MiB larger.
            type: str
            choices:
              - bios
              - uefi
      path:
        description:
          - Take the image from this file of the managed host, an absolute path. It is copied (as a reflink where the file
            system can).
          - For a container a root file system as tar, tar.gz, tar.bz2, tar.xz or tar.zst, as the unified archive that Incus
            exports, or as squashfs where the host has C(unsquashfs) (package C(squashfs-tools)); for a virtual machine a
            disk as qcow2 without a backing file, or as raw with a partition table or a disklabel of BSD's, as it is or packed
            with gzip, bzip2, xz or zstd; for an ISO a medium as ISO 9660 or UDF, as it is or packed likewise.
          - Read once, on creation; afterwards another content is reported in RV(ignore:image.stale).
          - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
        type: str
      url:
        description:
          - Fetch the image from here, in one of the forms of O(images[].path). O(images[].checksum) or O(images[].signature)
            is needed with it.
          - The server is asked when the image is made, and already by a check, for the size, the lists and the signatures.
            A run that finds its image asks nobody, unless O(images[].ask_upstream) is written.
          - Read once, on creation; afterwards another one is reported in RV(ignore:image.stale). With a checksum that is
            written itself the file is the same wherever it comes from.
          - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
        type: str
      checksum:
        description:
          - What the file of O(images[].url) must be. V(sha256:DIGEST) and the like, or the URL of a list that has it, which
            may have the algorithm in front (V(sha512:https://example.org/SUMS)); without one the strongest in the list counts.
          - Or what the file of O(images[].path) must be when the image is made of it, and then the digest itself. Check mode
            reads the file, too.
          - A list has the form of coreutils (C(DIGEST  NAME), also with C(./) or C(*) before the name), that of BSD and OpenSSL
            (C(SHA256 (NAME\) = DIGEST)), or is the digest alone. The file's name is that in the URL. In a list of that name
            and an ending (C(NAME.sha256)) the only file counts whatever it is called.
          - Read once, on creation; afterwards another digest is reported in RV(ignore:image.stale).
          - 'B(In short:) Allowed: ALGORITHM:DIGEST, ALGORITHM:URL or the URL of a list, with one of sha256, sha384, sha512.'
        type: str
      signature:
        description:
          - Who must have signed. Checked before anything is made of what was fetched.
          - With O(images[].simplestreams) write the key alone; the signed indexes (C(.sjson)) are read then.
        type: dict
        suboptions:
          key:
            description:
              - The public key. The absolute path of a file on the managed host, as Debian's keyring packages bring them,
                or its text. An OpenPGP key is checked with gpgv, a PEM key with openssl (SHA-256).
              - 'B(In short:) Allowed: the absolute path of a file on the host, or the text of an OpenPGP key (armored) or
                of a PEM public key.'
            type: str
            required: true
          url:
            description:
              - The detached signature, of OpenPGP (with or without armor) or of openssl (its bytes, or base64).
              - Left out where the list of checksums carries its signature itself, as Fedora's do; only what is signed of
                it counts.
              - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
            type: str
          of:
            description:
              - What is signed. V(checksum) is the list of checksums, V(file) the file as it is fetched, V(content) a disk
                as it is unpacked, as OPNsense's.
              - V(checksum) where O(images[].checksum) is the URL of a list, else V(file), unless another is written.
            type: str
            choices:
              - checksum
              - file
              - content
      simplestreams:
        description:
          - Fetch the image of a product from a server of simplestreams, such as C(https://images.linuxcontainers.org) and
            C(https://cloud-images.ubuntu.com/releases).
          - A container needs the product's C(root.tar.xz), its unified archive or its C(squashfs), a virtual machine its
            C(disk-kvm.img) or C(disk1.img).
          - The index says what the file must be, so it is as good as the way it comes, https or a signature.
          - Read once, on creation; afterwards a difference is reported in RV(ignore:image.stale).
        type: dict
        suboptions:
          server:
            description:
              - The address that C(streams/v1/index.json) lies below.
              - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
            type: str
            required: true
          distribution:
            description:
              - The distribution, such as V(debian). Capitals are the same as small letters, here and below.
              - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
            type: str
            required: true
          release:
            description:
              - The release by its name or number, such as V(trixie), V(24.04) or V(noble).
              - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
            type: str
            required: true
          arch:
            description:
              - The architecture in Debian's words, such as V(amd64). That of the host unless another is written.
              - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
            type: str
          variant:
            description:
              - The variant, such as V(cloud). V(default), or of a server without variants its only one, unless another is
                written.
              - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
            type: str
          serial:
            description:
              - Which build. The newest one that has a file for this O(images[].kind), unless one is written. See RV(ignore:image.serial).
              - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
            type: str
      presets:
        description:
          - What is known of the system in the image. A virtual machine that is made of it gets that where its user wrote
            nothing.
          - They can be changed later, for the machines that are made from then on.
        type: dict
        suboptions:
          firmware:
            description:
              - What it boots with.
              - B(In short:) live.
            type: str
            choices:
              - bios
              - uefi
          os_variant:
            description:
              - Which system it is.
              - B(In short:) live.
            type: str
            choices:
              - linux
              - windows
              - freebsd
              - other
          seed:
            description:
              - What in it reads the seed that C(cloud_init) of a machine makes. V(cloud-init), V(nuageinit) of FreeBSD, V(cloudbase-init)
                of Windows, or V(none), which refuses C(cloud_init).
              - B(In short:) live.
            type: str
            choices:
              - cloud-init
              - nuageinit
              - cloudbase-init
              - none
          bus:
            description:
              - The bus of disks that it has a driver for.
              - B(In short:) live.
            type: str
            choices:
              - virtio
              - scsi
              - sata
          user:
            description:
              - The user whom its own defaults let in.
              - 'B(In short:) live. Allowed: the name of a user.'
            type: str
          memory:
            description:
              - The least memory that it runs with.
              - 'B(In short:) live. Allowed: 1MiB to 1TiB; a bare number counts in MiB.'
            type: str
          disk:
            description:
              - The least size of the disk that stands on it.
              - 'B(In short:) live. Allowed: 1MiB to 64TiB; a bare number counts in GiB.'
            type: str
      mirrors:
        description:
          - Which address stands in for a host, in O(images[].url), O(images[].checksum), O(images[].signature) and O(images[].simplestreams)
            alike. The path stays the same below it.
          - Checksums and signatures count as ever. Where a server sends to another host, the mirror of that is asked.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The host, with its port where the URL has one.
            type: str
            required: true
          state:
            description:
              - V(absent) asks the host itself.
            type: str
            choices:
              - present
              - absent
            default: present
          url:
            description:
              - The address of the mirror, with the path that stands before that of the host.
              - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
            type: str
      size_limit:
        description:
          - How large a download, the files of a root or a disk may become. More is refused, in the plan where the server
            tells the size.
          - 'B(In short:) A new one has V(64GiB). Allowed: 1MiB to 64TiB; a bare number counts in GiB.'
        type: str
      ask_upstream:
        description:
          - Ask upstream also of an image that stands whether there is a newer one, of the same URL or product. It is reported
            in RV(ignore:image.stale) and in a warning, with its serial, and never fetched. Give the new image another name.
          - A server that does not answer is a warning then, not a failure.
        type: bool
        default: false
  vms:
    description:
      - The virtual machines of the host. An item has the options of M(homelab.hybrid.kvm_vm).
    type: list
    elements: dict
    suboptions:
      state:
        description:
          - V(present) makes the machine or changes it, and leaves one that is there running or stopped as it is. A new machine
            is not started.
          - V(started) (or V(running)) and V(stopped) (or V(shutdown)) also say whether it runs. It is stopped by asking the
            guest; see O(vms[].shutdown_timeout) and O(vms[].force_stop).
          - V(restarted) stops and starts a machine that runs, on every run, and starts one that does not.
          - V(paused) holds its CPUs. V(suspended) saves a running machine to disk; V(started) wakes it up again. One that
            stays so is never restarted; what needs that waits.
          - V(absent) stops the machine and takes it away. Its disks and its seed stay, and are named in RV(ignore:kept),
            unless O(vms[].delete) names them.
        type: str
        choices:
          - present
          - started
          - running
          - stopped
          - shutdown
          - restarted
          - paused
          - suspended
          - absent
        default: present
      os_variant:
        description:
          - The system inside. It says what a new machine, disk and network card gets where nothing else is written. It is
            kept in the definition in the words of libosinfo, as virt-manager and virt-install have it.
          - V(linux) and V(freebsd) get virtio throughout.
          - V(windows) gets disks on V(ignore:sata), cards of the model V(ignore:e1000e), a screen (VNC) and no virtio-rng,
            as it has no driver for virtio until somebody installs one; its clock is in local time, and where KVM works it
            finds what it knows of Microsoft's own hypervisor (Hyper-V), as far as libvirt says that the host has it.
          - V(other) gets what most systems know, disks on V(ignore:sata), V(ignore:e1000) and a screen.
          - Of a machine that stands it changes the clock and what is found of Hyper-V, and what is added later. Its disks
            and cards stay what they are.
          - B(In short:) for the next boot. C(unset) sets it to V(linux).
        type: str
        choices:
          - linux
          - windows
          - freebsd
          - other
      vcpus:
        description:
          - How many virtual CPUs the machine has. A new one has 1. More come live up to O(vms[].cpu.max_cores), fewer with
            the next boot.
          - Short for O(vms[].cpu.cores).
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
              - Which CPU the guest sees. V(host-passthrough) (or V(host)) is that of the host, V(host-model) as much of it
                as libvirt can describe, V(maximum) (or V(max)) all that QEMU can do, anything else the name of a model, with
                which the machine looks the same on every host that has it.
              - A new machine has V(host-passthrough) where KVM works, and V(Nehalem) where it is emulated, the oldest that
                is an x86-64-v2.
              - What this host lacks of it is refused with its name.
              - 'B(In short:) for the next boot. Allowed: host-passthrough (or host), host-model, maximum (or max), or a model
                that virsh cpu-models x86_64 names.'
            type: str
          flags:
            description:
              - What the CPU has beside its type, and what of that it has not, such as V(+aes) and V(-pcid). Compared as a
                whole.
              - V(+vmx) (Intel) or V(+svm) (AMD) lets the guest run machines of its own, where the host permits it. V(host-passthrough)
                has it anyway.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: features of CPUs after a + or a -,
                such as +aes and -vmx.'
            type: list
            elements: str
          topology:
            description:
              - How the CPUs lie together, as some systems count sockets (their licences do). Without it each CPU is a socket.
              - All of it multiplies to O(vms[].cpu.max_cores). Of a new machine it says how many CPUs that has, where nothing
                else does. A part that is not written is as it was, or 1.
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
          - Changed live through the balloon, up to O(vms[].memory_max). More than that waits for the next boot, and raises
            O(vms[].memory_max).
          - The balloon is compared as it was asked for, not as far as the guest has come.
          - 'B(In short:) live. A new one has V(1GiB). Allowed: whole MiB, 16 MiB to 64 TiB.'
        type: str
      memory_max:
        description:
          - Up to where O(vms[].memory) can grow while the machine runs. A new machine has no more than O(vms[].memory).
          - 'B(In short:) for the next boot. Allowed: whole MiB, 16 MiB to 64 TiB.'
        type: str
      machine:
        description:
          - The type of the machine, its chipset and how QEMU's devices behave. V(q35) has PCI Express, and is what a new
            machine is. V(pc) is the i440FX with PCI alone, for systems that are older than that.
          - With a version such as V(pc-q35-9.0) its devices behave as in that version of QEMU, which Windows asks for at
            times. Without one it gets the newest when it is made and stays with that; the word then stands for each version,
            so that a newer QEMU is no change.
          - A machine that stands does not become the other of the two, as its devices would be in other places.
          - 'B(In short:) for the next boot. A new one has V(q35). Allowed: q35, pc, or one of a version such as pc-q35-9.0.'
        type: str
      firmware:
        description:
          - By what the machine starts. The file of the firmware, and what it needs, libvirt chooses by the descriptors of
            the host.
          - The variables of UEFI lie in a file of their own for each of the three ways to start by it, as those of one would
            switch the secure boot of another off. Where the firmware becomes another the file stays, is named in RV(ignore:kept),
            and is taken up again where the machine comes back to it. What is kept of an earlier machine of that name a new
            one takes with O(vms[].allow=adopt) alone.
        type: dict
        suboptions:
          type:
            description:
              - V(bios) is SeaBIOS. V(uefi) is OVMF, of the Debian package C(ovmf). A new machine has V(bios) where nothing
                here is written.
              - B(In short:) for the next boot. C(unset) sets it to V(bios).
            type: str
            choices:
              - bios
              - uefi
          secure_boot:
            description:
              - Whether UEFI can refuse what is not signed. It takes a O(vms[].machine) of V(q35), and means O(vms[].firmware.type=uefi).
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
          enrolled_keys:
            description:
              - Whether the variables begin with Microsoft's keys, by which Windows and the signed shim of the distributions
                start. Secure boot that is new has them where nothing else is written. With V(false) everything starts until
                somebody enrolls keys in the guest.
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
      tpm:
        description:
          - A TPM, emulated by C(swtpm). The secrets in it lie in a folder that libvirt names after the UUID of the machine.
          - Where it is taken off (C(unset=[tpm])) that folder stays, is named in RV(ignore:kept), and is taken up again with
            the next TPM of this machine. What is kept of an earlier machine of that name a new one takes, with its UUID,
            with O(vms[].allow=adopt) alone.
        type: dict
        suboptions:
          version:
            description:
              - V(2.0) is what Windows 11 asks for, and what a new TPM is where only O(vms[].tpm.model) is written. Each version
                has secrets of its own.
              - B(In short:) for the next boot. C(unset) sets it to nothing.
            type: str
            choices:
              - '1.2'
              - '2.0'
          model:
            description:
              - How the guest sees it. A new TPM 2.0 is V(crb), one of 1.2 is V(tis).
              - B(In short:) for the next boot. C(unset) sets it to nothing.
            type: str
            choices:
              - crb
              - tis
      image:
        description:
          - The image (see M(homelab.hybrid.image), kind C(vm)) of the first disk that has neither an image nor a source of
            its own.
          - Used when the machine is made, and never compared later.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
        aliases:
          - ostemplate
      clone_from:
        description:
          - The machine that a new one is cloned from, in the place of O(vms[].image). It is not looked at once the clone
            is there.
          - V(guest=base) is the short form of a dictionary with that key alone.
          - The clone gets every disk of it that this collection made, on the same bus, and what its seed said of O(vms[].cloud_init.user),
            O(vms[].cloud_init.ssh_keys), O(vms[].cloud_init.packages) and O(vms[].cloud_init.user_data) where nothing else
            is written. A disk in O(vms[].disks) may be larger or in another pool; one with C(state=absent) is not cloned.
            Everything else is as for any new machine.
          - It has a UUID, MAC addresses and a seed of its own, so that cloud-init sees another instance and makes its host
            name, ssh host keys and C(/etc/machine-id) anew at its first start, before it asks for an address. Where O(vms[].cloud_init.user_data)
            may need the network before cloud-init's last stages, or O(vms[].cloud_init.meta_data) is written, that is when
            the network is up.
          - It is a machine of the same O(vms[].machine) and starts as its origin does. Of UEFI it has the variables, in a
            file of its own. A TPM it gets with nothing in it, as a TPM says who a machine is. What it opens disks with (BitLocker,
            systemd-cryptenroll) stays with the origin, and the clone asks for its recovery key.
          - What lies inside its disks nobody opens. Where it has no seed, leave C(/etc/machine-id) and the ssh host keys
            out of its origin, or take C(virt-sysprep).
          - On V(ignore:btrfs) the clone shares its blocks with its origin. Elsewhere it is a copy, whose size the plan says
            before.
          - A machine that runs is cloned with the file systems frozen by its agent where that answers, otherwise as a power
            cut would leave them. It is held still for a moment, or goes on while QEMU copies its disks.
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
              - A snapshot of it, by its name in M(homelab.hybrid.guest_snapshot). Without one the clone gets what is there
                now.
              - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
            type: str
          mode:
            description:
              - V(linked) makes disks that stand on those of its origin. Its origin, or the snapshot, cannot be changed, reverted
                or taken away as long as the clone is there. It takes a template, a snapshot, or a machine that is stopped,
                in the same pool.
              - V(full) makes disks that stand for themselves, but for an image on which those of its origin stand.
              - Without it a clone of a template is linked where its pool can, and any other is full.
            type: str
            choices:
              - linked
              - full
      install:
        description:
          - The installer that makes the system of a new machine, in the place of O(vms[].image) and O(vms[].clone_from).
            The machine runs it once, from its media and with its answer. Then these are taken away, and it starts as it is
            declared, or stays off as O(vms[].state) says. It is not looked at once the system is there.
          - The run waits for the end without holding a lock. Of a run that is killed the next one waits on. A machine that
            was cut off, as by the host, begins anew with empty disks within O(vms[].install.timeout); later somebody may
            use what is on them, and it is refused without V(adopt) or V(recreate) in O(vms[].allow).
          - An installer writes to whatever disk it finds. Nothing is installed where the first disk has been there before,
            and beside one that has it is refused.
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
              - The kernel of an installer on the host that is booted directly, as of a netboot archive. O(vms[].install.media)
                may be there beside it.
              - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
            type: str
          initrd:
            description:
              - Its initial RAM disk.
              - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
            type: str
          cmdline:
            description:
              - More words for the command line of the kernel. What the kind of the answer needs and the serial console are
                on it already.
              - 'B(In short:) Allowed: one line of text.'
            type: str
          answer:
            description:
              - What the text in O(vms[].install.answer_text) is. The installer finds it by itself.
              - V(preseed) for Debian, C(/preseed.cfg) in its initial RAM disk. V(autoinstall) for Ubuntu, the C(user-data)
                on a medium with the label C(cidata). V(kickstart) for Fedora and RHEL with what descends from it, C(ks.cfg)
                on one with the label C(OEMDRV). The kernel is taken out of O(vms[].install.media) for these and booted directly,
                so that nobody is asked.
              - V(autounattend) for Windows, C(autounattend.xml) on a medium. A key is pressed when the medium asks for one.
              - V(config) for OPNsense, C(/conf/config.xml) on a medium, for its importer. The key and the drive that this
                asks for on the serial console are given. The nano image needs no O(vms[].install.media), it is O(vms[].image)
                or that of a disk.
              - V(truenas) for TrueNAS from 25.04 on, whose installer reads none and is asked over the network, from this
                host, at the address that is known of the machine. The text is a JSON object with what its method C(install)
                takes, at least C(authentication). The system goes to the first disk, known by its size. Disks that have been
                there before and devices of the host are not in the machine meanwhile. With C(address) the text says where
                the installer answers, as behind a bridge on which this host sees no leases.
            type: str
            choices:
              - preseed
              - kickstart
              - autoinstall
              - autounattend
              - config
              - truenas
          answer_text:
            description:
              - The answer. It may hold passwords, and is never shown. On the host only QEMU reads it, until the installer
                has ended.
              - 'B(In short:) Allowed: text of at least 8 characters.'
            type: str
          done_when:
            description:
              - How the end is seen. V(powered_off), as it is without this option, when the machine goes off, or restarts
                where that would begin it again. V(agent) when the guest agent answers, V(port) when O(vms[].install.port)
                does, V(serial) when O(vms[].install.pattern) is on the serial console. Then the machine is stopped, and starts
                without its media.
              - An installer that goes off has ended in any case, but with V(serial) the pattern has to be there.
            type: str
            choices:
              - powered_off
              - agent
              - port
              - serial
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
          - The disks, by name. A disk that is not listed is left and named in RV(ignore:unmanaged), unless O(vms[].exact)
            says otherwise.
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name of the disk. Its volume is called C(GUEST.NAME). The disks of a machine that was made by hand are
                called C(disk0), C(disk1) and so on until they get a name here by their source or serial, which they keep.
              - A declared source or serial says which disk is meant. A name does not move to another disk, and the place
                of one that went is no other's.
            type: str
            required: true
          state:
            description:
              - V(absent) unplugs the disk. Its file stays, and is named in RV(ignore:kept).
            type: str
            choices:
              - present
              - absent
            default: present
          pool:
            description:
              - The storage pool in which the disk is made.
              - 'B(In short:) fixed once it stands. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a
                letter or digit.'
            type: str
          size:
            description:
              - The size, in GiB or as a size such as V(500MiB). Needed for an empty disk; a disk with an image has at least
                the size of that.
              - A disk grows live. A shrink is refused.
              - 'B(In short:) more is live, less is refused. Allowed: whole sectors of 512 bytes.'
            type: str
          format:
            description:
              - The format of the file. A new disk is V(qcow2), and V(raw) in a pool of type V(ignore:btrfs), which has no
                other.
              - A V(raw) disk with an image is a full copy of it, and on btrfs a clone that shares its blocks.
              - B(In short:) fixed once it stands.
            type: str
            choices:
              - qcow2
              - raw
          image:
            description:
              - The image that the disk starts from. A V(qcow2) disk keeps only what differs from it. Never compared later.
              - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
            type: str
          source:
            description:
              - A file or block device that is there already, instead of a disk that is made. It is never deleted.
              - Another source for a disk that has one is refused without O(vms[].allow=replace_disk).
              - 'B(In short:) refused without C(allow=[replace_disk]). Allowed: an absolute path other than /, without ''..''.'
            type: str
          bus:
            description:
              - How the disk is plugged in. A new disk is V(virtio). V(ide) is only on a machine of the type C(pc).
              - B(In short:) for the next boot. A new one has V(virtio).
            type: str
            choices:
              - virtio
              - scsi
              - sata
              - usb
              - ide
          serial:
            description:
              - The serial number that the guest sees.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 20 letters, digits, blanks, ''_'',
                ''.'', ''+'' and ''-''.'
            type: str
          cache:
            description:
              - How the host caches the disk.
              - B(In short:) for the next boot. C(unset) sets it to V(default).
            type: str
            choices:
              - default
              - none
              - writeback
              - writethrough
              - directsync
              - unsafe
          io:
            description:
              - How QEMU reads and writes the disk, V(threads) by threads, V(native) by the kernel's asynchronous calls, V(io_uring)
                by its rings. V(native) needs a O(vms[].disks[].cache) of V(ignore:none) or V(ignore:directsync), and is refused
                without.
              - B(In short:) for the next boot. C(unset) sets it to V(default).
            type: str
            choices:
              - default
              - threads
              - native
              - io_uring
          iothread:
            description:
              - The number of the thread that serves the disk beside the CPUs of the machine, which is made where there is
                none. Disks with one number share it. Only a disk on V(ignore:virtio) has one.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 64.'
            type: int
          discard:
            description:
              - Whether blocks that the guest frees are given back to the host. True for a new disk that is made in a pool.
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
          readonly:
            description:
              - Whether the guest may only read. On SATA and IDE only a CD-ROM drive can be so, see O(vms[].cdroms).
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
          shareable:
            description:
              - Whether other machines may have the disk too, where it is shareable in each of them. What is in it has to
                be made for that, such as a file system of a cluster. It is C(raw), and should have the O(vms[].disks[].cache)
                V(ignore:none).
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
          rotation_rate:
            description:
              - How the disk turns, as the guest sees it, V(1) for one that does not (an SSD). On V(ignore:scsi), V(ignore:sata)
                and V(ignore:ide).
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 for a disk that does not turn, or
                1025 to 65534 turns a minute.'
            type: int
          limits:
            description:
              - What the disk may read and write in a second. The limits of all together and those of reads and writes exclude
                each other.
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
          - The CD-ROM drives, by name. A drive that is not listed is left and named in RV(ignore:unmanaged), unless O(vms[].exact)
            says otherwise.
          - The name is none of a disk or of a network card, as O(vms[].boot.order) names all of them.
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name of the drive. The drives of a machine that was made by hand are called C(cdrom0), C(cdrom1) and so
                on until they get a name here by their medium, which they keep.
            type: str
            required: true
          state:
            description:
              - V(absent) unplugs the drive. The file of its medium stays, and is named in RV(ignore:kept).
            type: str
            choices:
              - present
              - absent
            default: present
          source:
            description:
              - The medium, an ISO or another file or block device of the host, which is never deleted. A new drive without
                one is empty.
              - It is inserted, changed and ejected while the machine runs. Empty text, or C(unset), ejects it.
              - A medium that the guest holds, as while it is mounted, stays until the machine starts anew, and is named in
                RV(ignore:restart_required). With O(vms[].allow=eject) it is taken out at once. The same holds with libvirt
                9.0 of Debian 12 for a drive that was plugged in while the machine ran.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..'', or
                empty text for an empty drive.'
            type: str
          image:
            description:
              - An image of the kind V(iso) in place of a O(vms[].cdroms[].source), as M(homelab.hybrid.image) keeps it. It
                is not taken away while it is in a drive.
              - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
            type: str
          bus:
            description:
              - How the drive is plugged in. A new drive is V(sata). V(ide) is only on a machine of the type C(pc), and a
                drive on V(usb) is never empty.
              - The kernel C(linux-image-cloud-amd64) of Debian has no driver for V(sata), V(ide) and V(usb). It sees a drive
                on V(scsi).
              - B(In short:) for the next boot. A new one has V(sata).
            type: str
            choices:
              - sata
              - scsi
              - ide
              - usb
      networks:
        description:
          - The network cards, by name. A card that is not listed is left and named in RV(ignore:unmanaged), unless O(vms[].exact)
            says otherwise.
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name of the card. The cards of a machine that was made by hand are called C(net0), C(net1) and so on until
                they get a name here by their MAC or bridge, which they keep.
              - A declared MAC says which card is meant. A name does not move to another card, and the place of one that went
                is no other's.
              - The end of a new card on the host is called C(MACHINE.CARD), at each start. Where that has more than 15 characters
                it is the beginning of the machine's name and a digest.
            type: str
            required: true
          state:
            description:
              - V(absent) unplugs the card.
            type: str
            choices:
              - present
              - absent
            default: present
          bridge:
            description:
              - The bridge that the card is plugged into. Needed for a new card. Changed live.
              - 'B(In short:) live. Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
            type: str
          vlan:
            description:
              - The VLAN of the card, from 1 to 4094. The guest sends and gets its packets without a tag. Changed live.
              - The bridge has to know VLANs (O(homelab.hybrid.bridge#module:vlan_aware)), and the hypervisor needs libvirt
                11.0 or newer, as Debian 13 has it. It is refused where one of the two is missing.
              - Where it is not given, a new card is in the VLAN that the bridge gives to all its ports.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 4094.'
            type: int
            aliases:
              - tag
          mac:
            description:
              - The MAC address. One that is not written is derived when the card is made, and stays.
              - 'B(In short:) for the next boot. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
            type: str
            aliases:
              - hwaddr
          ip:
            description:
              - V(dhcp), V(none), V(auto), or an IPv4 address with its prefix length.
              - On a bridge with a DHCP server of this host (O(homelab.hybrid.bridge#module:dhcp)) the server keeps the address
                for the MAC address of the card, under the name of the machine, as long as the card has it. An address that
                it keeps or has leased for another is refused, and so is one that somebody on the bridge answers to (ARP).
              - On any other bridge the seed of O(vms[].cloud_init) tells it, with O(vms[].networks[].gateway) and O(vms[].networks[].dns),
                unless O(vms[].cloud_init.network_config) is written. Where there is no seed either it is refused. cloud-init
                takes what a seed says of the network when it first meets an instance, and again with O(vms[].cloud_init.on_change=new_instance).
              - V(auto) takes a free address of the bridge's network once and keeps it. V(auto:10.20.0.65-10.20.0.126/24)
                takes one of these.
              - V(dhcp) and V(none) both mean that no server keeps an address for the card; with V(none) a seed lets the card
                ask for none.
              - Of a running machine another address is listed in RV(ignore:restart_required) until it has it. One that asks
                again before, as DHCP clients do after half of their lease, gets it then.
              - 'B(In short:) for the next boot. C(unset) sets it to V(dhcp). Allowed: dhcp, none, auto, or an address with
                its prefix length such as 192.0.2.10/24.'
            type: str
          gateway:
            description:
              - The default gateway of an address that the seed tells. A DHCP server tells its own.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv4 or IPv6 address.'
            type: str
          ip6:
            description:
              - An IPv6 address with its prefix length beside what O(vms[].networks[].ip) says, or V(slaac), or V(auto).
              - The seed of O(vms[].cloud_init) tells it on every kind of bridge, as no DHCP server of this host keeps addresses
                of IPv6. Without a seed, or beside O(vms[].cloud_init.network_config), it is refused, and so is one that somebody
                on the bridge answers to (ND). When a machine that stands takes it from its seed is said under O(vms[].networks[].ip)
                and O(vms[].cloud_init.on_change); with V(ignore) there it is not compared.
              - V(slaac) is what it gets where nothing is written. It gives itself an address from what a router announces,
                as a bridge with C(address6) does.
              - V(auto) takes a free address of the bridge's IPv6 network once and keeps it. V(auto:fd00:20::100-fd00:20::1ff/64)
                takes one of these.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv6 address with its prefix length
                such as 2001:db8::10/64, slaac, or auto.'
            type: str
          gateway6:
            description:
              - The default gateway of a fixed address in O(vms[].networks[].ip6). Without it the guest takes the one that
                a router announces.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an IPv6 address, such as 2001:db8::1
                or fe80::1.'
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
              - B(In short:) for the next boot. A new one has V(virtio).
            type: str
            choices:
              - virtio
              - e1000
              - e1000e
              - igb
              - rtl8139
              - vmxnet3
          queues:
            description:
              - How many pairs of queues the card has, so that as many CPUs of the guest can send and receive at once. Only
                a V(ignore:virtio) card has more than one.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 1 to 256.'
            type: int
          link:
            description:
              - Whether the cable is plugged in. Changed live.
              - B(In short:) live. C(unset) sets it to V(up).
            type: str
            choices:
              - up
              - down
          rate_limit:
            description:
              - How fast the guest may get and send through the card, in bits per second such as V(100Mbit), powers of 1000.
              - It holds after a restart of the guest and of the host.
            type: dict
            suboptions:
              in:
                description:
                  - What it gets.
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 8kbit to 100Gbit, with kbit, Mbit or Gbit (powers
                    of 1000), a multiple of 8kbit.'
                type: str
              out:
                description:
                  - What it sends.
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 8kbit to 100Gbit, with kbit, Mbit or Gbit (powers
                    of 1000), a multiple of 8kbit.'
                type: str
          mtu:
            description:
              - The MTU of the card.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: 576 to 65535.'
            type: int
      devices:
        description:
          - PCI and USB devices of the host that the machine has for itself. Those that are not listed are left as they are,
            and named in RV(ignore:unmanaged), unless O(vms[].exact) says otherwise.
          - A PCI device is taken from the host's driver when the machine starts with it or gets it, and is given back after
            (C(managed) of libvirt). That needs an IOMMU, and goes only for all devices of an IOMMU group at once.
          - What the host itself needs is refused, and named - the card of its default route or of the connection to it, a
            port of a bridge, a disk that is mounted or that something stands on. So is what another machine runs with.
          - A machine with a PCI device is not saved to disk (O(vms[].state=suspended)).
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - A name for the device. Those of a machine that was made by hand are called C(device0), C(device1) and so on
                until they get a name here by what they are known by, which they keep.
            type: str
            required: true
          state:
            description:
              - V(absent) takes the device away from the machine.
            type: str
            choices:
              - present
              - absent
            default: present
          type:
            description:
              - What kind of device it is. Needed beside O(vms[].devices[].id); an address is that of a PCI device, and a
                port one of USB.
              - B(In short:) live.
            type: str
            choices:
              - pci
              - usb
          address:
            description:
              - The PCI device by its address, as C(lspci -D) shows it.
              - 'B(In short:) live. Allowed: the address of a PCI device as lspci shows it, such as 0000:03:00.0.'
            type: str
          id:
            description:
              - The device by vendor and product, as C(lspci -nn) and C(lsusb) show them. Where the host has two such devices
                it is refused, with the list of them. A USB device can have its serial behind it.
              - With a serial libvirt knows the device by the number that it has until it is pulled out. Each run gives it
                anew where that has changed.
              - 'B(In short:) live. Allowed: vendor:product as lspci -nn and lsusb show it, such as 8086:1533, and of a USB
                device also vendor:product:serial.'
            type: str
          port:
            description:
              - The USB device by where it is plugged in, as the kernel names it in C(/sys/bus/usb/devices).
              - libvirt knows it by the number that it has until it is pulled out. Each run gives the machine what is plugged
                in there now. A machine that starts with its host is better given an O(vms[].devices[].id).
              - 'B(In short:) live. Allowed: the bus and the port of a USB device as the kernel names them, such as 1-2 or
                1-2.4.'
            type: str
          optional:
            description:
              - Whether the machine starts without the USB device. It gets the device with a run that finds it.
              - B(In short:) live. C(unset) sets it to no.
            type: bool
      shares:
        description:
          - Folders of the host that the machine shares with it by virtiofs. Their content is never touched.
          - The guest mounts one by its name, as in C(mount -t virtiofs media /srv/media). Owners are the same on both sides.
          - Those that are not listed are left as they are, and named in RV(ignore:unmanaged), unless O(vms[].exact) says
            otherwise.
          - With its first share a machine gets memory that the server of the share sees too (C(memfd)), from its next start
            on. After that shares come and go while it runs.
          - The host needs C(virtiofsd), which the role P(homelab.hybrid.hypervisor#role) installs. A machine with a share
            is not saved to disk (O(vms[].state=suspended)).
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name of the share, which is its tag in the guest. It has at most 36 characters.
              - A share of a machine that was made by hand has its tag as its name where that is declared. Others are called
                C(share0), C(share1) and so on until they get a name here by their source, which they keep; their tag stays.
            type: str
            required: true
          state:
            description:
              - V(absent) takes the share away from the machine.
            type: str
            choices:
              - present
              - absent
            default: present
          source:
            description:
              - The folder of the host. It has to exist. Needed for a new share.
              - 'B(In short:) for the next boot. Allowed: an absolute path other than /, without ''..''.'
            type: str
          readonly:
            description:
              - Whether the guest may not write to it. Needs libvirt 11.0 or newer, as Debian 13 has it, and is refused before.
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
          cache:
            description:
              - What the guest keeps of the files in its memory. V(auto) leaves that to the server, V(none) sees at once what
                others write, V(always) is for a folder that nobody else writes to.
              - B(In short:) for the next boot. C(unset) sets it to V(auto).
            type: str
            choices:
              - auto
              - none
              - always
      cloud_init:
        description:
          - What cloud-init in the guest finds on its first boot, on a small read-only disk (NoCloud) that lies beside the
            first disk.
          - A change is written at once, reaches the guest with its next boot, and is done there as far as cloud-init does
            things again, unless O(vms[].cloud_init.on_change) says otherwise.
          - Of an image whose presets say so (M(homelab.hybrid.image)) it is FreeBSD's nuageinit or Windows' cloudbase-init
            that reads the seed. What these do not understand of it is refused. nuageinit reads it at the first boot alone,
            and neither reads anything beside O(vms[].cloud_init.user_data).
        type: dict
        suboptions:
          user:
            description:
              - A user who may use sudo without a password.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: a Unix user name: 1 to 32 lower case
                letters, digits, ''_'' and ''-''.'
            type: str
          ssh_keys:
            description:
              - The public keys with which O(vms[].cloud_init.user) can log in, or the image's own user where none is written.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: a public key as in authorized_keys,
                such as ''ssh-ed25519 AAAA... me@there''.'
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
              - The user data as text, of any kind that what reads it knows. The shortcuts above are vendor data beside it,
                which it overrides.
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
              - The network configuration as YAML text (version 1 or 2). Otherwise each card asks by DHCP, unless O(vms[].networks[].ip)
                or O(vms[].networks[].ip6) say other.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: YAML as text.'
            type: str
          files:
            description:
              - Files for a system that looks for a medium of its own and knows nothing of NoCloud, in the place of everything
                else here. A dictionary of paths and texts as JSON (filter C(to_json)), such as C(network/my-network) for
                Home Assistant OS.
              - May hold secrets, and is never shown.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: paths and texts, as JSON.'
            type: str
          label:
            description:
              - The label of the medium with O(vms[].cloud_init.files), by which the system finds it, such as C(CONFIG). V(cidata)
                where nothing is written.
              - 'B(In short:) for the next boot. C(unset) sets it to V(cidata). Allowed: 1 to 16 letters, digits and ''_''.'
            type: str
          on_change:
            description:
              - What another seed does to a machine that stands. V(next_boot) has it read at the next boot as of the same
                instance, so that cloud-init does what it does at every boot. V(new_instance) makes it that of another instance,
                for which cloud-init does all of it again, with new ssh host keys. V(ignore) leaves the seed as it is, and
                compares nothing of it.
              - V(next_boot) unless another is written.
            type: str
            choices:
              - ignore
              - next_boot
              - new_instance
      boot:
        description:
          - Where the machine boots from.
        type: dict
        suboptions:
          order:
            description:
              - Names of disks, CD-ROM drives and network cards, the first to try first.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: names of disks, cdroms and networks,
                each once.'
            type: list
            elements: str
          once:
            description:
              - The name of a disk, a CD-ROM drive or a network card that the machine boots from before all others when this
                run starts it, such as a medium to rescue it. Its O(vms[].boot.order) counts again when it was switched off;
                until then a reboot inside of it begins there too. A machine that this run does not start is left.
              - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
            type: str
          kernel:
            description:
              - A kernel on the host that is booted directly.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an absolute path other than /, without
                ''..''.'
            type: str
          initrd:
            description:
              - The initial RAM disk for O(vms[].boot.kernel), on the host.
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: an absolute path other than /, without
                ''..''.'
            type: str
          cmdline:
            description:
              - The command line for O(vms[].boot.kernel).
              - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: one line of text.'
            type: str
      graphics:
        description:
          - The screen, as somebody sees it who connects to the host.
        type: dict
        suboptions:
          type:
            description:
              - V(vnc), V(spice), or V(none) for a machine without a screen. A new one has V(none), and V(vnc) where O(vms[].os_variant)
                is V(windows) or V(other).
              - B(In short:) for the next boot. C(unset) sets it to V(none).
            type: str
            choices:
              - none
              - vnc
              - spice
          listen:
            description:
              - The address of the host on which it listens. Without it only programs of the host itself reach the screen;
                C(ssh -L) or virt-viewer bring it to another place.
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
              - What the viewer asks for. VNC knows exactly 8 characters of it, as shorter ones are refused here and longer
                ones by libvirt; SPICE knows longer ones.
              - It is compared with the one that the definition has.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: text of at least 8 characters.'
            type: str
      video:
        description:
          - The video card. A screen that comes to a machine without one brings V(virtio) where O(vms[].os_variant) is V(linux),
            and V(vga) elsewhere.
          - What QEMU of the host does not have is refused, with the package that has it.
          - B(In short:) for the next boot. C(unset) sets it to V(none).
        type: str
        choices:
          - none
          - virtio
          - vga
          - qxl
          - bochs
          - cirrus
      tablet:
        description:
          - Whether the pointer is where the mouse of the viewer is (a tablet on USB), and is not moved by it. A new machine
            with a screen has one.
          - B(In short:) on is live, off is for the next boot. C(unset) sets it to no.
        type: bool
      serial:
        description:
          - Whether there is a serial console (C(virsh console)). A new machine has one.
          - B(In short:) for the next boot. C(unset) sets it to no. A new one has V(true).
        type: bool
      rng:
        description:
          - Whether the host lends the guest randomness (virtio-rng). A new machine has it, unless O(vms[].os_variant) is
            V(windows) or V(other).
          - B(In short:) on is live, off is for the next boot. C(unset) sets it to no. A new one has V(true).
        type: bool
      watchdog:
        description:
          - A watchdog, which does something to a guest that hangs. The guest has to run a program that answers it (systemd
            does with C(RuntimeWatchdogSec)).
          - Removed with C(unset=[watchdog]). The one that a q35 has by itself is left alone.
        type: dict
        suboptions:
          model:
            description:
              - What the guest has a driver for. It is a PCI card, for which a machine that runs has no slot.
              - B(In short:) . C(unset) sets it to nothing.
            type: str
            choices:
              - i6300esb
          action:
            description:
              - What is done to a guest that does not answer. A new watchdog does V(reset).
              - B(In short:) for the next boot. C(unset) sets it to V(reset).
            type: str
            choices:
              - reset
              - shutdown
              - poweroff
              - pause
              - none
              - dump
              - inject-nmi
      vsock:
        description:
          - A socket between the guest and the host that needs no network. V(auto), or the number (CID) of the guest, which
            no other has.
          - It needs C(/dev/vhost-vsock) on the host.
          - 'B(In short:) for the next boot. C(unset) sets it to nothing. Allowed: auto, or a number from 3 to 4294967294.'
        type: str
      agent:
        description:
          - Whether there is a channel for the QEMU guest agent. A new machine has one.
          - B(In short:) on is live, off is for the next boot. C(unset) sets it to no. A new one has V(true).
        type: bool
      wait_for:
        description:
          - What to wait for when the machine runs, one after another, V(agent) for an answer of the guest agent, V(ip) for
            an address (told by the agent, a DHCP lease or the host's neighbours; each fixed one of O(vms[].networks) where
            there are such, and its bridge is asked for it), V(ssh) for an ssh server that greets. Each is bounded by O(vms[].wait_timeout).
        type: list
        elements: str
        choices:
          - agent
          - ip
          - ssh
        default: []
      backup:
        description:
          - What a backup asks of the machine. Jobs of C(hypervisor_backup_jobs) of the role P(homelab.hybrid.hypervisor#role)
            take it, with no control node.
          - C(unset=[backup]) takes it off as a whole.
        type: dict
        suboptions:
          hooks:
            description:
              - What is run inside the machine around each backup, by C(/bin/sh) as root through the guest agent. One that
                does not run is backed up without it.
              - The roles of services bring hooks of their own, programs in C(/etc/homelab_hybrid/backup.d) of the machine,
                which run between the two. Where one of its services brings none, the backup is as a power cut would leave
                it.
            type: dict
            suboptions:
              before:
                description:
                  - Commands, one after another, that write down what the files of a running program do not hold, as dumps
                    of databases do. The backup holds what they wrote. Where one fails there is no backup of this machine
                    in that run, and the report says which one.
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
                type: list
                elements: str
              after:
                description:
                  - Commands, one after another, that undo what those before the backup did. They run as soon as the guest
                    is captured, before all of it is stored, and whatever became of that. Where the program that backs up
                    was killed they are run by the next backup or C(homelab-hybrid-backup tidy). One that fails makes the
                    run fail, and the backup stays.
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
              - What shows that the machine is well, beside what its services say of themselves. A drill (C(drill) of C(hypervisor_backup_jobs))
                asks for it in a copy that came out of a backup, from inside its network. C(tcp:5432) is a port that takes
                connections, C(http:8080/health) a page that is served, and C(command:systemctl is-active web) a line for
                C(/bin/sh) that ends with 0 inside.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: tcp:PORT, http:PORT/PATH, https:PORT/PATH or command:LINE
                FOR A SHELL.'
            type: list
            elements: str
      allow:
        description:
          - The losses that are permitted in this run.
          - V(adopt) lets a new disk take a volume that is there already, kept of an earlier guest of this name or made by
            somebody else. It belongs to this guest then, and O(vms[].delete) can delete it. So it is with UEFI variables
            and a TPM that a new machine finds. Of a machine whose O(vms[].install) was cut off long ago it takes the disks
            as they are.
          - V(eject) takes a medium out of a drive also while the guest holds it. What reads from it there gets errors.
          - V(recreate) makes the disks of a machine anew whose O(vms[].install) was cut off long ago.
          - V(replace_disk) lets a disk get another O(vms[].disks[].source).
        type: list
        elements: str
        choices:
          - adopt
          - eject
          - recreate
          - replace_disk
        default: []
      delete:
        description:
          - What O(vms[].state=absent) deletes of what this module made, V(disks) for the volumes, V(seed) for the disk of
            O(vms[].cloud_init), V(nvram) for the variables of UEFI, V(tpm) for the secrets of a TPM, without which nobody
            opens what is sealed by them.
          - V(snapshots) are those that M(homelab.hybrid.guest_snapshot) made of it, which are kept with its disks otherwise,
            and those that libvirt keeps itself, with which it is not taken away otherwise.
        type: list
        elements: str
        choices:
          - disks
          - nvram
          - seed
          - snapshots
          - tpm
        default: []
      quarantine:
        description:
          - Whether what O(vms[].delete) names of a machine lies in the quarantine of its storage pools first, from where
            M(homelab.hybrid.guest_quarantine) takes it back. V(false) deletes it at once.
          - What lies there keeps the image, the ids and the room that it takes. The name, the MACs and the addresses are
            free at once.
          - When it is not set, it lies there as long as C(hypervisor_quarantine) of the role P(homelab.hybrid.hypervisor#role)
            says. A host that the role has not set up for that deletes at once, since nothing there would ever take it away.
            V(true) is 7 days there.
        type: bool
      exact:
        description:
          - The lists that are complete. What such a list does not name is unplugged. Nothing is deleted by that.
        type: list
        elements: str
        choices:
          - disks
          - cdroms
          - networks
          - devices
          - shares
        default: []
      name:
        description:
          - The name of the guest. 1 to 63 letters, digits, C(_), C(.) and C(-), the first a letter or digit.
          - Virtual machines and containers of one host share one namespace.
        type: str
        required: true
      description:
        description:
          - What the guest is for. Any text.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: text without control characters.'
        type: str
      tags:
        description:
          - Words that group guests, shown by M(homelab.hybrid.guest_info). The list is compared whole; its order does not
            matter.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the
            first a letter or digit.'
        type: list
        elements: str
      protection:
        description:
          - Whether O(vms[].state=absent) is refused. Take the protection off first, or write V(false) in the task that takes
            the guest away.
          - B(In short:) live. C(unset) sets it to no.
        type: bool
      template:
        description:
          - Whether other guests are cloned from it, and it is never started itself. What it holds stays as it is, and it
            has to be stopped.
          - Its volumes become read-only where their pool sees to it. V(false) makes a guest of it again, unless linked clones
            stand on it.
          - A template with linked clones can be neither changed nor reverted nor taken away. The plan names them.
          - B(In short:) live. C(unset) sets it to no.
        type: bool
      autostart:
        description:
          - Whether the guest is started with the host. A new guest is not, unless this says so.
          - B(In short:) live. A new one has V(false).
        type: bool
        aliases:
          - onboot
          - start_on_boot
      startup:
        description:
          - When the guest starts and stops among the others of its host, virtual machines and containers alike.
          - It does not say whether the guest starts with the host; O(vms[].autostart) does. The role P(homelab.hybrid.hypervisor#role)
            makes a host that boots with systemd follow it, and the playbooks C(homelab.hybrid.startup) and C(homelab.hybrid.shutdown)
            follow it too.
          - C(unset=[startup]) takes it off as a whole.
        type: dict
        suboptions:
          order:
            description:
              - Its place, a number from 0. The lowest starts first and stops last. Guests with the same one start side by
                side.
              - Guests without one start after all others.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 0 to 1000000.'
            type: int
          up_delay:
            description:
              - How many seconds to wait after its start before those of the next order are started. Of guests with the same
                order the longest counts.
              - 'B(In short:) live. C(unset) sets it to V(0). Allowed: 0 to 86400.'
            type: int
          down_delay:
            description:
              - How many seconds to wait after it was stopped before those of the order below are stopped.
              - 'B(In short:) live. C(unset) sets it to V(0). Allowed: 0 to 86400.'
            type: int
      wait_timeout:
        description:
          - How many seconds each condition in O(vms[].wait_for) may take.
          - 'B(In short:) Allowed: 0 to 86400.'
        type: int
        default: 300
      restart_policy:
        description:
          - V(never) leaves the guest running when a change needs a restart. The change is written, and listed in RV(ignore:restart_required)
            until the guest was restarted.
          - V(if_needed) restarts the guest once when there is such a change, also one from an earlier run.
        type: str
        choices:
          - never
          - if_needed
        default: never
      shutdown_timeout:
        description:
          - How many seconds the guest gets to shut down by itself. After that the task fails, unless O(vms[].force_stop)
            is set.
          - 'B(In short:) Allowed: 0 to 86400.'
        type: int
        default: 60
      force_stop:
        description:
          - Whether a guest that did not shut down within O(vms[].shutdown_timeout) is switched off hard.
        type: bool
        default: false
      unset:
        description:
          - Paths of options to take off again, such as V(description) or V(networks[lan].vlan).
          - A dictionary stands for all of its options, where each of them can be taken off.
          - An option that is simply no longer written is left as it stands.
          - Declaring an option and naming it here is refused.
        type: list
        elements: str
        default: []
  containers:
    description:
      - The containers of the host. An item has the options of M(homelab.hybrid.lxc_container).
    type: list
    elements: dict
    suboptions:
      state:
        description:
          - V(present) makes the container or changes it, and leaves one that is there running or stopped as it is. A new
            one is not started.
          - V(started) and V(running) are the same, so are V(stopped) and V(shutdown), and V(paused) and V(frozen).
          - V(restarted) stops and starts it on every run, which reads its configuration anew.
          - V(absent) stops it and takes its definition away. Its root stays, and is named in RV(ignore:kept), unless O(containers[].delete)
            names it.
        type: str
        choices:
          - present
          - started
          - running
          - stopped
          - shutdown
          - restarted
          - paused
          - frozen
          - absent
        default: present
      image:
        description:
          - The image that a new container is made of, by its name in M(homelab.hybrid.image). Needed to make one.
          - It is not looked at once the container is there.
          - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
        type: str
        aliases:
          - ostemplate
      clone_from:
        description:
          - The container that a new one is cloned from, in the place of O(containers[].image). It is not looked at once the
            clone is there.
          - V(guest=base) is the short form of a dictionary with that key alone.
          - The clone gets its root, and O(containers[].rootfs.pool), O(containers[].rootfs.size) and O(containers[].unprivileged)
            of it where nothing else is written. Everything else is as for any new container; networks and limits are those
            of the task.
          - It is nobody's double. C(/etc/machine-id) is empty, ssh host keys are made anew, the host name, the MAC addresses
            and the ids are its own, cloud-init sees another instance, and nothing is left of the addresses that were written
            for its origin.
          - On V(ignore:btrfs) the clone shares its blocks with its origin. Elsewhere it is a copy, whose size the plan says
            before.
          - A container that runs is cloned as a power cut would leave it, and held still meanwhile where that takes more
            than a moment.
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
              - A snapshot of it, by its name in M(homelab.hybrid.guest_snapshot). Without one the clone gets what is there
                now.
              - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'' and ''-'', the first a letter or digit.'
            type: str
          mode:
            description:
              - V(linked) makes a clone that stands on what its origin holds. Its origin, or the snapshot, cannot be changed,
                reverted or taken away as long as the clone is there. It takes a template, a snapshot, or a container that
                is stopped, in the same pool, and a pool that shares blocks.
              - V(full) makes a clone that stands for itself.
              - Without it a clone of a template is linked where its pool can, and any other is full.
            type: str
            choices:
              - linked
              - full
      rootfs:
        description:
          - Where the root file system of the container is.
        type: dict
        suboptions:
          pool:
            description:
              - The storage pool, by its name in M(homelab.hybrid.storage_pool). Needed to make a container. The root is not
                moved to another one.
              - 'B(In short:) fixed once it stands. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a
                letter or digit.'
            type: str
          size:
            description:
              - How large the root may grow. The file system enforces it, for what the container makes in subvolumes of its
                own too.
              - It takes a pool of type V(ignore:btrfs), or one of type V(ignore:dir) on ext4 or XFS that is mounted with
                C(prjquota). Elsewhere it is refused. Inside the container C(df) shows the whole pool with V(ignore:btrfs).
              - 'B(In short:) more is live, less is refused. C(unset) sets it to nothing. Allowed: whole MiB, 16 MiB to 64
                TiB.'
            type: str
      unprivileged:
        description:
          - Whether root of the container is an ordinary user of the host, with a range of ids that no other container has.
          - A new container is unprivileged, unless this says otherwise. It cannot be changed later.
          - B(In short:) fixed once it stands. A new one has V(true).
        type: bool
      networks:
        description:
          - The network interfaces. Those that are not listed are left as they are, and named in RV(ignore:unmanaged), unless
            O(containers[].exact) says otherwise.
          - They are added, removed and changed while the container runs.
          - B(In short:) live.
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - A name for the interface. It is not that of the device inside, which is C(eth0) and so on.
              - An interface of a container that was made by hand is called V(ignore:net0) and so on, or by any name beside
                its O(containers[].networks[].mac).
            type: str
            required: true
          state:
            description:
              - V(absent) removes the interface.
            type: str
            choices:
              - present
              - absent
            default: present
          bridge:
            description:
              - The bridge that it is plugged into. Needed to add an interface.
              - 'B(In short:) live. Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
            type: str
          vlan:
            description:
              - The VLAN of the interface, from 1 to 4094. The container sends and gets its packets without a tag.
              - The bridge has to know VLANs (O(homelab.hybrid.bridge#module:vlan_aware)). It is refused with one that does
                not.
              - Where it is not given, a new interface is in the VLAN that the bridge gives to all its ports.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 4094.'
            type: int
            aliases:
              - tag
          mac:
            description:
              - The hardware address. Where it is not given, one is derived when the interface is added, and kept.
              - A change waits for a restart.
              - 'B(In short:) for the next boot. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
            type: str
            aliases:
              - hwaddr
          ip:
            description:
              - V(dhcp), V(none), V(auto), or an IPv4 or IPv6 address with its prefix length. A new interface asks by DHCP.
              - V(auto) takes a free IPv4 address of the bridge's network once and keeps it. It is in no DHCP range, reservation
                or lease of the bridge, no other container has it, and nobody answers to it (ARP). V(auto:10.20.0.65-10.20.0.126/24)
                takes one of these, which may be of IPv6 too.
              - A fixed address that somebody else on the bridge has is refused, with the MAC address that answers.
              - V(dhcp) needs systemd-networkd or ifupdown in the image. With V(none) the container configures the interface
                itself.
              - 'B(In short:) live. A new one has V(dhcp). Allowed: dhcp, none, auto, or an address with its prefix length
                such as 192.0.2.10/24.'
            type: str
          gateway:
            description:
              - The default gateway of a fixed address.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv4 or IPv6 address.'
            type: str
          ip6:
            description:
              - An IPv6 address with its prefix length beside the IPv4 address or V(dhcp) of O(containers[].networks[].ip),
                or V(slaac), or V(auto). A guest whose only address is of IPv6 has it in O(containers[].networks[].ip).
              - V(slaac) is what it gets where nothing is written. It gives itself an address from what a router announces,
                as a bridge with C(address6) does.
              - V(auto) takes a free address of the bridge's IPv6 network once and keeps it, as O(containers[].networks[].ip)
                does with V(auto). Neighbours are asked by ND. V(auto:fd00:20::100-fd00:20::1ff/64) takes one of these.
              - A fixed address that somebody else on the bridge has is refused, with the MAC address that answers.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv6 address with its prefix length such as 2001:db8::10/64,
                slaac, or auto.'
            type: str
          gateway6:
            description:
              - The default gateway of a fixed address in O(containers[].networks[].ip6). Without it the guest takes the one
                that a router announces.
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
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 8kbit to 100Gbit, with kbit, Mbit or Gbit (powers
                    of 1000), a multiple of 8kbit.'
                type: str
              out:
                description:
                  - What it sends.
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 8kbit to 100Gbit, with kbit, Mbit or Gbit (powers
                    of 1000), a multiple of 8kbit.'
                type: str
          mtu:
            description:
              - The largest packet, in bytes.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 576 to 65535.'
            type: int
          link:
            description:
              - V(down) takes the interface out of its bridge, as pulling the cable does.
              - B(In short:) live. C(unset) sets it to V(up).
            type: str
            choices:
              - up
              - down
      mounts:
        description:
          - Folders and files of the host that are seen inside. Their content is never touched.
          - Those that are not listed are left as they are, and named in RV(ignore:unmanaged), unless O(containers[].exact)
            says otherwise.
          - They are added, removed and changed while the container runs.
          - What is mounted below a folder of the host is seen inside too, and is as read-only as the folder.
          - In an unprivileged container the owners are mapped, so that what is root's on the host is root's inside. Where
            the file system of the source, or of what is mounted below it, knows no mapped owners (NFS, FUSE, overlay), that
            is mounted without them; a warning says whose files are whose then.
          - Where LXC cannot do that by itself, a program on the host does it at each start, also where the guest restarts
            itself.
          - What could not be mounted at the next start is refused - a folder behind one that others may not pass, and a path
            that leads over a link inside.
          - B(In short:) live.
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
            choices:
              - present
              - absent
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
            aliases:
              - mp
          readonly:
            description:
              - Whether it can only be read inside.
              - B(In short:) live. C(unset) sets it to no.
            type: bool
          mapped:
            description:
              - Whether the owners of the host are mapped in an unprivileged container. A new mount has them mapped where
                its file system can do that; V(true) refuses one that cannot, V(false) leaves them as they are on the host.
                In a privileged container they are the host's always.
              - B(In short:) live.
            type: bool
          map_ids:
            description:
              - Which users and groups of the host are which inside, in the words that C(raw.idmap) of Incus has - V(both
                media 105) lets the files of the user and of the group media of the host be those of 105 inside, and what
                105 writes inside be theirs on the host. A name inside has to be there already.
              - All other owners are mapped as without it. Those of the host that have the number of one inside which stands
                for another are nobody's (65534), and so is who has the number inside of one that is mapped elsewhere, who
                can write nothing new there.
              - Needs a file system that can map owners.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: uid, gid or both, then the user or group of the
                host, then that inside, by name or number.'
            type: list
            elements: str
          backup:
            description:
              - Whether what is mounted is in the backups of the container. Without it a backup has of a mount no more than
                the line that makes it, as of Proxmox's bind mounts.
              - The folder or file of the host is read where it lies. In the mode V(snapshot) of a job that is while the container
                goes on writing to it; in V(suspend) and V(stop) the container is held until all of it is stored, and with
                hooks what those after the backup undo is undone only then. What is mounted below it is not in the backup.
                Where the source is not there, or its file system is not mounted, the backup of the container fails.
              - A restore of the container leaves the source as it is, as that may be others' too. M(homelab.hybrid.guest_restore)
                with C(paths) brings what lay in the mount into a folder.
              - B(In short:) live. C(unset) sets it to no.
            type: bool
      memory:
        description:
          - How much memory it may use, in whole MiB from V(16MiB) on. A number is in MiB; sizes such as V(2GiB) and V(512M)
            count in powers of 1024.
          - While the container runs, a limit below what it uses is refused.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: whole MiB, 16 MiB to 64 TiB.'
        type: str
      devices:
        description:
          - Devices of the host that are seen inside. The guest gets a node of its own of each, with its own owner, group
            and mode. That of the host is left as it is.
          - Those that are not listed are left as they are, and named in RV(ignore:unmanaged), unless O(containers[].exact)
            says otherwise.
          - They are added, removed and changed while the container runs. The node is made anew before each start, with the
            numbers that the device has then, by a program that is put into C(/var/lib/homelab_hybrid/programs); the nodes
            lie in C(/dev/homelab_hybrid).
          - In a privileged container, or another whose configuration denies devices, the control groups are told to let the
            device through too.
          - B(In short:) live.
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
            choices:
              - present
              - absent
            default: present
          type:
            description:
              - V(node) is any device by its O(containers[].devices[].path), which it has inside too.
              - V(serial) is a serial port by its O(containers[].devices[].id), its name in C(/dev/serial/by-id), which it
                has inside too.
              - V(usb) is a USB device by its O(containers[].devices[].id). It is found wherever it is plugged in, and is
                in C(/dev/bus/usb) inside.
              - Several containers may have one device. One that is on USB and that a virtual machine runs with is refused.
              - B(In short:) live. A new one has V(node).
            type: str
            choices:
              - node
              - serial
              - usb
          path:
            description:
              - The device of the host, such as C(/dev/dri/renderD128), C(/dev/net/tun) or C(/dev/fuse). Needed for the type
                V(node).
              - 'B(In short:) live. Allowed: a path below /dev of letters, digits and _.:@+#=/-, and none that every guest
                has of its own.'
            type: str
          id:
            description:
              - What a device of the type V(serial) or V(usb) is known by, wherever it is plugged in.
              - 'B(In short:) live. Allowed: a name in /dev/serial/by-id, or vendor:product or vendor:product:serial of a
                USB device, both numbers as lsusb shows them.'
            type: str
          mode:
            description:
              - Who may do what with it inside. A new device has the mode that it has on the host.
              - 'B(In short:) live. Allowed: four octal digits in quotes such as ''0660''.'
            type: str
          gid:
            description:
              - The group of the guest that it belongs to, by its name in the guest's own C(/etc/group) or by its number inside.
                A name that is not there yet is told of in a warning, and the device belongs to root's group until a run finds
                it.
              - A new device belongs to the group that has it on the host, by its name, and where the guest has no such group
                to root's.
              - 'B(In short:) live. Allowed: the name of a group of the guest, or a number from 0 to 65535.'
            type: str
          optional:
            description:
              - Whether the container can do without it. One that is not there is then told of in a warning, and comes with
                a run or start that finds it. Otherwise a run is refused without it, and the container does not start. In
                its place LXC leaves an empty file, which nobody may read.
              - B(In short:) live. C(unset) sets it to no.
            type: bool
      features:
        description:
          - What the container may do beyond what every container may. Each stands for exact lines of LXC, with and without
            AppArmor on the host.
        type: dict
        suboptions:
          nesting:
            description:
              - Whether it may run containers of its own. The kernel lets those have a C(/proc) and C(/sys) of their own only
                beside ones that nothing covers, which are then below C(/dev/.lxc) inside, as with LXC's C(nesting.conf).
                Leave it off in a privileged container.
              - B(In short:) for the next boot. C(unset) sets it to no.
            type: bool
          docker:
            description:
              - V(true) stands for O(containers[].features.nesting). Docker and Podman run so in an unprivileged container,
                with overlay2 on ext4, XFS and btrfs.
              - On a host with AppArmor some versions of LXC and runc do not go together (CVE-2025-52881). It is refused where
                the container has such a runc (of C(containerd.io) or C(runc)) already, and a warning tells of it otherwise.
            type: bool
          fuse:
            description:
              - V(true) stands for a device O(containers[].devices) with the name C(fuse), C(/dev/fuse), that everybody inside
                may use. V(false) takes it away.
            type: bool
          tun:
            description:
              - V(true) stands for a device O(containers[].devices) with the name C(tun), C(/dev/net/tun), that everybody
                inside may use. V(false) takes it away. VPNs need it.
            type: bool
          keyctl:
            description:
              - Has no effect, as LXC blocks no keys of the kernel. It is there for definitions that come from Proxmox.
            type: bool
          mknod:
            description:
              - V(true) is refused. The devices that a container needs are listed in O(containers[].devices).
            type: bool
      swap:
        description:
          - How much swap it may use on top of O(containers[].memory), which has to be limited too, in whole MiB. V(0) is
            none.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 0, or whole MiB, 64 TiB at most.'
        type: str
      vcpus:
        description:
          - The same as O(containers[].cpu.cores).
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
              - The CPUs that it may use, such as V(0-1,3), instead of a number in O(containers[].cpu.cores).
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
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: labels of letters, digits and ''-'' between dots,
                64 characters at most.'
            type: list
            elements: str
      ssh_keys:
        description:
          - The public keys with which root may log in. Keys that were added by others stay; those that were listed here and
            no longer are go.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: a public key as in authorized_keys, such as ''ssh-ed25519
            AAAA... me@there''.'
        type: list
        elements: str
      wait_for:
        description:
          - What to wait for when the container is started or runs. V(ip) is an address of each interface that is to have
            one, a lease where it asks by DHCP. V(systemd) is the end of its boot.
        type: list
        elements: str
        choices:
          - ip
          - systemd
        default: []
      backup:
        description:
          - What a backup asks of the container. Jobs of C(hypervisor_backup_jobs) of the role P(homelab.hybrid.hypervisor#role)
            take it, with no control node.
          - C(unset=[backup]) takes it off as a whole.
        type: dict
        suboptions:
          hooks:
            description:
              - What is run inside the container around each backup, by C(/bin/sh) as root. One that does not run is backed
                up without it.
              - The roles of services bring hooks of their own, programs in C(/etc/homelab_hybrid/backup.d) of the container,
                which run between the two. Where one of its services brings none, the backup is as a power cut would leave
                it.
            type: dict
            suboptions:
              before:
                description:
                  - Commands, one after another, that write down what the files of a running program do not hold, as dumps
                    of databases do. The backup holds what they wrote. Where one fails there is no backup of this container
                    in that run, and the report says which one.
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
                type: list
                elements: str
              after:
                description:
                  - Commands, one after another, that undo what those before the backup did. They run as soon as the guest
                    is captured, before all of it is stored (with a mount that is in the backup, C(mounts[].backup), after
                    that), and whatever became of that. Where the program that backs up was killed they are run by the next
                    backup or C(homelab-hybrid-backup tidy). One that fails makes the run fail, and the backup stays.
                  - 'B(In short:) live. C(unset) sets it to nothing. Allowed: lines for a shell.'
                type: list
                elements: str
          exclude:
            description:
              - Paths of files and folders whose content is not in a backup, such as caches. A folder itself is, empty, with
                its owner and mode.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..'' and
                without patterns.'
            type: list
            elements: str
          data_paths:
            description:
              - Where in the container the data lies that a backup is made for. A backup warns where one of them is not in
                it, as it is not there or lies on a mount.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an absolute path other than /, without ''..''.'
            type: list
            elements: str
          health:
            description:
              - What shows that the container is well, beside what its services say of themselves. A drill (C(drill) of C(hypervisor_backup_jobs))
                asks for it in a copy that came out of a backup, from inside its network. C(tcp:5432) is a port that takes
                connections, C(http:8080/health) a page that is served, and C(command:systemctl is-active web) a line for
                C(/bin/sh) that ends with 0 inside.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: tcp:PORT, http:PORT/PATH, https:PORT/PATH or command:LINE
                FOR A SHELL.'
            type: list
            elements: str
      allow:
        description:
          - The losses that are permitted in this run.
          - V(adopt) uses the root again that an earlier container of that name left, with all that is in it.
        type: list
        elements: str
        choices:
          - adopt
        default: []
      delete:
        description:
          - What O(containers[].state=absent) may delete. V(rootfs) and V(volumes) are the root file system, if this module
            made it. V(snapshots) are those that M(homelab.hybrid.guest_snapshot) made of it; they are kept with it otherwise,
            and without it.
        type: list
        elements: str
        choices:
          - rootfs
          - volumes
          - snapshots
        default: []
      quarantine:
        description:
          - Whether what O(containers[].delete) names of a container lies in the quarantine of its storage pools first, from
            where M(homelab.hybrid.guest_quarantine) takes it back. V(false) deletes it at once.
          - What lies there keeps the image, the ids and the room that it takes. The name, the MACs and the addresses are
            free at once.
          - When it is not set, it lies there as long as C(hypervisor_quarantine) of the role P(homelab.hybrid.hypervisor#role)
            says. A host that the role has not set up for that deletes at once, since nothing there would ever take it away.
            V(true) is 7 days there.
        type: bool
      exact:
        description:
          - Which lists are complete, so that what is there and not listed is taken away.
        type: list
        elements: str
        choices:
          - networks
          - mounts
          - devices
        default: []
      name:
        description:
          - The name of the guest. 1 to 63 letters, digits, C(_), C(.) and C(-), the first a letter or digit.
          - Virtual machines and containers of one host share one namespace.
        type: str
        required: true
      description:
        description:
          - What the guest is for. Any text.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: text without control characters.'
        type: str
      tags:
        description:
          - Words that group guests, shown by M(homelab.hybrid.guest_info). The list is compared whole; its order does not
            matter.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the
            first a letter or digit.'
        type: list
        elements: str
      protection:
        description:
          - Whether O(containers[].state=absent) is refused. Take the protection off first, or write V(false) in the task
            that takes the guest away.
          - B(In short:) live. C(unset) sets it to no.
        type: bool
      template:
        description:
          - Whether other guests are cloned from it, and it is never started itself. What it holds stays as it is, and it
            has to be stopped.
          - Its volumes become read-only where their pool sees to it. V(false) makes a guest of it again, unless linked clones
            stand on it.
          - A template with linked clones can be neither changed nor reverted nor taken away. The plan names them.
          - B(In short:) live. C(unset) sets it to no.
        type: bool
      autostart:
        description:
          - Whether the guest is started with the host. A new guest is not, unless this says so.
          - B(In short:) live. A new one has V(false).
        type: bool
        aliases:
          - onboot
          - start_on_boot
      startup:
        description:
          - When the guest starts and stops among the others of its host, virtual machines and containers alike.
          - It does not say whether the guest starts with the host; O(containers[].autostart) does. The role P(homelab.hybrid.hypervisor#role)
            makes a host that boots with systemd follow it, and the playbooks C(homelab.hybrid.startup) and C(homelab.hybrid.shutdown)
            follow it too.
          - C(unset=[startup]) takes it off as a whole.
        type: dict
        suboptions:
          order:
            description:
              - Its place, a number from 0. The lowest starts first and stops last. Guests with the same one start side by
                side.
              - Guests without one start after all others.
              - 'B(In short:) live. C(unset) sets it to nothing. Allowed: 0 to 1000000.'
            type: int
          up_delay:
            description:
              - How many seconds to wait after its start before those of the next order are started. Of guests with the same
                order the longest counts.
              - 'B(In short:) live. C(unset) sets it to V(0). Allowed: 0 to 86400.'
            type: int
          down_delay:
            description:
              - How many seconds to wait after it was stopped before those of the order below are stopped.
              - 'B(In short:) live. C(unset) sets it to V(0). Allowed: 0 to 86400.'
            type: int
      wait_timeout:
        description:
          - How many seconds each condition in O(containers[].wait_for) may take.
          - 'B(In short:) Allowed: 0 to 86400.'
        type: int
        default: 300
      restart_policy:
        description:
          - V(never) leaves the guest running when a change needs a restart. The change is written, and listed in RV(ignore:restart_required)
            until the guest was restarted.
          - V(if_needed) restarts the guest once when there is such a change, also one from an earlier run.
        type: str
        choices:
          - never
          - if_needed
        default: never
      shutdown_timeout:
        description:
          - How many seconds the guest gets to shut down by itself. After that the task fails, unless O(containers[].force_stop)
            is set.
          - 'B(In short:) Allowed: 0 to 86400.'
        type: int
        default: 60
      force_stop:
        description:
          - Whether a guest that did not shut down within O(containers[].shutdown_timeout) is switched off hard.
        type: bool
        default: false
      unset:
        description:
          - Paths of options to take off again, such as V(description) or V(networks[lan].vlan).
          - A dictionary stands for all of its options, where each of them can be taken off.
          - An option that is simply no longer written is left as it stands.
          - Declaring an option and naming it here is refused.
        type: list
        elements: str
        default: []
  parallel:
    description:
      - How many items are changed at once, 1 to 64. The next one begins while what was changed is looked at once more.
      - Where it is not written, as many as the host has CPUs, at least 2 and at most 8.
    type: int
  prune:
    description:
      - Whether guests are taken away that this collection made and that O(vms) or O(containers) no longer name. They are
        told in RV(ignore:unlisted) where this is false.
      - A list that is not written prunes nothing of its kind; an empty list prunes all of it.
    type: bool
    default: false
  delete:
    description:
      - What O(prune) deletes of a guest, as the option of this name of its module. What is not named is kept, and told in
        RV(ignore:kept).
      - For what an item with O(vms[].state=absent) deletes, write it in the item.
    type: list
    elements: str
    choices:
      - disks
      - nvram
      - seed
      - snapshots
      - tpm
      - rootfs
      - volumes
    default: []
  quarantine:
    description:
      - Whether what O(prune) deletes of a guest lies in the quarantine first, as the option of this name of its module.
    type: bool
  overcommit:
    description:
      - How many times what is there may be promised. A run that adds nothing is not refused.
    type: dict
    suboptions:
      memory:
        description:
          - The memory of all guests that are there or will be, running or not, as a factor of the memory of the host. A virtual
            machine counts with its O(vms[].memory_max), a container with its limit, and not at all without one.
          - It is V(1) where it is not written.
        type: float
      storage:
        description:
          - What the run makes in a file system, as a factor of what is free there. Disks are thin, and what is there counts
            as what it takes now. A new disk counts with its full size, one that grows with what it gains, a new root of a
            container with the size of its image.
          - It is V(1) where it is not written.
        type: float
  serve_later:
    description:
      - Guests whose services are only kept after this run. What has to be changed and stands on a mount of the host (C(hypervisor_mounts)
        of the role P(homelab.hybrid.hypervisor#role)) that one of them serves (C(wait_for_guest)) and that does not answer,
        is left as it is and told in RV(ignore:resources) as C(deferred), with what depends on it; it does not fail.
      - Where the run itself makes that guest, the answer is not waited for.
      - With C(--check) nothing is deferred. The plan is that of the run and of the one that comes after the services.
    type: list
    elements: str
    default: []
  facts:
    description:
      - Whether what the modules tell of each item is returned too.
    type: bool
    default: false
seealso:
  - module: homelab.hybrid.bridge
  - module: homelab.hybrid.storage_pool
  - module: homelab.hybrid.image
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.host_info
"""

EXAMPLES = r"""
- name: Keep a host with a virtual machine and two containers
  homelab.hybrid.layout:
    bridges:
      - name: lab0
        mode: nat
        address: 10.20.0.1/24
        dhcp: {start: 10.20.0.100, end: 10.20.0.199}
    storage_pools:
      - name: main
        path: /srv/guests
    images:
      - name: debian-12
        kind: container
        build: {suite: bookworm}
      - name: debian-12-vm
        kind: vm
        build: {suite: bookworm}
    containers:
      - name: adguard
        image: debian-12
        rootfs: {pool: main}
        memory: 512MiB
        networks: [{name: lan, bridge: lab0, ip: 10.20.0.53/24, gateway: 10.20.0.1}]
        state: started
      - name: jellyfin
        image: debian-12
        rootfs: {pool: main}
        memory: 2GiB
        networks: [{name: lan, bridge: lab0}]
        state: started
        wait_for: [ip]
    vms:
      - name: builder
        image: debian-12-vm
        memory: 2GiB
        disks: [{name: root, pool: main, size: 20G}]
        networks: [{name: lan, bridge: lab0}]
        state: started
  register: host

- name: Say what failed, item by item
  ansible.builtin.debug:
    msg: "{{ host.resources | selectattr('failed') | map(attribute='msg') }}"

- name: Let there be these containers and no others, and delete the roots of those that go
  homelab.hybrid.layout:
    containers:
      - name: adguard
    prune: true
    delete: [rootfs]

- name: Make room for more guests than can be full at once
  homelab.hybrid.layout:
    vms:
      - name: scratch
        memory: 8GiB
        disks: [{name: root, pool: main, size: 200G}]
    overcommit: {memory: 1.5, storage: 3}
    parallel: 4
"""

RETURN = r"""
plan:
  description: What the run does, or with C(--check) would do, of all items in the order of their dependencies. What was skipped is not in it.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The option below its item, as it is written.
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
      description: One of V(live), V(offline), V(next_boot), V(restart), V(confirmed) and V(refused).
      type: str
      returned: always
    permit:
      description: The word for the C(allow) of the item that permits it.
      type: str
      returned: when the change is refused
    done:
      description: Whether it stands. Always false with C(--check).
      type: bool
      returned: always
  sample: [{path: "containers[adguard].memory", before: 256MiB, after: 512MiB, how: live, done: true}]
resources:
  description: Every item, in the order of the dependencies.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(bridge), V(storage_pool), V(image), V(vm) or V(container).
      type: str
      returned: always
    name:
      description: Its name.
      type: str
      returned: always
    changed:
      description: Whether it was changed, or with C(--check) would be. Of a failed one, whether anything was written.
      type: bool
      returned: always
    failed:
      description: Whether it failed.
      type: bool
      returned: always
    msg:
      description: Why it failed.
      type: str
      returned: when it failed
    needed:
      description: The words for its C(allow) that would permit what was refused.
      type: list
      elements: str
      returned: when a change was refused
    exception:
      description: Where a bug stopped it.
      type: str
      returned: when it failed because of a bug
    skipped:
      description: Why it was left alone.
      type: str
      returned: when something failed that it depends on, or before all
    deferred:
      description: What it waits for, and who serves that. It was left as it is.
      type: str
      returned: when it stands on what one of O(serve_later) serves, and that does not answer
    switch:
      description: How a change ended that could cut off the host, as M(homelab.hybrid.bridge) returns it.
      type: dict
      returned: when there was one
    plan:
      description: Its own plan, with the paths of its module.
      type: list
      elements: dict
      returned: always
    diff:
      description: The same as before and after, by path.
      type: dict
      returned: always
    restart_required:
      description: Its options that only a restart brings into force.
      type: list
      elements: str
      returned: always
    kept:
      description: What was left of it on the host.
      type: list
      elements: str
      returned: always
    unmanaged:
      description: What is there of it and not declared.
      type: list
      elements: str
      returned: always
    assumed:
      description: What was taken as given for it. Only with C(--check).
      type: list
      elements: str
      returned: always
    facts:
      description: What its module tells of it.
      type: dict
      returned: when O(facts) is true
unlisted:
  description:
    - The guests of the host that a list which is written does not name, each with C(kind) and C(name), and whether this collection made it (C(managed)).
    - With O(prune) those that it made are gone.
  returned: always
  type: list
  elements: dict
  sample: [{kind: container, name: old, managed: true}]
waits:
  description: The guests that are waited for, as their C(wait_for) says, whether or not something is to be done.
  returned: always
  type: list
  elements: str
  sample: ["vms[builder]"]
restart_required:
  description: The options that only a restart brings into force, below their items.
  returned: always
  type: list
  elements: str
  sample: ["vms[builder].cpu.max_cores"]
kept:
  description: What was left on the host of what was taken away.
  returned: always
  type: list
  elements: str
unmanaged:
  description: What is there and not declared, where a list of an item is written.
  returned: always
  type: list
  elements: str
assumed:
  description: What does not exist yet, is made by no item, and was taken as given. Only with C(--check).
  returned: always
  type: list
  elements: str
conflicts:
  description: Why the whole run was refused, a sentence each.
  returned: when it was refused before anything was applied
  type: list
  elements: str
"""

from ..module_utils._layout.kinds import ARGUMENTS, CONSTRAINTS
from ..module_utils._layout.run import converge_layout
from ..module_utils._run.module import run_whole


def main() -> None:
    run_whole(converge_layout, ARGUMENTS, libraries=("libvirt", "lxc", "lxml"), **CONSTRAINTS)


if __name__ == "__main__":
    main()
