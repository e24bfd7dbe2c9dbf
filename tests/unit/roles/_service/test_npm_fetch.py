# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first package of npm in a guest is what was published, or it is not unpacked."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from unit.tree import ROOT

SCRIPT = ROOT / "roles" / "_service" / "files" / "npm_fetch.py"


def integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry in a folder, with version 1.0.0 of a package ``bell``."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("any/bin/bell")
        member.size, member.mode = 4, 0o755
        archive.addfile(member, io.BytesIO(b"ring"))
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "bell.tgz").write_bytes(packed.getvalue())
    dist = {"tarball": (folder / "bell.tgz").as_uri(), "integrity": integrity(packed.getvalue())}
    (folder / "bell").write_text(json.dumps({"versions": {"1.0.0": {"dist": dist}}}), encoding="utf-8")
    return folder


def fetch(registry: Path, version: str, folder: Path, *known: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), registry.as_uri(), "bell", version, str(folder), *known]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_was_published_is_unpacked_without_the_folder_around_it(registry: Path, tmp_path: Path) -> None:
    assert fetch(registry, "1.0.0", tmp_path / "to").returncode == 0
    found = tmp_path / "to/bin/bell"
    assert found.read_text() == "ring" and found.stat().st_mode & 0o111
    assert [each.name for each in (tmp_path / "to").iterdir()] == ["bin"]


def test_a_package_that_was_changed_is_refused(registry: Path, tmp_path: Path) -> None:
    (registry / "bell.tgz").write_bytes((registry / "bell.tgz").read_bytes() + b"!")
    done = fetch(registry, "1.0.0", tmp_path / "to")
    assert done.returncode == 1 and "bell@1.0.0 is not what was published: EINTEGRITY" in done.stderr
    assert not (tmp_path / "to").exists()


def test_what_is_known_of_a_version_goes_before_what_the_registry_says(registry: Path, tmp_path: Path) -> None:
    known = integrity((registry / "bell.tgz").read_bytes())
    assert fetch(registry, "1.0.0", tmp_path / "to", known).returncode == 0
    done = fetch(registry, "1.0.0", tmp_path / "other", integrity(b"another"))
    assert done.returncode == 1 and known in done.stderr


def test_a_version_that_is_not_there_is_told_by_its_name(registry: Path, tmp_path: Path) -> None:
    done = fetch(registry, "2.0.0", tmp_path / "to")
    assert done.returncode == 1 and "bell@2.0.0 was not published" in done.stderr
