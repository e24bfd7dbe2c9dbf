#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: _kept
short_description: (private) Run a module with the code that its host keeps
version_added: 0.1.0
description:
  - Private to this collection; it may change at any time.
  - A part of M(homelab.hybrid.layout) and others, which run it by themselves before they send anything. It is of no use in a playbook.
  - The code of a module is kept on its host below C(/run) until the host restarts, in one archive for each version of it. Where it is,
    this stands for the module, and takes its options. Where it is not, it tells nothing, and the code is sent.
  - Where it is told the name of a job it returns at once, and the module goes on behind it. What comes of it is in files of that name.
    Asked for such a job later, it tells what the module returned.
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
  homelab.hybrid._kept:
"""

RETURN = r"""
plan:
  description: What would be done, where this stands for M(homelab.hybrid.layout), with everything else that the module returns.
  returned: when the host keeps the code
  type: list
  elements: dict
job:
  description: The name of the job, where the module goes on behind this.
  returned: when a job is named and the host keeps the code
  type: str
"""

import fcntl
import importlib
import os
import sys

# Ansible writes the options there, and sends this file as it is: nothing of a collection or of Ansible is imported where it could see it
# (Ansible's developer guide, "JSONARGS modules"). In JSON no three quotes stand together, and a raw string leaves backslashes alone.
GIVEN = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
# As the shared code's _run/kept_code.py has it: the path of the code, which ends with the name of the module.
VARIABLE = "HOMELAB_HYBRID_CODE"
# As _run/progress.py has it: the name of the job, 16 hexadecimal digits, that of one that is over, and the folder of what they tell.
JOB = "HOMELAB_HYBRID_JOB"
RESULT_OF = "HOMELAB_HYBRID_RESULT_OF"
PROGRESS = "/run/homelab_hybrid/progress"
# It has no options of its own: those that are given are checked by the code that is kept.
ARGUMENTS: dict[str, dict[str, object]] = {}
MODULES = "ansible_collections.homelab.hybrid.plugins.modules"


def main() -> None:
    if os.environ.get(RESULT_OF):
        tell_result_of(os.environ[RESULT_OF])
        return
    place = os.environ.get(VARIABLE, "")
    try:
        # Open while the module runs: it has all of its code, whoever removes it meanwhile.
        code = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
        os.utime(code)  # what is used looks new
        # In the place of the folder of this file, or of the one in which it was read from a pipe.
        sys.path[:1] = [f"/proc/self/fd/{code}"]
    except OSError:
        code = None
    try:
        basic = importlib.import_module("ansible.module_utils.basic")
    except ImportError:
        sys.stdout.write("{}\n")
        return
    # What Ansible's own wrapper of a module does (ansible-core 2.19, _ansiballz/_loader.py), that a module starts again elsewhere too.
    basic._ANSIBLE_ARGS = b'{"ANSIBLE_MODULE_ARGS": %s}' % GIVEN.encode()
    basic._ANSIBLE_PROFILE = "legacy"
    if code is None:
        # A host that has Ansible itself, and no code.
        basic.AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True).exit_json(changed=False)
    if os.environ.get(JOB):
        go_on_behind(os.environ[JOB])
    name = f"{MODULES}.{place.rpartition('.')[2]}"
    # Another interpreter, in which a module starts itself again, is a child that is waited for; it finds the code here.
    path = f"/proc/{os.getpid()}/fd/{code}"
    vars(sys.modules["__main__"]).update(_module_fqn=name, _modlib_path=path)
    importlib.import_module("ansible.module_utils.common.respawn")._ANSIBLE_PARENT_PATH = path
    importlib.import_module(name).main()


def tell_result_of(job: str) -> None:
    """Print what the module of *job* printed, as if this were it; nothing where that is lost."""
    try:
        with open(f"{PROGRESS}/{job}.result.jsonl", encoding="utf-8") as result:
            said = result.read()
    except FileNotFoundError:
        said = ""
    sys.stdout.write(said or "{}\n")


def go_on_behind(job: str) -> None:
    """Let go of whoever started this, and return in a process of its own.

    What the module prints is in the file of its result, which is locked until the module has ended, however it ends.
    """
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        # Not before the other is a session of its own: what ends with the terminal of sudo would take it along.
        is_off = os.read(told, 1)
        sys.stdout.write(f'{{"job": "{job}"}}\n' if is_off else "{}\n")
        sys.stdout.flush()
        os._exit(0)
    os.setsid()
    os.makedirs(PROGRESS, mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
    result, errors = (os.open(f"{PROGRESS}/{job}.{what}.jsonl", flags, 0o600) for what in ("result", "errors"))
    fcntl.flock(result, fcntl.LOCK_EX)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((nothing, 0), (result, 1), (errors, 2)):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.write(tell, b"1")
    os.close(told)
    os.close(tell)


if __name__ == "__main__":
    main()
