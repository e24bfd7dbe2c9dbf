# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root of Ubuntu from a mirror that the host names: ``make ubuntu``.

Where no mirror of Ubuntu is reached, one stands in: its layout, suites, components and keyring, with the packages of Debian. The host
keeps the entry disabled, as the documentation advises. Beside it what else takes the half of a build to show.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.upstream import Upstream, serving

pytestmark = pytest.mark.skipif(
    "HOMELAB_CELL" not in os.environ, reason="runs in a cell: it writes apt sources of the host"
)
NAME = "hlubuntu"
IMAGE = Image()
PARAMS = {"name": NAME, "kind": "container", "build": {"suite": "noble", "packages": ["file"]}}
SOURCE = Path("/etc/apt/sources.list.d/hlubuntu.sources")
KEYRING = sources.UBUNTU.keyring_path
POCKETS = ("noble", "noble-updates", "noble-security")


def run(*argv: str, **keywords: t.Any) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **keywords)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


class Signer:
    """A key of its own in *home*, and its keyring as apt reads it."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self._gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet")
        run(*self._gpg, "--passphrase", "", "--quick-generate-key", "archive@example.org", "default", "sign", "never")
        self.keyring = home / "keyring.gpg"
        run(*self._gpg, "--output", str(self.keyring), "--export")

    def clearsign(self, text: str) -> str:
        return run(*self._gpg, "--clearsign", input=text)


def fetch(url: str, target: Path) -> bytes:
    """As the host's own apt reaches it."""
    run("/usr/lib/apt/apt-helper", "download-file", url, str(target))
    return target.read_bytes()


def keyring_package(tree: Path, keyring: Path, upstream: Upstream) -> str:
    """What the index of packages says of the one that brings *keyring* into a root."""
    control = (
        "Package: ubuntu-keyring\nVersion: 1\nArchitecture: all\nEssential: yes\nPriority: required\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: made by a test\n"
    )
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(control, encoding="utf-8")
    (tree / KEYRING.lstrip("/")).parent.mkdir(parents=True)
    (tree / KEYRING.lstrip("/")).write_bytes(keyring.read_bytes())
    run("chmod", "-R", "u=rwX,go=rX", str(tree))
    made = tree.parent / "ubuntu-keyring.deb"
    run("dpkg-deb", "-Zgzip", "--root-owner-group", "-b", str(tree), str(made))
    content = made.read_bytes()
    upstream.put("ubuntu/pool/ubuntu-keyring.deb", content)
    return f"{control}Filename: pool/ubuntu-keyring.deb\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"


def publish(upstream: Upstream, signer: Signer, folder: Path) -> None:
    """Debian's packages as ``main`` of each pocket, and in ``universe`` the package with the keyring."""
    mirror = sources.archive_lines(sources.host_sources(), "trixie")[0].split()[2].rstrip("/")
    packages = fetch(f"{mirror}/dists/trixie/main/binary-amd64/Packages.xz", folder / "Packages.xz")
    for path in re.findall(r"^Filename: (\S+)$", lzma.decompress(packages).decode(), re.MULTILINE):
        upstream.redirects[f"/ubuntu/{path}"] = f"{mirror}/{path}"
    keyring = keyring_package(folder / "keyring", signer.keyring, upstream)
    for pocket in POCKETS:
        # apt passes over an index whose unpacked sum is not listed beside the packed one's.
        main, universe = (lzma.decompress(packages), keyring.encode()) if pocket == POCKETS[0] else (b"", b"")
        indexes = {
            "main/binary-amd64/Packages": main,
            "main/binary-amd64/Packages.xz": packages if main else lzma.compress(b""),
            "universe/binary-amd64/Packages": universe,
            "universe/binary-amd64/Packages.gz": gzip.compress(universe),
        }
        sums = "".join(
            f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n" for name, content in indexes.items()
        )
        release = (
            f"Origin: Ubuntu\nLabel: Ubuntu\nSuite: {pocket}\nVersion: 24.04\nCodename: noble\nArchitectures: amd64\n"
            f"Components: main universe\nDate: Thu, 25 Apr 2024 15:10:33 UTC\nSHA256:\n{sums}"
        )
        upstream.put(f"ubuntu/dists/{pocket}/InRelease", signer.clearsign(release))
        for name, content in indexes.items():
            upstream.put(f"ubuntu/dists/{pocket}/{name}", content)


