# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""become with a password in a Debian container, with its own sudo and su: as over ssh."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import debian_images, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now

ROOT = Path(__file__).resolve().parents[2]
IMAGE = f"{ct.PREFIX}-debian"
PASSWORDS = {"sudo": "correct horse", "su": "battery $staple"}
# sudo asks ops for its own password, su for that of root.
PREPARE = f"""\
useradd --create-home --shell /bin/bash --groups sudo ops
printf '%s\\n' 'ops:{PASSWORDS["sudo"]}' 'root:{PASSWORDS["su"]}' | chpasswd
"""
MODULE = "- {hosts: all, gather_facts: false, become: true, tasks: [{ansible.builtin.command: id -un}]}\n"


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    try:
        ct.set_up()
        tiny_root.store(IMAGE, debian_images.container_root("bookworm"))
        outcome = converge_now(ct.CONTAINER, {**ct.BASE, "image": IMAGE, "wait_for": ["systemd"]})
        assert outcome.error is None, outcome.error
        ct.inside("sh", "-c", PREPARE)
        yield
    finally:
        ct.tear_down()


class Play:
    """Tasks in the container as its user ops, who becomes root."""

    def __init__(self, folder: Path, method: str, password: str | None) -> None:
        through = {"ansible_connection": "homelab.hybrid.lxc", "ansible_hypervisor_transport": "local"}
        python = {"ansible_python_interpreter": "/usr/bin/python3"}
        become = {"ansible_lxc_user": "ops", "ansible_become_method": method}
        if password is not None:
            become["ansible_become_password"] = password
        self.folder = folder
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {ct.NAME: {**through, **python, **become}}}}))
        (folder / "play.yml").write_text(MODULE)

    def run(self, program: str, *argv: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
        command = [str(ROOT / ".build/venv/bin" / program), "-i", str(self.folder / "hosts.json"), *argv]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=180, check=False)

    def raw(self, command: str) -> subprocess.CompletedProcess[str]:
        return self.run("ansible", ct.NAME, "--become", "-m", "raw", "-a", command)


def tried() -> str:
    """What the guest's own log says of authentication."""
    return ct.inside("journalctl", "--no-pager", "--quiet", "-t", "sudo", "-t", "su", "-n", "200")


@pytest.mark.parametrize("method", ["sudo", "su"])
def test_a_command_and_a_module_run_as_root_with_the_password(tmp_path: Path, method: str) -> None:
    play = Play(tmp_path, method, PASSWORDS[method])
    done = play.raw("id -un; cat; echo bad >&2")
    assert f"{ct.NAME} | CHANGED | rc=0 >>\nroot\n" in done.stdout, done.stdout + done.stderr
    done = play.run("ansible-playbook", str(tmp_path / "play.yml"), "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"stdout": "root"' in done.stdout


@pytest.mark.parametrize("method", ["sudo", "su"])
@pytest.mark.parametrize(("password", "said"), [("wrong horse", "Incorrect"), (None, "Missing")])
def test_a_password_that_is_wrong_or_missing_is_told_at_once(
    tmp_path: Path, method: str, password: str | None, said: str
) -> None:
    before = len(tried().splitlines())
    done = Play(tmp_path, method, password).run("ansible-playbook", str(tmp_path / "play.yml"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{said} {method} password" in done.stdout + done.stderr
    failures = [line for line in tried().splitlines()[before:] if "authentication failure" in line]
    assert len(failures) <= 1, "nothing of the module was tried as a password"


def test_the_path_of_the_guest_is_found_and_can_be_given(tmp_path: Path) -> None:
    ct.inside(
        "sh",
        "-c",
        "mkdir -p /opt/own && printf '#!/bin/sh\\necho found\\n' > /opt/own/hidden && chmod 755 /opt/own/hidden",
    )
    play = Play(tmp_path, "sudo", None)
    raw = ("ansible", ct.NAME, "-m", "raw", "-a", "hidden")
    assert play.run(*raw).returncode == 2
    assert "found" in play.run(*raw, "-e", "ansible_lxc_env_path=/opt/own:/usr/bin:/bin").stdout
    ct.inside("sh", "-c", "echo 'PATH=\"/opt/own:/usr/bin:/bin\"' > /etc/environment")
    assert "found" in play.run(*raw).stdout
