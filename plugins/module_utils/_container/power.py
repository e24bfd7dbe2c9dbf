# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Start, stop, freeze and thaw a container, each until it is true."""

from __future__ import annotations

import os
import tempfile

from .._core import command
from .._core.errors import ApplyError
from . import live

_START_SECONDS = 120.0
_SECONDS = 60.0


def start(name: str) -> None:
    """Start the container. It is a child of its own: the monitor that stays must not hold our locks.

    :raises ApplyError: with what liblxc said.
    """
    with tempfile.TemporaryDirectory(prefix="homelab-hybrid-") as folder:
        log = os.path.join(folder, "start.log")
        try:
            command.run(["lxc-start", "-n", name, "-d", "-o", log, "-l", "ERROR"], timeout=_START_SECONDS)
        except command.CommandError as exc:
            raise ApplyError(f"the container {name} did not start: {_said(log) or exc.message}") from exc


def _said(log: str) -> str:
    """The errors that liblxc logged, without its place in the source."""
    try:
        with open(log, encoding="utf-8", errors="replace") as stream:
            lines = [line.strip().split(" - ", 1)[-1] for line in stream if " ERROR " in line]
    except FileNotFoundError:
        return ""
    return "; ".join(lines[:3])


def stop(name: str, *, timeout: int, force: bool) -> None:
    """Let the container shut down within *timeout* seconds, else with *force* end it hard.

    :raises ApplyError: when it still runs.
    """
    container = live.handle(name)
    if live.settled_state(container) == "FROZEN":
        unfreeze(name)
    if container.state == "STOPPED" or container.shutdown(timeout):
        return
    if not force:
        raise ApplyError(
            f"the container {name} did not shut down within {timeout} s. Give it longer (shutdown_timeout), or end it (force_stop)"
        )
    kill(name)


def kill(name: str) -> None:
    """End the container hard, if it runs.

    :raises ApplyError: when it still runs.
    """
    if live.handle(name).state != "STOPPED":
        _tell(["lxc-stop", "-n", name, "-k"], f"the container {name} could not be ended")


def freeze(name: str) -> None:
    """:raises ApplyError:"""
    if live.handle(name).state != "FROZEN":
        _tell(["lxc-freeze", "-n", name], f"the container {name} could not be frozen")


def unfreeze(name: str) -> None:
    """:raises ApplyError:"""
    if live.handle(name).state == "FROZEN":
        _tell(["lxc-unfreeze", "-n", name], f"the container {name} could not be thawed")


def _tell(argv: list[str], failure: str) -> None:
    # The calls of liblxc wait without an end for a process that does not leave the kernel; their programs can be ended.
    try:
        command.run(argv, timeout=_SECONDS)
    except command.CommandError as exc:
        raise ApplyError(f"{failure}: {exc.message}") from exc
