# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How each kind of guest is captured, by its word."""

from __future__ import annotations

import contextlib
import typing as t

from .._container import capture as container
from .._guest.capture import Begun, Captured, Note, Wish
from .._host.snapshot import Host
from .._vm import capture as machine

Capturing = t.Callable[[Wish, Host, Note, t.Sequence[int]], contextlib.AbstractContextManager[Captured]]
TakingBack = t.Callable[[str, str, Begun, Host, t.Sequence[int]], None]


class Kind(t.NamedTuple):
    """*captured* shows a guest while it is entered, *take_back* undoes what one that was killed has begun."""

    captured: Capturing
    take_back: TakingBack


KINDS = {"container": Kind(container.captured, container.take_back), "vm": Kind(machine.captured, machine.take_back)}
