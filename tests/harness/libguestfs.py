# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guestfish of a Debian that lies in a folder: libguestfs brings ninety packages and a kernel, and few hosts of tests want them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core import command
from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.harness.host_networks import unpack

PACKAGES = ("guestfish", "linux-image-cloud-amd64")
# It sees the devices, the memory and the mounts of who calls it, and the rest of its own Debian.
WRAPPER = """\
#!/bin/sh
root=$(dirname "$(dirname "$(realpath "$0")")")/root
exec unshare --mount --propagation private sh -c '
  root=$0
  for folder in dev proc run sys tmp; do mount --rbind "/$folder" "$root/$folder" || exit 1; done
  exec chroot "$root" guestfish "$@"
' "$root" "$@"
"""
EMULATED = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


def search_path(suite: str) -> str:
    """What to put before PATH: the guestfish of *suite*, and what comes with it on a host where it is installed."""
    return f"{programs(suite)}:{mounting()}"


def mounting() -> Path:
    """A folder with the program by which restic mounts."""
    return unpack("fuse3") / "bin"


def programs(suite: str) -> Path:
    """A folder with the guestfish of *suite*. The machine in which it reads is made, which takes a minute."""
    recipe = repr((suite, PACKAGES, WRAPPER, sources.archive_lines(sources.host_sources(), suite))).encode()
    folder = CACHE / f"libguestfs-{suite}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    return built_once(folder, lambda work: _build(suite, work)) / "bin"


def _build(suite: str, work: Path) -> None:
    argv = [*command.ALONE, "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    argv += [f"--aptopt={setting.rstrip(';')}" for setting in sources.apt_settings()]
    argv += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    lines = sources.archive_lines(sources.host_sources(), suite)
    subprocess.run([*argv, suite, str(work / "root"), *lines], check=True, env={**os.environ, "TMPDIR": str(work)})
    (work / "bin").mkdir()
    (work / "bin/guestfish").write_text(WRAPPER)
    (work / "bin/guestfish").chmod(0o755)
    run(work / "bin", "--add", "/dev/null", script="run\n")


def run(programs: Path, *words: str, script: str) -> str:
    """What guestfish prints of *script*."""
    return command.run([str(programs / "guestfish"), *words], input=script, env=EMULATED)
