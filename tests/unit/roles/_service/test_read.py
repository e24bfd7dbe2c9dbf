# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role wrote before is read; one that is not there is empty, and one that cannot be read is told and left alone."""

from __future__ import annotations

import re
from pathlib import Path

from unit.play import played
from unit.tree import ROOT

FOLDER = ROOT / "roles" / "_service"
# Each is a host of one run, with what lies at the path of its file.
FILES = {"none": None, "json": '{"a": {"b": 1}}', "torn": "a: [secret\nb"}


def test_what_cannot_be_read_is_no_file_that_is_missing(tmp_path: Path) -> None:
    for name, text in FILES.items():
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    tasks = [
        {"name": "Read", "ansible.builtin.include_tasks": str(FOLDER / "tasks/read.yml")},
        {
            "name": "Say",
            "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} has {{ __service_read_content | to_json }}!"},
        },
    ]
    said = played(
        tmp_path,
        [*FILES, "folder"],
        tasks,
        [FOLDER / "vars/main.yml"],
        __service_declaration={"title": "Clock"},
        __service_read_path=f"{tmp_path}/{{{{ inventory_hostname }}}}",
    )
    # Which of two hosts answers first is chance.
    assert sorted(re.findall(r"(\w+) has (\{.*?\})!", said)) == [("json", '{"a": {"b": 1}}'), ("none", "{}")], said
    assert f"Clock of folder: Source is a directory and must be a file: {tmp_path}/folder. Mend it" in said
    assert f"Clock of torn: {tmp_path}/torn is no mapping in YAML. Mend it" in said
    assert "secret" not in said and (tmp_path / "torn").read_text(encoding="utf-8") == FILES["torn"]
