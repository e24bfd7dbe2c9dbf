# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What stands of the backups of a host."""

from __future__ import annotations

import typing as t

Things = t.Mapping[str, t.Mapping[str, t.Any]]


class State(t.NamedTuple):
    """*repositories*, *jobs* and *replications* by name, each with the values of its options. *made* are the repositories that were used already.

    *broken* are the names of those whose files and units are not as they were written; not *has_program*: the program is missing, or of
    another version. *problems* say of schedules, by their text, what systemd has against them. *unreachable* says of new local repositories, by
    name, why they cannot be where they shall; *unsendable* says of guests of the host why they cannot be replicated. *mute* has the guests, by
    the job whose drills try them, of which none could tell whether they are well. *unkept* says of jobs that keep otherwise what the next run
    lets go of.
    """

    repositories: Things = {}
    jobs: Things = {}
    replications: Things = {}
    made: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    has_program: bool = False
    problems: t.Mapping[str, str] = {}
    unreachable: t.Mapping[str, str] = {}
    mute: t.Mapping[str, tuple[str, ...]] = {}
    unsendable: t.Mapping[str, str] = {}
    unkept: t.Mapping[str, str] = {}
