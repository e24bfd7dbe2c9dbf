# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH's own server on the loopback of this cell: root logs in to itself by a key, as to another host."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once

PORT = 2722
PACKAGES = ("openssh-server", "libwrap0")


@contextlib.contextmanager
def serving(folder: Path) -> t.Iterator[int]:
    """The port that it listens on, for as long as it lasts. Its files are in *folder*."""
    for name in ("host", "root"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "keys").write_text((folder / "root.pub").read_text(encoding="utf-8"), encoding="utf-8")
    host_key = " ".join((folder / "host.pub").read_text(encoding="utf-8").split()[:2])
    (folder / "known").write_text(f"[127.0.0.1]:{PORT} {host_key}\n", encoding="utf-8")
    ours = Path("/root/.ssh/config")
    ours.parent.mkdir(mode=0o700, exist_ok=True)
    before = ours.read_text(encoding="utf-8") if ours.exists() else None
    ours.write_text(
        f"Host 127.0.0.1\n  IdentityFile {folder}/root\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n",
        encoding="utf-8",
    )
    ours.chmod(0o600)
    with Path("/etc/passwd").open("r+", encoding="utf-8") as users:
        if not any(line.startswith("sshd:") for line in users.read().splitlines()):
            users.write("sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (folder / "sshd.conf").write_text(
        f"ListenAddress 127.0.0.1:{PORT}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/keys\nStrictModes no\nUsePAM no\n"
        f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nPidFile none\n",
        encoding="utf-8",
    )
    root = _server()
    libraries = ":".join(str(path.parent) for path in root.rglob("libwrap.so.0"))
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            [str(root / "usr/sbin/sshd"), "-D", "-e", "-f", str(folder / "sshd.conf")],
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            stderr=log,
        )
    try:
        wait_until("sshd to answer", _answers, timeout_seconds=30)
        yield PORT
    finally:
        server.kill()
        server.wait()
        if before is None:
            ours.unlink()
        else:
            ours.write_text(before, encoding="utf-8")


def _answers() -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=5):
        return True
    return False


def _server() -> Path:
    """A root with the server in it: that of the host, or Debian's package, unpacked."""
    if Path("/usr/sbin/sshd").exists():
        return Path("/")
    return built_once(CACHE / "sshd", _unpack)


def _unpack(place: Path) -> None:
    for package in PACKAGES:
        subprocess.run(["apt-get", "-q", "download", package], cwd=place, check=True, capture_output=True)
    for archive in sorted(place.glob("*.deb")):
        _run("dpkg", "-x", str(archive), str(place))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
