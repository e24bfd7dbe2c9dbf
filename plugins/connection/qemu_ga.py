# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: qemu_ga
short_description: Run tasks in virtual machines through the QEMU guest agent
version_added: 0.1.0
description:
  - Runs tasks in a virtual machine through the guest agent that runs in it, asked by libvirt on its hypervisor. The virtual machine needs
    neither an SSH server nor an address, and the control node no libvirt.
  - The hypervisor is the control node itself, or is reached through C(ssh).
  - A virtual machine that is missing or does not run, one whose agent does not answer, and a hypervisor that does not answer, count as unreachable.
  - Input and output go through the agent in small pieces and are slower than through SSH. Use it for the first steps in a guest, for guests without a
    network, and to repair one.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._hypervisor_connection
requirements:
  - C(ssh) on the control node, unless the hypervisor is the control node
  - libvirt and Debian's package C(python3-libvirt) on the hypervisor, and there either root or C(sudo), with O(become_password) where it asks for one
  - the guest agent in the virtual machine, with C(guest-exec) and C(guest-file-open) permitted
  - the channel of the agent, which M(homelab.hybrid.kvm_vm) gives each virtual machine
notes:
  - Linux guests need C(/bin/sh), and C(mktemp) where much is read or printed; for C(become) also C(mkfifo) and C(grep).
  - Windows guests need C(ansible_shell_type=powershell), or C(cmd). Their commands run as the system itself (C(SYSTEM)); C(become) with the method
    C(runas) works from there. What was tested is what is sent, with programs in the place of PowerShell, and never a real Windows.
options:
  domain:
    description:
      - The name of the virtual machine.
      - Without it that of the inventory host, or of the host that a task is delegated to.
    type: str
    vars:
      - name: ansible_qemu_ga_name
  agent_timeout:
    description:
      - How many seconds the guest agent may take for each of its answers. A command may take longer; the agent is asked for it again and again.
    type: int
    default: 30
    vars:
      - name: ansible_qemu_ga_agent_timeout
  python:
    description:
      - The Python on the hypervisor that has libvirt.
    type: path
    default: /usr/bin/python3
    vars:
      - name: ansible_hypervisor_python
  remote_user:
    description:
      - The user inside the virtual machine. C(become) works from there as everywhere.
      - C(-u) and C(remote_user) are for the hypervisor, and say nothing of it.
      - Any other than V(root) needs C(su) in the guest.
    type: str
    default: root
    vars:
      - name: ansible_qemu_ga_user
  executable:
    description:
      - The shell in the virtual machine. It is not used where C(ansible_shell_type) is C(cmd) or C(powershell).
    type: path
    default: /bin/sh
    vars:
      - name: ansible_qemu_ga_executable
  env_path:
    description:
      - The C(PATH) in the virtual machine. It is not used where C(ansible_shell_type) is C(cmd) or C(powershell).
      - Without it the one of C(/etc/environment) in the guest goes before the usual folders, and those of NixOS and Guix come after them.
    type: str
    vars:
      - name: ansible_qemu_ga_env_path
"""

EXAMPLES = r"""
# group_vars/vms.yml: all virtual machines, wherever their hypervisors are
ansible_connection: homelab.hybrid.qemu_ga
ansible_hypervisor: "{{ hostvars[guest_hypervisor] | homelab.hybrid.connection_vars }}"

