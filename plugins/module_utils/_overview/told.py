# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guests a host tells how it is, by a file of its own. Only reads."""

from __future__ import annotations

import json

from .._core import atomic, paths
from .._core.errors import ObserveError


def read_guests() -> dict[str, str]:
    """The guests that are told, each with the name by which they know this host.

    :raises ObserveError:
    """
    text = atomic.read_text(paths.OVERVIEW_CONFIG)
    try:
        return {} if text is None else {str(guest): str(host) for guest, host in json.loads(text)["guests"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ObserveError(f"{paths.OVERVIEW_CONFIG} cannot be read: {exc}. Move it away, and run again") from exc
