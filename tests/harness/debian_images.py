# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian images for the tests of guests, built once by the collection's own code and kept in the build cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._image import build, sources

CACHE = Path(__file__).resolve().parents[2] / ".build" / "cache"


def container_root(suite: str, packages: t.Sequence[str] = (), cache: Path = CACHE) -> Path:
    """A root file system of *suite* as tar.zst, for ``path`` of an image of kind container."""
    return _cached("container", suite, packages, cache, "root.tar.zst", build.build_container_root)


def vm_disk(suite: str, packages: t.Sequence[str] = (), cache: Path = CACHE) -> Path:
    """A bootable disk of *suite* as qcow2, for ``path`` of an image of kind vm."""
    return _cached("vm", suite, packages, cache, "disk.qcow2", build.build_vm_disk)


def _cached(
    kind: str, suite: str, packages: t.Sequence[str], cache: Path, name: str, make: t.Callable[..., t.Any]
) -> Path:
    """The file of one recipe. What the code, the sources of the host and the recipe make is one key."""
    code = b"".join(Path(module.__file__ or "").read_bytes() for module in (build, sources))
    recipe = repr((suite, sorted(packages), sources.debian_lines(sources.host_sources(), suite))).encode()
    folder = cache / f"{kind}-{suite}-{hashlib.sha256(code + recipe).hexdigest()[:12]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=cache, prefix=f".{folder.name}."))
        try:
            for dummy in make(build.Recipe(suite, tuple(packages)), str(work / name), ()):
                pass
            work.chmod(0o755)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder / name
