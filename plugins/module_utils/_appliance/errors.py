# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What makes it useless to go on asking."""

from __future__ import annotations

from .._core.errors import ObserveError


class Stranger(ObserveError):
    """Something answers that is not the appliance of before, or does not let us in."""
