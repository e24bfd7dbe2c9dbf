# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Bounded, named waits on the monotonic clock."""

from __future__ import annotations

import time
import typing as t

from .errors import WaitTimeout

Answer = t.TypeVar("Answer")


def wait_until(
    what: str, ask: t.Callable[[], Answer | None], *, timeout_seconds: float, every_seconds: float = 0.2
) -> Answer:
    """Ask until the answer is true, and return it.

    :raises WaitTimeout: after *timeout_seconds*; the sentence says *what* was waited for.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"waited {timeout_seconds:g} s for {what}", waited_for=what, timeout=timeout_seconds)
        time.sleep(min(every_seconds, max(0.0, deadline - time.monotonic())))
