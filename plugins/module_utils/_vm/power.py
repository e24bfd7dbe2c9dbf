# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Switching a virtual machine on and off, each bounded."""

from __future__ import annotations

import time
import typing as t

from .._core import libraries
from .._core.errors import ApplyError, WaitTimeout
from .._core.waiting import wait_until
from .._guest.ownership import Ownership
from .._host.libvirt import errors_of
from . import process
from .spec import Spec
from .xml import domain as domain_xml

_ASK_AGAIN_SECONDS = 5.0


def start(
    domain: t.Any, own: Ownership, *, paused: bool = False, once: tuple[str, tuple[str, ...]] | None = None
) -> None:
    """Start the machine, or wake it up where it was saved to disk. What the balloon is asked for is noted.

    *once* is the definition that it has for this start alone, and what it boots from otherwise: libvirt takes the lasting one again
    when it is off.
    """
    library = libraries.libvirt()
    is_fresh = not domain.hasManagedSaveImage()
    with errors_of(f"start {domain.name()}", ApplyError):
        flags = library.VIR_DOMAIN_START_PAUSED if paused else 0
        if once is not None and is_fresh:
            _try(lambda: domain.connect().createXML(once[0], flags), lambda: bool(domain.isActive()))
        else:
            _try(lambda: domain.createWithFlags(flags), lambda: bool(domain.isActive()))
        values = domain_xml.read(domain_xml.parse(domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE))).values
    notes: dict[str, t.Any] = {}
    if is_fresh and values["memory"] != values["memory_max"]:
        # The driver in the guest hands the memory back as it boots; until then the machine seems to have more.
        notes["balloon"] = (values["memory"], values["memory_max"])
    if is_fresh and once is not None:
        notes["order"] = once[1]
    run = process.find_run(domain.name()) if notes else None
    if run is not None:
        own.save(run=run.noting(**notes))


def _try(act: t.Callable[[], t.Any], is_so: t.Callable[[], bool]) -> None:
    """Act, unless it came true by itself: libvirt goes on with what a run that was killed had asked for."""
    try:
        act()
    except libraries.libvirt().libvirtError:
        if not is_so():
            raise


def resume(domain: t.Any) -> None:
    with errors_of(f"resume {domain.name()}", ApplyError):
        _try(domain.resume, lambda: domain.state()[0] == libraries.libvirt().VIR_DOMAIN_RUNNING)


def pause(domain: t.Any) -> None:
    with errors_of(f"pause {domain.name()}", ApplyError):
        domain.suspend()


def suspend(domain: t.Any) -> None:
    """Save the machine to disk and stop it."""
    with errors_of(f"suspend {domain.name()}", ApplyError):
        _try(lambda: domain.managedSave(0), lambda: bool(domain.hasManagedSaveImage()) and not domain.isActive())


def stop(domain: t.Any, spec: Spec, own: Ownership, *, hard: bool = False) -> None:
    """Let the machine shut down, or with *hard*, or after the time that the user allows, switch it off.

    :raises ApplyError: when it does not shut down in time and ``force_stop`` is not set.
    """
    with errors_of(f"stop {spec.name}", ApplyError):
        if not domain.isActive() and domain.hasManagedSaveImage():
            if hard or spec.force_stop:
                domain.managedSaveRemove(0)
                return
            start(domain, own)
        if not domain.isActive():
            return
        if not hard and _shuts_down(domain, spec):
            return
        domain.destroy()


def _shuts_down(domain: t.Any, spec: Spec) -> bool:
    library = libraries.libvirt()
    if domain.state()[0] == library.VIR_DOMAIN_PAUSED:
        domain.resume()
    asked = [0.0]

    def is_off() -> bool:
        # A guest that has only begun to boot loses the first request.
        if time.monotonic() - asked[0] >= _ASK_AGAIN_SECONDS:
            asked[0] = time.monotonic()
            _ask(domain)
        return not domain.isActive()

    try:
        wait_until(f"{spec.name} to shut down", is_off, timeout_seconds=spec.shutdown_timeout)
    except WaitTimeout:
        if spec.force_stop:
            return False
        hint = "Give it more time with shutdown_timeout, or switch it off hard with force_stop: true"
        raise ApplyError(f"{spec.name} did not shut down within {spec.shutdown_timeout} s. {hint}") from None
    return True


def _ask(domain: t.Any) -> None:
    library = libraries.libvirt()
    try:
        domain.shutdown()
    except library.libvirtError:
        # It may have ended just now, or its agent may be deaf; is_off decides.
        return
