# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A network without a way out, in a namespace of its own: whoever is in there may have any address, and meets nobody of the host's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import typing as t

from ..._core import command, paths
from ..._core.errors import ApplyError
from .plan import Place

_FOLDER = "/run/netns"
# RFC 2544 keeps it for networks that are only tried: no guest has an address of it by itself.
_ADDRESS = "198.18.{}.{}"
_DNSMASQ = "dnsmasq --conf-file=/dev/null --no-hosts --no-resolv --no-ping --leasefile-ro --dhcp-authoritative --pid-file=".split()
_END_SECONDS, _STEP_SECONDS = 30.0, 0.1


class Network:
    """The network in which the backup of *guest* is tried."""

    def __init__(self, guest: str) -> None:
        self.name = paths.drill_namespace(guest)
        self.file = os.path.join(_FOLDER, self.name)

    @property
    def is_there(self) -> bool:
        return os.path.exists(self.file)

    def within(self, argv: t.Sequence[str]) -> list[str]:
        """The command line that runs *argv* in it, with the files and mounts of the host."""
        return ["nsenter", f"--net={self.file}", "--", *argv]

    def make(self, segments: int) -> None:
        """Make it, with so many bridges that have no address yet.

        :raises CommandError:
        """
        command.run(["ip", "netns", "add", self.name])
        self._ip("link", "set", "lo", "up")
        for number in range(segments):
            self._ip("link", "add", segment(number), "type", "bridge")
            self._ip("link", "set", segment(number), "up")

    def serve(self, segments: int) -> None:
        """Answer who asks for an address, and who asks for a name: that it is not known, at once. Only where dnsmasq is there."""
        for number in range(segments):
            self.give(_ADDRESS.format(number, 1) + "/24", number)
        ranges = [
            f"--dhcp-range={_ADDRESS.format(number, 10)},{_ADDRESS.format(number, 250)}" for number in range(segments)
        ]
        with contextlib.suppress(command.CommandError):
            command.run(self.within([*_DNSMASQ, *ranges]))

    def take_in(self, link: str) -> None:
        """Take a *link* of the host into it.

        :raises CommandError:
        """
        command.run(["ip", "link", "set", link, "netns", self.name])

    def plug_in(self, pair: str, number: int) -> None:
        """Plug the link *pair* into a segment.

        :raises CommandError:
        """
        self._ip("link", "set", pair, "master", segment(number), "up")

    def give(self, address: str, number: int) -> None:
        """Let a segment have *address* too, at once and whoever else has it.

        :raises CommandError:
        """
        self._ip("address", "replace", address, "dev", segment(number), *(["nodad"] if ":" in address else []))

    def ends(self) -> dict[str, int]:
        """Its links by their names, each with the number that the other end has where that is.

        :raises CommandError:
        """
        told = json.loads(command.run(["ip", "-j", "-n", self.name, "link", "show"]) or "[]")
        return {its["ifname"]: int(its.get("link_index") or 0) for its in told}

    def heard(self, segments: t.Mapping[str, int]) -> list[Place]:
        """Where the cards were heard of which *segments* has the MACs.

        :raises CommandError:
        """
        told = json.loads(command.run(["ip", "-j", "-n", self.name, "neighbour", "show"]) or "[]")
        found = [(its, str(its.get("lladdr", "")).lower()) for its in told]
        return [
            Place(its["dst"], 64 if ":" in its["dst"] else 24, segments[mac]) for its, mac in found if mac in segments
        ]

    def remove(self) -> None:
        """End what runs in it, and take it away.

        :raises ApplyError, CommandError:
        """
        if not self.is_there:
            return
        deadline = time.monotonic() + _END_SECONDS
        while pids := command.run(["ip", "netns", "pids", self.name], check=False).split():
            if time.monotonic() > deadline:
                raise ApplyError(f"processes {', '.join(pids)} stay in the network namespace {self.name}")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(_STEP_SECONDS)
        command.run(["ip", "netns", "delete", self.name])

    def _ip(self, *words: str) -> None:
        command.run(["ip", "-n", self.name, *words])


def segment(number: int) -> str:
    """The bridge of a segment, as it is called in there."""
    return f"segment{number}"
