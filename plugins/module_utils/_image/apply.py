# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The only code that writes the image store."""

from __future__ import annotations

import os
import typing as t

from .._core.converge import Work
from .._core.errors import MissingRequirement, shorten
from .._core.plan import Change, Plan, Step
from .._core.record import Record
from .._storage.choice import drivers_of
from . import attempts, build, copier, copying, source_file, store
from .spec import Build, Spec, with_create_defaults
from .state import SourceFile, State


def apply_image(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises MissingRequirement: when the file that ``path`` names is not there.
    :raises ApplyError, CommandError: when it cannot be made; nothing of it is left then.
    """
    record = work.host.record("images", spec.name)
    if spec.state == "absent":
        yield from _remove(spec.name, plan, record, work)
        return
    wanted = with_create_defaults(spec)
    if wanted.path is not None and state.source is None:
        raise MissingRequirement(f"path: there is no file {wanted.path} on this host", missing=[f"file {wanted.path}"])
    try:
        yield from _create(wanted, state.source, record, work.held.fds, plan.warnings)
    except Exception:
        attempts.withdraw(spec.name)
        attempts.remove_left_overs(spec.name)
        record.remove()
        raise
    yield from plan.changes


def _create(
    spec: Spec, source: SourceFile | None, record: Record, keep_fds: t.Sequence[int], warnings: list[str]
) -> t.Iterator[Step]:
    kind = t.cast(str, spec.kind)
    record.save(building=True, kind=kind)
    yield Step("record written")
    attempts.withdraw(spec.name)
    attempts.remove_left_overs(spec.name)
    attempt = attempts.begin(spec.name)
    yield Step("attempt begun")
    target = os.path.join(attempt, store.FILES[kind])
    if source is None:
        yield from _build(kind, t.cast(Build, spec.build), target, keep_fds)
        origin = _built_origin(t.cast(Build, spec.build))
    else:
        copy = copying.copy_container_root if kind == "container" else copying.copy_vm_disk
        yield from copy(source, target, keep_fds)
        digest = source_file.digest_of(source.path)
        origin = {"path": source.path, "size": source.size, "mtime_ns": source.mtime_ns, "digest": digest}
    root = source_file.read_root(target) if kind == "container" else None
    if root is not None and root.devices:
        warnings.append(
            f"image {spec.name}: device nodes, which no guest gets of an image: {shorten(', '.join(root.devices))}"
        )
    size = root.size if root is not None else source_file.size_of_disk(target)
    digest = source_file.digest_of(target)
    yield Step("image checked")
    attempts.publish(attempt, spec.name, kind)
    yield Step("image in place")
    record.save(
        building=None,
        format=store.FORMATS[kind],
        path=store.file_of(spec.name, kind),
        size_bytes=size,
        largest_id=root.largest_id if root else None,
        digest=digest,
        origin=origin,
    )


def _build(kind: str, wanted: Build, target: str, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    recipe = build.Recipe(wanted.suite, wanted.packages or ())
    return (build.build_container_root if kind == "container" else build.build_vm_disk)(recipe, target, keep_fds)


def _built_origin(wanted: Build) -> dict[str, t.Any]:
    packages = list(wanted.packages or ())
    return {"build": {"suite": wanted.suite, "packages": packages, "firmware": wanted.firmware}}


def _remove(name: str, plan: Plan, record: Record, work: Work) -> t.Iterator[Change | Step]:
    yield from copier.remove(record, drivers_of(work.host))
    if record.exists:
        attempts.withdraw(name)
        yield Step("image withdrawn")
    attempts.remove_left_overs(name)
    yield Step("files removed")
    record.remove()
    yield from plan.changes
