# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of the pages to which a host tells how its guests are."""

from __future__ import annotations

import typing as t


class State(t.NamedTuple):
    """*guests* that are told, each with the name by which they know this host. Those that are *gone* are no container any more.

    Not *has_units*: a unit is missing, not as it was written, or its timer does not run. Not *has_program*: that is missing, or of another version.
    """

    guests: t.Mapping[str, str] = {}
    gone: frozenset[str] = frozenset()
    has_units: bool = False
    has_program: bool = False
