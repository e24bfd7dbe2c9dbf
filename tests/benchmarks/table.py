# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All benchmarks of whole hosts and of a fleet as one table; with --write that of docs/docsite/rst/benchmarks.rst."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import typing as t
from pathlib import Path

import fleet
import hosts

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from pages import PAGES, list_table, replaced

PAGE = PAGES / "benchmarks.rst"
BEGIN, END = "benchmarks: written by make bench-write", "end of benchmarks"
HEAD = ("what", "time", "ratio")


def fleet_rows(sizes: t.Sequence[int]) -> t.Iterator[hosts.Row]:
    """A ratio is to the same plays with tasks that do nothing, and that of one guest to one in the smallest fleet."""
    first: fleet.Cost | None = None
    for cost in fleet.measure(sizes):
        first = first or cost
        what = f"control node: {cost.guests} guests on {cost.guests // fleet.GUESTS_EACH} hypervisors"
        yield f"{what}, the same plays with tasks that do nothing", f"{cost.idle_seconds:.0f} s", "1.0"
        each = (cost.seconds / cost.guests) / (first.seconds / first.guests)
        ratio = f"{cost.seconds / cost.idle_seconds:.2f} (aim: 1.50); {each:.2f} for each guest (aim: 1.10)"
        yield f"{what}, {cost.mebibytes:.0f} MiB", f"{cost.seconds:.0f} s", ratio


def show(rows: t.Iterable[hosts.Row]) -> list[hosts.Row]:
    """*rows*, each printed as it comes."""
    shown = []
    for row in rows:
        print(" | ".join(row), flush=True)
        shown.append(row)
    return shown


def write(rows: list[hosts.Row]) -> None:
    load = os.getloadavg()[2]
    host = f"Python {platform.python_version()}, {os.cpu_count()} CPUs shared with other work (load {load:.0f} at the end)."
    table = list_table(HEAD, ([cell.replace("`", "``") for cell in row] for row in rows))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), BEGIN, END, f"{table}\n{host}\n"), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table into docs/docsite/rst/benchmarks.rst")
    parser.add_argument("--sizes", nargs="*", type=int, default=list(fleet.SIZES), help="guests in the fleets")
    options = parser.parse_args()
    print(" | ".join(HEAD))
    rows = [*show(hosts.rows()), *show(fleet_rows(options.sizes))]
    if options.write:
        write(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
