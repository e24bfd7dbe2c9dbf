# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The port of a guest on its bridge."""

from __future__ import annotations

from .._core import atomic, command
from .._host import links, vlans


def put_into_vlan(port: str, vlan: int) -> None:
    """Bring *port* into *vlan*, with 0 into the one that its bridge gives to each new port.

    :raises CommandError:
    """
    bridge = f"/sys/class/net/{port}/master/bridge"
    if (atomic.read_text(f"{bridge}/vlan_filtering") or "").strip() != "1":
        return
    wanted = vlan or int(atomic.read_text(f"{bridge}/default_pvid") or 0)
    lines = vlans.port_lines(port, links.read_vlans().get(port, []), wanted)
    if lines:
        command.run(["bridge", "-batch", "-"], input="".join(line + "\n" for line in lines))
