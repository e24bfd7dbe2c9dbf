# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that opens a guest for a person."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from unit.tree import ROOT

from ansible_collections.homelab.hybrid.plugins.plugin_utils._enter import CannotEnter, command

HOSTS = """\
all:
  hosts:
    alpha: {ansible_host: 192.0.2.10}
    web: {guest_hypervisor: alpha, guest_kind: container, ansible_connection: homelab.hybrid.lxc}
"""
ALPHA = {"ansible_host": "192.0.2.1", "ansible_user": "ops", "ansible_port": 2222}


def guest(kind: str, **more: t.Any) -> dict[str, t.Any]:
    facts = {
        "name": "web",
        "kind": kind,
        "hypervisor": "alpha",
        "connection": "homelab.hybrid.lxc" if kind == "container" else "ssh",
        "has_address": kind == "vm",
        "guest_variables": {"ansible_host": "10.0.0.5", "ansible_user": "debian"} if kind == "vm" else {},
        "hypervisor_variables": ALPHA,
    }
    return {**facts, **more}


def far(argv: list[str]) -> list[str]:
    """What runs on the hypervisor."""
    assert argv[:-1] == ["ssh", "-p", "2222", "-l", "ops", "-t", "--", "192.0.2.1"]
    words = shlex.split(argv[-1])
    assert words[:2] == ["/bin/sh", "-c"]
    return words[4:]


def test_a_shell_in_a_container() -> None:
    words = far(command(guest("container"), "auto", "xterm"))
    assert words[:4] == ["lxc-attach", "-n", "web", "--clear-env"]
    assert "TERM=xterm" in words
    assert words[-4:-1] == ["--", "/bin/sh", "-c"]


def test_a_container_of_this_machine() -> None:
    argv = command(guest("container", hypervisor_variables={"ansible_connection": "local"}), "auto", "xterm")
    assert argv[:2] == ["/bin/sh", "-c"]
    assert argv[4:7] == ["lxc-attach", "-n", "web"]


def test_ssh_into_a_virtual_machine() -> None:
    variables = {"ansible_host": "10.0.0.5", "ansible_ssh_common_args": "-o ProxyJump=ops@alpha"}
    argv = command(guest("vm", guest_variables=variables), "auto", "xterm")
    assert argv == ["ssh", "-o", "ProxyJump=ops@alpha", "--", "10.0.0.5"]


def test_the_settings_of_ansible_are_for_people_too() -> None:
    settings = {"user": "me", "private_key_file": "/keys/me", "common_args": "-o ProxyJump=jump", "extra_args": ""}
    argv = command(guest("vm", guest_variables={"ansible_host": "10.0.0.5"}, settings=settings), "auto", "xterm")
    assert argv == ["ssh", "-o", "ProxyJump=jump", "-l", "me", "-i", "/keys/me", "--", "10.0.0.5"]
    argv = command(guest("container", settings=settings), "auto", "xterm")
    assert argv[:-1] == [
        "ssh",
        "-o",
        "ProxyJump=jump",
        "-p",
        "2222",
        "-l",
        "ops",
        "-i",
        "/keys/me",
        "-t",
        "--",
        "192.0.2.1",
    ]


def test_make_enter_reads_the_settings_of_ansible(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\ninventory = hosts.yml\nremote_user = me\n[ssh_connection]\nssh_common_args = -o ProxyJump=jump\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".build"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")}
    env |= {
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    argv = [sys.executable, str(ROOT / "tools" / "enter.py"), "--show", "web"]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.stdout.startswith("ssh -o ProxyJump=jump -l me -t -- 192.0.2.10 "), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("facts", "via"),
    [({}, "console"), ({"has_address": False}, "auto"), ({"connection": "homelab.hybrid.qemu_ga"}, "auto")],
)
def test_the_console_of_a_virtual_machine(facts: dict[str, t.Any], via: str) -> None:
    assert far(command(guest("vm", **facts), via, "xterm")) == ["virsh", "-c", "qemu:///system", "console", "web"]


def test_the_console_of_a_container() -> None:
    assert far(command(guest("container"), "console", "xterm")) == ["lxc-console", "-n", "web"]


@pytest.mark.parametrize(
    ("facts", "via", "said"),
    [
        (guest("vm"), "shell", "is a virtual machine"),
        (guest("vm", has_address=False), "ssh", "has no ansible_host"),
        (guest(""), "auto", "web is no guest: guest_kind is ''"),
        (guest("container", hypervisor="", hypervisor_variables={}), "auto", "which guest_hypervisor"),
    ],
)
def test_what_cannot_be_entered(facts: dict[str, t.Any], via: str, said: str) -> None:
    with pytest.raises(CannotEnter, match=said):
        command(facts, via, "xterm")
