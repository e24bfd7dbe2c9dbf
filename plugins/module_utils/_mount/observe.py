# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What stands of a mount: its record, its units, the file of its credentials, and what else lies at its path. Only reads."""

from __future__ import annotations

import os
import typing as t

from .._core import atomic, command, paths
from .._core.errors import HybridError
from .._host import mounts, remote
from .._host.mount_record import MountRecord
from .._host.snapshot import Host
from .._host.uses import uses
from .spec import CREDENTIALS, NFS, Spec
from .state import State
from .units import FOLDER, credentials_text, is_ours, name_of, read_credentials, texts

_FSTAB = "/etc/fstab"
# Where systemd finds units, the first to win first. What a generator makes of fstab is among them.
_FOLDERS = (
    FOLDER,
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_OF_KERNEL = {"nfs": ("nfs", "nfs4"), "cifs": ("cifs", "smb3")}


def observe(spec: Spec, host: Host) -> State:
    """Read the mount of *spec*."""
    name = name_of(spec.path)
    file = host.record("mounts", name)
    record = MountRecord.load(file.data)
    secrets = read_credentials(atomic.read_text(paths.credentials_path(name)))
    values = {
        "type": record.type,
        "source": record.source,
        "options": record.options,
        **{key: secrets.get(key, "") for key in CREDENTIALS},
        "wait_for_guest": record.wait_for_guest,
        "wait_timeout": record.wait_timeout,
    }
    exists = file.exists and not record.is_building
    type_ = spec.values.get("type") or record.type or NFS
    return State(
        exists=exists,
        is_building=record.is_building,
        values=values if file.exists else {},
        is_whole=exists and _is_whole(spec.path, values),
        has_client=spec.state == "absent" or has_client(type_),
        obstacle=None if spec.state == "absent" else _obstacle(spec.path, name, is_known=file.exists),
        users=_users(spec.path, host) if file.exists and _is_asked(spec, values) else (),
        owns_folder=record.owns_folder,
    )


def has_client(type_: str) -> bool:
    """Whether the kernel can mount file systems of *type_*: it does already, or has a module for it. Nothing is loaded."""
    known = (atomic.read_text("/proc/filesystems") or "").split()
    if any(word in known for word in _OF_KERNEL[type_]):
        return True
    folder = f"/lib/modules/{os.uname().release}"
    listed = "".join(atomic.read_text(f"{folder}/{name}") or "" for name in ("modules.dep", "modules.builtin"))
    return f"/{type_}.ko" in listed


def _is_asked(spec: Spec, values: t.Mapping[str, t.Any]) -> bool:
    """Whether somebody who stands on it has to be asked for."""
    return (
        spec.state == "absent"
        or bool(spec.unset)
        or any(values.get(key) != value for key, value in spec.values.items())
    )


def _is_whole(path: str, values: t.Mapping[str, t.Any]) -> bool:
    name = name_of(path)
    wanted = texts(path, values, paths.credentials_path(name) if credentials_text(values) else None)
    is_written = all(atomic.read_text(file) == text for file, text in wanted.items())
    return is_written and _unit_states(f"{name}.automount") == ("active", "enabled")


def _unit_states(unit: str) -> tuple[str, str]:
    try:
        told = command.run(["systemctl", "show", "--property=ActiveState,UnitFileState", "--", unit], timeout=30)
    except HybridError:
        return "", ""
    found = dict(line.partition("=")[::2] for line in told.splitlines())
    return found.get("ActiveState", ""), found.get("UnitFileState", "")


def _users(path: str, host: Host) -> tuple[str, ...]:
    """The guests that stand on what is mounted at *path*."""
    return tuple(sorted({use.who for use in uses(host).named_below(path) if use.is_guest}))


def _obstacle(path: str, name: str, *, is_known: bool) -> str | None:
    """Why nothing can be mounted at *path* by us, and what helps."""
    if not os.path.isdir("/run/systemd/system"):
        return f"systemd is what would mount something at {path}, and this host does not run it"
    line = _line_of_fstab(path)
    if line is not None:
        return f"{_FSTAB} has a line for it already: {line!r}. Take that out, or leave the mount to it"
    for folder in _FOLDERS:
        for suffix in ("mount", "automount"):
            file = f"{folder}/{name}.{suffix}"
            text = atomic.read_text(file)
            if text is not None and not is_ours(text):
                return f"{file} is a unit of that name which this collection did not write. Take it away, or choose another path"
    outer = remote.remote_of(os.path.dirname(path))
    if outer is not None:
        return f"it lies in {outer.path}, which is mounted from elsewhere too. Choose another"
    # Whoever asks for a path at which something is mounted asks whoever serves it.
    if is_known:
        return None
    if os.path.islink(path):
        return f"{path} is a link, and systemd mounts over none. Write where it leads to"
    there = next((mount for mount in mounts.read_mounts() if mount.point == path), None)
    if there is not None:
        return f"{there.source} ({there.type}) is mounted at {path}. Unmount it first"
    if os.path.lexists(path) and not os.path.isdir(path):
        return f"{path} is no folder. Choose another"
    if os.path.isdir(path) and os.listdir(path):
        return f"{path} has content, which the mount would hide. Move that away, or choose another"
    return None


def _line_of_fstab(path: str) -> str | None:
    for line in (atomic.read_text(_FSTAB) or "").splitlines():
        fields = line.split()
        if len(fields) > 1 and not fields[0].startswith("#") and mounts.plain(fields[1]).rstrip("/") == path:
            return line.strip()
    return None
