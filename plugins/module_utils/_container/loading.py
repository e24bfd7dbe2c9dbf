# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether liblxc can load a configuration: asked in a child, as liblxc ends its caller at some (seen with 5.0.2)."""

from __future__ import annotations

import os
import tempfile

from .._core import command, libraries
from .._core.errors import ApplyError
from .._host.lxc import lxc_path
from .child import in_child

_SECONDS = 30.0


def problem_of(name: str, folder: str | None = None) -> str | None:
    """Why liblxc cannot load the configuration of *name*, in its words; ``None`` when it can.

    *folder* holds it, where that is not the folder of the containers.
    """
    if _is_loaded_by_a_child(name, folder or lxc_path()):
        return None
    # What liblxc says is in a log alone, and a program of its own can be given one.
    where = ["-P", folder] if folder else []
    try:
        _load(name, *where)
    except command.CommandError as exc:
        with tempfile.TemporaryDirectory(prefix="homelab-hybrid-") as logs:
            log = os.path.join(logs, "load.log")
            try:
                _load(name, *where, "-o", log, "-l", "ERROR")
            except command.CommandError:
                return errors_in(log) or exc.message
    return None


def _is_loaded_by_a_child(name: str, folder: str) -> bool:
    """Whether a child of this process could load it: a fork of what has the library, where a program would load it anew."""

    def load() -> bool:
        # It writes there what the log of the program says as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        libraries.lxc().Container(name, folder)
        return True

    try:
        return bool(in_child(load, f"liblxc to load the configuration of {name}"))
    except ApplyError:
        return False


def _load(name: str, *options: str) -> None:
    command.run(["lxc-info", "-n", name, *options, "-s", "-H"], timeout=_SECONDS)


def errors_in(log: str) -> str:
    """The errors that liblxc logged, without its place in the source."""
    try:
        with open(log, encoding="utf-8", errors="replace") as stream:
            lines = [line.strip().split(" - ", 1)[-1] for line in stream if " ERROR " in line]
    except FileNotFoundError:
        return ""
    return "; ".join(lines[:3])
