# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root file system of one program: busybox, with an init that only waits. A container of it starts in a tenth of a second."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths

BUSYBOX = "/bin/busybox"
# SIGPWR is liblxc's way to ask for a shutdown.
INIT = """\
#!/bin/sh
trap 'exit 0' PWR TERM
while true; do sleep 3600 & wait $!; done
"""
APPLETS = "sh cat ls id ip mount umount hostname sleep dd touch chmod su stat sync true echo mkdir rm env nproc".split()
CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def build(archive: Path) -> None:
    """Write the archive (tar.zst, numeric owners, extended attributes)."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".tiny.") as folder:
        root = Path(folder) / "root"
        fill(root)
        tar = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-I", "zstd -1", "-cf"]
        subprocess.run([*tar, str(archive), "-C", str(root), "."], check=True)


def fill(root: Path) -> None:
    """The files of the root: with a setuid program, a file capability, a hard link and ifupdown's name beside busybox."""
    for folder in ("bin", "sbin", "etc", "root", "proc", "sys", "dev", "run", "tmp", "var", "usr/sbin", "home/user"):
        (root / folder).mkdir(parents=True)
    root.chmod(0o755)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "sbin/init").write_text(INIT)
    (root / "sbin/init").chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (root / "etc/group").write_text(
        "root:x:0:\ndialout:x:20:\nvideo:x:44:\nplugdev:x:46:\nrender:x:104:\nuser:x:1000:\n"
    )
    (root / "usr/sbin/ifup").symlink_to("/bin/true")
    (root / "root/.profile").write_text("")
    (root / "root").chmod(0o700)
    os.chown(root / "home/user", 1000, 1000)
    (root / "bin/setuid").write_bytes(b"#!/bin/sh\n")
    os.link(root / "bin/setuid", root / "bin/setuid-again")
    os.chown(root / "bin/setuid", 0, 1000)
    (root / "bin/setuid").chmod(0o6755)
    (root / "bin/capable").write_bytes(b"#!/bin/sh\n")
    os.setxattr(root / "bin/capable", "security.capability", CAP_NET_RAW)


def store(name: str, archive: Path) -> None:
    """Let *archive* be the image *name*, as the module ``image`` would record it."""
    record = {
        "schema": 1,
        "kind": "container",
        "format": "tar.zst",
        "path": str(archive),
        "size_bytes": 4 * 2**20,
        "digest": "sha256:0",
    }
    path = Path(paths.record_path("images", name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
