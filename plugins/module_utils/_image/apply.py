# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The only code that writes the image store."""

from __future__ import annotations

import os
import typing as t

from .._core import lock
from .._core.converge import Work
from .._core.errors import MissingRequirement, shorten
from .._core.plan import Change, Plan, Step
from .._core.record import Owned
from .._storage.choice import drivers_of
from . import attempts, build, copier, copying, downloads, fetch, source_file, store
from . import signature as signatures
from .plan import streams_of
from .presets import Presets
from .record import ImageRecord
from .spec import Build, Signature, Spec, with_create_defaults
from .state import Remote, SourceFile, State


def apply_image(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises MissingRequirement: when the file that ``path`` names is not there.
    :raises ApplyError, CommandError: when it cannot be made; nothing of it is left then.
    """
    record = Owned(work.host.record("images", spec.name), ImageRecord)
    if spec.state == "absent":
        yield from _remove(spec.name, plan, record, work)
        return
    if state.image is not None:
        record.save(presets=state.image.presets._replace(**spec.presets))
        yield from plan.changes
        return
    wanted = with_create_defaults(spec)
    if wanted.path is not None and state.source is None:
        raise MissingRequirement(f"path: there is no file {wanted.path} on this host", missing=[f"file {wanted.path}"])
    if state.remote is not None and state.remote.missing:
        needed = [f"program {name}" for name in state.remote.missing]
        raise MissingRequirement(f"signature: needs the {', '.join(needed)} on this host", missing=needed)
    try:
        if wanted.is_fetched:
            yield from _create_from_remote(wanted, t.cast(Remote, state.remote), record, work.held.fds, plan.warnings)
        else:
            yield from _create(wanted, state.source, record, work.held.fds, plan.warnings)
    except Exception:
        attempts.withdraw(spec.name)
        attempts.remove_left_overs(spec.name)
        _forget(record)
        raise
    yield from plan.changes


def _forget(record: Owned[ImageRecord]) -> None:
    """Nothing is left of what failed, but the beginning of a file that the next run goes on with."""
    download = record.content.download
    if download is None or not os.path.exists(downloads.part_of(download)):
        record.remove()
        fetch.remove_unused(download)


def _create_from_remote(
    spec: Spec, remote: Remote, record: Owned[ImageRecord], keep_fds: t.Sequence[int], warnings: list[str]
) -> t.Iterator[Step]:
    download, before = downloads.name_of(remote), record.content.download
    record.save(is_building=True, kind=spec.kind, download=download)
    yield Step("record written")
    if before != download:
        fetch.remove_unused(before)
    with lock.fetching(download) as held:
        path = yield from fetch.fetch(remote, spec.size_limit)
        told = f"url: {remote.url}"
        signed = _Signed(spec.signature, remote.signature, told)
        signed.check("file", path)
        source = source_file.look(path, str(spec.kind), told)
        yield from _create(spec, source, record, (*keep_fds, *held.fds), warnings, signed, remote)


class _Signed:
    """What is left to check of a signature, when what it is of is there."""

    def __init__(self, declared: Signature | None, signature: bytes | None, told: str) -> None:
        self._declared = declared
        self._signature = signature
        self._told = told

    def check(self, what: str, path: str) -> None:
        """The file *path* bears the signature, where *what* is signed.

        :raises ObserveError: when it does not.
        """
        if self._declared is not None and self._declared.of == what and self._signature is not None:
            key = signatures.read_key(self._declared)
            signatures.check_file(path, self._signature, key, self._told)


def _create(
    spec: Spec,
    source: SourceFile | None,
    record: Owned[ImageRecord],
    keep_fds: t.Sequence[int],
    warnings: list[str],
    signed: _Signed | None = None,
    remote: Remote | None = None,
) -> t.Iterator[Step]:
    kind = t.cast(str, spec.kind)
    record.save(is_building=True, kind=kind)
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
        if kind == "container":
            yield from copying.copy_container_root(source, target, spec.size_limit, keep_fds)
        elif kind == "iso":
            yield from copying.copy_iso(source, target, spec.size_limit, keep_fds)
        else:
            check = (lambda path: signed.check("content", path)) if signed is not None else (lambda path: None)
            yield from copying.copy_vm_disk(source, target, spec.size_limit, keep_fds, check)
        origin = _origin(spec, source, remote)
    told = source.told if source is not None else f"image {spec.name}"
    root = source_file.read_root(target, told, spec.size_limit) if kind == "container" else None
    if root is not None and root.devices:
        warnings.append(
            f"image {spec.name}: device nodes, which no guest gets of an image: {shorten(', '.join(root.devices))}"
        )
    size = root.size if root is not None else _size_of(kind, target)
    digest = source_file.digest_of(target)
    yield Step("image checked")
    attempts.publish(attempt, spec.name, kind)
    yield Step("image in place")
    record.save(
        is_building=False,
        presets=Presets(**spec.presets),
        format=store.FORMATS[kind],
        path=store.file_of(spec.name, kind),
        size_bytes=size,
        largest_id=root.largest_id if root else None,
        digest=digest,
        origin=origin,
    )


def _size_of(kind: str, path: str) -> int:
    return os.stat(path).st_size if kind == "iso" else source_file.size_of_disk(path)


def _origin(spec: Spec, source: SourceFile, remote: Remote | None) -> dict[str, t.Any]:
    """What the image was made of, for the question whether that is still what is declared."""
    entry = {"entry": spec.entry} if spec.entry is not None else {}
    if remote is None:
        digest = source_file.digest_of(source.path)
        told = {"path": source.path, "size": source.size, "mtime_ns": source.mtime_ns, "digest": digest}
        return {**told, **({"declared": spec.checksum} if spec.checksum is not None else {}), **entry}
    is_known = remote.digest is not None and remote.digest.startswith("sha256:")
    digest = str(remote.digest) if is_known else source_file.digest_of(source.path)
    streams = {**streams_of(spec.simplestreams), "serial": remote.serial} if spec.simplestreams is not None else None
    return {
        "url": spec.url,
        "simplestreams": streams,
        "declared": remote.digest or digest,
        "digest": digest,
        "size": source.size,
        "validator": remote.validator,
        **entry,
    }


def _build(kind: str, wanted: Build, target: str, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    recipe = build.Recipe(wanted.suite, wanted.packages or ())
    return (build.build_container_root if kind == "container" else build.build_vm_disk)(recipe, target, keep_fds)


def _built_origin(wanted: Build) -> dict[str, t.Any]:
    packages = list(wanted.packages or ())
    return {"build": {"suite": wanted.suite, "packages": packages, "firmware": wanted.firmware}}


def _remove(name: str, plan: Plan, record: Owned[ImageRecord], work: Work) -> t.Iterator[Change | Step]:
    yield from copier.remove(name, record.content.copies.values(), drivers_of(work.host))
    if record.exists:
        attempts.withdraw(name)
        yield Step("image withdrawn")
    attempts.remove_left_overs(name)
    yield Step("files removed")
    download = record.content.download
    record.remove()
    fetch.remove_unused(download)
    yield from plan.changes
