#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Keep an image that containers or virtual machines are made of
version_added: 0.1.0
description:
  - Builds an image of Debian or Ubuntu, takes one from a file of the host, or fetches one, and keeps it in the host's image store. Guests name it
    on creation.
  - A container's image is a root file system, a virtual machine's is a bootable disk (BIOS, cloud-init, guest agent, serial console). An ISO
    is kept as it is, for the drives of virtual machines, which only read it.
  - What is fetched is checked before it is used, goes on where a cut ended it, also in the next run, and is kept beside the images until
    the last one that was made of it is deleted. The host's proxies count (the environment of the run, else C(/etc/environment)), and the
    certificate authorities that it trusts.
  - Archives and disks that would reach the host are refused, wherever they come from. That are absolute paths, C(..), hard links out of the
    archive, files behind links that lead out of it, device nodes of more than V(null), V(zero) and the like outside of /dev, disks that stand
    on other files, and what becomes larger than O(size_limit).
  - An image is made once. It is whole or not there, and it is never made anew under its guests; a recipe that was changed wants a new name.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
requirements:
  - mmdebstrap, zstd, xz, gzip and bzip2 on the managed host, and qemu-img, sfdisk and mke2fs for the images of virtual machines
  - gpgv or openssl on the managed host for O(signature)
