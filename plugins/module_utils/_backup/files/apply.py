# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Brings single files out of a backup into a folder of the host, with the owners that they have inside."""

from __future__ import annotations

import json
import os
import typing as t

from ..._container import rootfs
from ..._core import atomic, command
from ..._core.converge import Work
from ..._core.errors import ApplyError
from ..._core.plan import Change, Plan, Step
from ..._core.removal import remove_tree
from ..repository import Repository
from ..restore.spec import Spec
from . import guestfish, machine
from .observe import noted
from .state import NOTE, FilesState

# What is brought back lies beside its folder until it is whole.
_ASIDE = ".homelab_hybrid-restore"
_MADE = "made"


def apply_files(spec: Spec, state: FilesState, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands. Nobody but root may enter the folder: what is in it bears the ids of the guest.

    :raises ApplyError, RepositoryError: nothing of it is left then.
    """
    folder = str(spec.to)
    parent, name = os.path.split(folder.rstrip("/"))
    aside = os.path.join(parent, f".{name}{_ASIDE}")
    os.makedirs(parent, exist_ok=True)
    if os.path.lexists(aside):
        remove_tree(aside)
    os.mkdir(aside, mode=0o700)
    try:
        made = os.path.join(aside, _MADE)
        _BRING[state.chosen.kind](spec, state, aside, made, work)
        yield Step("files brought back beside")
        os.chmod(made, 0o700)
        os.chown(made, 0, 0)
        text = json.dumps(noted(spec, state.chosen.id)) + "\n"
        atomic.write_file(os.path.join(made, NOTE), text, mode=0o600)
        os.rename(made, folder)
    except command.CommandError as exc:
        raise ApplyError(f"to: the files cannot be brought to {folder}: {guestfish.complaint(exc)}") from exc
    except OSError as exc:
        raise ApplyError(f"to: the files cannot be brought to {folder}: {exc.strerror}") from exc
    finally:
        remove_tree(aside)
    yield from plan.changes


def _out_of_container(spec: Spec, state: FilesState, aside: str, made: str, work: Work) -> None:
    inner = [f"{part.place}{path}" for part in state.parts for path in part.paths]
    Repository(spec.repository, work.held.fds).restore(state.chosen.id, aside, *inner)
    for part in state.parts:
        place = os.path.join(aside, part.place.lstrip("/"))
        if part.idmap:
            rootfs.shift(place, rootfs.Shift(-part.idmap[0], -part.idmap[0], part.idmap))
        if part.point:
            _put(place, made, part.point)
        else:
            os.rename(place, made)


def _put(place: str, made: str, point: str) -> None:
    """What lies at *place* comes to *point* in *made*. No link that the guest made is followed: it would lead to anywhere on the host.

    :raises ApplyError:
    """
    target = made
    for name in ["", *point.strip("/").split("/")]:
        target = os.path.join(target, name) if name else target
        if os.path.islink(target):
            raise ApplyError(f"paths: {point} leads over a link inside. Name paths below it alone")
        if target != f"{made}{point}" and not os.path.isdir(target):
            os.mkdir(target, mode=0o755)
    # The folder or file that it was seen over, and hid with what is in it.
    if os.path.isdir(target):
        remove_tree(target)
    elif os.path.exists(target):
        os.unlink(target)
    os.rename(place, target)


def _out_of_machine(spec: Spec, state: FilesState, dummy: str, made: str, work: Work) -> None:
    os.mkdir(made, mode=0o700)
    machine.bring(state, Repository(spec.repository, work.held.fds), made, work.held.fds)


# Each brings the files to the folder *made* in *aside*, as the guest saw them.
_BRING: dict[str, t.Callable[[Spec, FilesState, str, str, Work], None]] = {
    "container": _out_of_container,
    "vm": _out_of_machine,
}
