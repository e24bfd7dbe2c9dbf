# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An index of Python's packages as PyPI has it, and small wheels that are made here."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import build_cache


class Index:
    """An index below *folder*: ``simple/<project>/`` links to files with their hashes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "simple"

    def publish(self, wheel: Path) -> str:
        """Put a wheel, or an archive of sources, into the index; the requirement that is this file and no other."""
        is_source = wheel.name.endswith(".tar.gz")
        name, version = wheel.name[:-7].rsplit("-", 1) if is_source else wheel.name.split("-")[:2]
        project = self.folder / re.sub(r"[-_.]+", "-", name).lower()
        project.mkdir(parents=True, exist_ok=True)
        published = project / wheel.name
        if published != wheel:
            published.unlink(missing_ok=True)
            published.symlink_to(wheel)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        with (project / "index.html").open("a", encoding="utf-8") as page:
            page.write(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a><br>\n')
        return f"{project.name}=={version} --hash=sha256:{digest}"

    def turn(self, wheel: str) -> None:
        """Turn one bit of a wheel that is published."""
        (found,) = self.folder.glob(f"*/{wheel}")
        content = bytearray(found.read_bytes())
        content[len(content) // 2] ^= 1
        # What was linked here is another's.
        found.unlink()
        found.write_bytes(content)


def make(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
) -> Path:
    """A wheel of *files* in *folder*; *scripts* are its programs, each as ``module:function``."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    programs = ["[console_scripts]", *(f"{program} = {where}" for program, where in (scripts or {}).items())]
    content = {
        **files,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "\n".join(programs) + "\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        records = []
        for path, text in content.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            records.append(f"{path},sha256={digest},{len(text.encode())}")
        archive.writestr(f"{info}/RECORD", "\n".join([*records, f"{info}/RECORD,,"]) + "\n")
    return wheel


# The tags of wheels that Debian 13 takes.
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 42)] + [
    f"manylinux{year}_x86_64" for year in ("1", "2010", "2014")
]


def collect(requirements: Sequence[str], sources: Sequence[str]) -> list[Path]:
    """The files of *requirements*, lines with hashes, fetched once: wheels for the Python of Debian 13, and archives of *sources*."""
    lines = [f"{line}\n" for line in requirements]
    from_source = [line for line in lines if line.partition("==")[0] in sources]

    def fetch(folder: Path) -> None:
        wheel = ["--only-binary=:all:", "--python-version=3.13.5", *(f"--platform={each}" for each in _PLATFORMS)]
        for wanted, options in ((set(lines) - set(from_source), wheel), (from_source, ["--no-binary=:all:"])):
            (folder / "wanted.txt").write_text("".join(wanted), encoding="utf-8")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", *options]
            subprocess.run([*command, "--dest", str(folder), "-r", str(folder / "wanted.txt")], check=True)
        (folder / "wanted.txt").unlink()

    key = hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
    return sorted(build_cache.built_once(build_cache.CACHE / f"wheels-{key}", fetch).iterdir())
