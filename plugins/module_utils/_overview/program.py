# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""homelab-hybrid-overview: tells the overview pages in guests of this host how it and its guests are. It lies on the host as one file.

``tell``, ``show``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import typing as t

from .._container.live import attach
from .._core import command
from .._core.errors import HybridError
from .._host.snapshot import Host
from .look import look
from .told import read_guests
from .units import NAME

# In the guest: where the page looks for it. Whoever reads has all of it, or what was told before.
_FOLDER = "/run/homelab_hosts"
_TAKE = 'umask 022; mkdir -p "$1"; cat > "$1/.$2.new"; mv -- "$1/.$2.new" "$1/$2.json"'
_SECONDS = 30.0


def main(argv: t.Sequence[str] | None = None) -> int:
    """Do what *argv* says, and answer the status that the program ends with."""
    parser = argparse.ArgumentParser(prog=NAME, description="Tell overview pages how the guests of this host are.")
    verbs = parser.add_subparsers(required=True)
    verbs.add_parser("tell", help="tell the guests that are to know").set_defaults(act=_tell)
    verbs.add_parser("show", help="only print what they are told").set_defaults(act=_show)
    words = parser.parse_args(argv)
    try:
        return int(not words.act())
    except HybridError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return 1


def _show() -> bool:
    host = next(iter(read_guests().values()), platform.node())
    sys.stdout.write(json.dumps(look(Host(), host), indent=1, sort_keys=True) + "\n")
    return True


def _tell() -> bool:
    """Whether all guests that run were told. One that does not run has no page."""
    host = Host()
    running = {
        name: its for name, its in read_guests().items() if name in host.containers and host.containers[name].is_running
    }
    all_took = True
    for guest, name in running.items():
        text = json.dumps(look(host, name))
        try:
            command.run(attach(guest, ["/bin/sh", "-euc", _TAKE, "sh", _FOLDER, name]), input=text, timeout=_SECONDS)
        except HybridError as exc:
            sys.stderr.write(f"{guest} was not told: {exc.message}\n")
            all_took = False
    return all_took
