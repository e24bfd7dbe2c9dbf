# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian images for the tests of guests, built once by the collection's own code and kept in the build cache."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._image import build, sources
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once

# What the installer of Debian leaves when nothing is chosen, and the two words with which the README begins.
BARE = ("ca-certificates", "git", "make", "systemd-sysv")


def container_root(suite: str, packages: t.Sequence[str] = (), cache: Path = CACHE) -> Path:
    """A root file system of *suite* as tar.zst, for ``path`` of an image of kind container."""
    return _cached("container", suite, packages, cache, "root.tar.zst", build.build_container_root)


def vm_disk(suite: str, packages: t.Sequence[str] = (), cache: Path = CACHE) -> Path:
    """A bootable disk of *suite* as qcow2, for ``path`` of an image of kind vm."""
    return _cached("vm", suite, packages, cache, "disk.qcow2", build.build_vm_disk)


def uefi_disk(suite: str, packages: t.Sequence[str] = (), cache: Path = CACHE) -> Path:
    """The same, which starts by UEFI too, and with secure boot."""
    return _cached("uefi", suite, packages, cache, "disk.qcow2", build.build_vm_disk)


def bare_root(suite: str, packages: t.Sequence[str] = (), cache: Path = CACHE) -> Path:
    """A Debian as its installer leaves it, with git and make: no Python, no SSH, nothing of this collection."""
    return _cached("bare", suite, packages, cache, "root.tar.zst", _build_bare_root)


def _build_bare_root(recipe: build.Recipe, target: str, dummy: t.Sequence[int]) -> t.Iterator[None]:
    # The way to the mirror is this machine's: its sources, its proxies, the authorities that it trusts.
    carried = " ".join(sources.local_authorities())
    hooks = (
        [f'mkdir -p "$1{sources.LOCAL_AUTHORITIES}"', f'cp {carried} "$1{sources.LOCAL_AUTHORITIES}"']
        if carried
        else []
    )
    hooks += ['chroot "$1" update-ca-certificates > /dev/null', 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"']
    command = ["mmdebstrap", "--mode=root", "--variant=important", f"--include={','.join({*BARE, *recipe.packages})}"]
    command += [f"--aptopt={setting.rstrip(';')}" for setting in sources.apt_settings()]
    command += [f"--customize-hook={hook}" for hook in hooks]
    lines = sources.archive_lines(sources.host_sources(), recipe.suite)
    subprocess.run([*command, recipe.suite, target, *lines], check=True)
    yield None


def _cached(
    kind: str, suite: str, packages: t.Sequence[str], cache: Path, name: str, make: t.Callable[..., t.Any]
) -> Path:
    """The file of one recipe. What the code, the sources of the host and the recipe make is one key."""
    files = [Path(module.__file__ or "") for module in (build, sources)] + ([Path(__file__)] if kind == "bare" else [])
    code = b"".join(path.read_bytes() for path in files)
    recipe = repr((suite, sorted(packages), sources.archive_lines(sources.host_sources(), suite))).encode()
    folder = cache / f"{kind}-{suite}-{hashlib.sha256(code + recipe).hexdigest()[:12]}"

    def build_in(work: Path) -> None:
        firmware = "uefi" if kind == "uefi" else "bios"
        for dummy in make(build.Recipe(suite, tuple(packages), firmware), str(work / name), ()):
            pass

    return built_once(folder, build_in) / name


def main() -> int:
    """Build one and say where it is."""
    makers = {
        "container": container_root,
        "hypervisor": container_root,
        "bare": bare_root,
        "vm": vm_disk,
        "uefi": uefi_disk,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=makers)
    parser.add_argument("suite")
    parser.add_argument("packages", nargs="*")
    arguments = parser.parse_args()
    print(makers[arguments.kind](arguments.suite, arguments.packages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
