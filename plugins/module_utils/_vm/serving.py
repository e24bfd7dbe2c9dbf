# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""QEMU serves the disks of a running machine as they were at one moment, while the machine goes on."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import threading
import typing as t
import urllib.parse
from xml.etree import ElementTree

from .._core import atomic, libraries, paths
from .._core.errors import ApplyError
from .._core.removal import remove_tree
from .._core.waiting import wait_until
from .._host.libvirt import errors_of
from .copied_disks import CopiedDisk, Machine

# In the folder that libvirt makes for each machine that runs: its profile for AppArmor lets QEMU make a socket nowhere else.
_RUNNING = "/var/lib/libvirt/qemu"
_SOCKET = "homelab_hybrid-backup.sock"
_JOB_SECONDS = 60.0
# A pool that is full lets every machine stand still that writes to it.
_LEAST_FREE, _LEAST_SHARE = 256 << 20, 20
_LOOK_SECONDS = 1.0

Scratch = t.Mapping[str, str]


def prepare_scratch(machine: Machine) -> dict[str, str]:
    """A free place for each disk, by its target, into which QEMU saves what the machine overwrites meanwhile.

    :raises ApplyError: when there is no room.
    """
    folder = paths.scratch_folder(machine.name)
    remove_scratch(machine.name, ())
    found = {}
    for disk in machine.disks:
        place = machine.scratch_of(disk)
        if place is None:
            _make_folder(folder)
            beginning = os.path.join(folder, f"{disk.name}+")
        else:
            driver, volume = place
            driver.purge(volume)
            beginning = os.path.join(driver.path, f".{volume.name}+")
        found[disk.target] = f"{beginning}{secrets.token_hex(8)}.new"
    for each in sorted({os.path.dirname(path) for path in found.values()}):
        if _is_full(each):
            raise ApplyError(f"{each} is nearly full: what {machine.name} overwrites while it is read would not fit")
    return found


def _make_folder(folder: str) -> None:
    """QEMU's user must be able to pass through."""
    os.makedirs(folder, mode=0o711, exist_ok=True)
    above = os.path.dirname(folder)
    while above != os.path.dirname(paths.STATE):
        os.chmod(above, os.stat(above).st_mode | 0o011)
        above = os.path.dirname(above)


def _is_full(folder: str) -> bool:
    status = os.statvfs(folder)
    least = min(_LEAST_FREE, status.f_blocks * status.f_frsize // _LEAST_SHARE)
    return status.f_bavail * status.f_frsize < least


def remove_scratch(name: str, files: t.Iterable[str]) -> None:
    """Remove the *files* of a machine that nobody writes to any more."""
    for path in files:
        atomic.remove_file(path)
    folder = paths.scratch_folder(name)
    if os.path.isdir(folder):
        remove_tree(folder)


def request_of(domain: t.Any, scratch: Scratch) -> str:
    """What libvirt is asked for. No checkpoint is made: it would exclude snapshots by others."""
    request = ElementTree.Element("domainbackup", mode="pull")
    ElementTree.SubElement(request, "server", transport="unix", socket=socket_of(domain))
    disks = ElementTree.SubElement(request, "disks")
    for node in ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk/target"):
        target = node.get("dev", "")
        if target in scratch:
            disk = ElementTree.SubElement(disks, "disk", name=target, backup="yes", type="file")
            ElementTree.SubElement(disk, "scratch", file=scratch[target])
        else:
            ElementTree.SubElement(disks, "disk", name=target, backup="no")
    return ElementTree.tostring(request, encoding="unicode")


def begin(machine: Machine, request: str) -> None:
    """Serve the disks as they are now.

    :raises ApplyError:
    """
    with errors_of(f"begin to copy the disks of {machine.name}", ApplyError):
        machine.domain.backupBegin(request, None, 0)


def address_of(machine: Machine, disk: CopiedDisk) -> str:
    """Where QEMU serves the disk."""
    socket = urllib.parse.quote(socket_of(machine.domain), safe="/")
    return f"nbd+unix:///{urllib.parse.quote(disk.target)}?socket={socket}"


def socket_of(domain: t.Any) -> str:
    """Where QEMU listens.

    :raises ApplyError: when the machine does not run.
    """
    # libvirt cuts the name of the machine short.
    folders = glob.glob(os.path.join(_RUNNING, f"domain-{domain.ID()}-*"))
    if not folders:
        raise ApplyError(f"{domain.name()} stopped")
    return os.path.join(folders[0], _SOCKET)


def goes_on(domain: t.Any) -> bool:
    """Whether QEMU serves the disks for a backup of ours."""
    library = libraries.libvirt()
    try:
        text = domain.backupGetXMLDesc() if domain.isActive() else ""
    except library.libvirtError:
        return False  # it has no such job
    server = ElementTree.fromstring(text).find("server") if text else None
    return server is not None and os.path.basename(server.get("socket", "")) == _SOCKET


def end(domain: t.Any) -> None:
    """End it; jobs of others go on.

    :raises WaitTimeout:
    """
    library = libraries.libvirt()
    if not goes_on(domain):
        return
    with contextlib.suppress(library.libvirtError):
        domain.abortJob()
    wait_until(
        f"QEMU to end what it does for a backup of {domain.name()}",
        lambda: not goes_on(domain) and (not domain.isActive() or domain.jobInfo()[0] == library.VIR_DOMAIN_JOB_NONE),
        timeout_seconds=_JOB_SECONDS,
        every_seconds=0.02,
    )


class Watch:
    """Ends the job before what is overwritten fills a pool: *trouble* says that it did."""

    def __init__(self, domain: t.Any, scratch: Scratch) -> None:
        self.trouble = ""
        self._domain = domain
        self._folders = sorted({os.path.dirname(path) for path in scratch.values()})
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> t.Self:
        self._thread.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ends.wait(_LOOK_SECONDS):
            full = [folder for folder in self._folders if _is_full(folder)]
            if full:
                self.trouble = f"{full[0]} is nearly full"
                with contextlib.suppress(libraries.libvirt().libvirtError):
                    self._domain.abortJob()
                return
