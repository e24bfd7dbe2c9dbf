# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who logs in on the hypervisor of a guest, and with which key: asked of ansible itself, with a program in the place of ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.tree import ROOT

CONNECTIONS = ("lxc", "qemu_ga")


def login(folder: Path, connection: str, *argv: str, env: dict[str, str] | None = None, **alpha: str) -> str:
    """The command line of ssh for a task in a guest of alpha."""
    log, ssh = folder / "log", folder / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" > {log}\nexit 255\n')
    ssh.chmod(0o700)
    through = "{{ hostvars[guest_hypervisor] | homelab.hybrid.connection_vars }}"
    web = {
        "guest_hypervisor": "alpha",
        "ansible_connection": f"homelab.hybrid.{connection}",
        "ansible_hypervisor": through,
        "ansible_hypervisor_ssh_executable": str(ssh),
    }
    hosts = {"alpha": {"ansible_host": "192.0.2.10", **alpha}, "web": web}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible"),
            "-i",
            str(folder / "hosts.json"),
            "web",
            "-m",
            "raw",
            "-a",
            "id",
            *argv,
        ],
        capture_output=True,
        check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), **(env or {})},
    )
    return log.read_text()


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_user_and_the_key_of_a_run_are_for_the_hypervisor(tmp_path: Path, connection: str) -> None:
    said = login(tmp_path, connection, "-u", "ops", "--private-key", "/keys/lab")
    assert "-l ops -i /keys/lab -- 192.0.2.10" in said
    assert "su -s" not in said and '"su"' not in said, "nobody becomes ops in the guest"


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_user_and_the_key_of_the_settings_are_for_the_hypervisor(tmp_path: Path, connection: str) -> None:
    env = {"ANSIBLE_REMOTE_USER": "ops", "ANSIBLE_PRIVATE_KEY_FILE": "/keys/lab"}
    assert "-l ops -i /keys/lab -- 192.0.2.10" in login(tmp_path, connection, env=env)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_jump_host_of_the_settings_is_for_the_hypervisor(tmp_path: Path, connection: str) -> None:
    jump = "-o ProxyJump=jump.example.org"
    assert jump in login(tmp_path, connection, env={"ANSIBLE_SSH_COMMON_ARGS": jump})
    (tmp_path / "ansible.cfg").write_text(f"[ssh_connection]\nssh_common_args = {jump}\n")
    env = {"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")}
    assert jump in login(tmp_path, connection, env=env)
    own = login(tmp_path, connection, env=env, ansible_ssh_common_args="-o ProxyJump=other.example.org")
    assert "ProxyJump=other.example.org" in own and jump not in own


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_what_the_inventory_says_of_the_hypervisor_goes_before_the_run(tmp_path: Path, connection: str) -> None:
    said = login(tmp_path, connection, "-u", "ops", ansible_user="root", ansible_ssh_private_key_file="/keys/alpha")
    assert "-l root -i /keys/alpha -- 192.0.2.10" in said
