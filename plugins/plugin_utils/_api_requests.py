# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the API of a service is asked to change, as tasks of its role send it."""

from __future__ import annotations

import dataclasses
import typing as t

Document = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Request:
    """A request: its path with its query, its body, what a reader is told, and whether the body is not for readers."""

    method: str
    path: str
    says: str
    body: t.Any = None
    secret: bool = False


def documents(requests: t.Iterable[Request]) -> list[dict[str, t.Any]]:
    """*requests* as the loop of a task has them, with ``method``, ``path``, ``says``, ``body`` and ``secret``."""
    # Not `asdict`: it copies what is inside, and the containers of Ansible's templates cannot be copied so.
    return [
        {"method": each.method, "path": each.path, "says": each.says, "body": each.body, "secret": each.secret}
        for each in requests
    ]
