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
  - Builds an image of Debian, or takes one from a file of the host, and keeps it in the host's image store. Guests name it on creation.
  - A container's image is a root file system, a virtual machine's is a bootable disk (BIOS, cloud-init, guest agent, serial console).
  - An image is made once. It is whole or not there, and it is never made anew under its guests; a recipe that was changed wants a new name.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
requirements:
  - mmdebstrap and zstd on the managed host, and qemu-img, sfdisk and mke2fs for the images of virtual machines
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
      - What guests are made of it. Needed to make an image. The kind of an image cannot be changed.
      - 'B(In short:) fixed once it stands.'
    type: str
    choices: [container, vm]
  build:
    description:
      - Build the image of Debian, from the mirrors in the host's own apt sources. The guests get the same sources, the host's apt proxy,
        and the certificate authorities that the administrator added in C(/usr/local/share/ca-certificates).
      - Every image has systemd with systemd-networkd, dbus, sudo, an OpenSSH server that makes its host keys at the first start,
        python3 and python3-apt for Ansible, iproute2, ping, and no manuals and translations. An image for virtual machines has
        Debian's cloud kernel, GRUB, cloud-init (seeds from a disk only), qemu-guest-agent and systemd-resolved as well.
      - Needed to make an image, unless O(path) is written. Read once, on creation; afterwards a difference is reported in RV(image.stale).
    type: dict
    suboptions:
      suite:
        description:
          - The Debian release.
        type: str
        choices: [bookworm, trixie]
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
        type: str
        choices: [bios]
  path:
    description:
      - Take the image from this file of the managed host, an absolute path. It is copied (as a reflink where the file system can).
      - For a container a root file system as tar, tar.gz, tar.xz or tar.zst; for a virtual machine a disk as qcow2 without a backing
        file, or as raw.
      - Read once, on creation; afterwards another content is reported in RV(image.stale).
      - 'B(In short:) Allowed: an absolute path other than /, without ''..''.'
    type: str
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

- name: Take a disk that was downloaded and checked before
  homelab.hybrid.image:
    name: appliance
    kind: vm
    path: /srv/downloads/appliance.qcow2

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
  description: What does not exist yet and was taken as given, such as the file of O(path). Only with C(--check).
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
      description: V(container) or V(vm).
      type: str
      returned: always
    format:
      description: The format of its file, V(tar.zst) or V(qcow2).
      type: str
      returned: always
    path:
      description: Its file in the image store.
      type: str
      returned: always
    size_bytes:
      description: What its files take unpacked, or the size of the disk.
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
    pools:
      description:
        - The storage pools that have a copy of it, which guests are cloned from. The first guest of the image there made it.
        - O(state=absent) removes every copy.
      type: list
      elements: str
      returned: always
    stale:
      description: The declared options that the image was not made with.
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
