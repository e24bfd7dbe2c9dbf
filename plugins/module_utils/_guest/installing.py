# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""An installer that makes the system of a guest: what the record says of it, and how far it has come."""

from __future__ import annotations

import typing as t

# How a plan calls it.
INSTALL = "install"
# The stages that a record knows: the installer was begun; the system stands, and what the installer needed is left; nothing is left of it.
BEGUN, OVER, DONE = "begun", "over", "done"


class Installation(t.NamedTuple):
    """What the record says: *source* is what the system is installed from, *begun* the seconds since 1970, *timeout* how long that may take.

    *done_when* is how its end is seen, at the *port*, or by the *pattern* on the serial console. *asked*: what kind of installer it is where it
    waits to be asked over the network.
    """

    source: str
    begun: float
    timeout: int
    done_when: str
    stage: str = BEGUN
    port: int | None = None
    pattern: str | None = None
    asked: str | None = None


class Installing(t.NamedTuple):
    """An installation that has not come to its end.

    *is_over*: the system stands, and only what the installer needed is left. *runs*: the guest runs as the installer left it, with its media.
    *is_lost*: it was cut off so long ago that somebody may use by now what is on the disks.
    """

    source: str
    is_over: bool = False
    runs: bool = False
    is_lost: bool = False

    @property
    def is_under_way(self) -> bool:
        """Whether the installer is at work: the guest is left to it."""
        return self.runs and not self.is_over


def load(data: t.Mapping[str, t.Any]) -> Installation:
    """What the JSON values *data* say."""
    port = data.get("port")
    return Installation(
        source=str(data["source"]),
        begun=float(data["begun"]),
        timeout=int(data["timeout"]),
        done_when=str(data["done_when"]),
        stage=str(data["stage"]),
        port=None if port is None else int(port),
        pattern=data.get("pattern"),
        asked=data.get("asked"),
    )


def dump(installation: Installation) -> dict[str, t.Any]:
    """The JSON values of *installation*."""
    return {key: value for key, value in installation._asdict().items() if value is not None}
