# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Where this host gets Debian from: its own apt sources, mapped to the suite that an image is built of."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from .._core import atomic, command
from .._core.errors import ObserveError

APT = "/etc/apt"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LOCAL_AUTHORITIES = "/usr/local/share/ca-certificates"
# Releases and the names that move with them; anything else in an entry's suite is somebody else's repository.
_RELEASES = frozenset(
    "bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable experimental".split()
)
_COMPANIONS = ("-security", "-updates", "/updates")
_OPTION = re.compile(r"^deb(?:\s+\[(?P<options>[^\]]*)\])?\s+(?P<rest>\S.*)$")
# What makes apt reach the host's mirror: proxies, and how far the age of a mirror is checked.
_KEPT_SETTINGS = re.compile(
    r"Acquire::(?:https?::|Check-Valid-Until$|Check-Date$|Retries$|ForceIPv[46]$)", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Source:
    """One entry of the host's apt sources: its mirrors, suites and components, and the path of its keyring if it names one."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None


def parse_list(text: str) -> list[Source]:
    """The binary entries of a one-line-style file."""
    found = []
    for line in text.splitlines():
        match = _OPTION.match(line.partition("#")[0].strip())
        words = match["rest"].split() if match else []
        if match and len(words) >= 3:
            options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
            found.append(Source((words[0],), (words[1],), tuple(words[2:]), options.get("signed-by")))
    return found


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary entries of a deb822-style file. An embedded key counts as a keyring of its own."""
    return [source for source in map(_stanza, re.split(r"\n\s*\n", _uncommented(text))) if source is not None]


def _uncommented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _stanza(text: str) -> Source | None:
    fields: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line[:1].isspace():
            fields[key] = f"{fields.get(key, '')} {line.strip()}".strip()
        elif ":" in line:
            key, value = line.split(":", 1)
            key = key.strip().lower()
            fields[key] = value.strip()
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
        "no",
        "false",
        "0",
        "off",
    ):
        return None
    words = {name: tuple(fields.get(name, "").split()) for name in ("uris", "suites", "components")}
    return Source(words["uris"], words["suites"], words["components"], fields.get("signed-by"))


def host_sources(folder: str = APT) -> list[Source]:
    """All apt sources of this host, in the order in which apt reads them."""
    found = parse_list(atomic.read_text(os.path.join(folder, "sources.list")) or "")
    parts = os.path.join(folder, "sources.list.d")
    for name in sorted(os.listdir(parts)) if os.path.isdir(parts) else ():
        text = atomic.read_text(os.path.join(parts, name)) or ""
        if name.endswith(".list"):
            found += parse_list(text)
        elif name.endswith(".sources"):
            found += parse_deb822(text)
    return found


def debian_lines(sources: t.Iterable[Source], suite: str) -> list[str]:
    """One-line apt sources of *suite* and, where the host has them for its own release, of its updates and security.

    :raises ObserveError: when the host names no mirror of Debian's archive that others can reach too.
    """
    mirrors: dict[str, tuple[str, ...]] = {}
    # An entry without a keyring may be anybody's; one that names Debian's is Debian's.
    for source in sorted(sources, key=lambda source: source.signed_by is None):
        if "main" not in source.components or not _is_debians(source.signed_by):
            continue
        for name in source.suites:
            release, companion = _split(name)
            if release in _RELEASES and companion is not None:
                mirrors.setdefault(companion, tuple(_reachable(source.uris)))
    if not mirrors.get(""):
        raise ObserveError(
            f"{APT}/sources.list and {APT}/sources.list.d name no http or https mirror of Debian's archive with the component main; "
            "an image is built from the host's own sources"
        )
    wanted = [("", suite), ("-updates", f"{suite}-updates"), ("-security", f"{suite}-security")]
    return [
        f"deb [signed-by={KEYRING}] {uri} {name} main"
        for companion, name in wanted
        for uri in mirrors.get(companion, ())[:1]
    ]


def _is_debians(signed_by: str | None) -> bool:
    return signed_by is None or all(
        "debian-archive" in os.path.basename(word) for word in re.split(r"[\s,]+", signed_by)
    )


def _split(suite: str) -> tuple[str, str | None]:
    """``bookworm-security`` -> (``bookworm``, ``-security``); the companion is ``None`` for one that is not mapped."""
    suite = suite.rstrip("/")
    for companion in _COMPANIONS:
        if suite.endswith(companion):
            return suite.removesuffix(companion), "-security" if companion == "/updates" else companion
    return (suite, "") if suite in _RELEASES else (suite, None)


def _reachable(uris: t.Iterable[str]) -> t.Iterator[str]:
    """The http(s) mirrors of *uris*; Debian's cloud images keep them in a list behind ``mirror+file:``."""
    for uri in uris:
        if uri.startswith("mirror+file:"):
            text = atomic.read_text("/" + uri.removeprefix("mirror+file:").lstrip("/")) or ""
            listed = (line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#"))
            yield from _reachable(listed)
        elif uri.startswith(("http://", "https://")):
            yield uri


def apt_settings() -> list[str]:
    """The host's apt settings that an image needs as well, as lines of apt.conf: its proxies above all.

    A setting whose value is a path of the host means nothing in a guest and is left out.
    """
    dump = command.run(["apt-config", "dump", "--format", '%F "%v";%n'])
    lines = []
    for line in dump.splitlines():
        key, dummy, value = line.partition(" ")
        if _KEPT_SETTINGS.match(key) and value not in ('"";', "") and not value.startswith('"/'):
            lines.append(line)
    return lines


def local_authorities(folder: str = LOCAL_AUTHORITIES) -> list[str]:
    """The certificate files that the administrator made this host trust: its mirrors or its way out may stand on them."""
    return sorted(
        os.path.join(parent, name)
        for parent, dummy, names in os.walk(folder)
        for name in names
        if name.endswith(".crt")
    )
