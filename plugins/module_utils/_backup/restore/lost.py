# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which guests of a host are not there, and the backup that each of them would come back from. Only reads."""

from __future__ import annotations

import platform
import typing as t

from ..._core.errors import ObserveError, SpecError
from ..._core.units import seconds_of
from ..._guest.recorded import load_file
from ..._host.snapshot import Host
from ..stored import LATEST, Stored, chosen
from .observe import load, power_of

KINDS = {"containers": "container", "vms": "vm"}
_TITLES = {"container": "a container", "vm": "a virtual machine"}
_NAMES = {"type": "list", "elements": "str", "default": []}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "containers": _NAMES,
    "vms": _NAMES,
    "repositories": {"type": "list", "elements": "str", "required": True},
    "at": {"type": "str"},
    "host": {"type": "str"},
}
Backup = tuple[str, Stored]


def read_lost(params: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """The guests that *params* name and that are not there: ``found``, each with its backup, and ``without``, each with the reason.

    :raises SpecError, ObserveError, RepositoryError:
    """
    at, maker = _moment(params.get("at")), params.get("host") or platform.node()
    lost = {guest: kind for key, kind in KINDS.items() for guest in params[key] if _is_lost(guest, host)}
    known = [(name, its) for name in params["repositories"] for its in load(name).list()] if lost else []
    found: list[dict[str, t.Any]] = []
    without: dict[str, str] = {}
    for guest, kind in lost.items():
        try:
            repository, its = _newest(guest, kind, [(name, it) for name, it in known if it.guest == guest], at, maker)
            found.append({**its.told(), "repository": repository})
        except ObserveError as exc:
            without[guest] = exc.message
    return {"found": found, "without": without}


def _moment(text: str | None) -> float | None:
    try:
        return None if text is None else seconds_of(text)
    except ValueError as exc:
        raise SpecError(f"at: {exc}", key="at") from None


def _is_lost(guest: str, host: Host) -> bool:
    return power_of(guest, load_file(host.record("guests", guest)), host) == "absent"


def _newest(guest: str, kind: str, known: t.Sequence[Backup], at: float | None, maker: str) -> Backup:
    """The backup that is meant, with the repository that has it.

    :raises ObserveError: when there is none.
    """
    if not known:
        raise ObserveError(f"{guest} has no backup")
    own = sorted((its for its in known if its[1].host == maker), key=lambda its: its[1].made, reverse=True)
    if not own:
        hosts = ", ".join(sorted({its.host for dummy, its in known}))
        raise ObserveError(f"{guest} has no backup of the host {maker}, and was backed up on {hosts}")
    its = chosen([it for dummy, it in own], LATEST, at, guest)
    if its.kind != kind:
        raise ObserveError(
            f"{guest} was {_TITLES.get(its.kind, its.kind)} when it was backed up, and is {_TITLES[kind]} now"
        )
    return next(each for each in own if each[1] is its)
