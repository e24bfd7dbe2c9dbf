# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's installer for the network, and a mirror of what it needs for a small system: a folder to serve, kept in the build cache.

Every package is Debian's own, packed anew by gzip: an emulated machine spends a quarter of its time on xz. Made here are the
indices, and those components of the installer (udebs) that a mirror of a test host is known to lack: from the packages of the same
source. The modules of the kernel are among them, because a mirror may be between two releases: its index then names another kernel
than its installer has.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import threading
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once

SUITE, ARCH = "trixie", "amd64"
NETBOOT = "debian-installer-13-netboot-amd64"
KERNEL = "linux-image-cloud-amd64"
HELPER = "/usr/lib/apt/apt-helper"
# Of the installer: a disk with one file system, a system on it, its root user, its boot loader, and the end.
COMPONENTS = (
    "partman-auto", "partman-ext3", "bootstrap-base", "user-setup-udeb", "clock-setup", "grub-installer", "finish-install",
    "di-utils-exit-installer",
)  # fmt: skip
# Of the system: besides what dpkg calls required. An installer puts in what its mirror calls required or important.
PACKAGES = (
    "apt", "busybox", "debconf-i18n", "debian-archive-keyring", "e2fsprogs", "grub-pc", "ifupdown", "init", "initramfs-tools", "iproute2", "kmod",
    "netbase", "systemd-sysv", "udev", "zstd",
)  # fmt: skip
# Components made from packages, which take the rest of their description from the index.
MADE = {"e2fsprogs-udeb": ("e2fsprogs", "libext2fs2t64", "libcom-err2", "libss2")}
# Modules of the kernel, by the names under which the installer asks for them.
MODULES = {
    "ext4-modules": ("ext2-modules, ext3-modules, ext4-modules", ("ext4", "jbd2", "mbcache", "crc16")),
    "scsi-modules": ("scsi-modules, virtio-modules", ("virtio_blk",)),
}
# Nothing but a hint for finding file systems of Windows.
LEFT_OUT = {"ntfs-3g-udeb"}
Stanza = dict[str, str]
_AR = b"!<arch>\n"


class Netboot(t.NamedTuple):
    """The kernel and the initial RAM disk of the installer, and the root folder of its mirror."""

    kernel: Path
    initrd: Path
    mirror: Path


def netboot() -> Netboot:
    key = Path(__file__).read_bytes() + repr(sources.archive_lines(sources.host_sources(), SUITE)).encode()
    folder = built_once(CACHE / f"netboot-{SUITE}-{hashlib.sha256(key).hexdigest()[:12]}", build)
    return Netboot(folder / "linux", folder / "initrd.gz", folder)


@contextlib.contextmanager
def served(folder: Path, address: str, port: int = 0) -> t.Iterator[int]:
    """*folder* by HTTP at *address*; yields the port."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: t.Any) -> None:
        pass


def build(folder: Path) -> None:
    """Fill *folder* with linux, initrd.gz and the mirror's dists and pool."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".mirror.") as name:
        apt = _Apt(Path(name))
        release, present = _unpack_netboot(apt, folder)
        pool = folder / "pool"
        pool.mkdir()
        index = folder / "dists" / SUITE / "main"
        _write_index(index / f"binary-{ARCH}", _packages(apt, pool))
        _write_index(index / "debian-installer" / f"binary-{ARCH}", _components(apt, pool, release, present))
    _write_release(folder / "dists" / SUITE)


