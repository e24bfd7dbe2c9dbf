# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the repository has of single files of a guest, and the folder that they shall come into. Only reads."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ..._container.state import ROOTFS
from ..._core import atomic
from .. import manifest as manifests
from ..restore.observe import choose
from ..restore.spec import Spec
from .state import CONTAINER, NOTE, FilesState


def observe_files(spec: Spec) -> FilesState:
    """Read what there is of the files of *spec*.

    :raises ObserveError, RepositoryError:
    """
    repository, its = choose(spec)
    folder = str(spec.to)
    if _note(folder) == noted(spec, its.id):
        return FilesState(its, is_done=True)
    if its.kind != CONTAINER:
        return FilesState(its)
    manifest = manifests.load(json.loads(repository.read(its.id, os.path.join(its.folder, manifests.FILE))))
    root = os.path.join(its.folder, manifest.volumes[ROOTFS]["file"])
    return FilesState(
        its,
        root,
        manifest.idmap,
        repository.sizes(its.id, root, spec.paths),
        is_free=_is_free(folder),
        available_bytes=_available(folder),
    )


def noted(spec: Spec, backup: str) -> dict[str, t.Any]:
    """What the note in the folder says of these files of *backup*."""
    return {"backup": backup, "guest": spec.source, "paths": list(spec.paths)}


def _note(folder: str) -> t.Any:
    with contextlib.suppress(ValueError, OSError):
        return json.loads(atomic.read_text(os.path.join(folder, NOTE)) or "null")
    return None


def _is_free(folder: str) -> bool:
    try:
        return not os.listdir(folder) and not os.path.ismount(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _available(folder: str) -> int:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    its = os.statvfs(folder)
    return its.f_bavail * its.f_frsize
