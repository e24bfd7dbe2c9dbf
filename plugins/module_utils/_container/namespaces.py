# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The namespaces of a running container: what is done in them is done in a child of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import typing as t

from .._core.errors import ApplyError, HybridError
from .mapping import checked, libc

# A mount of a server that is gone blocks for ever.
_SECONDS = 60.0


def in_namespaces(
    pid: int, kinds: t.Sequence[str], do: t.Callable[[], t.Any], *, error: type[HybridError] = ApplyError
) -> t.Any:
    """Run *do* in the namespaces *kinds* (``net``, ``uts``, ``mnt``) of *pid*. Returns what it returns, as JSON carries it.

    :raises HybridError: of the class *error*, with the message of what went wrong there, or that it took longer than a minute.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _be_child(pid, kinds, do, reading, writing)
    os.close(writing)
    try:
        said = _read_all(reading, time.monotonic() + _SECONDS)
    finally:
        os.close(reading)
    if said is None:
        os.kill(child, signal.SIGKILL)
        raise error(f"waited {_SECONDS:g} s for what was asked in the {', '.join(kinds)} namespace of process {pid}")
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


def _be_child(pid: int, kinds: t.Sequence[str], do: t.Callable[[], t.Any], reading: int, writing: int) -> t.NoReturn:
    status = 1
    try:
        os.close(reading)
        answer = json.dumps({"value": _enter_and_do(pid, kinds, do)})
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


def _enter_and_do(pid: int, kinds: t.Sequence[str], do: t.Callable[[], t.Any]) -> t.Any:
    descriptors = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    for descriptor in descriptors:
        checked(libc.setns(descriptor, 0), f"enter a namespace of process {pid}")
    return do()
