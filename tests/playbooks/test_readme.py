# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of README.md as it is written there, on this host: its check, its container, and a ping through both."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness import debian_images
from ansible_collections.homelab.hybrid.tests.unit.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
# This host is the hypervisor, and what its images would build is there already.
HERE = {"all": {"hosts": {"alpha": {"ansible_connection": "local"}}}}


def tear_down() -> None:
    gone = {"state": "absent"}
    outcome = converge_layout(
        {
            "containers": [{**gone, "name": "resolver", "force_stop": True, "delete": ["rootfs"]}],
            "images": [{**gone, "name": "debian-13"}],
            "storage_pools": [{**gone, "name": "main", "allow": ["delete_data"]}],
            "bridges": [{**gone, "name": "br0"}],
        },
        dry_run=False,
    )
    assert outcome.error is None, outcome.error


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    try:
        yield
    finally:
        tear_down()


class Lab:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for block in blocks(README):
            if block.file is not None:
                path = folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
        (folder / "here.json").write_text(json.dumps(HERE))

    def run(self, program: str, *argv: str) -> str:
        inventory = ("-i", str(self.folder / "inventory"), "-i", str(self.folder / "here.json"))
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
        command = [str(ROOT / ".build/venv/bin" / program), *inventory, *argv]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        return done.stdout


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_the_whole_lab_can_be_checked(lab: Lab) -> None:
    said = lab.run("ansible-playbook", "homelab.hybrid.site", "--check", "--diff")
    for guest in ("resolver", "builder"):
        assert f"changed: [{guest}" in said
    assert said.count('"image": "debian-13"') == 1, "a guest is shown once"
    assert "null" not in said


def test_its_container_is_made_answers_and_stays(lab: Lab) -> None:
    image = {"name": "debian-13", "kind": "container", "path": str(debian_images.container_root("trixie"))}
    extra = ("-e", json.dumps({"hypervisor_images": [image]}), "--limit", "all:!builder")
    lab.run("ansible-playbook", "homelab.hybrid.site", *extra)
    assert '"ping": "pong"' in lab.run("ansible", "resolver", "-m", "ansible.builtin.ping")
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    enter = ["lxc-attach", "-n", "resolver", "--clear-env", "-v", path, "--", "ip", "-4", "route", "show", "default"]
    assert "via 10.20.0.1" in subprocess.run(enter, capture_output=True, text=True, check=True).stdout
    again = lab.run("ansible-playbook", "homelab.hybrid.site", *extra)
    recap = again.partition("PLAY RECAP")[2]
    assert recap.count("changed=0") == recap.count("changed=") > 0
