# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the connections to guests share: the hypervisor that a guest is entered through. Documented in the fragment _hypervisor_connection."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.text.converters import to_native
from ansible.plugins.connection import ConnectionBase

from ._transport import Hypervisor, Unreachable, hypervisor

# Our names of what the transport takes, each with that of the option.
_TRANSPORT = {
    "host": "host",
    "port": "port",
    "user": "user",
    "private_key_file": "private_key_file",
    "ssh_args": "ssh_args",
    "timeout": "timeout",
    "connection": "transport",
    "executable": "ssh_executable",
    "common_args": "ssh_common_args",
    "extra_args": "ssh_extra_args",
    "checks_host_key": "host_key_checking",
}


class GuestConnection(ConnectionBase):
    """A connection that runs its programs on the hypervisor of a guest. ``NAME_OPTION`` is the option with the name of the guest."""

    NAME_OPTION: t.ClassVar[str]
    has_pipelining = True
    has_tty = False
    _hypervisor: Hypervisor

    def set_options(self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None) -> None:
        """Take the options, but ``remote_user`` from its variable alone."""
        # Ansible gives an option with the name of a keyword what the keyword says, and that is the -u of the run: who logs in on the hypervisor.
        set_options: t.Callable[..., None] = super().set_options
        set_options({**(task_keys or {}), "remote_user": None}, var_options, direct)

    @property
    def guest(self) -> str:
        """The name of the guest on its hypervisor."""
        names = (self.NAME_OPTION, "delegated_name", "inventory_name")
        return next(str(name) for name in map(self.get_option, names) if name)

    def reset(self) -> None:
        """The next task looks for the hypervisor anew."""
        self.close()
        self._connect()

    def close(self) -> None:
        self._connected = False

    def _connect(self) -> t.Self:
        if not self._connected:
            get: t.Callable[[str], t.Any] = self.get_option
            options = {name: get(option) for name, option in _TRANSPORT.items()}
            defaults = {name: get(f"default_{name}") for name in ("user", "private_key_file")}
            self._hypervisor = hypervisor(get("guest_hypervisor"), get("hypervisor") or {}, options, defaults)
            self._connected = True
        return self

    def _run_there(
        self,
        argv: t.Sequence[str],
        *,
        input: bytes | None = None,
        source: t.IO[bytes] | None = None,
        target: t.IO[bytes] | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Run *argv* on the hypervisor. Returns its status, what it printed and what it complained about.

        :raises AnsibleConnectionFailure: when the hypervisor does not answer.
        """
        self._connect()
        try:
            return self._hypervisor.run(argv, input=input, source=source, target=target)
        except Unreachable as exc:
            raise AnsibleConnectionFailure(f"the hypervisor of {self.guest} cannot be reached: {exc}") from exc


def text_of(data: bytes) -> str:
    """What a program printed, without the white space around it."""
    return to_native(data, errors="surrogate_or_replace").strip()  # type: ignore[no-any-return]  # Ansible has no types
