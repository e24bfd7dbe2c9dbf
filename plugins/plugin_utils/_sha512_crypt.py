# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""SHA-512-crypt, as crypt(3) makes it (``$6$``): Python has had none of its own since 3.13, and passlib need not be there."""

from __future__ import annotations

import hashlib

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 5000
_SIZE = 64


def stable_salt(seed: str) -> str:
    """A salt of 16 letters that is always the same for *seed*."""
    return "".join(_ALPHABET[byte % 64] for byte in hashlib.sha512(seed.encode()).digest()[:16])


def sha512_crypt(password: str, salt: str) -> str:
    """The hash of *password*, with the 5000 rounds that go without saying."""
    key, grain = password.encode(), salt.encode()[:16]
    other = hashlib.sha512(key + grain + key).digest()
    mixed = key + grain + _stretched(other, len(key))
    length = len(key)
    while length:
        mixed += other if length & 1 else key
        length >>= 1
    digest = hashlib.sha512(mixed).digest()
    keys = _stretched(hashlib.sha512(key * len(key)).digest(), len(key))
    grains = _stretched(hashlib.sha512(grain * (16 + digest[0])).digest(), len(grain))
    for number in range(_ROUNDS):
        mixed = keys if number & 1 else digest
        mixed += grains if number % 3 else b""
        mixed += keys if number % 7 else b""
        digest = hashlib.sha512(mixed + (digest if number & 1 else keys)).digest()
    return f"$6${grain.decode()}${_encoded(digest)}"


def _stretched(block: bytes, size: int) -> bytes:
    return (block * (size // _SIZE + 1))[:size]


def _encoded(digest: bytes) -> str:
    """Base 64 of its own: the bytes of the three thirds in turn, the lowest six bits first."""
    text = ""
    for number in range(21):
        order = [number, number + 21, number + 42]
        first, second, third = (digest[order[(place + number) % 3]] for place in range(3))
        text += _letters(first << 16 | second << 8 | third, 4)
    return text + _letters(digest[63], 2)


def _letters(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(count))