# host_vars/appliance.yml
guest_hypervisor: alpha
"""

import base64
import json
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native
from ansible.utils.display import Display

from ..module_utils._vm.agent_session import MARKER
from ..plugin_utils import _guest_shell
from ..plugin_utils._guest_connection import GuestConnection, text_of, whole_file
from ..plugin_utils._shipped import by_argument

display = Display()

SESSION = "_vm.agent_session"
ROOT = ["HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8"]
_POWERSHELL = ("powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted")
# An empty file that only its owner can read, or the old one: the agent makes files that all may write.
_BEFORE_PUT = ["/bin/sh", "-c", 'umask 077 && : >> "$0"']


class Connection(GuestConnection):
    """Tasks in a virtual machine: through its guest agent, asked on its hypervisor."""

    transport = "homelab.hybrid.qemu_ga"
    NAME_OPTION = "domain"
    module_implementation_preferences = (".ps1", ".exe", "")

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_windows = bool(getattr(self._shell, "_IS_WINDOWS", False))
        # As Ansible's own connections to Windows have it: a module is the input of PowerShell, and no file is left behind.
        self.always_pipeline_modules = self._is_windows
        # Otherwise Ansible puts each command into a /bin/sh -c.
        self.allow_executable = not self._is_windows
        if not self._is_windows:
            self.module_implementation_preferences = ("",)

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run the shell command *cmd* in the virtual machine."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {cmd}", host=self.guest)
        family = str(getattr(self._shell, "SHELL_FAMILY", "sh")) if self._is_windows else "sh"
        path, arguments = program(cmd, family, str(self.get_option("executable")), self.get_option("remote_user"))
        dialogue = None if self._is_windows else self._dialogue(cmd, sudoable)
        if not self._is_windows:
            path, *arguments = _guest_shell.inside([path, *arguments], bool(self.get_option("env_path")), dialogue)
        answer = self._ask(
            {"action": "run", "path": path, "arguments": arguments},
            input=self._password(dialogue) + (in_data or b""),
        )
        rc, stdout, stderr = self._told(answer)
        return self._without_dialogue(dialogue, rc, stdout, stderr)

    def _told(self, answer: bytes) -> tuple[int, bytes, bytes]:
        try:
            told = json.loads(answer)
            return told["rc"], base64.b64decode(told["stdout"]), base64.b64decode(told["stderr"])
        except (ValueError, KeyError, TypeError) as exc:
            raise AnsibleError(
                f"{self._hypervisor.shown} printed something else than an answer: {text_of(answer)[:200]}"
            ) from exc

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy the file *in_path* of the control node into the virtual machine."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {in_path} TO {out_path}", host=self.guest)
        before = None if self._is_windows else [*_BEFORE_PUT, out_path]
        try:
            with open(to_bytes(in_path), "rb") as source:
                self._ask({"action": "put", "path": out_path, "before": before}, source=source)
        except FileNotFoundError as exc:
            raise AnsibleFileNotFound(f"there is no file {to_native(in_path)}", file_name=in_path) from exc

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy the file *in_path* of the virtual machine to the control node."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self.guest)
        with whole_file(out_path) as target:
            self._ask({"action": "fetch", "path": in_path}, target=target)

    def _ask(
        self,
        request: t.Mapping[str, t.Any],
        *,
        input: bytes | None = None,
        source: t.IO[bytes] | None = None,
        target: t.IO[bytes] | None = None,
    ) -> bytes:
        """What the program on the hypervisor printed for *request*."""
        told = {
            "domain": self.guest,
            "timeout": self.get_option("agent_timeout"),
            "is_posix": not self._is_windows,
            "environment": None
            if self._is_windows
            else [*ROOT, f"PATH={self.get_option('env_path') or _guest_shell.PATH}"],
            **request,
        }
        argv = by_argument(SESSION, [json.dumps(told)], self.get_option("python"))
        rc, stdout, stderr = self._run_there(argv, input=input, source=source, target=target)
        if rc != 0:
            raise error_of(self.guest, self._hypervisor.shown, rc, text_of(stderr))
        return stdout


def program(cmd: str, family: str, executable: str, user: str | None) -> tuple[str, list[str]]:
    """The program and its arguments that run the command *cmd* in a guest whose shell is of *family* (``sh``, ``cmd``, ``powershell``)."""
    if family == "powershell":
        # What Ansible's shell made is a whole command line. A second PowerShell around it would take the input away from it.
        words = cmd.split(" ")
        if words[0].lower() not in ("powershell", "powershell.exe") or words[-2:-1] != ["-EncodedCommand"]:
            words = [*_POWERSHELL, "-EncodedCommand", base64.b64encode(cmd.encode("utf-16-le")).decode()]
        # Otherwise it writes XML instead of errors when nobody looks.
        return "powershell.exe", ["-OutputFormat", "Text", *words[1:]]
    if family == "cmd":
        return "cmd.exe", ["/c", cmd]
    if user in (None, "", "root"):
        return executable, ["-c", cmd]
    return "su", ["-s", executable, "-c", cmd, "--", str(user)]


def error_of(domain: str, where: str, rc: int, stderr: str) -> AnsibleError:
    """The error that the program on the hypervisor *where* ended with."""
    dummy, marker, told = stderr.rpartition(MARKER)
    if marker:
        error = json.loads(told)
        kind = AnsibleConnectionFailure if error["is_silent"] else AnsibleError
        return kind(f"{domain} on {where}: {error['message']}")
    said = "; ".join(stderr.splitlines()[-3:]) or "it said nothing"
    return AnsibleConnectionFailure(f"the guest agent of {domain} could not be asked on {where} (status {rc}): {said}")
