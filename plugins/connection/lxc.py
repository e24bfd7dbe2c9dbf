# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lxc
short_description: Run tasks in LXC containers of a hypervisor
version_added: 0.1.0
description:
  - Runs tasks in a container through C(lxc-attach) on its hypervisor. The container needs neither an SSH server nor an address.
  - The hypervisor is the control node itself, or is reached through C(ssh).
  - A container that is missing or does not run, and a hypervisor that does not answer, count as unreachable.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._hypervisor_connection
requirements:
  - C(ssh) on the control node, unless the hypervisor is the control node
  - LXC 5.0 or newer on the hypervisor, and there either root or C(sudo), with O(become_password) where it asks for one
  - C(/bin/sh) in the container, and C(mktemp), C(mkfifo) and C(grep) for C(become)
options:
  container:
    description:
      - The name of the container.
      - Without it that of the inventory host, or of the host that a task is delegated to.
    type: str
    vars:
      - name: ansible_lxc_name
  remote_user:
    description:
      - The user inside the container. C(become) works from there as everywhere.
      - C(-u) and C(remote_user) are for the hypervisor, and say nothing of it.
      - Any other than V(root) needs C(su) in the container.
    type: str
    default: root
    vars:
      - name: ansible_lxc_user
  executable:
    description:
      - The shell in the container.
    type: path
    default: /bin/sh
    vars:
      - name: ansible_lxc_executable
  pipelining:
    description:
      - Whether modules are handed to the interpreter in the container directly, instead of as a file that is copied first.
      - It is quicker, and it is what lets C(become) to a user who is not root run modules.
    type: boolean
    default: true
    vars:
      - name: ansible_lxc_pipelining
      - name: ansible_pipelining
    env:
      - name: ANSIBLE_PIPELINING
    ini:
      - section: connection
        key: pipelining
      - section: defaults
        key: pipelining
  env_path:
    description:
      - The C(PATH) in the container.
      - Without it the one of C(/etc/environment) in the container goes before the usual folders, and those of NixOS and Guix come after them.
    type: str
    vars:
      - name: ansible_lxc_env_path
  lxc_path:
    description:
      - The folder of the containers on the hypervisor, where it is not the usual one.
    type: path
    vars:
      - name: ansible_lxc_path
"""

EXAMPLES = r"""
# group_vars/containers.yml: all containers, wherever their hypervisors are
ansible_connection: homelab.hybrid.lxc
ansible_hypervisor: "{{ hostvars[guest_hypervisor] | homelab.hybrid.connection_vars }}"

# host_vars/jellyfin.yml
guest_hypervisor: alpha
"""

import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native
from ansible.utils.display import Display

from ..plugin_utils import _guest_shell
from ..plugin_utils._guest_connection import GuestConnection, text_of, whole_file

display = Display()

# These statuses say that the container cannot be entered; the reason is in the line with the marker.
_MISSING = 245
_NOT_RUNNING = 246
_CANNOT_ENTER = 247
_MARKER = "homelab.hybrid.lxc: "
# lxc-attach would wait for ever for a container that is frozen, so its state is asked first, in the same breath.
# A container is there when it runs or its config is there: LXC's own rule. A sudo that refuses says nothing of it, and what it complains
# about (that the name of its host does not resolve) is no state.
_ENTER = f"""\
path=$1 name=$2; shift 2
sudo=
if [ "$(id -u)" -ne 0 ]; then sudo="sudo -n --"; fi
fail() {{ echo "{_MARKER}$2" >&2; exit "$1"; }}
command -v lxc-attach > /dev/null || fail {_CANNOT_ENTER} "LXC is not installed there"
info() {{ $sudo lxc-info ${{path:+-P "$path"}} -n "$name" -s -H; }}
if state=$(info 2> /dev/null); then
  if [ "$state" != RUNNING ]; then fail {_NOT_RUNNING} "$state"; fi
else
  config=${{path:-$($sudo lxc-config lxc.lxcpath)}}/$name/config
  if $sudo sh -c '[ ! -e "$1" ]' sh "$config"; then fail {_MISSING} "$config is not there"; fi
  fail {_CANNOT_ENTER} "$(info 2>&1)"
fi
exec $sudo lxc-attach ${{path:+-P "$path"}} -n "$name" "$@"
"""
# lxc-attach keeps the environment of its caller out only when it is told to.
_ENVIRONMENT = ("--clear-env", "-v", "HOME=/root", "-v", "USER=root", "-v", "LANG=C.UTF-8")


class Connection(GuestConnection):
    """Tasks in a container: through its hypervisor's ``lxc-attach``."""

    transport = "homelab.hybrid.lxc"
    NAME_OPTION = "container"

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run the shell command *cmd* in the container."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {cmd}", host=self.guest)
        dialogue = self._dialogue(cmd, sudoable)
        rc, stdout, stderr = self._run(cmd, dialogue, input=self._password(dialogue) + (in_data or b""))
        return self._without_dialogue(dialogue, rc, stdout, stderr)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy the file *in_path* of the control node into the container."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {in_path} TO {out_path}", host=self.guest)
        try:
            with open(to_bytes(in_path), "rb") as source:
                rc, dummy, stderr = self._run(f"cat > {shlex.quote(out_path)}", source=source)
        except FileNotFoundError as exc:
            raise AnsibleFileNotFound(f"there is no file {to_native(in_path)}", file_name=in_path) from exc
        if rc != 0:
            raise AnsibleError(f"could not write {out_path} in the container {self.guest}: {text_of(stderr)}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy the file *in_path* of the container to the control node."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self.guest)
        with whole_file(out_path) as target:
            rc, dummy, stderr = self._run(f"cat < {shlex.quote(in_path)}", target=target)
            if rc != 0:
                raise AnsibleError(f"could not read {in_path} in the container {self.guest}: {text_of(stderr)}")

    def _run(
        self,
        cmd: str,
        dialogue: _guest_shell.Dialogue | None = None,
        *,
        input: bytes | None = None,
        source: t.IO[bytes] | None = None,
        target: t.IO[bytes] | None = None,
    ) -> tuple[int, bytes, bytes]:
        own_path = self.get_option("env_path")
        container = [self.get_option("lxc_path") or "", self.guest]
        environment = [*_ENVIRONMENT, "-v", f"PATH={own_path or _guest_shell.PATH}"]
        command = _guest_shell.inside(self._inside(cmd), bool(own_path), dialogue)
        argv = ["/bin/sh", "-c", _ENTER, "sh", *container, *environment, "--", *command]
        rc, stdout, stderr = self._run_there(argv, input=input, source=source, target=target)
        if rc in (_MISSING, _NOT_RUNNING, _CANNOT_ENTER) and _MARKER in text_of(stderr):
            raise AnsibleConnectionFailure(self._why(rc, text_of(stderr).partition(_MARKER)[2].strip()))
        return rc, stdout, stderr

    def _inside(self, cmd: str) -> list[str]:
        shell = str(self.get_option("executable"))
        user = self.get_option("remote_user")
        if user in (None, "", "root"):
            return [shell, "-c", cmd]
        return ["su", "-s", shell, "-c", cmd, "--", str(user)]

    def _why(self, rc: int, told: str) -> str:
        where = self._hypervisor.shown
        if rc == _MISSING:
            return f"there is no container {self.guest} on {where}"
        if rc == _NOT_RUNNING:
            return f"the container {self.guest} on {where} does not run: it is {told.lower()}"
        return f"the container {self.guest} on {where} cannot be entered: {told}"
