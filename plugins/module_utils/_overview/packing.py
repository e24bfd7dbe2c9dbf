# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which program lies on the host."""

from __future__ import annotations


def load() -> str:
    """The name of the program. What names it is sent along with all that it needs."""
    from . import program

    return program.__name__
