# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What is said to the installer of TrueNAS while it waits: it reads no answer, it is asked over the network.

Its live system serves JSON-RPC at the port 8080. Nobody else may say anything once it is adopted, until it restarts: the key by which
it knows us is kept beside the answer, so that the next run goes on where one was killed. It knows a disk by its size alone: of what is in
the machine only the disks that were made for it are, while it is at work (see ``installing``).
"""

from __future__ import annotations

import contextlib
import fcntl
import time
import typing as t

from .._core import atomic, websocket
from .._core.errors import ApplyError
from . import asked

_PATH = "/ws"
_DISKS = "disks"
_ASK_SECONDS = 2.0


def lead(machine: asked.Machine, address: str, goes_on: t.Callable[[], bool]) -> None:
    """Say what is to be said to the installer at *address*, and let the machine go off when it is through.

    Nothing happens where another run does so already, or where it does not answer (any more).

    :raises ApplyError: when it refuses, with its words.
    """
    with _alone(machine.name) as is_alone:
        if not is_alone:
            return
        try:
            with websocket.Connection(
                address,
                asked.PORT,
                _PATH,
                goes_on=goes_on,
                hears=lambda method, params: _note(machine.name, method, params),
            ) as installer:
                _lead(machine, installer, goes_on)
        except OSError:
            # It is not there yet, or the machine goes off: the next look tells which.
            return


@contextlib.contextmanager
def _alone(name: str) -> t.Iterator[bool]:
    with open(asked.file(name, asked.LOCK), "a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _note(name: str, method: str, params: t.Any) -> None:
    told = params[0] if isinstance(params, list) and params else params
    if method == "installation_progress" and isinstance(told, dict):
        share = float(told.get("progress") or 0)
        atomic.write_file(asked.file(name, asked.PROGRESS), f"{share:.0%} {told.get('message')}\n", mode=0o600)


def _lead(machine: asked.Machine, installer: websocket.Connection, goes_on: t.Callable[[], bool]) -> None:
    if not _is_let_in(machine, installer):
        # Its key is known to nobody who is here: a run was killed between two moments, or a stranger was faster. It forgets it by a restart.
        machine.reset()
        return
    wanted = asked.wanted_of(machine.name)
    try:
        if not asked.is_installed(machine.name) and not _ends_by_itself(installer, goes_on):
            name = _disk(machine, wanted, installer.call("list_disks"))
            installer.call("install", {"set_pmbr": False, **wanted, _DISKS: [name]})
        atomic.write_file(asked.file(machine.name, asked.MARK), "", mode=0o600)
        installer.call("shutdown")
    except websocket.Refused as exc:
        raise ApplyError(f"the installer of {machine.name} refused: {_without(wanted, exc.message)}") from exc


def _is_let_in(machine: asked.Machine, installer: websocket.Connection) -> bool:
    if not installer.call("is_adopted"):
        atomic.write_file(asked.file(machine.name, asked.KEY), str(installer.call("adopt")), mode=0o600)
        return True
    key = atomic.read_text(asked.file(machine.name, asked.KEY))
    try:
        return key is not None and bool(installer.call("authenticate", key))
    except websocket.Refused:
        return False


def _ends_by_itself(installer: websocket.Connection, goes_on: t.Callable[[], bool]) -> bool:
    """Whether the system stands which an earlier run had asked for; waits for it where it is at work.

    TrueNAS before 25.10 does not tell what became of it: there it is begun again.
    """
    while True:
        told = installer.call("system_info")
        if not told.get("installation_running"):
            return bool(told.get("installation_completed"))
        if not goes_on():
            raise TimeoutError
        time.sleep(_ASK_SECONDS)


def _disk(machine: asked.Machine, wanted: t.Mapping[str, t.Any], found: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The name that the first disk of *machine* has in the live system.

    :raises ApplyError: where several could be it, or none.
    """
    names = {str(disk["name"]): f"{disk['name']} ({disk['size']} bytes)" for disk in found}
    if wanted.get(_DISKS):
        names = {name: what for name, what in names.items() if name in wanted[_DISKS]}
    fitting = [str(disk["name"]) for disk in found if disk["size"] == machine.size and str(disk["name"]) in names]
    if len(fitting) == 1:
        return fitting[0]
    told = ", ".join(names[name] for name in fitting) or ", ".join(names.values()) or "none"
    which = "several disks of" if fitting else "no disk of"
    raise ApplyError(
        f"the installer of {machine.name} sees {which} {machine.size} bytes, the size of its first disk: {told}. "
        "Let that one have a size of its own"
    )


def _without(wanted: t.Mapping[str, t.Any], text: str) -> str:
    """*text* without the password: what a value is checked with comes back in the error."""
    secret = str((wanted.get("authentication") or {}).get("password") or "")
    return (text.replace(secret, "(secret)") if secret else text).partition("\n")[0]
