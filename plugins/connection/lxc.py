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
requirements:
  - C(ssh) on the control node, unless the hypervisor is the control node
  - LXC 5.0 or newer on the hypervisor, and there either root or C(sudo) without a password
  - C(/bin/sh) in the container
options:
  container:
    description:
      - The name of the container.
      - Without it that of the inventory host, or of the host that a task is delegated to.
    type: str
    vars:
      - name: ansible_lxc_name
  inventory_name:
    description:
      - The name of the inventory host. Set by Ansible.
    type: str
    vars:
      - name: inventory_hostname
  delegated_name:
    description:
      - The name of the host that a task is delegated to. Set by Ansible, whose C(inventory_hostname) stays that of the other host.
    type: str
    keyword:
      - name: delegate_to
  guest_hypervisor:
    description:
      - The name of the hypervisor in the inventory.
      - It is used as the address of the hypervisor where neither O(hypervisor) nor O(host) has one. Without it the hypervisor is the control node.
    type: str
    vars:
      - name: guest_hypervisor
  hypervisor:
    description:
      - The connection variables of the hypervisor, as its own inventory entry has them, such as C(ansible_host), C(ansible_port),
        C(ansible_user), C(ansible_connection) and C(ansible_ssh_private_key_file).
      - A plugin sees only the variables of its own host, so set this once for all containers, with the filter
        P(homelab.hybrid.connection_vars#filter). See the examples.
    type: dict
    default: {}
    vars:
      - name: ansible_lxc_hypervisor
  transport:
    description:
      - How the hypervisor is reached. V(local) when it is the control node, V(ssh) otherwise.
      - Goes before C(ansible_connection) in O(hypervisor).
    type: str
    choices: [local, ssh]
    vars:
      - name: ansible_lxc_transport
  host:
    description:
      - The address of the hypervisor. Goes before C(ansible_host) in O(hypervisor).
    type: str
    vars:
      - name: ansible_lxc_host
  port:
    description:
      - The port of the SSH server of the hypervisor.
    type: int
    vars:
      - name: ansible_lxc_port
  user:
    description:
      - The user on the hypervisor. Who is not root there needs C(sudo) without a password.
    type: str
    vars:
      - name: ansible_lxc_ssh_user
  default_user:
    description:
      - The user on the hypervisor where neither O(user) nor O(hypervisor) has one.
    type: str
    cli:
      - name: remote_user
        option: --user
    env:
      - name: ANSIBLE_REMOTE_USER
    ini:
      - section: defaults
        key: remote_user
  private_key_file:
    description:
      - The private key for the hypervisor.
    type: path
    vars:
      - name: ansible_lxc_private_key_file
  default_private_key_file:
    description:
      - The private key for the hypervisor where neither O(private_key_file) nor O(hypervisor) has one.
    type: path
    cli:
      - name: private_key_file
        option: --private-key
    env:
      - name: ANSIBLE_PRIVATE_KEY_FILE
    ini:
      - section: defaults
        key: private_key_file
  ssh_executable:
    description:
      - The C(ssh) program on the control node.
    type: str
    vars:
      - name: ansible_lxc_ssh_executable
    env:
      - name: ANSIBLE_SSH_EXECUTABLE
  ssh_args:
    description:
      - Arguments of C(ssh) instead of C(-o ControlMaster=auto -o ControlPersist=60s).
    type: str
    vars:
      - name: ansible_lxc_ssh_args
    env:
      - name: ANSIBLE_SSH_ARGS
  ssh_common_args:
    description:
      - Further arguments of C(ssh).
    type: str
    vars:
      - name: ansible_lxc_ssh_common_args
  ssh_extra_args:
    description:
      - Further arguments of C(ssh), after all others.
    type: str
    vars:
      - name: ansible_lxc_ssh_extra_args
  host_key_checking:
    description:
      - Whether the key of the hypervisor must be known.
    type: bool
    default: true
    vars:
      - name: ansible_lxc_host_key_checking
      - name: ansible_host_key_checking
    env:
      - name: ANSIBLE_HOST_KEY_CHECKING
    ini:
      - section: defaults
        key: host_key_checking
  timeout:
    description:
      - How many seconds the hypervisor may take to answer.
    type: int
    default: 10
    vars:
      - name: ansible_lxc_timeout
    env:
      - name: ANSIBLE_TIMEOUT
    ini:
      - section: defaults
        key: timeout
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
ansible_lxc_hypervisor: "{{ hostvars[guest_hypervisor] | homelab.hybrid.connection_vars }}"

# host_vars/jellyfin.yml
guest_hypervisor: alpha
"""

import os
import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

from ..plugin_utils._transport import Hypervisor, Unreachable, hypervisor

display = Display()

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Which status says that the container cannot be entered; the reason is in the line with the marker.
_CANNOT_ENTER = 247
_MARKER = "homelab.hybrid.lxc: "
# lxc-attach would wait for ever for a container that is frozen, so its state is asked first, in the same breath.
_ENTER = f"""\
path=$1 name=$2; shift 2
run=exec
if [ "$(id -u)" -ne 0 ]; then run="exec sudo -n --"; fi
if ! command -v lxc-attach > /dev/null; then echo "{_MARKER}LXC is not installed there" >&2; exit {_CANNOT_ENTER}; fi
state=$(${{run#exec}} lxc-info ${{path:+-P "$path"}} -n "$name" -s -H 2>&1)
if [ "$state" != RUNNING ]; then echo "{_MARKER}$state" >&2; exit {_CANNOT_ENTER}; fi
$run lxc-attach ${{path:+-P "$path"}} -n "$name" "$@"
"""
# lxc-attach keeps the environment of its caller out only when it is told to.
_ENVIRONMENT = ("--clear-env", "-v", f"PATH={_PATH}", "-v", "HOME=/root", "-v", "USER=root", "-v", "LANG=C.UTF-8")


class Connection(ConnectionBase):  # type: ignore[misc]
    """Tasks in a container: through its hypervisor's ``lxc-attach``."""

    transport = "homelab.hybrid.lxc"
    has_pipelining = True
    has_tty = False

    def set_options(self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None) -> None:
        """Take the options, but ``remote_user`` from its variable alone."""
        # Ansible gives an option with the name of a keyword what the keyword says, and that is the -u of the run: who logs in on the hypervisor.
        super().set_options({**(task_keys or {}), "remote_user": None}, var_options, direct)

    @property
    def container(self) -> str:
        names = ("container", "delegated_name", "inventory_name")
        return next(str(name) for name in map(self.get_option, names) if name)

    def _connect(self) -> Connection:
        if not self._connected:
            self._hypervisor = self._find_hypervisor()
            self._connected = True
        return self

    def _find_hypervisor(self) -> Hypervisor:
        names = ("host", "port", "user", "private_key_file", "ssh_args", "timeout")
        options = {name: self.get_option(name) for name in names}
        options["connection"] = self.get_option("transport")
        options["executable"] = self.get_option("ssh_executable")
        options["common_args"] = self.get_option("ssh_common_args")
        options["extra_args"] = self.get_option("ssh_extra_args")
        options["checks_host_key"] = self.get_option("host_key_checking")
        defaults = {name: self.get_option(f"default_{name}") for name in ("user", "private_key_file")}
        return hypervisor(self.get_option("guest_hypervisor"), self.get_option("hypervisor") or {}, options, defaults)

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run the shell command *cmd* in the container."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {cmd}", host=self.container)
        return self._run(cmd, input=in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy the file *in_path* of the control node into the container."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {in_path} TO {out_path}", host=self.container)
        try:
            with open(to_bytes(in_path), "rb") as source:
                rc, dummy, stderr = self._run(f"cat > {shlex.quote(out_path)}", source=source)
        except FileNotFoundError as exc:
            raise AnsibleFileNotFound(f"there is no file {to_native(in_path)}", file_name=in_path) from exc
        if rc != 0:
            raise AnsibleError(f"could not write {out_path} in the container {self.container}: {_text(stderr)}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy the file *in_path* of the container to the control node."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self.container)
        with open(to_bytes(out_path), "wb") as target:
            rc, dummy, stderr = self._run(f"cat < {shlex.quote(in_path)}", target=target)
        if rc != 0:
            os.unlink(to_bytes(out_path))
            raise AnsibleError(f"could not read {in_path} in the container {self.container}: {_text(stderr)}")

    def reset(self) -> None:
        """The next task looks for the hypervisor anew."""
        self.close()
        self._connect()

    def close(self) -> None:
        self._connected = False

    def _run(
        self,
        cmd: str,
        *,
        input: bytes | None = None,
        source: t.IO[bytes] | None = None,
        target: t.IO[bytes] | None = None,
    ) -> tuple[int, bytes, bytes]:
        self._connect()
        argv = [
            "/bin/sh",
            "-c",
            _ENTER,
            "sh",
            self.get_option("lxc_path") or "",
            self.container,
            *_ENVIRONMENT,
            "--",
            *self._inside(cmd),
        ]
        try:
            rc, stdout, stderr = self._hypervisor.run(argv, input=input, source=source, target=target)
        except Unreachable as exc:
            raise AnsibleConnectionFailure(f"the hypervisor of {self.container} cannot be reached: {exc}") from exc
        if rc == _CANNOT_ENTER and _MARKER in _text(stderr):
            raise AnsibleConnectionFailure(self._why(_text(stderr).partition(_MARKER)[2].strip()))
        return rc, stdout, stderr

    def _inside(self, cmd: str) -> list[str]:
        shell = str(self.get_option("executable"))
        user = self.get_option("remote_user")
        if user in (None, "", "root"):
            return [shell, "-c", cmd]
        return ["su", "-s", shell, "-c", cmd, "--", str(user)]

    def _why(self, state: str) -> str:
        where = self._hypervisor.shown
        if "doesn't exist" in state:
            return f"there is no container {self.container} on {where}"
        if state.isupper() and " " not in state:
            return f"the container {self.container} on {where} does not run: it is {state.lower()}"
        return f"the container {self.container} on {where} cannot be entered: {state}"


def _text(data: bytes) -> str:
    return to_native(data, errors="surrogate_or_replace").strip()
