# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian archive in the root of a guest, beside the real one or instead of it, with packages made here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

PLACE = "srv/archive"
LINE = f"deb [trusted=yes] file:/{PLACE} ./\n"


def use(root: Path) -> None:
    """Let the guest with this *root* look here too."""
    (root / PLACE).mkdir(parents=True, exist_ok=True)
    (root / PLACE / "Packages").touch()
    (root / "etc/apt/sources.list.d/archive.list").write_text(LINE, encoding="utf-8")


def publish(root: Path, package: str, version: str, files: Mapping[str, str], after: str = "") -> None:
    """Build *package* with *files* (programs below a folder ``bin`` are executable), and *after*, which is run when it is installed."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content, encoding="utf-8")
            (tree / path).chmod(0o755 if "/bin/" in f"/{path}" or "/sbin/" in f"/{path}" else 0o644)
        control = (
            f"Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        )
        control += "Description: made by a test\n"
        write_control(tree, control, after)
        build(root, tree, package, version)


def write_control(tree: Path, control: str, after: str) -> None:
    (tree / "DEBIAN").mkdir(exist_ok=True)
    (tree / "DEBIAN" / "control").write_text(control, encoding="utf-8")
    if after:
        (tree / "DEBIAN" / "postinst").write_text(after, encoding="utf-8")
        (tree / "DEBIAN" / "postinst").chmod(0o755)


def build(root: Path, tree: Path, package: str, version: str) -> None:
    """Put the package of *tree* into the archive, in the place of the others of its name."""
    use(root)
    tree.chmod(0o755)
    target = deb(root, package, version)
    subprocess.run(
        ["dpkg-deb", "-Zgzip", "--root-owner-group", "-b", str(tree), str(target)], check=True, capture_output=True
    )
    control = (tree / "DEBIAN" / "control").read_text(encoding="utf-8").strip()
    content = target.read_bytes()
    facts = f"Filename: ./{target.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (root / PLACE / "Packages").write_text(f"{control}\n{facts}\n", encoding="utf-8")


def turn(root: Path, package: str, version: str) -> None:
    """Turn one bit of a package that was published."""
    content = bytearray(deb(root, package, version).read_bytes())
    content[len(content) // 2] ^= 1
    deb(root, package, version).write_bytes(content)


def deb(root: Path, package: str, version: str) -> Path:
    return root / PLACE / f"{package}_{version}.deb"


def use_alone(root: Path) -> None:
    """Let the guest look nowhere else: what Debian publishes meanwhile is no part of a test."""
    use(root)
    shutil.rmtree(root / "etc/apt/sources.list.d")
    (root / "etc/apt/sources.list.d").mkdir()
    (root / "etc/apt/sources.list").write_text(LINE, encoding="utf-8")
