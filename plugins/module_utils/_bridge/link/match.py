# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which links a file of systemd-networkd is about: its [Match] section as networkd decides it (systemd.network(5))."""

from __future__ import annotations

import fnmatch
import typing as t

from .unit_file import UnitFile

# What is known of a link: mac, permanent_mac, type, kind, driver and altnames, as far as it is known.
Known = t.Mapping[str, str]

_WIRELESS = ("WLANInterfaceType", "SSID", "BSSID")
_GLOB = set("*?[")


def conditions(unit: UnitFile) -> dict[str, list[str]]:
    """The words of each key. Those of all lines and sections join; an empty value takes back those before it."""
    found: dict[str, list[str]] = {}
    for section in unit.named("Match"):
        for dummy, dummy, key, value in section.entries():
            is_negated = value.startswith("!")
            words = [f"!{word}" if is_negated else word for word in value.lstrip("!").split()]
            found[key] = [*found.get(key, []), *words] if value else []
    return {key: words for key, words in found.items() if words}


def named(unit: UnitFile) -> list[str]:
    """The links that the file names, without those that a pattern finds."""
    return [word for word in conditions(unit).get("Name", []) if not word.startswith("!") and not set(word) & _GLOB]


def is_alone(unit: UnitFile, link: str) -> bool:
    """Whether the file can be about *link* and no other."""
    return conditions(unit).get("Name") == [link]


def matches(unit: UnitFile, link: str, known: Known) -> bool | None:
    """Whether the file is about *link*, ``None`` where only networkd can tell."""
    answers = [_holds(key, words, link, known) for key, words in conditions(unit).items()]
    if False in answers or not answers:
        return False
    return None if None in answers else True


def unknown_keys(unit: UnitFile, link: str, known: Known) -> list[str]:
    """The conditions that only networkd can tell of."""
    return [key for key, words in conditions(unit).items() if _holds(key, words, link, known) is None]


def _holds(key: str, words: t.Sequence[str], link: str, known: Known) -> bool | None:
    if key == "Name":
        return any(_fits(words, name) for name in (link, *known.get("altnames", "").split()))
    if key in ("Type", "Kind", "Driver"):
        actual = known.get(key.lower())
        return None if actual is None else _fits(words, actual)
    if key in ("MACAddress", "PermanentMACAddress"):
        mac = known.get("mac" if key == "MACAddress" else "permanent_mac")
        return None if mac is None else mac in [word.lower().replace("-", ":").replace(".", ":") for word in words]
    if key in _WIRELESS and known.get("type", "wlan") != "wlan":
        return False
    return None


def _fits(words: t.Sequence[str], actual: str) -> bool:
    """One of the patterns fits, and none of those behind an exclamation mark does."""
    wanted = [word for word in words if not word.startswith("!")]
    if any(fnmatch.fnmatchcase(actual, word[1:]) for word in words if word.startswith("!")):
        return False
    return not wanted or any(fnmatch.fnmatchcase(actual, word) for word in wanted)