class _Apt:
    """apt with the mirrors of this host for another suite, and nothing installed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for part in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial"):
            (place / part).mkdir(parents=True)
        (place / "status").touch()
        lines = sources.archive_lines(sources.host_sources(), SUITE)
        (place / "etc" / "sources.list").write_text("".join(f"{line}\n" for line in lines))
        settings = (
            f'Dir::Etc "{place}/etc"', 'Dir::Etc::sourceparts "-"', f'Dir::State::lists "{place}/lists"',
            f'Dir::State::status "{place}/status"', f'Dir::Cache "{place}/cache"', 'APT::Sandbox::User "root"',
            f'APT::Architecture "{ARCH}"', f'APT::Architectures "{ARCH}"', 'Acquire::Languages "none"',
        )  # fmt: skip
        (place / "apt.conf").write_text(
            "".join(f"{setting};\n" for setting in settings) + "\n".join(sources.apt_settings())
        )
        self.environment = {**os.environ, "APT_CONFIG": str(place / "apt.conf")}
        self.mirror = next(word for word in lines[0].split() if "://" in word).rstrip("/")
        self.run("apt-get", "-q", "update")

    def run(self, *argv: str, cwd: Path | None = None) -> str:
        done = subprocess.run(argv, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def unpacked(self, *packages: str) -> Path:
        """A new folder with the files of *packages*."""
        place = Path(tempfile.mkdtemp(dir=self.place))
        root = place / "root"
        root.mkdir()
        self.run("apt-get", "-q", "download", *packages, cwd=place)
        for package in place.glob("*.deb"):
            self.run("dpkg-deb", "-x", str(package), str(root))
        return root

    def fetched(self, path: str, target: Path, digest: str = "") -> Path:
        """A file of the mirror that apt has no name for."""
        self.run(
            HELPER, "download-file", f"{self.mirror}/{path}", str(target), *([f"SHA256:{digest}"] if digest else [])
        )
        return target


def _unpack_netboot(apt: _Apt, folder: Path) -> tuple[str, list[Stanza]]:
    """The kernel and the initial RAM disk; returns the release of the one, and the components in the other."""
    root = apt.unpacked(NETBOOT)
    (images,) = root.rglob(f"text/debian-installer/{ARCH}")
    for name in ("linux", "initrd.gz"):
        shutil.copyfile(images / name, folder / name)
    place = apt.place / "initrd"
    place.mkdir()
    with gzip.open(images / "initrd.gz") as stream:
        # Its device nodes cannot be made everywhere, and are not looked for.
        subprocess.run(("busybox", "cpio", "-id"), input=stream.read(), cwd=place, capture_output=True, check=False)
    (modules,) = place.glob("usr/lib/modules/*")
    return modules.name, _stanzas((place / "var/lib/dpkg/status").read_text())


def _stanzas(text: str) -> list[Stanza]:
    found = (dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", part, re.MULTILINE)) for part in text.split("\n\n"))
    return [stanza for stanza in found if "Package" in stanza]


def _packages(apt: _Apt, pool: Path) -> list[Stanza]:
    """The packages of the system, with all that they depend on."""
    (listed,) = apt.place.glob(f"lists/*dists_{SUITE}_main_binary-{ARCH}_Packages")
    required = [stanza["Package"] for stanza in _stanzas(listed.read_text()) if stanza.get("Priority") == "required"]
    apt.run(
        "apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install", *required, KERNEL, *PACKAGES
    )
    found = []
    for file in sorted((apt.place / "cache" / "archives").glob("*.deb")):
        name, version = apt.run("dpkg-deb", "-W", "--showformat=${Package} ${Version}", str(file)).split()
        (stanza,) = _stanzas(apt.run("apt-cache", "show", f"{name}={version}"))[:1]
        found.append(_in_pool(stanza, file, pool))
    return [*found, _trust(apt, pool)]


def _trust(apt: _Apt, pool: Path) -> Stanza:
    """A package as a mirror without signatures has it. What the installer is told of that is not enough for apt (3.0)."""
    root = apt.place / "trust"
    (root / "etc/apt/apt.conf.d").mkdir(parents=True)
    (root / "etc/apt/apt.conf.d/90unsigned").write_text('Acquire::AllowInsecureRepositories "true";\n')
    stanza = {
        "Package": "unsigned-mirror",
        "Version": "1",
        "Architecture": "all",
        "Section": "misc",
        "Priority": "important",
        "Description": "Settings for a mirror without signatures",
    }
    return _made(apt, stanza, root, pool)


def _components(apt: _Apt, pool: Path, release: str, present: list[Stanza]) -> list[Stanza]:
    """The components of the installer, with all that they depend on, as far as they are not *present*."""
    path = f"dists/{SUITE}/main/debian-installer/binary-{ARCH}/Packages.xz"
    listed = lzma.decompress(apt.fetched(path, apt.place / "Packages.xz").read_bytes()).decode()
    index = {
        stanza["Package"]: stanza for stanza in _stanzas(listed) if not re.search(r"-\d\S+-di$", stanza["Package"])
    }
    found = [_modules(apt, pool, release, kind) for kind in MODULES]
    satisfied = {word for stanza in (*present, *found) for word in (stanza["Package"], *_words(stanza, "Provides"))}
    wanted = list(COMPONENTS)
    while wanted:
        name = wanted.pop(0)
        if name in satisfied or name in LEFT_OUT:
            continue
        stanza = index.get(name) or next(each for each in index.values() if name in _words(each, "Provides"))
        satisfied |= {name, stanza["Package"], *_words(stanza, "Provides")}
        wanted += _words(stanza, "Depends")
        if stanza["Package"] in MADE:
            root = apt.unpacked(*MADE[stanza["Package"]])
            shutil.rmtree(root / "usr/share")
            found.append(_made(apt, stanza, root, pool))
        else:
            target = apt.place / Path(stanza["Filename"]).name
            found.append(_in_pool(stanza, apt.fetched(stanza["Filename"], target, stanza["SHA256"]), pool))
    return found


def _words(stanza: Stanza, field: str) -> list[str]:
    """The names in a field of relations; of alternatives the first."""
    return [part.split()[0] for part in stanza.get(field, "").split(",") if part.strip()]


def _modules(apt: _Apt, pool: Path, release: str, kind: str) -> Stanza:
    """Modules of the installer's kernel, from the package of that kernel."""
    provides, names = MODULES[kind]
    root = apt.unpacked(f"linux-image-{release}")
    kept = apt.place / kind
    for file in root.rglob("*.ko*"):
        if file.name.split(".")[0].replace("-", "_") in names:
            target = kept / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    stanza = {
        "Package": f"{kind}-{release}-di",
        "Version": "1",
        "Architecture": ARCH,
        "Kernel-Version": release,
        "Provides": provides,
        "Depends": f"kernel-image-{release}-di",
        "Section": "debian-installer",
        "Priority": "standard",
        "Description": "Modules of the kernel",
    }
    return _made(apt, stanza, kept, pool)


