# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The words in which is told how backups, drills and copies of guests went."""

from __future__ import annotations

# Of a run and of what it did.
OK, FAILED = "ok", "failed"
# Of a guest beside these: its job did not run when it should have, is still to run for the first time, there never was one, and there is none
# any more.
OVERDUE, WAITS, NONE, NO_LONGER = "overdue", "waits", "none", "no longer"
TROUBLE = (FAILED, OVERDUE)
# The gravest first.
STATUSES = (*TROUBLE, NONE, NO_LONGER, WAITS, OK)
