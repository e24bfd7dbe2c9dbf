# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network, an /etc and a /run of a test's own: this process and its children get namespaces, and leave them again.

What configures the network of the host is thus tested with the real kernel and the real files, and no file and no link of
the host is touched. Services of the host (libvirt) are still reached through their sockets.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
import typing as t
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
_KINDS = (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))
# What a tool of networks may write to. Each is laid over with a folder in memory.
_LAID_OVER = ("/etc", "/usr", "/run/network", "/run/systemd")


@contextlib.contextmanager
def own_network() -> t.Iterator[None]:
    """Enter the namespaces, and return to those of before."""
    library = ctypes.CDLL(None, use_errno=True)
    before = [(os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), flag) for kind, flag in _KINDS]
    folder = os.getcwd()
    made = [Path(path) for path in _LAID_OVER if not os.path.isdir(path)]
    scratch = Path(tempfile.mkdtemp(prefix="own-network-", dir="/var/tmp"))
    for path in made:
        path.mkdir()
    try:
        _check(library, library.unshare(CLONE_NEWNET | CLONE_NEWNS))
        _mount(scratch)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        for descriptor, flag in before:
            _check(library, library.setns(descriptor, flag))
            os.close(descriptor)
        os.chdir(folder)
        for path in (scratch, *made):
            path.rmdir()


def _mount(scratch: Path) -> None:
    _run("mount", "--make-rprivate", "/")
    # What the kernel says of links is that of the namespace in which /sys was mounted.
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _run("mount", "-t", "tmpfs", "tmpfs", str(scratch))
    for path in _LAID_OVER:
        name = path.strip("/").replace("/", "-")
        upper, work = scratch / name / "upper", scratch / name / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        if path.startswith("/run"):
            _run("mount", "--bind", str(upper), path)
        else:
            _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={path},upperdir={upper},workdir={work}", path)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def _check(library: ctypes.CDLL, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
