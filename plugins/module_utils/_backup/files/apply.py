# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Brings single files of a container out of a backup into a folder of the host, with the owners that they have inside."""

from __future__ import annotations

import json
import os
import typing as t

from ..._container import rootfs
from ..._core import atomic
from ..._core.converge import Work
from ..._core.errors import ApplyError
from ..._core.plan import Change, Plan, Step
from ..._core.removal import remove_tree
from ..repository import Repository
from ..restore.spec import Spec
from .observe import noted
from .state import NOTE, FilesState

# What is brought back lies beside its folder until it is whole.
_ASIDE = ".homelab_hybrid-restore"


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
        _bring(spec, state, aside, work)
        yield Step("files brought back beside")
        made = os.path.join(aside, state.root.lstrip("/"))
        os.chmod(made, 0o700)
        os.chown(made, 0, 0)
        text = json.dumps(noted(spec, state.chosen.id)) + "\n"
        atomic.write_file(os.path.join(made, NOTE), text, mode=0o600)
        os.rename(made, folder)
    except OSError as exc:
        raise ApplyError(f"to: the files cannot be brought to {folder}: {exc.strerror}") from exc
    finally:
        remove_tree(aside)
    yield from plan.changes


def _bring(spec: Spec, state: FilesState, aside: str, work: Work) -> None:
    inner = [f"{state.root}{path}" for path in spec.paths]
    Repository(spec.repository, work.held.fds).restore(state.chosen.id, aside, *inner)
    if state.idmap:
        root = os.path.join(aside, state.root.lstrip("/"))
        rootfs.shift(root, rootfs.Shift(-state.idmap[0], -state.idmap[0], state.idmap))
