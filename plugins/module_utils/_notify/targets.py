# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whom a host tells, by files of its own. Only reads."""

from __future__ import annotations

import json
import os
import typing as t

from .._core import atomic, paths
from .._core.errors import ObserveError
from .spec import ALERTS, METRICS, TARGETS


def read_targets() -> dict[str, dict[str, t.Any]]:
    """See ``read_kept``.

    :raises ObserveError:
    """
    return dict(read_kept()[TARGETS])


def read_kept() -> dict[str, t.Any]:
    """What is kept: the ``targets`` by name, with their secrets (where systemd hands these over to a unit, those), the guests whose ``alerts``
    they are told, and ``metrics``.

    :raises ObserveError:
    """
    text = atomic.read_text(paths.NOTIFY_CONFIG)
    try:
        data = {TARGETS: {}} if text is None else dict(json.loads(text))
        targets = {
            name: {key: tuple(it) if isinstance(it, list) else it for key, it in {**its, **_secrets(name)}.items()}
            for name, its in sorted(data[TARGETS].items())
        }
        return {TARGETS: targets, ALERTS: list(data.get(ALERTS, ())), METRICS: bool(data.get(METRICS))}
    except (ValueError, KeyError, TypeError) as exc:
        raise ObserveError(f"{paths.NOTIFY_CONFIG} cannot be read: {exc}. Move it away, and run again") from exc


def _secrets(name: str) -> dict[str, str]:
    given = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), name)
    text = atomic.read_text(given if os.path.exists(given) else paths.notify_secrets(name))
    return dict(json.loads(text or "{}"))
