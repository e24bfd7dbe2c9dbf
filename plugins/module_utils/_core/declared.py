# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote: names, closed lists and keyed lists, checked before the host is looked at."""

from __future__ import annotations

import re
import typing as t

from .errors import SpecError, bad_value

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
ITEM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
# XML 1.0 admits no other control characters, and a line of an LXC configuration ends at the first line break.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")

_LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
# The kernel has its sysctl values for all links and for new ones under these names.
_NO_LINKS = ("all", "default", "lo")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

LEAST_SECRET_LENGTH = 8

Item = t.Mapping[str, t.Any]


def check_name(key: str, value: t.Any) -> str:
    """*value* when it can name a resource.

    :raises SpecError: for everything else, path parts and line breaks among them.
    """
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise bad_value(key, value, "1 to 63 letters, digits, '_', '.' and '-', the first a letter or digit")
    return value


def check_item_name(key: str, value: t.Any) -> str:
    """*value* when it can name an item of a keyed list (no dots: a volume is called ``GUEST.ITEM``).

    :raises SpecError: for everything else.
    """
    if not isinstance(value, str) or not ITEM_NAME.fullmatch(value):
        raise bad_value(key, value, "1 to 63 letters, digits, '_' and '-', the first a letter or digit")
    return value


def check_text(key: str, value: str | None) -> str | None:
    """Free text without control characters other than tabs and line breaks. ``None`` stays ``None``.

    :raises SpecError: where a character cannot be stored.
    """
    if value is not None and _CONTROL.search(value):
        raise bad_value(key, value, "text without control characters")
    return value


def check_line(key: str, value: str | None) -> str | None:
    """Text of one line. ``None`` stays ``None``.

    :raises SpecError: for line breaks and control characters.
    """
    if value is not None and (
        "\n" in value or "\r" in value or "\u2028" in value or "\u2029" in value or "\x85" in value
    ):
        raise bad_value(key, value, "one line of text")
    return check_text(key, value)


def check_secret(key: str, value: str | None) -> str | None:
    """*value* when it is text that Ansible can mask. ``None`` stays ``None``. The error never shows the value.

    :raises SpecError: for what is shorter than 8 characters or looks like a dictionary that became text.
    """
    if value is None:
        return None
    if not isinstance(value, str) or value.startswith(("{'", "[{'", "['")):
        raise SpecError(
            f"{key}: must be text. Render a dictionary to YAML on the control node (filter to_nice_yaml)", key=key
        )
    if len(value) < LEAST_SECRET_LENGTH:
        raise SpecError(
            f"{key}: a secret needs at least {LEAST_SECRET_LENGTH} characters: a shorter one cannot be masked in logs",
            key=key,
        )
    try:
        return check_text(key, value)
    except SpecError:
        raise SpecError(f"{key}: text without control characters is allowed", key=key) from None


def check_path(key: str, value: str | None) -> str | None:
    """An absolute path without ``..``, without a trailing slash. ``None`` stays ``None``.

    :raises SpecError: for everything else, and for the root directory itself.
    """
    if value is None:
        return None
    check_line(key, value)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if not value.startswith("/") or ".." in parts or not parts:
        raise bad_value(key, value, "an absolute path other than /, without '..'")
    return "/" + "/".join(parts)


def check_link_name(key: str, value: t.Any) -> str:
    """*value* when the kernel takes it as the name of a link.

    :raises SpecError: for everything else, and for the names that the kernel uses for more than one link.
    """
    if not isinstance(value, str) or not _LINK.fullmatch(value) or value in _NO_LINKS:
        raise bad_value(key, value, "1 to 15 letters, digits, '_', '.' and '-', as Linux names its links")
    return value


def check_mac(key: str, value: t.Any) -> str:
    """A unicast MAC address in lower case with colons.

    :raises SpecError: for everything else.
    """
    plain = str(value).lower().replace("-", ":")
    if plain.isdecimal():
        # YAML reads 52:54:00:12:34:56 without quotes as a number to the base of 60.
        raise SpecError(f"{key}: {value!r} is a number by the rules of YAML. Write the MAC address in quotes", key=key)
    if not _MAC.fullmatch(plain) or int(plain[:2], 16) & 1 or plain == "00:00:00:00:00:00":
        raise bad_value(key, value, "a unicast MAC address such as 52:54:00:12:34:56")
    return plain


def check_choice(key: str, value: t.Any, choices: t.Collection[str]) -> t.Any:
    """*value* when it is one of *choices* or ``None``.

    :raises SpecError: for everything else.
    """
    if value is not None and value not in choices:
        raise bad_value(key, value, "one of " + ", ".join(choices))
    return value


def check_number(key: str, value: int | None, *, least: int, most: int) -> int | None:
    """*value* when it lies between *least* and *most*. ``None`` stays ``None``.

    :raises SpecError: for everything else.
    """
    if value is not None and not least <= value <= most:
        raise bad_value(key, value, f"{least} to {most}")
    return value


def check_items(
    key: str, items: t.Sequence[Item] | None, check: t.Callable[[str, t.Any], t.Any] = check_item_name
) -> tuple[Item, ...] | None:
    """A keyed list: each item has a ``name`` of its own, which *check* takes. ``None`` stays ``None``.

    :raises SpecError: for a name that cannot be, or that is there twice.
    """
    if items is None:
        return None
    seen: set[str] = set()
    for item in items:
        name = check(f"{key}[].name", item.get("name"))
        if name in seen:
            raise SpecError(f"{key}: the name {name!r} is there twice. Each item needs a name of its own", key=key)
        seen.add(name)
    return tuple(items)


def written(item: Item) -> dict[str, t.Any]:
    """The keys of *item* that the user wrote: ``None`` is not written."""
    return {key: value for key, value in item.items() if value is not None}
