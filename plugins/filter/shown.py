# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: shown
short_description: Text of several lines, as the output of Ansible can show it
version_added: 0.1.0
author:
  - homelab.hybrid contributors (@homelab)
description:
  - Where results are written as JSON, which is the default of Ansible, the lines of a text would stand in one line with C(\\n) between them.
    There a text of several lines becomes the list of its lines.
  - Where they are written as YAML (C(ANSIBLE_CALLBACK_RESULT_FORMAT=yaml)) the text stays as it is.
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the guests
  ansible.builtin.debug:
    msg: "{{ lab_guests | homelab.hybrid.table(['name', 'kind', 'state']) | homelab.hybrid.shown }}"
"""

RETURN = r"""
_value:
  description: The text, or the list of its lines.
  type: raw
"""

import typing as t

from ansible import constants
from ansible.errors import AnsibleError


def shown(text: str) -> str | list[str]:
    """*text*, or its lines where the callback would write them as one."""
    return text if "\n" not in text or result_format() == "yaml" else text.splitlines()


def result_format() -> str:
    """How results are written; JSON where the default callback is not loaded, and so cannot say it."""
    try:
        return str(constants.config.get_config_value("result_format", plugin_type="callback", plugin_name="default"))
    except AnsibleError:
        return "json"


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"shown": shown}
