# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The memory of a running machine, written to a file while it goes on, and a machine that goes on from there."""

from __future__ import annotations

import contextlib
import typing as t
from xml.etree import ElementTree

from .._core import libraries
from .._core.errors import ApplyError
from .._core.waiting import wait_until
from .._host.libvirt import errors_of


def save(domain: t.Any, path: str) -> None:
    """Write the memory of the machine to *path*. It stands still then, for whoever keeps its disks as they are at that moment.

    libvirt 8.2 and newer: disks that are kept by others (``manual``) get no overlay, and UEFI and a TPM are nothing to it.

    :raises ApplyError: the machine goes on then.
    """
    library = libraries.libvirt()
    flags = library.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA | library.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE
    with errors_of(f"write the memory of {domain.name()}", ApplyError):
        domain.snapshotCreateXML(_request(ElementTree.fromstring(domain.XMLDesc()), path), flags)


def end(domain: t.Any) -> None:
    """End what a run that was killed has begun to write: libvirt goes on with it, and stops the machine at its end."""
    library = libraries.libvirt()
    with contextlib.suppress(library.libvirtError):  # the machine is off, or the job has ended just now
        if domain.jobStats().get("operation") == library.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT:
            domain.abortJob()
            wait_until(
                "libvirt to end a snapshot",
                lambda: domain.jobInfo()[0] == library.VIR_DOMAIN_JOB_NONE,
                timeout_seconds=30,
            )


def wake(domain: t.Any, path: str) -> None:
    """Start the machine, which is off, where it was when its memory was written to *path*.

    :raises ApplyError: it stays off then.
    """
    library = libraries.libvirt()
    what = f"wake {domain.name()} with its memory. Its disks are as of then: start it, or revert with memory: false. libvirt"
    with errors_of(what, ApplyError):
        domain.connect().restoreFlags(path, None, library.VIR_DOMAIN_SAVE_RUNNING)


def _request(root: ElementTree.Element, path: str) -> str:
    request = ElementTree.Element("domainsnapshot")
    ElementTree.SubElement(request, "memory", snapshot="external", file=path)
    disks = ElementTree.SubElement(request, "disks")
    for disk in root.iterfind("devices/disk"):
        target = disk.find("target")
        is_kept = disk.get("device", "disk") == "disk" and disk.find("readonly") is None
        name = target.get("dev", "") if target is not None else ""
        ElementTree.SubElement(disks, "disk", name=name, snapshot="manual" if is_kept else "no")
    return ElementTree.tostring(request, encoding="unicode")
