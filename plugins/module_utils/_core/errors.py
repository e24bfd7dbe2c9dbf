# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The errors of the collection. Every one is a sentence for the user: what key, what value, what is allowed."""

from __future__ import annotations

import typing as t


class HybridError(Exception):
    """Mother of all errors that are reported as a sentence, without a traceback. ``facts`` are returned beside it."""

    def __init__(self, message: str, **facts: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class SpecError(HybridError):
    """What the user wrote cannot be. Raised by ``parse``, before the host is looked at."""


class MissingLibrary(HybridError):
    """A Python library that the hypervisor needs is not there."""


class MissingRequirement(HybridError):
    """Something that this resource stands on (a bridge, a pool, an image) does not exist."""


class ObserveError(HybridError):
    """The host could not be read."""


class RefusedError(HybridError):
    """A change is a loss that nobody permitted. Nothing was touched."""


class LockTimeout(HybridError):
    """Another run holds what this one needs."""


class ApplyError(HybridError):
    """A change failed. The changes marked as done stand."""


class NotConverged(HybridError):
    """After all changes were applied, the host still differs from what was declared."""


class WaitTimeout(HybridError):
    """A guest did not become what ``wait_for`` names in time."""


def shorten(value: t.Any, length: int = 80) -> str:
    """*value* as Python shows it, cut to *length* characters: it goes into an error sentence."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def bad_value(key: str, value: t.Any, allowed: str) -> SpecError:
    """The one sentence for a refused value: which key, what it is, what it may be."""
    return SpecError(f"{key}: {shorten(value)} is not allowed. Allowed: {allowed}", key=key, allowed=allowed)
