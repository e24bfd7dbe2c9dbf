# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""How a program ends that lies on a host as one file, and what it says meanwhile."""

from __future__ import annotations

import argparse
import re
import sys
import typing as t

from .._core.errors import HybridError

# How grave a line is, from which the journal takes it away.
_GRAVE = re.compile(r"^<[34]>")


def status_of(parser: argparse.ArgumentParser, argv: t.Sequence[str] | None) -> int:
    """Do what *argv* says, by the ``act`` of its verb, and answer the status that the program ends with."""
    words = parser.parse_args(argv)
    try:
        return int(not words.act(words))
    except HybridError as exc:
        say(f"<3>{exc.message}")
        return 1


def say(line: str) -> None:
    """One line for who looks on, or for the journal, which reads how grave it is from its beginning."""
    sys.stderr.write((_GRAVE.sub("", line) if sys.stderr.isatty() else line) + "\n")
    sys.stderr.flush()
