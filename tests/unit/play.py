# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs tasks of a role by ansible-playbook, each host of the play being a name for this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path


def played(
    folder: Path, hosts: t.Iterable[str], tasks: t.Sequence[t.Any], files: t.Sequence[Path], **variables: t.Any
) -> str:
    """What Ansible says of *tasks*, in one line. They have the variables of *files*, and *variables* over them; *folder* takes what Ansible needs."""
    play = {"name": "Play", "hosts": "all", "gather_facts": False, "vars_files": [*map(str, files)], "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": dict.fromkeys(hosts, local)}}), encoding="utf-8")
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", str(folder / "hosts.json"), "-e", json.dumps(variables), str(folder / "play.yml")),
    ]
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    }
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    return " ".join((done.stdout + done.stderr).split())
