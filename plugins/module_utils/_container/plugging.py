# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Devices of the host, into a guest: by a program on the host that LXC runs before each start, and into one that runs by system calls."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t

from .._core import atomic, command, paths
from .._core.errors import ApplyError
from .._guest.device import BY_ID
from . import live, mounting
from .device import PROGRAM, Device
from .namespaces import in_namespaces

_TEXT = """#!/bin/sh
# make-device ITEM TYPE WHICH UID GID MODE required|optional RULE CONTAINER [lxc pre-start]
# The node that CONTAINER gets of a device of this host. Written by homelab.hybrid.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
item=$1 type=$2 which=$3 uid=$4 gid=$5 mode=$6 need=$7 container=$9
set -e
umask 022
folder=@DEVICES@/$container
node=$folder/$item
take_away() {
  [ ! -L "$node" ] || rm -f "$(readlink "$node")"
  rm -f "$node"
}
missing() {
  take_away
  [ "$need" = optional ] && exit 0
  echo "devices[$item]: there is no $1 on this host" >&2
  exit 1
}
case $type in
node) device=$which ;;
serial) device=@BY_ID@/$which ;;
usb)
  device=
  for each in /sys/bus/usb/devices/*; do
    [ -e "$each/idVendor" ] || continue
    id=$(cat "$each/idVendor"):$(cat "$each/idProduct")
    serial=$(cat "$each/serial" 2> /dev/null || :)
    [ "$which" = "$id" ] || [ "$which" = "$id:$serial" ] || continue
    device=$(printf /dev/bus/usb/%03d/%03d "$(cat "$each/busnum")" "$(cat "$each/devnum")")
  done
  [ -n "$device" ] || missing "USB device $which" ;;
esac
if [ -b "$device" ]; then kind=b; elif [ -c "$device" ]; then kind=c; else missing "$device"; fi
mkdir -p @DEVICES@
# Nobody but the guest and root of the host may come by the nodes: their groups mean others on the host.
[ -d "$folder" ] || mkdir -m 500 "$folder"
chown "$uid" "$folder"
place=$node
if [ "$type" = usb ]; then
  # Its name says its numbers, so it lies where the guest's whole folder of them is. That is root's of the host: a guest could
  # lay a link there.
  place=$folder/.dev.bus.usb${device#/dev/bus/usb}
  mkdir -p "${place%/*}"
  [ "$(readlink "$node" || :)" = "$place" ] || take_away
  ln -sfn "$place" "$node"
elif [ -L "$node" ]; then take_away; fi
numbers=$(stat -L -c '%t %T' "$device")
if [ ! -$kind "$place" ] || [ "$(stat -c '%t %T' "$place")" != "$numbers" ]; then
  rm -f "$place"
  mknod -m 600 "$place" $kind "$((0x${numbers% *}))" "$((0x${numbers#* }))"
fi
chown "$uid:$gid" "$place"
chmod "$mode" "$place"
"""


def lay_down() -> None:
    """Put the program where configurations name it."""
    text = _TEXT.replace("@DEVICES@", paths.DEVICES).replace("@BY_ID@", BY_ID)
    if atomic.read_text(PROGRAM) != text or not os.access(PROGRAM, os.X_OK):
        atomic.write_file(PROGRAM, text, mode=0o755)


def plug(pid: int, container: t.Any, device: Device, idmap: t.Sequence[str]) -> None:
    """Bring *device* into the running *container* (liblxc's handle, its init *pid*), or to its present numbers, mode and group.

    :raises ApplyError, CommandError:
    """
    lay_down()
    command.run([PROGRAM, *device.words, device.guest])
    if device.rule and not container.set_cgroup_item("devices.allow", device.rule):
        raise ApplyError(f"devices[{device.name}]: the kernel refused to let {device.rule} through")
    if not os.path.exists(device.node):
        return  # it is optional, and the host does not have it
    there = live.mounts_of(f"/proc/{pid}/mountinfo").get(device.path)
    if there is not None and there.place == live.place_of(device.source, live.mounts_of("/proc/self/mountinfo")):
        return
    if there is not None:
        mounting.unmount(pid, device.path)
    is_folder = os.path.isdir(device.source)
    _as_root_inside(pid, idmap, lambda: _make_target(device.path, is_folder=is_folder))
    mounting.mount(pid, device.source, device.path, ("bind", "ro") if is_folder else ("bind",))


def unplug(
    pid: int, container: t.Any, device: Device, idmap: t.Sequence[str], *, is_last: bool, is_denied: bool
) -> None:
    """Take *device* out of the running container. *is_last*: nothing else is in the folder of it; *is_denied*: no other device needs
    its rule.

    :raises ApplyError:
    """
    if is_last:
        if device.path in live.mounts_of(f"/proc/{pid}/mountinfo"):
            mounting.unmount(pid, device.path)
        # Also where nothing is mounted: a run may have been killed between the two.
        _as_root_inside(pid, idmap, lambda: _remove_target(device.path))
    with contextlib.suppress(FileNotFoundError):
        if os.path.islink(device.node):
            os.unlink(os.readlink(device.node))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(device.node)
    if device.rule and is_denied and not container.set_cgroup_item("devices.deny", device.rule):
        raise ApplyError(f"devices[{device.name}]: the kernel refused to take {device.rule} back")


def _as_root_inside(pid: int, idmap: t.Sequence[str], do: t.Callable[[], None]) -> None:
    """Run *do* as root of the guest: its /dev is a file system of its user namespace, in which root of the host has no id."""

    def become_root() -> None:
        os.setgid(0)
        os.setuid(0)
        do()

    in_namespaces(pid, ("user", "mnt") if idmap else ("mnt",), become_root)


def _make_target(path: str, *, is_folder: bool) -> None:
    os.makedirs(path if is_folder else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not is_folder and not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))


def _remove_target(path: str) -> None:
    """The file that a node was mounted on would look like one of its own."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            os.unlink(path)


def forget(guest: str) -> None:
    """Remove the nodes of a guest that is gone."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(f"{paths.DEVICES}/{guest}")
