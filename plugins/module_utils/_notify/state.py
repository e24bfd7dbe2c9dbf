# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of whom a host tells."""

from __future__ import annotations

import typing as t


class Kept(t.NamedTuple):
    """*targets* by name, each with the values of its options; the guests whose *alerts* they are told, and whether the host *measures* itself."""

    targets: t.Mapping[str, t.Mapping[str, t.Any]] = {}
    alerts: frozenset[str] = frozenset()
    measures: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.targets or self.alerts or self.measures)


class State(t.NamedTuple):
    """*kept* is what its file says. *broken* are the names of those whose secrets are not as they were written.

    Not *has_units*: a unit is missing, not as it was written, or its timer does not run. Not *has_program*: that is missing, or of another
    version. *has_sendmail*: the host has a program that sends mail.
    """

    kept: Kept = Kept()
    broken: frozenset[str] = frozenset()
    has_units: bool = False
    has_program: bool = False
    has_sendmail: bool = False
