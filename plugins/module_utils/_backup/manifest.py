# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a backup of a guest says of itself: it lies in the backup, beside what that holds."""

from __future__ import annotations

import typing as t

from .._core.errors import ObserveError
from .._guest.capture import Captured

FILE = "manifest.json"
SCHEMA = 1


class Manifest(t.NamedTuple):
    """What a restore has to know. *made* is when, in seconds since 1970; *record* what the ownership record of the guest said then.

    *definition* is what the file of that name in ``_guest.capture.Captured`` holds: to read that, too, a restore would open the repository once
    more. The others are those of ``Captured``.
    """

    guest: str
    kind: str
    host: str
    made: float
    mode: str
    consistent: str
    definition: str
    volumes: t.Mapping[str, t.Mapping[str, t.Any]]
    idmap: tuple[int, int] | None = None
    macs: t.Mapping[str, str] = {}
    record: t.Mapping[str, t.Any] = {}
    mounts: t.Mapping[str, t.Mapping[str, t.Any]] = {}

    @property
    def used_bytes(self) -> int:
        """What its volumes held."""
        return sum(int(its.get("used") or 0) for its in self.volumes.values())

    def dump(self) -> dict[str, t.Any]:
        """The JSON values."""
        told = self._asdict()
        told["idmap"] = {"start": self.idmap[0], "count": self.idmap[1]} if self.idmap else None
        return {"schema": SCHEMA, **told}


def made_of(
    captured: Captured,
    *,
    guest: str,
    kind: str,
    host: str,
    made: float,
    mode: str,
    definition: str,
    record: t.Mapping[str, t.Any],
) -> Manifest:
    """The manifest of what is *captured*."""
    return Manifest(
        guest,
        kind,
        host,
        made,
        mode,
        captured.consistent,
        definition,
        captured.volumes,
        captured.idmap,
        captured.macs,
        record,
        captured.mounts,
    )


def load(data: t.Any) -> Manifest:
    """The manifest of the JSON values *data*.

    :raises ObserveError: when no version, or only a newer one, writes that.
    """
    try:
        if int(data["schema"]) > SCHEMA:
            raise ObserveError(
                f"the backup has schema {data['schema']}, and this version of homelab.hybrid knows {SCHEMA}: update it first"
            )
        idmap = data.get("idmap")
        values = {key: data[key] for key in Manifest._fields if key in data}
        values["idmap"] = (int(idmap["start"]), int(idmap["count"])) if idmap else None
        values["volumes"] = {item: dict(its) for item, its in data["volumes"].items()}
        return Manifest(**values)
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise ObserveError(f"{FILE} of the backup is not what this collection writes: {exc}") from exc