def _made(apt: _Apt, stanza: Stanza, root: Path, pool: Path) -> Stanza:
    """A component with the files in *root*."""
    control = {key: value for key, value in stanza.items() if key not in ("Filename", "Size", "MD5sum", "SHA256")}
    control.setdefault("Maintainer", "homelab.hybrid")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(_text(control))
    kind = "udeb" if stanza["Section"] == "debian-installer" else "deb"
    file = apt.place / f"{stanza['Package']}_{stanza['Version']}_{stanza['Architecture']}.{kind}"
    apt.run("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(root), str(file))
    return _in_pool(control, file, pool)


def _in_pool(stanza: Stanza, file: Path, pool: Path) -> Stanza:
    """The entry of an index for *file*, which goes to the pool."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", file.name)
    data = _packed_lightly(file.read_bytes())
    (pool / name).write_bytes(data)
    return {
        **{key: value for key, value in stanza.items() if key not in ("MD5sum", "SHA256", "Status")},
        "Filename": f"pool/{name}",
        "Size": str(len(data)),
        "MD5sum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "SHA256": hashlib.sha256(data).hexdigest(),
    }


def _packed_lightly(package: bytes) -> bytes:
    """A package whose parts are packed by gzip: an ar archive, each part of which has a header that ends with its size."""
    parts, place = [_AR], len(_AR)
    while place < len(package):
        header, begin = package[place : place + 60], place + 60
        size = int(header[48:58])
        name, data = header[:16].decode().strip().rstrip("/"), package[begin : begin + size]
        place = begin + size + size % 2
        if name.endswith(".xz"):
            name, data = f"{name[:-3]}.gz", gzip.compress(lzma.decompress(data), 1, mtime=0)
        parts += [f"{name:16}".encode(), header[16:48], f"{len(data):<10}".encode(), header[58:], data]
        parts.append(b"\n" * (len(data) % 2))
    return b"".join(parts)


def _text(stanza: Stanza) -> str:
    return "".join(f"{key}: {value}\n" for key, value in stanza.items())


def _write_index(folder: Path, stanzas: list[Stanza]) -> None:
    folder.mkdir(parents=True)
    # One that no empty line ends the installer does not see.
    data = "".join(f"{_text(stanza)}\n" for stanza in stanzas).encode()
    (folder / "Packages").write_bytes(data)
    (folder / "Packages.gz").write_bytes(gzip.compress(data))
    # By this the installer sees that the mirror has its architecture.
    (folder / "Release").write_text(f"Archive: {SUITE}\nComponent: main\nArchitecture: {ARCH}\n")


def _write_release(folder: Path) -> None:
    lines = [f"Suite: {SUITE}", f"Codename: {SUITE}", f"Architectures: {ARCH}", "Components: main", "SHA256:"]
    for file in sorted(folder.rglob("Packages*")):
        data = file.read_bytes()
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {file.relative_to(folder)}")
    (folder / "Release").write_text("".join(f"{line}\n" for line in lines))
