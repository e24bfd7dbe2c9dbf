# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which links a file of systemd-networkd is about: its [Match] section as networkd decides it (systemd.network(5))."""

from __future__ import annotations

import fnmatch
import re
import shlex
import typing as t

from .unit_file import UnitFile

# What is known of a link: mac, permanent_mac, type, kind, driver and altnames, as far as it is known.
Known = t.Mapping[str, str]
# Whether a condition of the host holds (``Host=nas``), ``None`` where nobody can tell.
Holds = t.Callable[[str], "bool | None"]

# What systemd-networkd asks of the host. Of several of one key the last counts.
_OF_HOST = ("Architecture", "Credential", "Firmware", "Host", "KernelCommandLine", "KernelVersion", "Virtualization")
_OF_WIRELESS = ("WLANInterfaceType", "SSID", "BSSID")
_OF_MACS = ("MACAddress", "PermanentMACAddress")
# Any other key is passed over with a warning, such as OriginalName, which is for .link files.
_KEYS = {"Name", "Type", "Kind", "Driver", "Path", "Property", *_OF_HOST, *_OF_WIRELESS, *_OF_MACS}
_GLOB = set("*?[")


def nobody_tells(condition: str) -> bool | None:
    return None


def conditions(unit: UnitFile) -> dict[str, list[str]]:
    """The words of each key. Those of all lines and sections join; an empty value takes back those before it."""
    found: dict[str, list[str]] = {}
    for section in unit.named("Match"):
        for dummy, dummy, key, value in section.entries():
            if key in _KEYS:
                found[key] = [*(() if key in _OF_HOST else found.get(key, ())), *_words(key, value)] if value else []
    return {key: words for key, words in found.items() if words}


def _words(key: str, value: str) -> list[str]:
    """An exclamation mark is that of all words of its line. Quotes join words, but those of names."""
    if key in _OF_HOST:
        return [value]
    if key in _OF_MACS:
        return [mac for word in value.split() if (mac := _mac(word))]
    is_negated, text = value.startswith("!"), value.removeprefix("!")
    try:
        words = text.split() if key == "Name" else shlex.split(text)
    except ValueError:
        words = text.split()
    return [f"!{word}" if is_negated else word for word in words if key != "Name" or _NAME.fullmatch(word)]


# What the kernel takes in the name of a link, and the signs of a pattern.
_NAME = re.compile(r"[^\s/:%\"\x00-\x1f\x7f]+")


def _mac(word: str) -> str:
    """A MAC address in each spelling that systemd-networkd takes, "" for what is none."""
    if "." in word:
        groups = [group.zfill(4) for group in word.split(".")]
        pairs = [pair for group in groups for pair in (group[:2], group[2:])]
    else:
        pairs = [pair.zfill(2) for pair in word.replace("-", ":").split(":")]
    mac = ":".join(pairs).lower()
    return mac if _MAC.fullmatch(mac) else ""


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def named(unit: UnitFile) -> list[str]:
    """The links that the file names, without those that a pattern finds."""
    return [word for word in conditions(unit).get("Name", []) if not word.startswith("!") and not set(word) & _GLOB]


def is_alone(unit: UnitFile, link: str) -> bool:
    """Whether the file can be about *link* and no other."""
    return conditions(unit).get("Name") == [link]


def matches(unit: UnitFile, link: str, known: Known, holds: Holds = nobody_tells) -> bool | None:
    """Whether the file is about *link*, ``None`` where only networkd can tell."""
    found = conditions(unit)
    answers = [_holds(key, words, link, known) for key, words in found.items() if key not in _OF_HOST]
    if False in answers or not found:
        return False
    return _all([*answers, stands_here(unit, holds)])


def stands_here(unit: UnitFile, holds: Holds) -> bool | None:
    """Whether the file has a say on this host at all."""
    found = conditions(unit)
    return _all([holds(f"{key}={found[key][0]}") for key in _OF_HOST if key in found])


def _all(answers: t.Sequence[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def unknown_keys(unit: UnitFile, link: str, known: Known, holds: Holds = nobody_tells) -> list[str]:
    """The conditions that only networkd can tell of."""
    found = conditions(unit)
    return [
        key
        for key, words in found.items()
        if (holds(f"{key}={words[0]}") if key in _OF_HOST else _holds(key, words, link, known)) is None
    ]


def _holds(key: str, words: t.Sequence[str], link: str, known: Known) -> bool | None:
    if key == "Name":
        return any(_fits(words, name) for name in (link, *known.get("altnames", "").split()))
    if key in ("Type", "Kind", "Driver"):
        actual = known.get(key.lower())
        return None if actual is None else _fits(words, actual)
    if key in _OF_MACS:
        mac = known.get("mac" if key == "MACAddress" else "permanent_mac")
        return None if mac is None else mac in words
    if key in _OF_WIRELESS and known.get("type", "wlan") != "wlan":
        return False
    return None


def _fits(words: t.Sequence[str], actual: str) -> bool:
    """One of the patterns fits, and none of those behind an exclamation mark does."""
    wanted = [word for word in words if not word.startswith("!")]
    if any(fnmatch.fnmatchcase(actual, word[1:]) for word in words if word.startswith("!")):
        return False
    return not wanted or any(fnmatch.fnmatchcase(actual, word) for word in wanted)
