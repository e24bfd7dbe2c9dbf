# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the connections to guests share: the hypervisor that a guest is entered through, and who becomes another user in it.

Documented in the fragment _hypervisor_connection.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_native
from ansible.plugins.connection import ConnectionBase

from . import _guest_shell
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
    "become_password": "become_password",
}
# What the settings of the run are for where neither the option nor the inventory says it: ours has default_ before the name of the option.
_DEFAULTS = {
    "user": "user",
    "private_key_file": "private_key_file",
    "ssh_args": "ssh_args",
    "common_args": "ssh_common_args",
    "extra_args": "ssh_extra_args",
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
            defaults = {name: get(f"default_{option}") for name, option in _DEFAULTS.items()}
            self._hypervisor = hypervisor(get("guest_hypervisor"), get("hypervisor") or {}, options, defaults)
            self._connected = True
        return self

    def _dialogue(self, cmd: str, sudoable: bool) -> _guest_shell.Dialogue | None:
        """What *cmd* says when it becomes another user, where it does."""
        become = self.become if sudoable else None
        # The plugin remembers the word of its last command; one that becomes nobody does not have it.
        if become is None or not become.success or become.success not in cmd:
            return None
        prompts = [become.prompt] if isinstance(become.prompt, str) and become.prompt else []
        return _guest_shell.Dialogue(
            prompt=_guest_shell.pattern(prompts) or _prompt_of_any_language(become),
            success=become.success,
            wrong=_guest_shell.pattern(become.fail),
            has_password=bool(become.get_option("become_pass")),
        )

    def _password(self, dialogue: _guest_shell.Dialogue | None) -> bytes:
        """The line that *dialogue* reads first.

        :raises AnsibleError: for a password of several lines.
        """
        become = self.become
        if become is None or dialogue is None or not dialogue.has_password:
            return b""
        password: bytes = to_bytes(become.get_option("become_pass"))
        if b"\n" in password:
            raise AnsibleError(f"the {become.name} password has a line end in it")
        return password + b"\n"

    def _without_dialogue(
        self, dialogue: _guest_shell.Dialogue | None, rc: int, stdout: bytes, stderr: bytes
    ) -> tuple[int, bytes, bytes]:
        """The answer of a command without what was said before it became who it should.

        :raises AnsibleError: for one that did not, in the words of Ansible's own connections.
        """
        become = self.become
        if become is None or dialogue is None:
            return rc, stdout, stderr
        if to_bytes(dialogue.success) in stdout:
            # The plugin of su learns what the prompt was when it sees it; some programs write it to one, some to the other.
            become.check_password_prompt(stderr.partition(b"\n")[0])
            data = stdout.partition(to_bytes(dialogue.success))[2].removeprefix(b"\n")
            return rc, data, become.strip_become_prompt(stderr)
        told = text_of(stderr).rpartition(_guest_shell.MARKER)[2]
        name, said = become.name, stdout + stderr
        if told == _guest_shell.MISSING or become.check_missing_password(said):
            raise AnsibleError(f"Missing {name} password")
        # The last is what su of busybox says.
        if told == _guest_shell.WRONG or become.check_incorrect_password(said) or b"incorrect password" in said:
            raise AnsibleError(f"Incorrect {name} password")
        if told == _guest_shell.SILENT:
            raise AnsibleConnectionFailure(
                f"Timeout ({_guest_shell.SECONDS}s) waiting for privilege escalation prompt: {text_of(said)}"
            )
        return rc, stdout, stderr

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


def _prompt_of_any_language(become: t.Any) -> str:
    """The pattern of a prompt whose text the become plugin does not choose, as that of ``su``."""
    try:
        words = become.get_option("prompt_l10n")
    except KeyError:
        words = None
    texts = words or getattr(become, "SU_PROMPT_LOCALIZATIONS", ["password"])
    # The second is the wide colon of Chinese and Japanese.
    return f"({_guest_shell.pattern(texts)})[[:space:]]*(:|\uff1a)"


@contextlib.contextmanager
def whole_file(path: str) -> t.Iterator[t.IO[bytes]]:
    """A file that is *path* when all of it was written, and is gone otherwise."""
    folder, name = os.path.split(path)
    with tempfile.NamedTemporaryFile(
        dir=to_bytes(folder or "."), prefix=to_bytes(f".{name[:100]}."), delete=False
    ) as target:
        try:
            yield target
            target.flush()
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(target.name, 0o666 & ~umask)
            os.replace(target.name, to_bytes(path))
        except BaseException:
            os.unlink(target.name)
            raise


def text_of(data: bytes) -> str:
    """What a program printed, without the white space around it."""
    return to_native(data, errors="surrogate_or_replace").strip()  # type: ignore[no-any-return]  # Ansible has no types
