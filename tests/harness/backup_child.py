# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of backups, which kills itself and all that it started right before a program that it runs: VERB JOB STEP.

STEP is the how many th that is, or what the first such has in its words.
"""

from __future__ import annotations

import os
import signal
import sys
import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import program
from ansible_collections.homelab.hybrid.plugins.module_utils._core import command

# What only tells is no step: nothing is another after it.
TELLING = ("lxc-info", "du", "virsh")


def main(verb: str, job: str, step: str) -> int:
    run, started, count = command.run, command._started, 0

    def before(argv: t.Sequence[str]) -> None:
        nonlocal count
        count += argv[0] not in TELLING
        words = " ".join(argv)
        if argv[0] not in TELLING and (str(count) == step or (not step.isdigit() and step in words)):
            sys.stderr.write(f"KILLED before {words[:80]}\n")
            sys.stderr.flush()
            os.killpg(0, signal.SIGKILL)

    def counted(argv: t.Sequence[str], **options: t.Any) -> str:
        before(argv)
        return run(argv, **options)

    def counted_pipe(argv: t.Sequence[str], *arguments: t.Any, **options: t.Any) -> t.Any:
        before(argv)
        return started(argv, *arguments, **options)

    command.run, command._started = counted, counted_pipe
    return program.main([verb, job])


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
