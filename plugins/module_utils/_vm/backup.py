# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Disks of a running machine copied by QEMU itself: all as they are at one moment, while the machine goes on."""

from __future__ import annotations

import contextlib
import typing as t
from xml.etree import ElementTree

from .._core import libraries
from .._core.errors import ApplyError
from .._core.waiting import wait_until
from .._host.libvirt import errors_of
from .._storage.driver import Attempt

_LONGEST_SECONDS = 86400.0


def begin(domain: t.Any, copies: t.Mapping[str, Attempt]) -> None:
    """Begin to copy the disks at the paths *copies* as they are now, each into its attempt, which is an empty disk.

    libvirt 7.2 and newer; no snapshot of libvirt and no chain comes of it, and UEFI is nothing to it.

    :raises ApplyError:
    """
    with errors_of(f"copy the disks of {domain.name()}", ApplyError):
        text = _request(ElementTree.fromstring(domain.XMLDesc()), copies)
        domain.backupBegin(text, None, libraries.libvirt().VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)


def finish(domain: t.Any) -> None:
    """Wait until the copies are whole.

    :raises ApplyError: when they do not become so; QEMU writes to none of them any more then.
    """
    library = libraries.libvirt()
    what = f"copy the disks of {domain.name()}"
    try:
        with errors_of(what, ApplyError):
            wait_until(
                f"QEMU to {what}",
                lambda: domain.jobInfo()[0] == library.VIR_DOMAIN_JOB_NONE,
                timeout_seconds=_LONGEST_SECONDS,
            )
            stats = domain.jobStats(library.VIR_DOMAIN_JOB_STATS_COMPLETED)
    except BaseException:
        _abort(domain)
        raise
    if not stats.get("success"):
        raise ApplyError(f"could not {what}: {stats.get('errmsg') or 'QEMU does not say why'}")


def end(domain: t.Any, beginnings: t.Collection[str]) -> None:
    """End what a run that was killed has begun, known by the *beginnings* of the paths that it copies to. Others' copies go on."""
    library = libraries.libvirt()
    try:
        text = domain.backupGetXMLDesc() if domain.isActive() else ""
    except library.libvirtError:
        return  # it has none
    targets = [target.get("file", "") for target in ElementTree.fromstring(text).iter("target")] if text else []
    if any(target.startswith(beginning) for target in targets for beginning in beginnings):
        _abort(domain)


def _abort(domain: t.Any) -> None:
    library = libraries.libvirt()
    with contextlib.suppress(library.libvirtError):
        domain.abortJob()
        wait_until("QEMU to end a copy", lambda: domain.jobInfo()[0] == library.VIR_DOMAIN_JOB_NONE, timeout_seconds=30)


def _request(root: ElementTree.Element, copies: t.Mapping[str, Attempt]) -> str:
    request = ElementTree.Element("domainbackup", mode="push")
    disks = ElementTree.SubElement(request, "disks")
    for disk in root.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        name = target.get("dev", "") if target is not None else ""
        copy = (
            next((copies[path] for path in source.attrib.values() if path in copies), None)
            if source is not None
            else None
        )
        if copy is None:
            ElementTree.SubElement(disks, "disk", name=name, backup="no")
            continue
        wanted = ElementTree.SubElement(disks, "disk", name=name, backup="yes", type="file")
        ElementTree.SubElement(wanted, "target", file=copy.path)
        ElementTree.SubElement(wanted, "driver", type=copy.format)
    return ElementTree.tostring(request, encoding="unicode")
