# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""A repository that is shown as files for a while."""

from __future__ import annotations

import typing as t


class Opened(t.NamedTuple):
    """Each backup is a folder of its id in *folder*, for who enters the namespaces of *process*.

    *memory* is a folder of theirs for what is needed meanwhile.
    """

    process: int
    folder: str
    memory: str

    def entering(self) -> list[str]:
        """What to put before a program that shall see them. It ends with what shows them, whatever it has started."""
        own = f"/proc/{self.process}/ns"
        return ["nsenter", f"--mount={own}/mnt", f"--pid={own}/pid_for_children", "--"]
