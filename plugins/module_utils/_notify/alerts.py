# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The alerts of a monitoring that runs in a guest, as conditions of which somebody is to be told.

They are what amtool prints (Alertmanager's API, version 2). They come from a guest: nothing of them is taken but text.
"""

from __future__ import annotations

import json
import typing as t

from .conditions import Condition

# What a guest leaves there prints them. So no address, no password and no open port is needed between the two.
PROGRAM = "/etc/homelab_hybrid/alerts"
# A guest that starts, is updated or backed up is silent for a while.
SILENT_SECONDS = 600.0
# By this label a rule says that the host tells of it itself.
_TOLD = "told_by_host"
_MOST, _LONGEST = 100, 300


class AlertsError(ValueError):
    """What the guest printed is no list of alerts."""


def of_alerts(guest: str, text: str) -> t.Iterator[Condition]:
    """The alerts in *text*, each by its fingerprint.

    :raises AlertsError:
    """
    try:
        found = json.loads(text)
        known = [(str(its["fingerprint"]), dict(its["labels"]), dict(its["annotations"])) for its in found[:_MOST]]
    except (ValueError, KeyError, TypeError) as exc:
        raise AlertsError("its alerts cannot be read") from exc
    for fingerprint, labels, notes in known:
        if labels.get(_TOLD) != "true":
            yield Condition(f"alert {guest} {fingerprint}", _line(notes.get("summary") or _named(labels)))
    if len(found) > _MOST:
        yield Condition(f"alert {guest} more", f"{guest} has {len(found) - _MOST} more alerts")


def of_silence(guest: str, why: str) -> Condition:
    """That the guest has told nothing for too long, which nobody else would notice."""
    return Condition(f"alerts {guest}", f"The monitoring in {guest} does not answer: {_line(why)}")


def _named(labels: t.Mapping[str, t.Any]) -> str:
    rest = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != "alertname")
    return f"{labels.get('alertname', 'An alert')} ({rest})"


def _line(text: t.Any) -> str:
    """One line of letters that can be shown."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
