# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the connection asks the agent for, and how it tells what went wrong."""

from __future__ import annotations

import base64
import json

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.loader import get_shell_plugin

from ansible_collections.homelab.hybrid.plugins.connection.qemu_ga import error_of, program
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent_session import FAILED, MARKER


@pytest.mark.parametrize(
    ("family", "user", "wanted"),
    [
        ("sh", "root", ("/bin/ash", ["-c", "echo 'a b'"])),
        ("sh", None, ("/bin/ash", ["-c", "echo 'a b'"])),
        ("sh", "ops", ("su", ["-s", "/bin/ash", "-c", "echo 'a b'", "--", "ops"])),
        ("cmd", "root", ("cmd.exe", ["/c", "echo 'a b'"])),
    ],
)
def test_the_program_of_a_command(family: str, user: str | None, wanted: tuple[str, list[str]]) -> None:
    assert program("echo 'a b'", family, "/bin/ash", user) == wanted


def test_a_command_for_powershell_is_encoded() -> None:
    path, arguments = program('Write-Host "é"', "powershell", "/bin/sh", "root")
    assert path == "powershell.exe"
    assert arguments[-2] == "-EncodedCommand"
    assert base64.b64decode(arguments[-1]).decode("utf-16-le") == 'Write-Host "é"'


def test_a_command_that_is_encoded_already_is_not_encoded_again() -> None:
    """As the shell plugin of Ansible makes it: what the outer of two shells gets to read the inner one does not."""
    made = get_shell_plugin(shell_type="powershell").build_module_command("", "#!powershell", "")
    path, arguments = program(made, "powershell", "/bin/sh", "root")
    assert path == "powershell.exe" and arguments[-2] == "-EncodedCommand"
    assert "ConvertFrom-Json" in base64.b64decode(arguments[-1]).decode("utf-16-le")


def test_errors_of_powershell_are_text() -> None:
    for cmd in ("exit 3", "PowerShell -NoProfile -EncodedCommand ZQA="):
        dummy, arguments = program(cmd, "powershell", "/bin/sh", "root")
        assert arguments[:2] == ["-OutputFormat", "Text"]


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_silent_guest_is_unreachable_and_a_refusal_is_an_error(is_silent: bool) -> None:
    told = json.dumps({"message": "what was wrong", "is_silent": is_silent})
    error = error_of("vm", "alpha", FAILED, f"banner of ssh\n{MARKER}{told}\n")
    assert isinstance(error, AnsibleError)
    assert isinstance(error, AnsibleConnectionFailure) is is_silent
    assert str(error) == "vm on alpha: what was wrong"


def test_what_the_hypervisor_itself_says_is_passed_on() -> None:
    error = error_of("vm", "alpha", 1, "sudo: a password is required")
    assert isinstance(error, AnsibleConnectionFailure)
    assert "alpha (status 1): sudo: a password is required" in str(error)
