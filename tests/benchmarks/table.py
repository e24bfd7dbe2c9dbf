# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All benchmarks of whole hosts and of a fleet as one table; with --write that of docs/docsite/rst/benchmarks.rst.

With --only too the rows of these parts come into the place of what was measured of the same before.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import sys
import time
import typing as t
from pathlib import Path

import fleet
import hosts

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from pages import PAGES, list_table, merged, replaced, standing_rows

PAGE = PAGES / "benchmarks.rst"
BEGIN, END = "benchmarks: written by make bench-write", "end of benchmarks"
FLEET = "fleet"
HEAD = ("what", "time", "ratio")


def fleet_rows(sizes: t.Sequence[int]) -> t.Iterator[hosts.Row]:
    """A ratio is to the same plays with tasks that do nothing, and that of one guest to one in the smallest fleet."""
    first: fleet.Cost | None = None
    for cost in fleet.measure(sizes):
        first = first or cost
        what = f"control node: {cost.guests} guests on {cost.guests // fleet.GUESTS_EACH} hypervisors"
        # What Ansible itself takes grows, too: each host of a play knows all of them.
        idle_each = (cost.idle_seconds / cost.guests) / (first.idle_seconds / first.guests)
        idle = f"1.0; {idle_each:.2f} for each guest"
        yield f"{what}, the same plays with tasks that do nothing", f"{cost.idle_seconds:.0f} s", idle
        each = (cost.seconds / cost.guests) / (first.seconds / first.guests)
        grown = f"{each:.2f} for each guest, {each / idle_each:.2f} of what Ansible itself grows by (aim: 1.10)"
        ratio = f"{cost.seconds / cost.idle_seconds:.2f} (aim: 1.50); {grown}"
        yield f"{what}, {cost.mebibytes:.0f} MiB", f"{cost.seconds:.0f} s", ratio


def measure(parts: t.Mapping[str, t.Callable[[], t.Iterable[hosts.Row]]]) -> t.Iterator[tuple[str, list[hosts.Row]]]:
    """The name and the rows of each of *parts*, printed as they come; without rows, one that failed: it takes no other's with it."""
    for name, part in parts.items():
        began, rows = time.monotonic(), []
        try:
            for row in part():
                print(" | ".join(row), flush=True)
                rows.append(row)
        except (Exception, SystemExit) as exc:
            print(f"{name}: not measured: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
            rows = []
        print(f"{name}: {time.monotonic() - began:.0f} s in all", file=sys.stderr, flush=True)
        yield name, rows


def write(rows: list[hosts.Row], missing: list[str], load: float) -> None:
    """Write the table; *load* is that of the minutes before the run."""
    host = f"Python {platform.python_version()}, {os.cpu_count()} CPUs that had a load of {load:.1f} before."
    left = f"Not measured: {', '.join(missing)}.\n" if missing else ""
    _put(rows, f"{host}\n{left}")


def _put(rows: t.Iterable[t.Sequence[str]], below: str) -> None:
    table = list_table(HEAD, ([cell.replace("`", "``") for cell in row] for row in rows))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), BEGIN, END, f"{table}\n{below}"), encoding="utf-8")


def rewrite(name: str, rows: list[hosts.Row], load: float) -> None:
    """Put the *rows* of the part *name* into the table, in the place of what was measured of the same before."""
    before = PAGE.read_text(encoding="utf-8").partition(f".. {BEGIN}\n")[2].partition(f".. {END}\n")[0]
    table, dummy, below = before.strip("\n").rpartition("\n\n")
    since = f"Measured later, with a load of {load:.1f} before: {name}."
    said = [
        line for line in below.split("\n") if not (line.startswith("Measured later") and line.endswith(f" {name}."))
    ]
    _put(merged(standing_rows(table), rows), "".join(f"{line}\n" for line in (*said, since)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table into docs/docsite/rst/benchmarks.rst")
    parser.add_argument("--sizes", nargs="*", type=int, default=list(fleet.SIZES), help="guests in the fleets")
    names = [*hosts.PARTS, FLEET]
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="PART", help=", ".join(names))
    options = parser.parse_args()
    parts = {**hosts.PARTS, FLEET: functools.partial(fleet_rows, options.sizes)}
    load = os.getloadavg()[1]
    print(" | ".join(HEAD))
    measured: dict[str, list[hosts.Row]] = {}
    for name, rows in measure({name: parts[name] for name in options.only}):
        measured[name] = rows
        if options.write and options.only != names:
            if rows:
                rewrite(name, rows, load)
        elif options.write:
            # After each part: a run that is ended keeps what it has measured.
            told = [row for its in measured.values() for row in its]
            write(told, [name for name in names if not measured.get(name)], load)
    return 0 if all(measured.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
