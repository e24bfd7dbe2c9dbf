# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems for pools: each in an image file, made for a test and gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import typing as t
from pathlib import Path

_QUOTA_CTL = 3 << 30 | 16 << 16 | 0x94 << 8 | 40
_ENABLE_SIMPLE = 4


def run(*argv: str | Path) -> str:
    """What a program prints; its complaint in the error when it fails."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def btrfs(folder: Path, *, quota: str | None = None, size: str = "4G") -> t.Iterator[Path]:
    """A mounted btrfs. *quota* is ``full`` or ``simple``; without it the quotas are not enabled."""
    with _mounted(folder, "btrfs", size) as point:
        if quota == "full":
            run("btrfs", "quota", "enable", point)
        elif quota == "simple":
            enable_simple_quotas(point)
        yield point


@contextlib.contextmanager
def xfs(folder: Path) -> t.Iterator[Path]:
    """A mounted XFS, which enforces no quotas."""
    with _mounted(folder, "xfs", "512M") as point:
        yield point


@contextlib.contextmanager
def _mounted(folder: Path, kind: str, size: str) -> t.Iterator[Path]:
    image, point = folder / f"{kind}.img", folder / kind
    point.mkdir()
    run("truncate", "-s", size, image)
    run(f"mkfs.{kind}", "-q", image)
    run("mount", "-o", "loop", image, point)
    os.chmod(point, 0o711)
    try:
        yield point
    finally:
        run("umount", "-l", point)


def enable_simple_quotas(path: Path) -> None:
    """As ``btrfs quota enable --simple`` does, which Debian 12 does not have."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _QUOTA_CTL, _ENABLE_SIMPLE.to_bytes(8, "little") + bytes(8))
    finally:
        os.close(descriptor)
