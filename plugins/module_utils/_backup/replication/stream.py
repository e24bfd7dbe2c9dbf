# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What ``btrfs send`` prints, as far as it is counted and known to be whole (fs/btrfs/send.h: the format since Linux 3.6)."""

from __future__ import annotations

import struct
import typing as t

_MAGIC = b"btrfs-stream\0"
_HEADER = struct.Struct("<13sI")
# How long what follows is, what it does, and a checksum.
_COMMAND = struct.Struct("<IHI")
_WRITE, _END = 15, 21


class Part(t.NamedTuple):
    """A piece of the stream: *data* is what of it is content of files, in bytes, *is_last*: the stream says that it is whole."""

    text: bytes
    data: int = 0
    is_last: bool = False


def parts(stream: t.IO[bytes]) -> t.Iterator[Part]:
    """The pieces of *stream*, up to its end or to where it breaks off: then none of them is the last.

    :raises ValueError: when it is no such stream.
    """
    header = _read(stream, _HEADER.size)
    if len(header) == _HEADER.size and _HEADER.unpack(header)[0] != _MAGIC:
        raise ValueError("this is no stream of btrfs")
    yield Part(header)
    while True:
        head = _read(stream, _COMMAND.size)
        if len(head) < _COMMAND.size:
            yield Part(head)
            return
        length, command, dummy = _COMMAND.unpack(head)
        rest = _read(stream, length)
        is_whole = len(rest) == length
        yield Part(head + rest, length if command == _WRITE else 0, is_whole and command == _END)
        if not is_whole or command == _END:
            return


def _read(stream: t.IO[bytes], size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = stream.read(size - len(found))
        if not more:
            break
        found += more
    return found
