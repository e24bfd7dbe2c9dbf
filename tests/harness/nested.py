# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor in a privileged system container of this host."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# What the scenarios of molecule give their hypervisors.
_SHARED = ROOT / "extensions" / "molecule" / "shared" / "files"

# What it needs to have libvirt and LXC of its own. The pure v2 view is what nested LXC starts with.
_SETTINGS = """\
lxc.include = /usr/share/lxc/config/nesting.conf
lxc.apparmor.profile = unconfined
lxc.init.cmd = /sbin/init systemd.unified_cgroup_hierarchy=1
lxc.cgroup.devices.allow = c 10:200 rwm
lxc.cgroup2.devices.allow = c 10:200 rwm
lxc.cgroup.devices.allow = c 10:229 rwm
lxc.cgroup2.devices.allow = c 10:229 rwm
lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file,optional 0 0
lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file,optional 0 0
"""


def allow_guests(name: str) -> None:
    """Let the container *name*, which does not run, have guests of its own: the collection has no word for it."""
    with (Path("/var/lib/lxc") / name / "config").open("a") as handle:
        handle.write(_SETTINGS)


def allow_guests_with_limits(name: str, rootfs: Path) -> None:
    """The same for guests whose memory and processors are limited: with control groups as a host without systemd has them."""
    with (Path("/var/lib/lxc") / name / "config").open("a") as handle:
        handle.write((_SHARED / "nesting.conf").read_text())
    program, unit = rootfs / "usr/local/sbin/cgroup-split", rootfs / "etc/systemd/system/cgroup-split.service"
    for path, mode in ((program, 0o755), (unit, 0o644)):
        shutil.copy(_SHARED / path.name, path)
        path.chmod(mode)
    wanted = rootfs / "etc/systemd/system/sysinit.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")


def packages(release: str) -> list[str]:
    """Those that the role installs on a hypervisor with a *release* of Debian, so that nothing has to be installed."""
    role = yaml.safe_load((ROOT / "roles" / "hypervisor" / "vars" / "main.yml").read_text())
    found = role["__hypervisor_packages_common"] + role["__hypervisor_packages_of_release"][release]
    return [*found, *role["__hypervisor_packages_of_architecture"]["x86_64"]]
