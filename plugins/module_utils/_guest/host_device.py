# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The devices of the host, looked up by what stays the same when they are plugged in again."""

from __future__ import annotations

import contextlib
import grp
import os
import stat

from .._host.hardware import USB_NODES, read_usb, usb_port_of
from .device import BY_ID, SERIAL, USB, HostDevice, Target


def find_device(target: Target) -> HostDevice | str:
    """The device, or why there is none, as a part of a sentence."""
    type_, ref = target
    port = None
    if type_ == USB:
        found = [its for its in read_usb() if ref in (its.id, f"{its.id}:{its.serial}")]
        if len(found) != 1:
            return (
                f"{len(found)} USB devices {ref} are plugged in. Write {ref}:SERIAL"
                if found
                else _absence(f"USB device {ref}")
            )
        port, path = found[0].port, f"{USB_NODES}/{found[0].node}"
    else:
        path = f"{BY_ID}/{ref}" if type_ == SERIAL else ref
    try:
        status = os.stat(path)
    except OSError:
        return _absence(path)
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return f"{path} of this host is no device"
    group = ""
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    port = usb_port_of(kind, major, minor) if port is None else port
    return HostDevice(kind, major, minor, stat.S_IMODE(status.st_mode), group, port)


def _absence(what: str) -> str:
    return f"there is no {what} on this host"
