# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The one run of a machine in which an installer is at work: its definition with what only that run has."""

from __future__ import annotations

import typing as t

from . import boot, cdrom, disk
from .node import Node, attribute, make, remove, set_text

_MEDIUM = "install-medium"


class InstallerRun(t.NamedTuple):
    """What one run of a machine gets: the *media*, the first of which it boots unless there is a *kernel*, and the file *log* of its console.

    *restarts*: a restart of the guest is one; otherwise it ends the run. *only*: the disks that it has; it then has no device of the host either.
    """

    log: str
    media: t.Sequence[str] = ()
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    restarts: bool = False
    boots_medium: bool = True
    only: t.Collection[str] | None = None


def make_installer_run(root: Node, run: InstallerRun) -> None:
    """Turn the definition *root* into that of the run."""
    devices = root.find("devices")
    if run.only is not None:
        _leave_out(devices, run.only)
    for key, value in (("kernel", run.kernel), ("initrd", run.initrd), ("cmdline", run.cmdline)):
        boot.write_file(root, key, value)
    disks = [
        node
        for node in devices.iterfind("disk")
        if node.get("device", "disk") == "disk" and node.find("readonly") is None
    ]
    added = []
    for number, path in enumerate(run.media):
        target = disk.free_target("sata", disk.targets(devices))
        node = cdrom.build(f"{_MEDIUM}{number}", target, {"bus": "sata", "source": path})
        devices.append(node)
        added.append(node)
    # An empty disk lets the firmware go on to the medium; once there is a system on it, a restart finds that.
    first = added[:1] if run.boots_medium and not run.kernel else []
    boot.write_order(root, [*disks, *first] if not run.kernel else [])
    set_text(root, "on_reboot", "restart" if run.restarts else "destroy")
    set_text(root, "on_poweroff", "destroy")
    _log_console(devices, run.log)


def _leave_out(devices: Node, only: t.Collection[str]) -> None:
    for node in devices.findall("disk"):
        source = attribute(node, "source", "file") or attribute(node, "source", "dev")
        if node.get("device", "disk") == "disk" and source not in only:
            remove(node)
    for node in devices.findall("hostdev"):
        remove(node)


def _log_console(devices: Node, log: str) -> None:
    """The file that keeps what the guest writes to its serial console."""
    # libvirt makes a console of the serial port by itself, and takes none that differs from it.
    for node in devices.findall("console"):
        if attribute(node, "target", "type") == "serial":
            remove(node)
    serial = devices.find("serial")
    if serial is None:
        serial = make("serial", type="pty")
        serial.append(make("target", type="isa-serial", port="0"))
        devices.append(serial)
    remove(serial.find("log"))
    serial.append(make("log", file=log, append="off"))


def drives(root: Node, folder: str) -> list[str]:
    """What FreeBSD calls the CD-ROM drives of a running domain; that whose medium lies in *folder* first."""
    found = [
        node for node in root.iterfind("devices/disk[@device='cdrom']") if attribute(node, "target", "bus") != "usb"
    ]
    found.sort(key=lambda node: (len(attribute(node, "target", "dev")), attribute(node, "target", "dev")))
    names = [
        (not attribute(node, "source", "file").startswith(f"{folder}/"), f"cd{number}")
        for number, node in enumerate(found)
    ]
    return [name for dummy, name in sorted(names)]


def is_installer_run(root: Node, log: str) -> bool:
    """Whether a running domain is such a run: nothing else keeps its console in *log*."""
    return any(node.get("file") == log for node in root.iterfind("devices/serial/log"))