@contextlib.contextmanager
def keyring_of_host(folder: Path, keyring: Path) -> t.Iterator[None]:
    """The host's keyrings with *keyring* as that of Ubuntu."""
    place = os.path.dirname(KEYRING)
    run("cp", "-a", f"{place}/.", str(folder))
    (folder / os.path.basename(KEYRING)).write_bytes(keyring.read_bytes())
    run("mount", "--bind", str(folder), place)
    try:
        yield
    finally:
        run("umount", place)


@pytest.fixture
def mirror(tmp_path: Path) -> t.Iterator[Upstream]:
    for name in ("served", "keyrings"):
        (tmp_path / name).mkdir()
    signer = Signer(tmp_path / "gnupg")
    with serving(tmp_path / "served") as upstream, keyring_of_host(tmp_path / "keyrings", signer.keyring):
        publish(upstream, signer, tmp_path)
        try:
            yield upstream
        finally:
            SOURCE.unlink(missing_ok=True)
            converge_now(IMAGE, {"name": NAME, "state": "absent"})


def test_a_root_of_ubuntu_is_built_from_the_mirror_that_the_host_names(mirror: Upstream, tmp_path: Path) -> None:
    refuse(IMAGE, PARAMS, "no http or https mirror of Ubuntu's archive")
    SOURCE.write_text(
        f"Types: deb\nEnabled: no\nURIs: {mirror.url}/ubuntu\nSuites: {' '.join(POCKETS)}\nComponents: main universe\n"
        f"Signed-By: {KEYRING}\n",
        encoding="utf-8",
    )
    outcome = check_run_again(IMAGE, PARAMS, ["state", "kind", "build.suite", "build.packages"])
    assert outcome.error is None
    assert {f"/ubuntu/dists/{pocket}/InRelease" for pocket in POCKETS} <= {line.split()[1] for line in mirror.requests}
    root = tmp_path / "root"
    root.mkdir()
    archive = Path(paths.IMAGES) / NAME / "root.tar.zst"
    run("tar", "-C", str(root), "--numeric-owner", "--exclude=./dev/*", "-xpf", str(archive))
    lines = (root / "etc/apt/sources.list").read_text(encoding="utf-8")
    assert re.findall(r"^deb \[signed-by=(\S+)\] (\S+) (\S+) (.*)$", lines, re.MULTILINE) == [
        (KEYRING, f"{mirror.url}/ubuntu", pocket, "main universe") for pocket in POCKETS
    ]
    assert (root / KEYRING.lstrip("/")).exists()
    run("chroot", str(root), "file", "--version")
    run("chroot", str(root), "systemctl", "is-enabled", "systemd-networkd.service")
    unchanged(IMAGE, PARAMS)


def test_packages_that_another_key_signed_are_no_root_of_ubuntu(mirror: Upstream, tmp_path: Path) -> None:
    SOURCE.write_text(
        f"Types: deb\nEnabled: no\nURIs: {mirror.url}/ubuntu\nSuites: noble\nComponents: main universe\nSigned-By: {KEYRING}\n",
        encoding="utf-8",
    )
    text = mirror.folder / "ubuntu/dists/noble/InRelease"
    signed = Signer(tmp_path / "other").clearsign(text.read_text(encoding="utf-8"))
    text.write_text(signed, encoding="utf-8")
    outcome = converge_now(IMAGE, PARAMS)
    assert outcome.error is not None
    assert "could not build Ubuntu noble" in outcome.error.message
    assert not (Path(paths.IMAGES) / NAME).exists()


def test_an_unknown_package_is_named_and_leaves_nothing() -> None:
    build = {"suite": "bookworm", "packages": [f"{NAME}-no-such-package"]}
    outcome = converge_now(IMAGE, {"name": NAME, "kind": "container", "build": build})
    assert outcome.error is not None
    assert f"Unable to locate package {NAME}-no-such-package" in outcome.error.message
    assert not (Path(paths.IMAGES) / NAME).exists() and not Path(paths.record_path("images", NAME)).exists()
    assert not list(Path(paths.IMAGES).glob(f".attempts/{NAME}*"))
