# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a package of npm and unpack it, if it is what was published: ``npm_fetch.py REGISTRY NAME VERSION FOLDER [INTEGRITY]``.

A guest without a Node gets its first one by this. Without an integrity that is known, what the registry says of the version holds.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import typing as t
import urllib.request
from pathlib import Path

TIMEOUT_SECONDS = 60


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read()
        return content


def main(registry: str, name: str, version: str, folder: Path, known: str = "") -> None:
    versions = json.loads(fetch(f"{registry}/{name}"))["versions"]
    if version not in versions:
        sys.exit(f"{name}@{version} was not published: the registry has no such version")
    told = versions[version]["dist"]
    content = fetch(told["tarball"])
    integrity = known or told["integrity"]
    algorithm, _, digest = integrity.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    if found != digest:
        sys.exit(f"{name}@{version} is not what was published: EINTEGRITY, {algorithm}-{found} and not {integrity}")
    folder.mkdir(parents=True)
    # The Python of Debian 12 may have no filters.
    options: dict[str, t.Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, **options)
    # All that is packed lies in one folder, whatever that is called.
    (only,) = folder.iterdir()
    for each in only.iterdir():
        each.rename(folder / each.name)
    only.rmdir()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), *sys.argv[5:])
