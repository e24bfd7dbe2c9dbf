# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What guests lay claim to, by their records and by what the hypervisors have of them."""

from __future__ import annotations

import typing as t

from .._core import record as records
from .._core.errors import ApplyError
from .record import load


def check_macs(guest: str, macs: t.Mapping[str, str]) -> None:
    """Whether *macs* are still free for *guest*. The lock of allocations is held.

    :raises ApplyError: when another guest has got one since they were planned.
    """
    wanted = set(macs.values())
    for other, file in records.load_all("guests").items() if wanted else ():
        clash = wanted & set(load(file.data, exists=True).macs.values())
        if other != guest and clash:
            raise ApplyError(f"networks: {', '.join(sorted(clash))} belongs to the guest {other} by now. Run it again")
