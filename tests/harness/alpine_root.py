# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root file system of another Linux, shaped as Alpine's: busybox is its init, its shell and its ifupdown; no bash, no Python, no systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness.tiny_root import BUSYBOX

# As in Alpine's own images: what OpenRC does at the start is done by init here.
_FILES = {
    "etc/alpine-release": "3.22.0\n",
    "etc/os-release": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.22.0\n',
    # Alpine's ifupdown lets udhcpc go on in the background; that of busybox gives up after three tries.
    "etc/inittab": (
        "::sysinit:/bin/hostname -F /etc/hostname\n"
        "::respawn:/bin/sh -c 'until /sbin/ifup -a; do true; done; exec sleep 86400'\n"
        "::shutdown:/sbin/ifdown -a\n"
    ),
    "etc/hostname": "localhost\n",
    "etc/hosts": "127.0.0.1 localhost localhost.localdomain\n::1 localhost localhost.localdomain\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\nhostname $(hostname)\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/ash\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    "etc/group": "root:x:0:root\nnobody:x:65534:\n",
    "etc/shadow": "root:*::0:::::\n",
    "usr/share/udhcpc/default.script": (
        '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip addr add "$ip/${mask:-24}" dev "$interface"\n'
        '[ -z "$router" ] || ip route add default via "$router"\n'
    ),
}
_FOLDERS = (
    *(
        "bin",
        "dev",
        "etc/network/if-up.d",
        "home",
        "lib",
        "media",
        "mnt",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "srv",
        "sys",
        "tmp",
    ),
    *("usr/bin", "usr/lib", "usr/sbin", "var/log", "var/run"),
)
_SYSTEM = "init ifup ifdown ip udhcpc halt poweroff reboot hwclock route ifconfig".split()


def build(archive: Path) -> None:
    """Write the archive, packed as its suffix says."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".alpine.") as folder:
        root = Path(folder) / "root"
        fill(root)
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-caf", archive, "."], check=True)


def fill(root: Path) -> None:
    """The files of the root."""
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    known = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in known:
        place = root / ("sbin" if applet in _SYSTEM else "bin") / applet
        if not os.path.lexists(place):
            place.symlink_to("/bin/busybox")
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "usr/share/udhcpc/default.script").chmod(0o755)
    # Where the busybox of Debian looks for it.
    (root / "etc/udhcpc").mkdir()
    (root / "etc/udhcpc/default.script").symlink_to("/usr/share/udhcpc/default.script")
    (root / "root").chmod(0o700)
