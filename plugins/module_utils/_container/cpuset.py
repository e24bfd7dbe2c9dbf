# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Sets of CPUs in the kernel's form (``0-1,3``)."""

from __future__ import annotations

import re
import typing as t

_PART = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse(text: str) -> tuple[int, ...]:
    """The CPUs of *text*, sorted; none for what is no set."""
    found: set[int] = set()
    for part in text.replace(" ", "").strip().split(","):
        match = _PART.fullmatch(part)
        if not match:
            return ()
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def show(cpus: t.Iterable[int]) -> str:
    """The shortest text for *cpus*."""
    parts: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if parts and cpu == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], cpu]
        else:
            parts.append([cpu])
    return ",".join("-".join(map(str, part)) for part in parts)


def least_claimed(count: int, online: t.Sequence[int], claims: t.Iterable[t.Sequence[int]]) -> tuple[int, ...]:
    """The *count* CPUs of *online* that the fewest of *claims* hold, the lowest first among equals."""
    weight = dict.fromkeys(online, 0)
    for claim in claims:
        for cpu in claim:
            if cpu in weight:
                weight[cpu] += 1
    return tuple(sorted(sorted(online, key=lambda cpu: (weight[cpu], cpu))[:count]))
