# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which versions of runc and of LXC do not go together where AppArmor confines a guest.

Since its mending of CVE-2025-52881 runc opens /proc through a mount of its own, which the profiles of older LXC deny: no container
starts (``open sysctl net.ipv4.ip_unprivileged_port_start: permission denied``; opencontainers/runc 4968, lxc/lxc 4630). LXC 6.0.6
has other profiles, and so has Debian 13 from 1:6.0.4-4+deb13u4 on; Debian 12 has not, and runc 1.1 of both is not concerned.
"""

from __future__ import annotations

import re

from .config import Config

_VERSION = re.compile(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)(?:[^-]*-(\d+))?")
_OF_DEBIAN = re.compile(r"\+deb13u(\d+)")


def _numbers(version: str) -> tuple[int, int, int, int]:
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2]), int(match[3]), int(match[4] or 0)) if match else (0, 0, 0, 0)


def lets_runc(lxc_version: str) -> bool:
    """Whether this version of LXC, as its package has it, goes together with every runc."""
    numbers, update = _numbers(lxc_version), _OF_DEBIAN.search(lxc_version)
    if numbers[:3] == (6, 0, 4):
        return numbers[3] > 4 or (numbers[3] == 4 and update is not None and int(update[1]) >= 4)
    return numbers[:3] >= (6, 0, 5)


def strict_engine(status: str | None) -> str | None:
    """The package with such a runc that ``/var/lib/dpkg/status`` of a guest names, and its version."""
    for paragraph in (status or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        name, version = fields.get("Package"), fields.get("Version", "")
        numbers = _numbers(version)
        is_installed = fields.get("Status", "").endswith(" installed")
        is_strict = (1, 2, 8) <= numbers[:3] < (1, 3, 0) or numbers[:3] >= (1, 3, 3)
        if is_installed and ((name == "runc" and is_strict) or (name == "containerd.io" and numbers >= (1, 7, 28, 2))):
            return f"{name} {version}"
    return None


def is_confined(config: Config, *, has_apparmor: bool) -> bool:
    return has_apparmor and config.get("lxc.apparmor.profile") not in ("unconfined", "unchanged")


def sentence(lxc_version: str, engine: str | None = None) -> str:
    """What does not go together, and what helps."""
    return (
        f"{engine or 'runc 1.2.8, 1.3.3 and later, as in docker-ce,'} starts no container under LXC {lxc_version} of this host where "
        "AppArmor confines the guest (CVE-2025-52881: open sysctl net.ipv4.ip_unprivileged_port_start: permission denied). Install LXC "
        "6.0.6, or 1:6.0.4-4+deb13u4 of Debian 13; or docker.io of Debian in the guest, which starts them"
    )
