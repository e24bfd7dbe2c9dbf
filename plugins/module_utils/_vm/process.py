# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""One run of a domain: the QEMU process behind it, and what the guest declined while it lives."""

from __future__ import annotations

import dataclasses
import glob
import os
import typing as t

from .._core import atomic
from .._core.record import Record

_PID_FOLDER = "/run/libvirt/qemu"


@dataclasses.dataclass(frozen=True)
class Run:
    """A QEMU process: a pid alone comes again, with the clock ticks of its start it does not."""

    pid: int
    start: int

    @property
    def uptime_seconds(self) -> int | None:
        text = atomic.read_text("/proc/uptime")
        ticks = os.sysconf("SC_CLK_TCK")
        return None if text is None else max(0, int(float(text.split()[0]) - self.start / ticks))


def find_run(name: str) -> Run | None:
    """The QEMU process of the domain *name*, ``None`` while it does not run."""
    text = atomic.read_text(os.path.join(_PID_FOLDER, f"{name}.pid"))
    stat = atomic.read_text(f"/proc/{text.strip()}/stat") if text and text.strip().isdigit() else None
    if text is None or stat is None:
        return None
    # The name of the program, in parentheses, may hold blanks; the start is the 22nd field.
    return Run(int(text), int(stat.rpartition(")")[2].split()[19]))


def notes_of(record: Record, run: Run | None) -> dict[str, t.Any]:
    """What was noted of this very run of the guest; nothing of an earlier one."""
    notes = record.data.get("run") or {}
    if run is None or (notes.get("pid"), notes.get("start")) != (run.pid, run.start):
        return {}
    return dict(notes)


def save_notes(record: Record, run: Run | None, **changes: t.Any) -> None:
    """Merge *changes* into the notes of this run."""
    if run is not None:
        record.save(run={**notes_of(record, run), **changes, "pid": run.pid, "start": run.start})


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
