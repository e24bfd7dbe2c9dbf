# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Where downloads lie, and which images were made of them."""

from __future__ import annotations

import hashlib
import os

from .._core import paths, record
from .record import ImageRecord
from .state import Remote

# No image can have this name: names begin with a letter or digit.
FOLDER = os.path.join(paths.IMAGES, ".downloads")


def name_of(remote: Remote) -> str:
    """How a download is called: by what it must be, or where that is not known by where it comes from."""
    if remote.digest is not None:
        return remote.digest.replace(":", "-")
    return f"url-{hashlib.sha256(remote.url.encode()).hexdigest()}"


def path_of(name: str) -> str:
    return os.path.join(FOLDER, name)


def part_of(name: str) -> str:
    return os.path.join(FOLDER, f"{name}.part")


def note_of(name: str) -> str:
    """What is noted of the server that a part came from."""
    return os.path.join(FOLDER, f"{name}.json")


def digest(path: str, like: str) -> str:
    """The digest of the file *path*, by the algorithm of the digest *like*."""
    algorithm = like.partition(":")[0]
    with open(path, "rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def is_here(remote: Remote) -> bool:
    """Whether the file was fetched before. Its content is looked at before it is used."""
    return remote.digest is not None and os.path.exists(path_of(name_of(remote)))


def is_used(name: str) -> bool:
    """Whether a record of an image names the download. One that cannot be read may."""
    records = record.load_all("images").values()
    return any(its.problem is not None or ImageRecord.load(its.data).download == name for its in records)
