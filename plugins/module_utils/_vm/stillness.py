# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""A running machine that is held still while its disks are kept or cloned."""

from __future__ import annotations

import contextlib
import typing as t

from .._core import libraries
from .._core.errors import ApplyError
from .._host.libvirt import errors_of
from . import power


def hold(domain: t.Any, *, stops: bool, has_agent: bool, warnings: list[str]) -> bool:
    """Let nothing be written until ``release``; with *stops* the machine stands still. Returns whether its file systems are whole.

    Its agent freezes them, where it answers; QEMU writes out what it holds when it stops.

    :raises ApplyError:
    """
    is_frozen = False
    if has_agent:
        try:
            domain.fsFreeze()
            is_frozen = True
        except libraries.libvirt().libvirtError as exc:
            warnings.append(
                f"the agent in {domain.name()} did not freeze its file systems ({exc.get_error_message()}): "
                "what is kept of it is what a power cut would leave"
            )
    if stops:
        power.pause(domain)
    return is_frozen


def release(domain: t.Any, *, stopped: bool, is_frozen: bool) -> None:
    """Let a machine go on that was held, also by a run that was killed.

    :raises ApplyError:
    """
    library = libraries.libvirt()
    if stopped and domain.isActive() and domain.state()[0] == library.VIR_DOMAIN_PAUSED:
        power.resume(domain)
    if is_frozen:
        with errors_of(f"thaw the file systems of {domain.name()}", ApplyError):
            domain.fsThaw()
    elif domain.isActive():
        # Those that a run froze which was killed; nothing is to thaw, or no agent answers, as a rule.
        with contextlib.suppress(library.libvirtError):
            domain.fsThaw()
