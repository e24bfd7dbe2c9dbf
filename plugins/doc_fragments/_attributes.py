# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Says what the run would do, from the same plan, and touches nothing.
  diff_mode:
    support: full
    description: Shows each changed option before and after, in the form in which it is written.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  action_group:
    support: full
    description: Use C(group/homelab.hybrid.hybrid) in C(module_defaults) to set options for all modules of this collection.
    membership:
      - homelab.hybrid.hybrid
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Only reads.
  diff_mode:
    support: N/A
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
  action_group:
    support: full
    description: Use C(group/homelab.hybrid.hybrid) in C(module_defaults) to set options for all modules of this collection.
    membership:
      - homelab.hybrid.hybrid
"""
