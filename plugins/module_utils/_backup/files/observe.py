# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the repository has of single files of a guest, and the folder that they shall come into. Only reads."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import typing as t

from ..._container.mount import innermost
from ..._container.state import ROOTFS
from ..._core import atomic, command
from .. import manifest as manifests
from ..manifest import Manifest
from ..opened import Opened
from ..restore.observe import choose, load
from ..restore.spec import Spec
from ..stored import short
from . import guestfish
from .inner import answers, questions
from .state import NOTE, FilesState, Part


class _Store(t.Protocol):
    """A repository, as far as one looks into it."""

    def sizes(self, backup: str, root: str, paths: t.Sequence[str]) -> dict[str, int | None]: ...

    def opened(self) -> contextlib.AbstractContextManager[Opened]: ...


def observe_files(spec: Spec) -> FilesState:
    """Read what there is of the files of *spec*.

    :raises ObserveError, RepositoryError:
    """
    repository = load(spec.repository)
    its = choose(spec, repository)
    folder = str(spec.to)
    if _note(folder) == noted(spec, its.id):
        return FilesState(its, is_done=True)
    state = FilesState(its, is_free=_is_free(folder), available_bytes=_available(folder))
    manifest = manifests.load(json.loads(repository.read(its.id, os.path.join(its.folder, manifests.FILE))))
    return _LOOK[its.kind](spec, state, repository, manifest)


def _look_into_container(spec: Spec, state: FilesState, repository: _Store, manifest: Manifest) -> FilesState:
    parts = tuple(parts_of(manifest, state.chosen.folder, spec.paths))
    sizes = _sizes(functools.partial(repository.sizes, state.chosen.id), parts, spec.paths)
    return state._replace(parts=parts, sizes=sizes)


def _look_into_machine(spec: Spec, state: FilesState, repository: _Store, manifest: Manifest) -> FilesState:
    if not state.is_free:
        return state
    # By their names in the machine: the tables of its file systems may say vda and vdb.
    order = sorted(manifest.volumes.values(), key=lambda its: (len(str(its["target"])), str(its["target"])))
    state = state._replace(disks=tuple(os.path.join(state.chosen.folder, its["file"]) for its in order))
    if not state.disks:
        return state._replace(obstacle=f"the backup {short(state.chosen.id)} has no disk of {spec.source}")
    if (package := guestfish.missing()) is not None:
        return state._replace(
            obstacle=f"{spec.source} is a virtual machine, whose file systems are never opened by its host. libguestfs reads them in a machine "
            f"of its own: install Debian's package {package} (hypervisor_packages_extra: [{package}])"
        )
    try:
        with repository.opened() as opened:
            ask = guestfish.asking(opened, state.chosen.id, state.disks)
            found, above = answers(ask(questions(spec.paths)), spec.paths)
    except command.CommandError as exc:
        return state._replace(obstacle=f"libguestfs cannot read the disks of {spec.source}: {guestfish.complaint(exc)}")
    sizes = {path: None if its is None else its.size for path, its in found.items()}
    there = {path: its for path, its in found.items() if its is not None}
    return state._replace(found=there, above=above, sizes=sizes)


_LOOK: dict[str, t.Callable[[Spec, FilesState, _Store, Manifest], FilesState]] = {
    "container": _look_into_container,
    "vm": _look_into_machine,
}


def parts_of(manifest: Manifest, folder: str, paths: t.Sequence[str]) -> t.Iterator[Part]:
    """The parts of a backup in *folder* that have something of *paths*. What lies in a mount is of that, and a folder above one is of both."""
    points = {name: str(its["path"]) for name, its in manifest.mounts.items()}
    of_root = tuple(path for path in paths if innermost(path, points) is None)
    if of_root:
        yield Part("", os.path.join(folder, manifest.volumes[ROOTFS]["file"]), of_root, manifest.idmap)
    for name, point in sorted(points.items(), key=lambda its: its[1]):
        its = manifest.mounts[name]
        inner = [path.removeprefix(point) for path in paths if innermost(path, points) == name]
        if any(f"{point}/".startswith(f"{path}/") for path in paths):
            inner = [""]
        if inner:
            place = os.path.join(folder, its["file"])
            yield Part(point, place, tuple(inner), None if its["mapped"] else manifest.idmap)


def _sizes(
    ask: t.Callable[[str, t.Sequence[str]], dict[str, int | None]], parts: t.Iterable[Part], paths: t.Sequence[str]
) -> dict[str, int | None]:
    """What each of *paths* takes, of all *parts* that it lies in; *ask* tells that of paths below a place of the backup."""
    found: dict[str, int | None] = dict.fromkeys(paths)
    for part in parts:
        for inner, size in ask(part.place, part.paths).items():
            whole = f"{part.point}{inner}"
            for path in paths if size is not None else ():
                if f"{whole}/".startswith(f"{path}/"):
                    found[path] = (found[path] or 0) + (size or 0)
    return found


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
