# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Asks the host, and its guests that run, which updates they know of. Only reads: nobody fetches a list for it."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._container import live
from .._core import command
from .._core.errors import HybridError
from .._host.snapshot import Host
from .._vm.agent import Agent, AgentSilent
from .._vm.agent_session import connect
from .pending import Pending, pending_of

# What has no apt says nothing. Whether lists were fetched is seen by what that leaves; the files themselves are as old as their mirror says.
_ASK = """
command -v apt-get > /dev/null || exit 0
cd /var/lib/apt || exit 0
echo "Fetched $(stat -c %Y lists lists/partial lists/*Release periodic/update-stamp 2> /dev/null | sort -n | tail -n 1)"
LC_ALL=C apt-get --quiet --simulate dist-upgrade
"""
_SHELL = ("/bin/sh", "-c", _ASK)
_SECONDS, _AGENT_SECONDS = 120.0, 5


def read_updates(host: Host) -> dict[str, Pending]:
    """What the host (by an empty name) and its guests know of, by name. Who does not answer, or has no apt, is not among them."""
    found = {"": pending_of(_said(_SHELL))}
    for name in sorted(host.containers):
        if host.containers[name].is_running:
            with contextlib.suppress(HybridError):
                found[name] = pending_of(_said(live.attach(name, _SHELL)))
    for name in sorted(host.listings.active):
        with contextlib.suppress(HybridError):
            found[name] = pending_of(_said_by_agent(name))
    return {name: its for name, its in found.items() if its is not None}


def _said(words: t.Sequence[str]) -> str:
    argv = ["nice", *words]
    return command.run(argv, timeout=_SECONDS)


def _said_by_agent(name: str) -> str:
    until = time.monotonic() + _SECONDS

    def pause(seconds: float) -> None:
        if time.monotonic() > until:
            raise AgentSilent(f"apt of {name} does not come to its end")
        time.sleep(seconds)

    agent = Agent(connect(name, _AGENT_SECONDS), pause)
    return agent.run(_SHELL[0], _SHELL[1:]).stdout.decode(errors="replace")
