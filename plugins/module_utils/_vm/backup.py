# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Disks of a running machine copied by QEMU itself: all as they are at one moment, while the machine goes on."""

from __future__ import annotations

import contextlib
import secrets
import typing as t
from xml.etree import ElementTree

from .._core import atomic, libraries
from .._core.errors import ApplyError
from .._core.waiting import wait_until
from .._host.libvirt import errors_of
from .._storage.driver import Attempt
from . import serving

_LONGEST_SECONDS = 86400.0


def begin(domain: t.Any, copies: t.Mapping[str, Attempt]) -> None:
    """Begin to copy the disks at the paths *copies* as they are now, each into its attempt, which is an empty disk.

    libvirt 7.2 and newer; no snapshot of libvirt and no chain comes of it, and UEFI is nothing to it.

    :raises ApplyError:
    """
    library = libraries.libvirt()
    with errors_of(f"copy the disks of {domain.name()}", ApplyError):
        root = ElementTree.fromstring(domain.XMLDesc())
        if domain.state()[0] == library.VIR_DOMAIN_PAUSED:
            _take_back(domain, root, copies)
        domain.backupBegin(_request(root, copies), None, library.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)


def _take_back(domain: t.Any, root: ElementTree.Element, copies: t.Mapping[str, Attempt]) -> None:
    """Let QEMU have these disks again, which it gives up when it has written the memory of a machine.

    It takes them back when the machine goes on, and a qcow2 that it reads from at that moment makes it abort (QEMU 7.2 to 10.1:
    qcow2_co_invalidate_cache forgets the lock that the reader holds). What it serves to others it takes back at once.
    """
    scratch = {}
    for disk in root.iterfind("devices/disk"):
        copy, target = _copy_of(disk, copies), disk.find("target")
        if copy is not None and target is not None:
            # Found by who ends what a run that was killed has begun, and removed with the attempt.
            beginning = copy.path.rpartition("+")[0]
            scratch[target.get("dev", "")] = f"{beginning}+{secrets.token_hex(8)}.new"
    try:
        domain.backupBegin(serving.request_of(domain, scratch), None, 0)
        serving.end(domain)
    finally:
        for path in scratch.values():
            atomic.remove_file(path)


def _copy_of(disk: ElementTree.Element, copies: t.Mapping[str, Attempt]) -> Attempt | None:
    source = disk.find("source")
    found = () if source is None else (copies[path] for path in source.attrib.values() if path in copies)
    return next(iter(found), None)


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
    root = ElementTree.fromstring(text) if text else ElementTree.Element("domainbackup")
    places = [place.get("file", "") for kind in ("target", "scratch") for place in root.iter(kind)]
    if any(place.startswith(beginning) for place in places for beginning in beginnings):
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
        copy, target = _copy_of(disk, copies), disk.find("target")
        name = target.get("dev", "") if target is not None else ""
        if copy is None:
            ElementTree.SubElement(disks, "disk", name=name, backup="no")
            continue
        wanted = ElementTree.SubElement(disks, "disk", name=name, backup="yes", type="file")
        ElementTree.SubElement(wanted, "target", file=copy.path)
        ElementTree.SubElement(wanted, "driver", type=copy.format)
    return ElementTree.tostring(request, encoding="unicode")
