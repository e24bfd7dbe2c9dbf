# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
requirements:
  - Debian 12 or 13 on the managed host, prepared by the role P(homelab.hybrid.hypervisor#role)
  - Python 3.11 or newer on the managed host
notes:
  - "Debian's libraries for libvirt and LXC belong to the system's Python. Where another interpreter is chosen and lacks them, the
    module goes on under C(/usr/bin/python3) by itself."
"""

    LIBVIRT = r"""
options: {}
requirements:
  - python3-libvirt on the managed host
  - libvirt 9.0 or newer
"""

    LXC = r"""
options: {}
requirements:
  - python3-lxc on the managed host
  - LXC 5.0 or newer
"""
