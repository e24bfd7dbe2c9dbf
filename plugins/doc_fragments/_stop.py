# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  shutdown_timeout:
    description:
      - How many seconds the guest gets to shut down by itself. After that the task fails, unless O(force_stop) is set.
      - 'B(In short:) Allowed: 0 to 86400.'
    type: int
    default: 60
  force_stop:
    description:
      - Whether a guest that did not shut down within O(shutdown_timeout) is switched off hard.
    type: bool
    default: false
"""
