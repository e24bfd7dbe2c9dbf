# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Sizes and durations: read in the user's form, computed in one unit, shown in the user's form again."""

from __future__ import annotations

import datetime
import re
import typing as t

from .errors import bad_value

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_FACTORS: dict[str, int | None] = {
    "": None,
    "B": 1,
    "K": KIB,
    "KIB": KIB,
    "M": MIB,
    "MIB": MIB,
    "G": GIB,
    "GIB": GIB,
    "T": TIB,
    "TIB": TIB,
}
_SIZE = re.compile(r" *(\d+(?:\.\d+)?) *([A-Za-z]*) *", re.ASCII)
_ALLOWED = "a number (in {unit}), or a number with K, M, G, T, KiB, MiB, GiB or TiB (powers of 1024)"


# More than any size has, and fewer than Python refuses to read.
_MOST_DIGITS = 100


def parse_size(key: str, value: t.Any, *, unit: int) -> int:
    """*value* in bytes. A bare number counts in *unit* bytes (``MIB`` for memory, ``GIB`` for disks).

    :raises SpecError: for "GB" and its like (they are powers of 1000 to some and of 1024 to others), fractions of a
        byte, zero and negative numbers.
    """
    allowed = _ALLOWED.format(unit="MiB" if unit == MIB else "GiB" if unit == GIB else "bytes")
    match = _SIZE.fullmatch(str(value)) if not isinstance(value, bool) else None
    if match is None:
        raise bad_value(key, value, allowed)
    number, suffix = match.group(1), match.group(2)
    if suffix.upper() not in _FACTORS:
        raise bad_value(key, value, allowed)
    factor = _FACTORS[suffix.upper()] or unit
    if len(number) > _MOST_DIGITS:
        raise bad_value(key, value, allowed)
    whole, dummy, fraction = number.partition(".")
    if fraction:
        scaled: int = int(whole + fraction) * factor
        parts: int = 10 ** len(fraction)
        size, rest = divmod(scaled, parts)
        if rest:
            raise bad_value(key, value, allowed)
    else:
        size = int(whole) * factor
    if size <= 0:
        raise bad_value(key, value, "more than zero")
    return size


def show_size(size: int | None) -> str | None:
    """*size* in bytes as the user writes it: in the largest unit that divides it (``2GiB``, ``1536MiB``, ``513``)."""
    if size is None:
        return None
    for name, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size and size % factor == 0:
            return f"{size // factor}{name}"
    return str(size)


def show_memory_kib(memory_kib: int | None) -> str | None:
    """Memory of *memory_kib* KiB as the user writes it."""
    return None if memory_kib is None else show_size(memory_kib * KIB)


_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_RATE = re.compile(r" *(\d{1,12}) *([A-Za-z]+) *", re.ASCII)
_RATE_STEP = 8_000
RATES_ALLOWED = "8kbit to 100Gbit, with kbit, Mbit or Gbit (powers of 1000), a multiple of 8kbit"


def parse_rate(key: str, value: t.Any) -> int:
    """*value* (``100Mbit``) in bits per second.

    libvirt counts in whole kilobytes a second, so that finer steps would be rounded.

    :raises SpecError: for what has no unit, is no multiple of 8 kbit, or lies outside of 8 kbit to 100 Gbit.
    """
    match = _RATE.fullmatch(str(value))
    factor = _RATES.get(match[2].lower()) if match else None
    bits = int(match[1]) * factor if match and factor else 0
    if bits % _RATE_STEP or not _RATE_STEP <= bits <= 100 * 10**9:
        raise bad_value(key, value, RATES_ALLOWED)
    return bits


def show_rate(bits: int | None) -> str | None:
    """A rate in bits per second in the largest unit that divides it; none for no limit."""
    if not bits:
        return None
    for name, factor in (("Gbit", 10**9), ("Mbit", 10**6), ("kbit", 10**3)):
        if bits % factor == 0:
            return f"{bits // factor}{name}"
    return f"{bits}bit"


_SPANS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def show_moment(seconds: float) -> str:
    """A time in *seconds* since 1970 as ``2026-11-26T12:00:00Z``."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# restic counts nanoseconds, and a time zone may be written with or without a colon.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)")


def seconds_of(text: str) -> float:
    """The moment *text* in seconds since 1970.

    :raises ValueError:
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no moment such as 2026-11-27T22:00:00Z")
    zone = "+0000" if match[3] == "Z" else match[3].replace(":", "")
    moment = datetime.datetime.strptime(match[1] + zone, "%Y-%m-%dT%H:%M:%S%z")
    return moment.timestamp() + float(match[2] or 0)


def seconds_or_none(text: t.Any) -> float | None:
    """The same of what a file says, which may be nothing; ``None`` where it is no moment."""
    try:
        return seconds_of(str(text))
    except ValueError:
        return None


def age_of(seconds: float, now: float) -> int:
    """How many whole seconds before *now* that moment was; 0 where a clock was ahead."""
    return max(0, int(now - seconds))


def show_span(seconds: float) -> str:
    """A span of time for a person to read, in the largest whole unit: ``3 hours``."""
    for length, word in _SPANS:
        count = int(seconds // length)
        if count:
            return f"{count} {word}{'' if count == 1 else 's'}"
    return "less than a minute"
