# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Where this host gets Debian and Ubuntu from: its own apt sources, mapped to the suite that an image is built of."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from .._core import atomic, command
from .._core.errors import ObserveError

APT = "/etc/apt"
KEYRINGS = "/usr/share/keyrings"
LOCAL_AUTHORITIES = "/usr/local/share/ca-certificates"


class Archive(t.NamedTuple):
    """The archive of a distribution. *keyring* is the file in /usr/share/keyrings, on the host and in the image alike.

    *releases* are those that an entry of the host may name, and the names that move with them; anything else in an entry's
    suite is somebody else's repository.
    """

    name: str
    keyring: str
    components: tuple[str, ...]
    releases: frozenset[str]

    @property
    def keyring_path(self) -> str:
        return os.path.join(KEYRINGS, self.keyring)


_DEBIAN_RELEASES = "bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable experimental"
DEBIAN = Archive("Debian", "debian-archive-keyring.gpg", ("main",), frozenset(_DEBIAN_RELEASES.split()))
# In its universe are parts of what Debian has in main.
UBUNTU = Archive(
    "Ubuntu",
    "ubuntu-archive-keyring.gpg",
    ("main", "universe"),
    frozenset(("focal", "jammy", "noble", "questing", "resolute", "devel")),
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
    is_enabled: bool = True


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
    """The binary entries of a deb822-style file. An embedded key counts as a keyring of its own."""
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
    if "deb" not in fields.get("types", "").split():
        return None
    is_enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off")
    words = {name: tuple(fields.get(name, "").split()) for name in ("uris", "suites", "components")}
    return Source(words["uris"], words["suites"], words["components"], fields.get("signed-by"), is_enabled)


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


def archive_of(suite: str) -> Archive:
    """The archive that has *suite*."""
    return UBUNTU if suite in UBUNTU.releases else DEBIAN


def archive_lines(sources: t.Iterable[Source], suite: str) -> list[str]:
    """One-line apt sources of *suite* and, where the host has them for a release, of its updates and security.

    :raises ObserveError: when the host names no mirror of the archive that others can reach too.
    """
    archive = archive_of(suite)
    mirrors: dict[str, tuple[str, ...]] = {}
    # An entry without a keyring may be anybody's; one that names Debian's is Debian's.
    for source in sorted(sources, key=lambda source: source.signed_by is None):
        if "main" not in source.components or not _is_of(source, archive):
            continue
        for name in source.suites:
            release, companion = _split(name, archive)
            if release in archive.releases and companion is not None:
                mirrors.setdefault(companion, tuple(_reachable(source.uris)))
    if not mirrors.get(""):
        hint = "" if archive is DEBIAN else f" signed by {archive.keyring_path}; it may be there with 'Enabled: no'"
        raise ObserveError(
            f"{APT}/sources.list and {APT}/sources.list.d name no http or https mirror of {archive.name}'s archive with the component "
            f"main{hint}; an image is built from the host's own sources"
        )
    wanted = [("", suite), ("-updates", f"{suite}-updates"), ("-security", f"{suite}-security")]
    return [
        f"deb [signed-by={archive.keyring_path}] {uri} {name} {' '.join(archive.components)}"
        for companion, name in wanted
        for uri in mirrors.get(companion, ())[:1]
    ]


def check_archive(suite: str) -> None:
    """This host can build *suite*, as far as that is seen before.

    :raises ObserveError: without a mirror, or without the keyring that the archive is checked with.
    """
    archive = archive_of(suite)
    archive_lines(host_sources(), suite)
    if not os.path.exists(archive.keyring_path):
        raise ObserveError(f"build.suite: {suite} needs {archive.keyring_path}, from {archive.name}'s keyring package")


def _is_of(source: Source, archive: Archive) -> bool:
    """Whether an entry is one of *archive*. One of another distribution than the host's own says so, and need not be enabled:
    the host itself must not take packages from there.
    """
    if archive is DEBIAN and (not source.is_enabled or source.signed_by is None):
        return source.is_enabled
    word = archive.keyring.removesuffix("-keyring.gpg")
    return source.signed_by is not None and all(
        word in os.path.basename(keyring) for keyring in re.split(r"[\s,]+", source.signed_by)
    )


def _split(suite: str, archive: Archive) -> tuple[str, str | None]:
    """``bookworm-security`` -> (``bookworm``, ``-security``); the companion is ``None`` for one that is not mapped."""
    suite = suite.rstrip("/")
    for companion in _COMPANIONS:
        if suite.endswith(companion):
            return suite.removesuffix(companion), "-security" if companion == "/updates" else companion
    return (suite, "") if suite in archive.releases else (suite, None)


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
