# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the role hypervisor compares with what it keeps, read at once: one question instead of one for each file and setting."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import stat
import typing as t

from .._core import atomic, command
from .._core.errors import HybridError
from .._host import accelerator
from .._host.snapshot import Host
from .host import read_host

_NAMES: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "packages": _NAMES,
    "paths": _NAMES,
    "sysctl": {"type": "dict", "default": {}},
    "units": _NAMES,
}
GROUP_OF_KVM = "kvm"
# What systemctl calls a unit that runs, or that starts with the host or with another unit.
RUNNING = ("active", "activating")
STARTED_BY_ITSELF = ("enabled", "static", "alias", "indirect", "generated", "linked")


def read_hypervisor(params: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """The return value of ``_hypervisor_info``.

    :raises SpecError:
    """
    units = read_units(params["units"])
    sysctl = read_sysctl(params["sysctl"])
    return {
        **read_host({}, host),
        "release": read_release(),
        "packages_missing": missing_packages(params["packages"]),
        "sysctl": sysctl,
        "sysctl_low": [key for key, value in sysctl.items() if number_in(value) < number_in(params["sysctl"][key])],
        "kvm": read_kvm(),
        "is_container": is_container(),
        "paths": [found for found in map(read_path, params["paths"]) if found is not None],
        "units_running": [name for name, (state, dummy) in units.items() if state in RUNNING],
        "units_enabled": [name for name, (dummy, state) in units.items() if state in STARTED_BY_ITSELF],
    }


def read_release() -> dict[str, str]:
    """Which system this is: the ``id`` and the ``version`` of os-release(5). A Debian that is not released yet has no version."""
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        found = {}
    return {"id": found.get("ID", "linux"), "version": found.get("VERSION_ID", "")}


def missing_packages(names: t.Sequence[str]) -> list[str]:
    """Those of *names* that dpkg does not call installed. It ends with an error when it knows nothing of one."""
    if not names:
        return []
    form = "${db:Status-Status} ${Package}\\n"
    told = command.run(["dpkg-query", "--show", "--showformat", form, *names], check=False)
    lines = (line.split(" ") for line in told.splitlines())
    installed = {name for status, name in lines if status == "installed"}
    return [name for name in names if name not in installed]


def read_sysctl(keys: t.Iterable[str]) -> dict[str, str]:
    """The values of the settings that this kernel has."""
    found = {key: atomic.read_text("/proc/sys/" + key.replace(".", "/")) for key in keys}
    return {key: text.strip() for key, text in found.items() if text is not None}


def number_in(value: t.Any) -> int:
    """The number that a setting is; nothing is too low beside text, which counts as 0."""
    text = str(value)
    return int(text) if text.isdecimal() else 0


def read_kvm() -> dict[str, t.Any] | None:
    """Whose the node of KVM is, and whether that is as udev makes it; ``None`` where there is no node."""
    try:
        node = os.stat(accelerator.DEVICE)
    except FileNotFoundError:
        return None
    try:
        group = grp.getgrnam(GROUP_OF_KVM).gr_gid
    except KeyError:
        group = None
    mode = stat.S_IMODE(node.st_mode)
    return {
        "mode": f"{mode:04o}",
        "gid": node.st_gid,
        "has_group": group is not None,
        "is_right": group is None or (node.st_uid, node.st_gid, mode) == (0, group, 0o660),
    }


def is_container() -> bool:
    """Whether this host is a container itself. Only systemd knows; without it a host counts as one of its own."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    try:
        command.run(["systemd-detect-virt", "--container", "--quiet"])
    except HybridError:
        return False  # an error is its way to say no
    return True


def read_path(path: str) -> dict[str, t.Any] | None:
    """A file or a folder as a task would declare it, with the text of a file; ``None`` where there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {
        "path": path,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": name_of(pwd.getpwuid, found.st_uid),
        "group": name_of(grp.getgrgid, found.st_gid),
        "content": atomic.read_text(path) if stat.S_ISREG(found.st_mode) else None,
    }


def name_of(lookup: t.Callable[[int], t.Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def read_units(names: t.Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of each unit how it runs and how it starts (``ActiveState``, ``UnitFileState``), in one question."""
    if not names:
        return {}
    try:
        told = command.run(["systemctl", "show", "--property=ActiveState,UnitFileState", "--", *names])
    except HybridError:
        return {}  # a systemd that does not answer runs none of them
    units = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in told.strip().split("\n\n")]
    return {
        name: (unit.get("ActiveState", ""), unit.get("UnitFileState", ""))
        for name, unit in zip(names, units, strict=True)
    }
