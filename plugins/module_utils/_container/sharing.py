# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a container has in common with the host or with another container: what is done to that is not done to it alone."""

from __future__ import annotations

from .config import Config

# Which options change what a namespace holds.
NETWORK, NAME, MOUNTS = "net", "uts", "mnt"


def shared_namespaces(config: Config) -> dict[str, str]:
    """The namespaces (``net``, ``uts``, ``mnt``) that are not the container's own, each with the line that says so."""
    found: dict[str, str] = {}
    only = (config.get("lxc.namespace.clone") or "").split()
    for kind in (NETWORK, NAME, MOUNTS):
        if only and kind not in only:
            found[kind] = f"lxc.namespace.clone = {' '.join(only)}"
        if kind in (config.get("lxc.namespace.keep") or "").split():
            found[kind] = f"lxc.namespace.keep = {config.get('lxc.namespace.keep')}"
        other = config.get(f"lxc.namespace.share.{kind}")
        if other:
            found[kind] = f"lxc.namespace.share.{kind} = {other}"
    types = {net.get("type", "") for net in config.nets().values()}
    if types == {"none"}:
        # Beside another card it counts for nothing.
        found[NETWORK] = f"lxc.net.{min(config.nets())}.type = none"
    return found
