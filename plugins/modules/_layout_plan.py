#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _layout_plan
short_description: (private) Say what a layout would change, with code that the host keeps
version_added: 0.1.0
description:
  - Private to this collection; it may change at any time.
  - A part of M(homelab.hybrid.layout), which runs it by itself before anything else. It is of no use in a playbook.
  - The code of a layout is kept on its host below C(/run) until the host restarts, in one folder for each version of it. Where the
    same code is to run again, this module stands for M(homelab.hybrid.layout) with C(--check), and takes its options. Where there
    is none, it fails, and the code is sent.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
options: {}
seealso:
  - module: homelab.hybrid.layout
"""

EXAMPLES = r"""
- name: Succeed, and say nothing of the host
  homelab.hybrid._layout_plan:
"""

RETURN = r"""
plan:
  description: What would be done, as M(homelab.hybrid.layout) returns it, with everything else that it returns.
  returned: when the host keeps the code
  type: list
  elements: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common import respawn

from ..module_utils._run.kept_code import ARGUMENTS, run

# Ansible sends what the module imports, and the kept code needs this beside it.
SENT = (respawn,)


def main() -> None:
    run("_layout.entry", os.environ)
    # Only without the code does it come here.
    AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True).exit_json(changed=False)


if __name__ == "__main__":
    main()
