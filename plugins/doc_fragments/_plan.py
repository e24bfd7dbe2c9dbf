# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  unset:
    description:
      - Paths of options to take off again, such as V(description) or V(networks[lan].vlan).
      - A dictionary stands for all of its options, where each of them can be taken off.
      - An option that is simply no longer written is left as it stands.
      - Declaring an option and naming it here is refused.
    type: list
    elements: str
    default: []
"""
