# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Addresses that something is fetched from, and the mirrors that stand in for their hosts."""

from __future__ import annotations

import re
import typing as t

from .._core.errors import SpecError, bad_value
from .._core.options import Check

_ALLOWED = "an http or https URL without a user, a password and a fragment"
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<place>(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?)"
    r"(?P<path>/[!\"$->@-~]*)?(?P<query>\?[!\"$-~]*)?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_HOST_ALLOWED = "the name of a host, with its port where a URL has one"
_LONGEST, _LONGEST_HOST = 2000, 260
_PATH = re.compile(r"[!\"$->@-~]{1,2000}")


def is_address(text: str) -> bool:
    """Whether *text* is meant as an address."""
    return text.lower().startswith(("http://", "https://"))


def parse_url(key: str, value: t.Any) -> str:
    """*value* when something can be fetched from there.

    :raises SpecError: also for one with a password in it, which plans and records would show.
    """
    text = str(value)
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise SpecError(f"{key}: a user and a password have no place in a URL, which is shown. Allowed: {_ALLOWED}")
    parts = _ADDRESS.fullmatch(text) if len(text) <= _LONGEST else None
    if parts is None or not 0 < int(parts["port"] or 80) < 65536:
        raise bad_value(key, value, _ALLOWED)
    return f"{parts['scheme'].lower()}://{parts['place'].lower()}{parts['path'] or '/'}{parts['query'] or ''}"


def parse_host(key: str, value: t.Any) -> str:
    """*value* when it is the host, and maybe the port, of a URL.

    :raises SpecError:
    """
    parts = _HOST.fullmatch(str(value)) if len(str(value)) <= _LONGEST_HOST else None
    if parts is None or not 0 < int(parts["port"] or 80) < 65536:
        raise bad_value(key, value, _HOST_ALLOWED)
    return str(value).lower()


URL = Check(parse_url, _ALLOWED, ("https://example.org/a.tar.xz", "https://example.org/b.tar.xz"))
HOST = Check(parse_host, _HOST_ALLOWED, ("a.example.org", "b.example.org"))


def file_name(url: str) -> str:
    """The name of the file at *url*, as lists of checksums have it."""
    name = url.partition("?")[0].rpartition("/")[2]
    # Text beyond ASCII is several such bytes.
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode())
    return data.decode(errors="replace")


def mirrored(url: str, mirrors: t.Mapping[str, str]) -> str:
    """*url*, or where its host has a mirror the same path below the address of that."""
    parts = _ADDRESS.fullmatch(url)
    base = (mirrors.get(parts["place"]) or mirrors.get(parts["host"])) if parts else None
    if parts is None or base is None:
        return url
    return f"{base.rstrip('/')}{parts['path'] or '/'}{parts['query'] or ''}"


def joined(base: str, path: str) -> str:
    """*path* of an index below the address *base* of its server.

    :raises SpecError: for a path that leads to another server or out of the folder.
    """
    if is_address(path) or path.startswith("/") or ".." in path.split("/") or not _PATH.fullmatch(path):
        raise SpecError(f"simplestreams: the index names {path[:80]!r}, which is no path below its server")
    return f"{base.rstrip('/')}/{path}"
