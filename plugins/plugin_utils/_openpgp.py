# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which keys an OpenPGP file holds. A guest has no gpg: apt brings gpgv or sqv, which only verify."""

from __future__ import annotations

import base64
import binascii
import hashlib
import typing as t

_ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = "-----END PGP PUBLIC KEY BLOCK-----"
# RFC 9580, section 5: the tags of packets.
_PUBLIC_KEY = 6


def fingerprints(armored: str) -> list[str]:
    """The fingerprints of the primary keys in the armored text *armored*, forty or more hexadecimal digits in upper case.

    None where it holds no key. Raises ValueError where it holds a broken one.
    """
    return [found for block in armored.split(_ARMOR)[1:] for found in _of_packets(_dearmored(block))]


def _dearmored(block: str) -> bytes:
    inside, end, dummy = block.partition(_END)
    if not end:
        raise ValueError("its armor has no end")
    # Headers end with an empty line, the checksum begins with an equals sign.
    lines = [line.strip() for line in inside.replace("\r", "").split("\n\n", 1)[-1].split("\n")]
    try:
        return base64.b64decode("".join(line for line in lines if line and not line.startswith("=")), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its armor is broken: {error}") from None


def _of_packets(data: bytes) -> t.Iterator[str]:
    position = 0
    while position < len(data):
        tag, start, length = _packet(data, position)
        if tag == _PUBLIC_KEY:
            yield _fingerprint(data[start : start + length])
        position = start + length


def _packet(data: bytes, position: int) -> tuple[int, int, int]:
    """The tag of the packet at *position*, and where its body begins and how long it is."""
    head = data[position]
    try:
        if head & 0xC0 == 0xC0:
            first = data[position + 1]
            if first < 192:
                return head & 0x3F, position + 2, first
            if first < 224:
                return head & 0x3F, position + 3, ((first - 192) << 8) + data[position + 2] + 192
            if first == 255:
                return head & 0x3F, position + 6, int.from_bytes(data[position + 2 : position + 6], "big")
        elif head & 0x80 and head & 3 != 3:
            size = 1 << (head & 3)
            return (
                (head & 0x3C) >> 2,
                position + 1 + size,
                int.from_bytes(data[position + 1 : position + 1 + size], "big"),
            )
    except IndexError:
        raise ValueError("it ends in the middle of a packet") from None
    raise ValueError("it holds something else than the packets of a key")


def _fingerprint(body: bytes) -> str:
    if body[:1] == b"\x04":
        return (
            hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
        )  # as version 4 is defined
    if body[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError("its key has a version that nobody uses any more")
