# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the modules say, in the words of who wrote an inventory and runs a playbook: their options are its variables."""

from __future__ import annotations

import re
import typing as t

# The words of a layout for guests.
GUESTS = ("vm", "container")
# Permissions are extra variables of the run.
_PERMIT = re.compile(r"Permit it with allow: \[(\w+)\]")
_DELETE = re.compile(r"\(state: absent with delete: \[(\w+)\]\)")
# Of a host: its lists and limits are its own variables.
_HOST = re.compile(r"(?<![\w.])((bridges|storage_pools|images)(?=\[)|overcommit(?=\.\w))")


def of_guest(sentence: str) -> str:
    """A sentence about one guest."""
    sentence = _permitted_with("guest_allow", sentence)
    return _DELETE.sub(
        lambda found: f"(homelab.hybrid.decommission with {extra('guest_delete', found[1])})", of_host(sentence)
    )


def of_host(sentence: str) -> str:
    """A sentence about a host with all that it has."""
    return _permitted_with("hypervisor_allow", _HOST.sub(lambda found: f"hypervisor_{found[0]}", sentence))


def _permitted_with(variable: str, sentence: str) -> str:
    return _PERMIT.sub(lambda found: f"Permit it for one run with {extra(variable, found[1])}", sentence)


def of_item(item: t.Mapping[str, t.Any]) -> str:
    """What one resource of a layout says."""
    return (of_guest if item["kind"] in GUESTS else of_host)(str(item["msg"]))


def of_layout(result: t.Mapping[str, t.Any]) -> str:
    """What a layout says of all that failed in it, with each guest's own sentence as it is shown to the guest."""
    message = str(result.get("msg") or "")
    for item in result.get("resources") or ():
        if "msg" in item:
            message = message.replace(str(item["msg"]), of_item(item))
    return of_host(message)


def extra(variable: str, *words: str) -> str:
    """How *words* of permission are given to a run, in a shell."""
    listed: t.Sequence[str] = [f'"{word}"' for word in words]
    return f"-e '{{\"{variable}\": [{', '.join(listed)}]}}'"
