# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The module ``layout``, whether its code was sent or was kept on the host."""

from __future__ import annotations

import typing as t

from .._run.module import run_whole
from .kinds import ARGUMENTS, CONSTRAINTS
from .run import converge_layout


def run_layout(arguments: t.Mapping[str, t.Any], **constraints: t.Any) -> None:
    run_whole(converge_layout, arguments, libraries=("libvirt", "lxc", "lxml"), **constraints)


def main() -> None:
    run_layout(ARGUMENTS, **CONSTRAINTS)
