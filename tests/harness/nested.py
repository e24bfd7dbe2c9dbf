# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor in a privileged system container of this host."""

from __future__ import annotations

from pathlib import Path

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
