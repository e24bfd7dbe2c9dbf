# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What lies beside an installer that is asked over the network: what it is told, and how far it has come by its own words. Only reads."""

from __future__ import annotations

import json
import os
import typing as t

from .._core import atomic, paths

PORT = 8080
ANSWER, KEY, MARK, LOCK, PROGRESS = "answer.json", "key", "installed", "lock", "progress"
# Where it answers, which only the user may know: it is nothing that the installer takes.
ADDRESS = "address"


class Machine(t.NamedTuple):
    """The machine that waits: what it is called, the *size* in bytes of the disk that the system goes to, how it is started anew."""

    name: str
    size: int
    reset: t.Callable[[], object]


def file(name: str, what: str) -> str:
    return os.path.join(paths.installer_folder(name), what)


def prepared(disk: str, text: str) -> str:
    """What lies in the file of the answer: its *text*, and where the *disk* lies that the system goes to."""
    return json.dumps({"disk": disk, "answer": json.loads(text)})


def disk_of(name: str) -> str:
    """Where the disk lies that the system of *name* goes to."""
    return str(_prepared(name)["disk"])


def address_of(name: str) -> str | None:
    """Where the installer of *name* answers, as far as the user said so."""
    address = _prepared(name)["answer"].get(ADDRESS)
    return str(address) if address else None


def wanted_of(name: str) -> dict[str, t.Any]:
    """What the installer of *name* is asked for."""
    return {key: value for key, value in _prepared(name)["answer"].items() if key != ADDRESS}


def _prepared(name: str) -> t.Any:
    return json.loads(atomic.read_text(file(name, ANSWER)) or '{"answer": {}}')


def is_installed(name: str) -> bool:
    """Whether the installer of *name* said that it has come to its end."""
    return os.path.exists(file(name, MARK))


def progress(name: str) -> str:
    """What the installer of *name* said last."""
    return (atomic.read_text(file(name, PROGRESS)) or "").strip()
