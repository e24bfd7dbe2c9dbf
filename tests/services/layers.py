# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images of stand-ins begin with: programs of Debian 13, unpacked and not installed."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.services.registry import Layer, digest


def debian_layer(name: str, packages: Sequence[str], left_out: Sequence[str]) -> Layer:
    """A layer with *packages* and what they need, without files in whose paths something of *left_out* is; *name* is that of its folder."""
    lines = sources.archive_lines(sources.host_sources(), "trixie")
    recipe = repr((packages, left_out, lines)).encode()

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
            whole = Path(place) / "root.tar"
            command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--include={','.join(packages)}"]
            command += [f"--aptopt={setting.rstrip(';')}" for setting in sources.apt_settings()]
            subprocess.run([*command, "trixie", str(whole), *lines], check=True)
            kept = Path(place) / "kept.tar"
            with tarfile.open(whole) as read, tarfile.open(kept, "w") as written:
                for member in read:
                    if not any(part in member.name for part in left_out):
                        written.addfile(member, read.extractfile(member) if member.isreg() else None)
            with (
                kept.open("rb") as plain,
                gzip.GzipFile(folder / "layer.tar.gz", "wb", compresslevel=1, mtime=0) as packed,
            ):
                shutil.copyfileobj(plain, packed)
            (folder / "diff_id").write_text(digest(kept.read_bytes()), encoding="utf-8")

    folder = built_once(CACHE / f"layer-{name}-{hashlib.sha256(recipe).hexdigest()[:12]}", build)
    return Layer((folder / "layer.tar.gz").read_bytes(), (folder / "diff_id").read_text(encoding="utf-8"))
