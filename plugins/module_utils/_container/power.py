# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Start, stop, freeze and thaw a container, each until it is true."""

from __future__ import annotations

import os
import tempfile
import typing as t

from .._core import command
from .._core.errors import ApplyError
from .._host.lxc import config_path, lxc_path, running_names
from . import live
from .loading import errors_in

_START_SECONDS = 120.0
_SECONDS = 60.0
_LONGER = "Give it longer (shutdown_timeout), or end it (force_stop)"


def start(name: str) -> None:
    """Start the container. It is a child of its own: the monitor that stays must not hold our locks.

    :raises ApplyError: with what liblxc said.
    """
    with tempfile.TemporaryDirectory(prefix="homelab-hybrid-") as folder:
        log = os.path.join(folder, "start.log")
        try:
            command.run(["lxc-start", "-n", name, "-d", "-o", log, "-l", "ERROR"], timeout=_START_SECONDS)
        except command.CommandError as exc:
            raise ApplyError(f"the container {name} did not start: {errors_in(log) or exc.message}") from exc


def stop(name: str, *, timeout: int, force: bool, keep_fds: t.Sequence[int]) -> None:
    """Let the container shut down within *timeout* seconds, else with *force* end it hard. See ``freeze`` for *keep_fds*.

    :raises ApplyError: when it still runs.
    """
    container = live.handle(name)
    if live.settled_state(container) == "FROZEN":
        unfreeze(name, keep_fds=keep_fds)
    if container.state == "STOPPED" or container.shutdown(timeout):
        return
    if not force:
        raise ApplyError(f"the container {name} did not shut down within {timeout} s. {_LONGER}")
    kill(name, keep_fds=keep_fds)


def stop_unloadable(name: str, *, timeout: int, force: bool, keep_fds: t.Sequence[int]) -> None:
    """``stop`` of a container whose configuration liblxc cannot load: its programs see an empty one in the place of its folder.

    :raises ApplyError: when it still runs.
    """
    argv = ["lxc-stop", "-n", name, *(["-t", str(timeout), *([] if force else ["--nokill"])] if timeout else ["-k"])]
    hide = 'mount -t tmpfs none "$0" && : > "$0/config" && exec "$@"'
    folder = os.path.dirname(config_path(name))
    try:
        command.run(
            ["unshare", "--mount", "sh", "-c", hide, folder, *argv], timeout=timeout + _SECONDS, keep_fds=keep_fds
        )
    except command.CommandError as exc:
        raise ApplyError(f"the container {name} could not be stopped: {exc.message}") from exc
    if name in running_names(folder=lxc_path()):
        raise ApplyError(f"the container {name} did not shut down within {timeout} s. {_LONGER}")


def kill(name: str, *, keep_fds: t.Sequence[int]) -> None:
    """End the container hard, if it runs. See ``freeze`` for *keep_fds*.

    :raises ApplyError: when it still runs.
    """
    if live.handle(name).state != "STOPPED":
        _tell(["lxc-stop", "-n", name, "-k"], keep_fds, f"the container {name} could not be ended")


def freeze(name: str, *, keep_fds: t.Sequence[int]) -> None:
    """Hold the container still. *keep_fds* are the descriptors of its locks: the program that does it outlives a run that is killed, and
    must have ended before the next run looks.

    :raises ApplyError:
    """
    if live.handle(name).state != "FROZEN":
        _tell(["lxc-freeze", "-n", name], keep_fds, f"the container {name} could not be frozen")


def unfreeze(name: str, *, keep_fds: t.Sequence[int]) -> None:
    """Let the container go on. See ``freeze`` for *keep_fds*.

    :raises ApplyError:
    """
    # liblxc lets nothing but a frozen one go on (5.0).
    if live.handle(name).state == "FREEZING":
        freeze(name, keep_fds=keep_fds)
    if live.handle(name).state == "FROZEN":
        _tell(["lxc-unfreeze", "-n", name], keep_fds, f"the container {name} could not be thawed")


def _tell(argv: list[str], keep_fds: t.Sequence[int], failure: str) -> None:
    # The calls of liblxc wait without an end for a process that does not leave the kernel; their programs can be ended.
    try:
        command.run(argv, timeout=_SECONDS, keep_fds=keep_fds)
    except command.CommandError as exc:
        raise ApplyError(f"{failure}: {exc.message}") from exc
