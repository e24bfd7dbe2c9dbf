# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The namespaces of a running container: what is done in them is done in a child of its own."""

from __future__ import annotations

import os
import typing as t

from .._core.errors import ApplyError, HybridError
from .child import in_child
from .mapping import checked, libc


def in_namespaces(
    pid: int, kinds: t.Sequence[str], do: t.Callable[[], t.Any], *, error: type[HybridError] = ApplyError
) -> t.Any:
    """Run *do* in the namespaces *kinds* (``net``, ``uts``, ``mnt``) of *pid*. Returns what it returns, as JSON carries it.

    :raises HybridError: of the class *error*, with the message of what went wrong there, or that it took longer than a minute.
    """
    what = f"what was asked in the {', '.join(kinds)} namespace of process {pid}"
    return in_child(lambda: _enter_and_do(pid, kinds, do), what, error=error)


def _enter_and_do(pid: int, kinds: t.Sequence[str], do: t.Callable[[], t.Any]) -> t.Any:
    descriptors = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    for descriptor in descriptors:
        checked(libc.setns(descriptor, 0), f"enter a namespace of process {pid}")
    return do()
