# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Checksums as upstreams publish them: a value, or a list in the form of coreutils, of BSD, or the bare digest."""

from __future__ import annotations

import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import Check
from .address import URL, is_address

# MD5 and SHA-1 are left out: who can choose a file can make another with the same one.
LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_ALLOWED = f"ALGORITHM:DIGEST, ALGORITHM:URL or the URL of a list, with one of {', '.join(LENGTHS)}"
_DIGEST = re.compile(r"[0-9a-f]+")
_BSD = re.compile(r"(?P<algorithm>[A-Za-z0-9-]+) ?\((?P<name>.*)\) ?= ?(?P<digest>[0-9A-Fa-f]+)")
# Two blanks, or a blank and an asterisk; others have one blank or a tab. A backslash in front says that the name is escaped.
_COREUTILS = re.compile(r"\\?(?P<digest>[0-9A-Fa-f]{64,128})[ \t]+\*?(?P<name>\S.*)")


class Checksum(t.NamedTuple):
    """A declared checksum: its *digest* in hexadecimal, or the *url* of the list that has it. *algorithm* may be left to the list."""

    algorithm: str | None
    digest: str | None = None
    url: str | None = None


def parse(key: str, value: t.Any) -> str:
    """The canonical form of a declared checksum.

    :raises SpecError:
    """
    text = str(value).strip()
    algorithm, colon, rest = text.partition(":")
    algorithm = algorithm.lower()
    if algorithm in ("md5", "sha1"):
        raise SpecError(
            f"{key}: {algorithm} says nothing of a file that somebody else made. Allowed: {_ALLOWED}", key=key
        )
    if is_address(text):
        return str(URL.parse(key, text))
    if not colon or algorithm not in LENGTHS:
        raise bad_value(key, value, _ALLOWED)
    if is_address(rest):
        return f"{algorithm}:{URL.parse(key, rest)}"
    digest = rest.lower()
    if len(digest) != LENGTHS[algorithm] or not _DIGEST.fullmatch(digest):
        raise bad_value(key, value, f"{algorithm}: and {LENGTHS[algorithm]} hexadecimal digits")
    return f"{algorithm}:{digest}"


CHECKSUM = Check(parse, _ALLOWED, (f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"))


def split(checksum: str) -> Checksum:
    """A canonical checksum in its parts."""
    if is_address(checksum):
        return Checksum(None, url=checksum)
    algorithm, dummy, rest = checksum.partition(":")
    return Checksum(algorithm, url=rest) if is_address(rest) else Checksum(algorithm, rest)


def find(text: str, name: str, algorithm: str | None) -> str | None:
    """The digest of the file *name* in a list, as ``sha256:`` and hexadecimal digits; ``None`` where it has none.

    The strongest one where there are more. A bare digest is that of any file; a name may have folders in front of it.
    """
    found = [
        (its, digest)
        for its, digest, listed in _entries(text)
        if (algorithm is None or its == algorithm) and (listed is None or listed.rpartition("/")[2] == name)
    ]
    # The very name goes before one of the same end in another folder.
    exact = [
        (its, digest)
        for its, digest, listed in _entries(text)
        if listed is not None and listed.removeprefix("./") == name and algorithm in (None, its)
    ]
    best = max(exact or found, key=lambda entry: LENGTHS[entry[0]], default=None)
    return f"{best[0]}:{best[1]}" if best else None


def find_beside(text: str, algorithm: str | None) -> str | None:
    """The digest in a list that is published for one file alone, whatever the list calls it; ``None`` where it has more or none.

    Where the name of a file stays the same and leads to the newest build (Arch, openSUSE), its list has the name of that build.
    """
    found = {(its, digest) for its, digest, dummy in _entries(text) if algorithm in (None, its)}
    return ":".join(found.pop()) if len(found) == 1 else None


def _entries(text: str) -> t.Iterator[tuple[str, str, str | None]]:
    """Algorithm, digest and name of each line that is an entry; without a name the bare digest."""
    by_length = {length: algorithm for algorithm, length in LENGTHS.items()}
    for line in map(str.strip, text.splitlines()):
        bsd = _BSD.fullmatch(line)
        if bsd:
            # OpenSSL 3 calls it SHA2-256.
            algorithm = bsd["algorithm"].lower().replace("sha2-", "sha").replace("-", "")
            if LENGTHS.get(algorithm) == len(bsd["digest"]):
                yield algorithm, bsd["digest"].lower(), bsd["name"]
            continue
        listed = _COREUTILS.fullmatch(line)
        digest, name = (listed["digest"], listed["name"]) if listed else (line, None)
        if _DIGEST.fullmatch(digest.lower()) and len(digest) in by_length:
            yield by_length[len(digest)], digest.lower(), name
