# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back reads what the host was told to do: what cannot be read is refused before anything is taken away."""

from __future__ import annotations

import json
import re
from pathlib import Path

from unit.play import played
from unit.tree import ROOT

ROLE = ROOT / "roles" / "hypervisor"
# Each is a host of one run, with what lies there of backups.
FILES = {"none": None, "backups": '{"repositories": {"nas": {}}}', "torn": '{"repositories": {', "list": "[]"}


def test_what_a_host_was_told_is_read_whole_or_refused(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "jobs.json").write_text(text, encoding="utf-8")
    (tmp_path / "folder" / "jobs.json").mkdir(parents=True)
    (tmp_path / "backups" / "targets.json").write_text('{"targets": {}}', encoding="utf-8")
    tasks = [
        {"name": "Read", "ansible.builtin.include_tasks": str(ROLE / "tasks/told.yml")},
        {
            "name": "Say",
            "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} has {{ __hypervisor_told | to_json }}!"},
        },
    ]
    said = played(
        tmp_path,
        [*FILES, "folder"],
        tasks,
        [ROLE / "vars/main.yml"],
        __hypervisor_backup_file=f"{tmp_path}/{{{{ inventory_hostname }}}}/jobs.json",
        __hypervisor_notify_file=f"{tmp_path}/{{{{ inventory_hostname }}}}/targets.json",
    )
    its = tmp_path / "backups"
    read = {str(its / "jobs.json"): {"repositories": {"nas": {}}}, str(its / "targets.json"): {"targets": {}}}
    told = {name: json.loads(text) for name, text in re.findall(r"(\w+) has (\{.*?\})!", said)}
    assert told == {"none": {}, "backups": read}, said
    for name in ("folder", "torn", "list"):
        assert f"failed: [{name}] (item={tmp_path}/{name}/jobs.json)" in said, said
