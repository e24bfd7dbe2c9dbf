# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes which lines of some files each test executes; Python runs it by itself in every process whose PYTHONPATH begins here.

EXECUTION_MAP is the folder to write to, EXECUTION_FILES the ends of the paths of the files, separated by colons. A line of what
is written: test, file, line number, with tabs between. Written as it happens, as tests kill their children.
"""

from __future__ import annotations

import os
import sys
import threading
import typing as t

FILES = tuple(os.environ.get("EXECUTION_FILES", "").split(":"))
known: dict[str, str | None] = {}
seen: set[tuple[str, int]] = set()
output: list[int] = []


def trace(frame: t.Any, _event: str, _argument: object) -> t.Any:
    """For each call: whether its lines are of interest."""
    path = frame.f_code.co_filename
    if path not in known:
        known[path] = next((file for file in FILES if path.endswith(file)), None)
    return trace_lines if known[path] else None


def trace_lines(frame: t.Any, event: str, _argument: object) -> t.Any:
    if event == "line":
        key = (frame.f_code.co_filename, frame.f_lineno)
        if key not in seen:
            seen.add(key)
            test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
            write(f"{test}\t{known[key[0]]}\t{key[1]}\n")
    return trace_lines


def write(line: str) -> None:
    if not output:
        # Processes of several cells have the same number.
        path = os.path.join(os.environ["EXECUTION_MAP"], os.urandom(8).hex())
        output.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
    os.write(output[0], line.encode())


if os.environ.get("EXECUTION_MAP"):
    sys.settrace(trace)
    threading.settrace(trace)
