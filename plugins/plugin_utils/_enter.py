# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The command that opens a shell or a console of a guest for a person. Starts nothing itself."""

from __future__ import annotations

import os
import shlex
import typing as t

from ._transport import DEFAULT_SSH_ARGS, Hypervisor, hypervisor

VIAS = ("auto", "shell", "ssh", "console")
# What is asked of Ansible for the inventory host, so that templates are resolved as in a play. A task has ansible_host in any case, hostvars has not.
QUESTION = """\
{{ {
  'name': ansible_lxc_name | default(ansible_qemu_ga_name) | default(inventory_hostname),
  'kind': guest_kind | default(''),
  'hypervisor': guest_hypervisor | default(''),
  'connection': ansible_connection | default('ssh'),
  'has_address': 'ansible_host' in hostvars[inventory_hostname],
  'guest_variables': hostvars[inventory_hostname] | homelab.hybrid.connection_vars,
  'hypervisor_variables': ansible_hypervisor
    | default(hostvars[guest_hypervisor | default('')] | default({}) | homelab.hybrid.connection_vars),
  'settings': {
    'user': lookup('ansible.builtin.config', 'DEFAULT_REMOTE_USER'),
    'private_key_file': lookup('ansible.builtin.config', 'DEFAULT_PRIVATE_KEY_FILE'),
    'common_args': lookup('ansible.builtin.config', 'ssh_common_args', plugin_type='connection', plugin_name='ssh'),
    'extra_args': lookup('ansible.builtin.config', 'ssh_extra_args', plugin_type='connection', plugin_name='ssh'),
  },
} }}"""

_AS_ROOT = '[ "$(id -u)" -eq 0 ] || exec sudo -- "$@"; exec "$@"'
_SHELL = "cd; if command -v bash > /dev/null; then exec bash -l; fi; exec sh -l"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotEnter(Exception):
    """The inventory does not say how to get into the guest."""


def command(guest: t.Mapping[str, t.Any], via: str, terminal: str) -> list[str]:
    """The command line for *guest*, which is the answer to ``QUESTION``. *terminal* is the ``TERM`` of the person.

    :raises CannotEnter:
    """
    name, kind, connection = guest["name"], guest["kind"], str(guest["connection"]).rpartition(".")[2]
    # Of ansible.cfg and the environment; the inventory goes before them, as for tasks.
    settings = {key: value for key, value in (guest.get("settings") or {}).items() if value}
    if kind not in ("vm", "container"):
        raise CannotEnter(f"{name} is no guest: guest_kind is {kind!r}. Allowed: vm, container")
    if via == "auto":
        reached_by_ssh = connection in ("ssh", "smart") and guest["has_address"]
        via = "shell" if kind == "container" else "ssh" if reached_by_ssh else "console"
    if via == "ssh":
        if not guest["has_address"]:
            raise CannotEnter(f"{name} has no ansible_host, so ssh cannot reach it")
        return _ssh(hypervisor(name, {**guest["guest_variables"], "ansible_connection": "ssh"}, {}, settings))
    if via == "shell" and kind == "vm":
        raise CannotEnter(f"{name} is a virtual machine. Allowed: ssh, console")
    if not guest["hypervisor"] and not guest["hypervisor_variables"]:
        raise CannotEnter(f"the inventory does not say which guest_hypervisor {name} is on")
    return _on(
        hypervisor(guest["hypervisor"] or None, guest["hypervisor_variables"], {}, settings),
        _inside(guest, via, terminal),
    )


def _inside(guest: t.Mapping[str, t.Any], via: str, terminal: str) -> list[str]:
    name = guest["name"]
    if via == "console" and guest["kind"] == "vm":
        return ["virsh", "-c", "qemu:///system", "console", name]
    if via == "console":
        return ["lxc-console", "-n", name]
    environment = [f"TERM={terminal}", _PATH, "HOME=/root", "USER=root", "LANG=C.UTF-8"]
    values = [word for value in environment for word in ("-v", value)]
    return ["lxc-attach", "-n", name, "--clear-env", *values, "--", "/bin/sh", "-c", _SHELL]


def _on(far: Hypervisor, argv: list[str]) -> list[str]:
    as_root = ["/bin/sh", "-c", _AS_ROOT, "sh", *argv]
    return as_root if far.host is None else [*_options(far), "-t", "--", str(far.host), shlex.join(as_root)]


def _ssh(far: Hypervisor) -> list[str]:
    return [*_options(far), "--", str(far.host)]


def _options(far: Hypervisor) -> list[str]:
    # A person can answer questions, and a shell of hours must not be the master of other connections.
    own_args = [] if far.ssh_args == DEFAULT_SSH_ARGS else shlex.split(far.ssh_args)
    options = [far.executable, *own_args, *shlex.split(far.common_args), *shlex.split(far.extra_args)]
    options += ["-p", str(far.port)] if far.port else []
    options += ["-l", far.user] if far.user else []
    options += ["-i", os.path.expanduser(far.private_key_file)] if far.private_key_file else []
    return options
