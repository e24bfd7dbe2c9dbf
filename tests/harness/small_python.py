# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Python for the systems of machines that are little more than a kernel and a busybox."""

from __future__ import annotations

import re
import stat
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import Entry, run

# As Debian's python3-minimal leads to them; what of the library has no place in so small a system.
PACKAGES = ("python3-minimal", "python3-websockets")
_WITHOUT = "test tests idlelib lib2to3 ensurepip pydoc_data distutils turtledemo tkinter __pycache__ unittest sqlite3 curses".split()
File = tuple[int, bytes]


def python_packages() -> list[str]:
    skip = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    found = run("apt-cache", "depends", "--recurse", *skip, *PACKAGES)
    names = {
        line for line in found.splitlines() if re.match(r"python3[.0-9]*-minimal$|python3-websockets$|z?lib", line)
    }
    return sorted(name for name in names if "perl" not in name)


def python_files(root: Path) -> t.Iterator[tuple[str, File]]:
    """The files of Python by their paths, of packages that were unpacked in *root*."""
    (program, *_others) = sorted((root / "usr/bin").glob("python3.*"))
    yield "usr/bin/python3", (0o755, program.read_bytes())
    library = root / "usr/lib" / program.name
    loaded = [program, *(library / "lib-dynload").glob("*.so")]
    for top in (library, root / "usr/lib/python3/dist-packages/websockets"):
        for path in sorted(top.rglob("*")):
            if path.is_file() and not set(path.relative_to(top).parts) & set(_WITHOUT):
                yield str(path.relative_to(root)), (0o644, path.read_bytes())
    found: dict[str, Path] = {}
    for path in loaded:
        listing = subprocess.run(
            (tiny_vm.loader(root), "--library-path", tiny_vm.library_path(root), "--list", str(path)),
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        found.update(
            (Path(its).name, Path(its)) for its in re.findall(r"=> (\S+)", listing) if its.startswith(str(root))
        )
    for name, path in found.items():
        yield f"lib/x86_64-linux-gnu/{name}", (0o755, path.read_bytes())


def entries(files: t.Mapping[str, File]) -> t.Iterator[Entry]:
    """*files* with their modes as they stand in an initial RAM disk, each behind its folders."""
    folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    for folder in sorted(folders):
        yield Entry(folder, stat.S_IFDIR | 0o755)
    for path, (mode, data) in sorted(files.items()):
        yield Entry(path, stat.S_IFREG | mode, data)