options:
  name:
    description:
      - The name of the image.
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
    required: true
  state:
    description:
      - V(present) makes the image unless it is there.
      - V(absent) deletes it from the store. It is refused while guests that were made of it are there, and while a disk stands on it.
        A file that O(path) names stays.
    type: str
    choices: [present, absent]
    default: present
  kind:
    description:
      - What guests are made of it, or V(iso) for a medium that they read. Needed to make an image. The kind of an image cannot be changed.
      - 'B(In short:) fixed once it stands.'
    type: str
    choices: [container, vm, iso]
  from:
    description:
      - V(catalogue) takes everything that is not written from an entry of the catalogue, for amd64, O(url), O(checksum), O(signature) and
        O(presets) among it. What is written goes before it, key by key; an empty O(signature) drops that of the entry.
      - The entries are listed in the guide on images. The variable C(hypervisor_image_catalogue) of the host is a list of further ones,
        each with a C(name) and options of this module; one of a known name is laid over it.
      - An entry that a newer version of this collection changes changes no image that stands. See RV(image.stale).
    type: str
    choices: [catalogue]
  entry:
    description:
      - The name of the entry, where it is not O(name).
      - 'B(In short:) Allowed: 1 to 63 letters, digits, ''_'', ''.'' and ''-'', the first a letter or digit.'
    type: str
  version:
    description:
      - Another build than the entry names, such as V(44-1.8) of V(fedora-44), where its addresses have a place for it.
      - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
    type: str
  build:
    description:
      - Build the image of Debian or Ubuntu, from the mirrors in the host's own apt sources. The guests get the same sources, the host's apt proxy,
        and the certificate authorities that the administrator added in C(/usr/local/share/ca-certificates).
      - Every image has systemd with systemd-networkd, dbus, sudo, an OpenSSH server that makes its host keys at the first start,
        python3 and python3-apt for Ansible, iproute2, ping, and no manuals and translations. An image for virtual machines has
        Debian's cloud kernel, GRUB, cloud-init (seeds from a disk only), qemu-guest-agent and systemd-resolved as well.
      - Needed to make an image, unless O(path), O(url) or O(simplestreams) is written. Read once, on creation; afterwards a difference is
        reported in RV(image.stale).
    type: dict
    suboptions:
      suite:
        description:
          - The release of Debian, or of Ubuntu.
          - Ubuntu needs an entry of its archive in the host's apt sources, with C(Signed-By) its C(ubuntu-archive-keyring.gpg) and best
            disabled there, so that the host itself takes nothing from it. Of Ubuntu the images of containers are built, those of virtual
            machines are fetched.
        type: str
        choices: [bookworm, trixie, jammy, noble, resolute]
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
        choices: [bios, uefi]
  path:
    description:
      - Take the image from this file of the managed host, an absolute path. It is copied (as a reflink where the file system can).
      - For a container a root file system as tar, tar.gz, tar.bz2, tar.xz or tar.zst, as the unified archive that Incus exports, or as
        squashfs where the host has C(unsquashfs) (package C(squashfs-tools)); for a virtual machine a disk as qcow2 without a backing
        file, or as raw with a partition table or a disklabel of BSD's, as it is or packed with gzip, bzip2, xz or zstd; for an ISO a medium
        as ISO 9660 or UDF, as it is or packed likewise.
      - Read once, on creation; afterwards another content is reported in RV(image.stale).
      - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
    type: str
  url:
    description:
      - Fetch the image from here, in one of the forms of O(path). O(checksum) or O(signature) is needed with it.
      - The server is asked when the image is made, and already by a check, for the size, the lists and the signatures. A run that finds its
        image asks nobody, unless O(ask_upstream) is written.
      - Read once, on creation; afterwards another one is reported in RV(image.stale). With a checksum that is written itself the file is the
        same wherever it comes from.
      - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
    type: str
  checksum:
    description:
      - What the file of O(url) must be. V(sha256:DIGEST) and the like, or the URL of a list that has it, which may have the algorithm in
        front (V(sha512:https://example.org/SUMS)); without one the strongest in the list counts.
      - Or what the file of O(path) must be when the image is made of it, and then the digest itself. Check mode reads the file, too.
      - A list has the form of coreutils (C(DIGEST  NAME), also with C(./) or C(*) before the name), that of BSD and OpenSSL
        (C(SHA256 (NAME\) = DIGEST)), or is the digest alone. The file's name is that in the URL. In a list of that name and an ending
        (C(NAME.sha256)) the only file counts whatever it is called.
      - Read once, on creation; afterwards another digest is reported in RV(image.stale).
      - 'B(In short:) Allowed: ALGORITHM:DIGEST, ALGORITHM:URL or the URL of a list, with one of sha256, sha384, sha512.'
    type: str
  signature:
    description:
      - Who must have signed. Checked before anything is made of what was fetched.
      - With O(simplestreams) write the key alone; the signed indexes (C(.sjson)) are read then.
    type: dict
    suboptions:
      key:
        description:
          - The public key. The absolute path of a file on the managed host, as Debian's keyring packages bring them, or its text.
            An OpenPGP key is checked with gpgv, a PEM key with openssl (SHA-256).
          - 'B(In short:) Allowed: the absolute path of a file on the host, or the text of an OpenPGP key (armored) or of a PEM public key.'
        type: str
        required: true
      url:
        description:
          - The detached signature, of OpenPGP (with or without armor) or of openssl (its bytes, or base64).
          - Left out where the list of checksums carries its signature itself, as Fedora's do; only what is signed of it counts.
          - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
        type: str
      of:
        description:
          - What is signed. V(checksum) is the list of checksums, V(file) the file as it is fetched, V(content) a disk as it is unpacked, as
            OPNsense's.
          - V(checksum) where O(checksum) is the URL of a list, else V(file), unless another is written.
        type: str
        choices: [checksum, file, content]
  simplestreams:
    description:
      - Fetch the image of a product from a server of simplestreams, such as C(https://images.linuxcontainers.org) and
        C(https://cloud-images.ubuntu.com/releases).
      - A container needs the product's C(root.tar.xz), its unified archive or its C(squashfs), a virtual machine its C(disk-kvm.img) or
        C(disk1.img).
      - The index says what the file must be, so it is as good as the way it comes, https or a signature.
      - Read once, on creation; afterwards a difference is reported in RV(image.stale).
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
          - The variant, such as V(cloud). V(default), or of a server without variants its only one, unless another is written.
          - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
        type: str
      serial:
        description:
          - Which build. The newest one that has a file for this O(kind), unless one is written. See RV(image.serial).
          - 'B(In short:) Allowed: letters, digits, ''_'', ''.'', '':'', ''+'' and ''-''.'
        type: str
  presets:
    description:
      - What is known of the system in the image. A virtual machine that is made of it gets that where its user wrote nothing.
      - They can be changed later, for the machines that are made from then on.
    type: dict
    suboptions:
      firmware:
        description:
          - What it boots with.
          - 'B(In short:) live.'
        type: str
        choices: [bios, uefi]
      os_variant:
        description:
          - Which system it is.
          - 'B(In short:) live.'
        type: str
        choices: [linux, windows, freebsd, other]
      seed:
        description:
          - What in it reads the seed that C(cloud_init) of a machine makes. V(cloud-init), V(nuageinit) of FreeBSD, V(cloudbase-init)
            of Windows, or V(none), which refuses C(cloud_init).
          - 'B(In short:) live.'
        type: str
        choices: [cloud-init, nuageinit, cloudbase-init, none]
      bus:
        description:
          - The bus of disks that it has a driver for.
          - 'B(In short:) live.'
        type: str
        choices: [virtio, scsi, sata]
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
      - Which address stands in for a host, in O(url), O(checksum), O(signature) and O(simplestreams) alike. The path stays the same below it.
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
        choices: [present, absent]
        default: present
      url:
        description:
          - The address of the mirror, with the path that stands before that of the host.
          - 'B(In short:) Allowed: an http or https URL without a user, a password and a fragment.'
        type: str
  size_limit:
    description:
      - How large a download, the files of a root or a disk may become. More is refused, in the plan where the server tells the size.
      - 'B(In short:) A new one has V(64GiB). Allowed: 1MiB to 64TiB; a bare number counts in GiB.'
    type: str
  ask_upstream:
    description:
      - Ask upstream also of an image that stands whether there is a newer one, of the same URL or product. It is reported in RV(image.stale)
        and in a warning, with its serial, and never fetched. Give the new image another name.
      - A server that does not answer is a warning then, not a failure.
    type: bool
    default: false
seealso:
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.storage_pool
"""

EXAMPLES = r"""
- name: Keep an image of Debian 13 for containers
  homelab.hybrid.image:
    name: debian-13
    kind: container
    build:
      suite: trixie

- name: Keep an image of Debian 12 for virtual machines, with a firewall in it
  homelab.hybrid.image:
    name: debian-12-vm
    kind: vm
    build:
      suite: bookworm
      packages: [nftables]

- name: Keep an image of the catalogue, under the name of its entry
  homelab.hybrid.image:
    name: fedora-44
    from: catalogue

- name: Keep the newest Debian 13 of today under a name of its own, through a mirror in the house
  homelab.hybrid.image:
    name: debian-13-2026-11
    from: catalogue
    entry: debian-13
    mirrors:
      - name: cloud.debian.org
        url: http://mirror.example.org/debian-cloud/

- name: Take a disk that was downloaded and checked before
  homelab.hybrid.image:
    name: appliance
    kind: vm
    path: /srv/downloads/appliance.qcow2

- name: Fetch Debian's cloud image, as its list of checksums says
  homelab.hybrid.image:
    name: debian-13-cloud
    kind: vm
    url: https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2
    checksum: https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS

- name: Fetch a signed one through a mirror in the house
  homelab.hybrid.image:
    name: ubuntu-24.04-cloud
    kind: vm
    url: https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-amd64.img
    checksum: https://cloud-images.ubuntu.com/releases/noble/release/SHA256SUMS
    signature:
      url: https://cloud-images.ubuntu.com/releases/noble/release/SHA256SUMS.gpg
      key: /usr/share/keyrings/ubuntu-cloudimage-keyring.gpg
    mirrors:
      - name: cloud-images.ubuntu.com
        url: http://mirror.example.org/ubuntu-cloud/

- name: Fetch a packed disk whose checksum is known
  homelab.hybrid.image:
    name: home-assistant
    kind: vm
    url: https://github.com/home-assistant/operating-system/releases/download/16.0/haos_ova-16.0.qcow2.xz
    checksum: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

- name: Fetch a root of Alpine for containers, and hear of newer ones
  homelab.hybrid.image:
    name: alpine-3.22
    kind: container
    simplestreams:
      server: https://images.linuxcontainers.org
      distribution: alpine
      release: "3.22"
    ask_upstream: true

- name: Keep a medium for the drives of virtual machines
  homelab.hybrid.image:
    name: windows-server-2025
    kind: iso
    path: /srv/downloads/windows-server-2025.iso

- name: Delete an image that no guest needs any more
  homelab.hybrid.image:
    name: debian-11
    state: absent
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
      description: One of V(live) and V(refused).
      type: str
      returned: always
    done:
      description: Whether it stands. Always false with C(--check).
      type: bool
      returned: always
  sample: [{path: state, before: absent, after: present, how: live, done: true}]
restart_required:
  description: The options that only a restart brings into force. Always empty for an image.
  returned: always
  type: list
  elements: str
kept:
  description: What O(state=absent) left on the host. Always empty for an image.
  returned: always
  type: list
  elements: str
unmanaged:
  description: What is there and not declared. Always empty for an image.
  returned: always
  type: list
  elements: str
assumed:
  description: What does not exist yet and was taken as given, such as the file of O(path) or gpgv. Only with C(--check).
  returned: always
  type: list
  elements: str
image:
  description: The image as it is after the run, or with C(--check) as it is now.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    state:
      description: V(present) or V(absent).
      type: str
      returned: always
    kind:
      description: V(container), V(vm) or V(iso).
      type: str
      returned: always
    format:
      description: The format of its file, V(tar.zst), V(qcow2) or V(iso).
      type: str
      returned: always
    path:
      description: Its file in the image store.
      type: str
      returned: always
    size_bytes:
      description: What its files take unpacked, or the size of the disk or ISO.
      type: int
      returned: always
    size:
      description: The same for a person to read.
      type: str
      returned: always
    digest:
      description: The SHA-256 digest of its file.
      type: str
      returned: always
      sample: sha256:5ac61cfbda8023cea5c8066f769208043c681c6a99fc672254e42434996d42e8
    serial:
      description: The serial of the product of O(simplestreams) that it was made of.
      type: str
      returned: always
    entry:
      description: The entry of the catalogue that it was made of.
      type: str
      returned: always
    presets:
      description: What is known of the system in it, by the keys of O(presets). Of an image for containers nothing.
      type: dict
      returned: always
    pools:
      description:
        - The storage pools that have a copy of it, which guests are cloned from. The first guest of the image there made it.
        - O(state=absent) removes every copy.
      type: list
      elements: str
      returned: always
    stale:
      description:
        - The declared options that the image was not made with. With O(ask_upstream) also V(url) or V(simplestreams) where upstream has
          a newer one.
      type: list
      elements: str
      returned: always
      sample: [build.packages]
"""

from ..module_utils._host.snapshot import Host
from ..module_utils._image.resource import Image
from ..module_utils._image.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._run.module import run


def main() -> None:
    # libvirt knows the disks that stand on an image, those of guests made by hand too
    run(Image(), ARGUMENTS, host=Host, libraries=("libvirt",), **CONSTRAINTS)


if __name__ == "__main__":
    main()
