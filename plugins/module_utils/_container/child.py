# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is done in a child of this process: it may change what a process has, such as its namespaces, or end for what it was asked."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import typing as t

from .._core.errors import ApplyError, HybridError

# A mount of a server that is gone blocks for ever.
_SECONDS = 60.0


def in_child(do: t.Callable[[], t.Any], what: str, *, error: type[HybridError] = ApplyError) -> t.Any:
    """Run *do* in a child. Returns what it returns, as JSON carries it.

    :raises HybridError: of the class *error*, with the message of what went wrong there, or that *what* took longer than a minute.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _be_child(do, reading, writing)
    os.close(writing)
    try:
        said = _read_all(reading, time.monotonic() + _SECONDS)
    finally:
        os.close(reading)
    if said is None:
        os.kill(child, signal.SIGKILL)
        raise error(f"waited {_SECONDS:g} s for {what}")
    os.waitpid(child, 0)
    answer: dict[str, t.Any] = json.loads(said) if said else {"error": "the child ended without a word"}
    if "error" in answer:
        raise error(answer["error"])
    return answer["value"]


def _read_all(descriptor: int, deadline: float) -> bytes | None:
    """All that comes until the other end is closed; ``None`` where that is not before *deadline*."""
    said = b""
    while True:
        ready, dummy, dummy = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return said
        said += chunk


def _be_child(do: t.Callable[[], t.Any], reading: int, writing: int) -> t.NoReturn:
    status = 1
    try:
        os.close(reading)
        answer = json.dumps({"value": do()})
        status = 0
    except HybridError as exc:
        answer = json.dumps({"error": exc.message})
    except BaseException as exc:
        answer = json.dumps({"error": f"{type(exc).__name__}: {exc}"})
    try:
        with os.fdopen(writing, "wb") as stream:
            stream.write(answer.encode())
    finally:
        os._exit(status)
