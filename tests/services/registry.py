# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's docker-registry, with images that are made here."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import socket
import subprocess
import tarfile
import types
import typing as t
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness.host_networks import unpack

BUSYBOX = Path("/bin/busybox")
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG, LAYER = "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Layer(t.NamedTuple):
    """A layer of images: its archive as it is sent, and the digest of what is in it."""

    packed: bytes
    diff_id: str


class Registry:
    """A registry without TLS at ``name``, whose blobs lie below *folder*."""

    def __init__(self, folder: Path, address: str) -> None:
        with socket.create_server((address, 0)) as probe:
            self.name = f"{address}:{probe.getsockname()[1]}"
        self.folder = folder
        storage = {"filesystem": {"rootdirectory": str(folder / "storage")}}
        config = {"version": "0.1", "storage": storage, "http": {"addr": self.name}, "log": {"level": "error"}}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
        program = unpack("docker-registry") / "usr/bin/docker-registry"
        with (folder / "log").open("w", encoding="utf-8") as log:
            command = [str(program), "serve", str(folder / "config.yml")]
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until("docker-registry", self._answers, timeout_seconds=30)

    def close(self) -> None:
        self._daemon.kill()
        self._daemon.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.name}/v2/", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def push(
        self,
        repository: str,
        tag: str,
        command: t.Sequence[str],
        files: Mapping[str, str],
        base: Layer | None = None,
        settings: Mapping[str, t.Any] = types.MappingProxyType({}),
    ) -> str:
        """Publish an image of busybox, or of *base*, with *files* that runs *command*; its reference with its digest.

        *settings* are further keys of its configuration, such as ``Entrypoint``.
        """
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            if base is None:
                _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
            for path, text in files.items():
                _add(tar, path, text.encode(), 0o755 if text.startswith("#!") else 0o644)
        packed = gzip.compress(content.getvalue(), compresslevel=1, mtime=0)
        layers = [*([base] if base else []), Layer(packed, digest(content.getvalue()))]
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": list(command), **settings, "Env": [PATH, *settings.get("Env", ())]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(config), "digest": self._upload(repository, config)},
                "layers": [
                    {"mediaType": LAYER, "size": len(layer.packed), "digest": self._upload(repository, layer.packed)}
                    for layer in layers
                ],
            }
        ).encode()
        self._send("PUT", f"/v2/{repository}/manifests/{tag}", manifest, MANIFEST)
        return f"{self.name}/{repository}:{tag}@{digest(manifest)}"

    def turn(self, reference: str) -> None:
        """Turn one bit of the last layer of an image."""
        repository, _tag, wanted = reference.removeprefix(f"{self.name}/").replace("@", ":", 1).split(":", 2)
        request = urllib.request.Request(f"http://{self.name}/v2/{repository}/manifests/{wanted}")
        request.add_header("Accept", MANIFEST)
        with urllib.request.urlopen(request, timeout=10) as answer:
            layer = json.load(answer)["layers"][-1]["digest"].removeprefix("sha256:")
        blob = self.folder / "storage/docker/registry/v2/blobs/sha256" / layer[:2] / layer / "data"
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)

    def _upload(self, repository: str, content: bytes) -> str:
        there = urllib.request.Request(f"http://{self.name}/v2/{repository}/blobs/{digest(content)}", method="HEAD")
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(there, timeout=120):
            return digest(content)
        where = self._send("POST", f"/v2/{repository}/blobs/uploads/", b"", "application/octet-stream")
        joint = "&" if "?" in where else "?"
        self._send("PUT", f"{where}{joint}digest={digest(content)}", content, "application/octet-stream")
        return digest(content)

    def _send(self, method: str, url: str, content: bytes, kind: str) -> str:
        whole = url if url.startswith("http") else f"http://{self.name}{url}"
        request = urllib.request.Request(whole, data=content, method=method, headers={"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return str(answer.headers.get("Location", ""))


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
