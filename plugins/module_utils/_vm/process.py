# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""One run of a domain: the QEMU process behind it."""

from __future__ import annotations

import glob
import os

from .._core import atomic
from .._guest.record import Run

_PID_FOLDER = "/run/libvirt/qemu"


def find_run(name: str) -> Run | None:
    """The QEMU process of the domain *name*, ``None`` while it does not run."""
    text = atomic.read_text(os.path.join(_PID_FOLDER, f"{name}.pid"))
    stat = atomic.read_text(f"/proc/{text.strip()}/stat") if text and text.strip().isdigit() else None
    if text is None or stat is None:
        return None
    # The name of the program, in parentheses, may hold blanks; the start is the 22nd field.
    return Run(int(text), int(stat.rpartition(")")[2].split()[19]))


def uptime_seconds(run: Run) -> int | None:
    """For how long it has run."""
    text = atomic.read_text("/proc/uptime")
    ticks = os.sysconf("SC_CLK_TCK")
    return None if text is None else max(0, int(float(text.split()[0]) - run.start / ticks))


def read_open_file(run: Run, path: str) -> bytes | None:
    """The file that QEMU has open and that was called *path* when it was opened: it may have been replaced since."""
    for descriptor in glob.iglob(f"/proc/{run.pid}/fd/*"):
        try:
            if os.readlink(descriptor).removesuffix(" (deleted)") == path:
                with open(descriptor, "rb") as stream:
                    return stream.read()
        except OSError:
            continue
    return None
