# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of an image."""

from __future__ import annotations

import typing as t

from .._core.claims import Space
from .._storage.volume import BLOCK, FILESYSTEM, Volume
from .presets import Presets

# No guest is cloned from an ISO.
VOLUME_KINDS = {"container": FILESYSTEM, "vm": BLOCK}


class StoredImage(t.NamedTuple):
    """An image that guests can be made of.

    *path* is its file: a root file system (``tar.zst``, numeric owners, extended attributes) of a container, a disk
    (``qcow2`` without a backing file) of a VM, which a linked disk may stand on, or an ``iso`` that drives read.
    *size_bytes* is what it takes unpacked, or the size of the disk or ISO, *largest_id* the largest uid or gid of an owner in it.
    *digest* is ``sha256:`` and the hexadecimal digest of the file. *presets* are what is known of the system in it.
    """

    name: str
    kind: str
    format: str
    path: str
    size_bytes: int
    digest: str
    largest_id: int = 0
    presets: Presets = Presets()


def space_of(copy: Volume, size_bytes: int) -> Space:
    """The room that a copy which is not there yet takes, once for all guests that are cloned from it."""
    return Space(f"the copy {copy}", copy.pool, size_bytes, is_shared=True)


class SourceFile(t.NamedTuple):
    """A file that an image is made of, as it was seen. *packing* is what :func:`source_file.look` says. *told* names it to the user."""

    path: str
    packing: str
    size: int
    mtime_ns: int
    told: str


class Remote(t.NamedTuple):
    """A file as its server told of it, before it is fetched.

    *url* is where it lies, a mirror in the place of its host. *digest* is what it must have (``sha512:`` and hexadecimal digits),
    *size* in bytes, *serial* that of a product of simplestreams. *validator* is its ETag or time of change. ``None`` is not known.
    *signature* is the detached one of the file or its content. *missing* are programs without which none can be checked.
    *is_trusted*: nobody on the way can have changed what it must be. *mirrors* stand in for hosts that the server may send to.
    """

    url: str
    digest: str | None = None
    size: int | None = None
    serial: str | None = None
    validator: str | None = None
    signature: bytes | None = None
    missing: tuple[str, ...] = ()
    is_trusted: bool = True
    mirrors: t.Mapping[str, str] = {}


class State(t.NamedTuple):
    """An image as it is. *image* is ``None`` while none stands.

    *origin* is what the record says that it was made of: ``{"build": {...}}``, or a path, a url or
    a product of simplestreams with the digest of the file.
    *is_recorded*: something of it was begun or is left. *is_foreign*: its folder in the store is there without a record.
    *is_cached*: the file of *remote* was fetched before.
    *source* is the file that ``path`` names, ``None`` where there is none. *is_same_source*: the file has the content that
    the image was made of; ``None`` where that cannot be told. *remote* is what its server has, asked only where an image is to
    be made or the user wants to know; *unreachable* says why a server that was asked of an image that stands told nothing.
    *free_bytes* is the room that the store has. *copies* are those that guests were cloned from, in pools.
    *users* are the guests that need it, read for ``absent`` only.
    """

    image: StoredImage | None = None
    origin: t.Mapping[str, t.Any] = {}
    is_recorded: bool = False
    is_foreign: bool = False
    source: SourceFile | None = None
    is_same_source: bool | None = None
    remote: Remote | None = None
    is_cached: bool = False
    unreachable: str | None = None
    free_bytes: int | None = None
    copies: tuple[Volume, ...] = ()
    users: tuple[str, ...] = ()
