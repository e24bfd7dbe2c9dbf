# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The only code that writes storage pools, with their drivers."""

from __future__ import annotations

import os
import typing as t
from xml.etree import ElementTree

from .._core import libraries
from .._core.converge import Work
from .._core.errors import ApplyError, MissingRequirement
from .._core.plan import Change, Plan, Step
from .._core.record import Owned
from .._host.libvirt import errors_of
from .._host.mounts import mount_of
from .._host.pool_record import PoolRecord
from . import source as sources
from .choice import driver_of
from .driver import Driver
from .spec import Spec, with_create_defaults
from .state import State


def apply_pool(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when libvirt refuses a step.
    :raises MissingRequirement: when the device or file that ``source`` names is not there.
    """
    record = Owned(work.host.record("pools", spec.name), PoolRecord)
    if spec.state == "absent":
        yield from _remove(spec, state, plan, work, record)
        return
    if not state.is_defined:
        yield from _create(with_create_defaults(spec), state, plan, work, record)
        return
    yield from _change(spec, state, plan, work, record)


def _create(spec: Spec, state: State, plan: Plan, work: Work, record: Owned[PoolRecord]) -> t.Iterator[Change | Step]:
    path, source = t.cast(str, spec.path), spec.source
    if source is not None and state.found is None:
        raise MissingRequirement(f"source: there is no {source} on this host", missing=[f"source {source}"])
    before = record.content
    is_same = before.path == path and before.source == source
    is_new = source is not None and (state.is_formatting or t.cast(t.Any, state.found).holds != "btrfs")
    record.save(
        is_building=True,
        type=spec.type,
        path=path,
        source=source,
        owns_folder=(is_same and before.owns_folder) or not os.path.isdir(path),
        owns_file_system=is_same and before.owns_file_system,
        formatting=source if is_new else None,
        warn_free=spec.values.get("warn_free"),
    )
    yield Step("record written")
    half_made = work.host.pools.get(spec.name)
    if half_made is not None:
        _unregister(spec.name, half_made.handle)
        yield Step("half-made pool removed")
    if source is not None:
        yield from _prepare_source(spec, path, record, state, work.held.fds, is_new=is_new)
    driver = _driver(spec.name, t.cast(str, spec.type), path)
    driver.make_pool(is_new=is_new)
    record.save(mount=mount_of(path).point)
    yield Step("folder made")
    with errors_of(f"define the storage pool {spec.name}", ApplyError):
        handle = work.host.connection.storagePoolDefineXML(_definition(spec.name, path), 0)
    yield Step("pool defined")
    with errors_of(f"set autostart of the storage pool {spec.name}", ApplyError):
        handle.setAutostart(int(bool(spec.values.get("autostart"))))
    yield Step("autostart set")
    if spec.state != "stopped":
        _start(spec.name, handle)
    elif source is not None:
        sources.unmount(path, work.held.fds)
    record.save(is_building=False)
    yield from plan.changes


def _driver(name: str, type_: str, path: str) -> Driver:
    return t.cast(Driver, driver_of(name, type_, path))


def _prepare_source(
    spec: Spec, path: str, record: Owned[PoolRecord], state: State, keep_fds: t.Sequence[int], *, is_new: bool
) -> t.Iterator[Change | Step]:
    source = t.cast(str, spec.source)
    if is_new:
        sources.make_file_system(source, spec.name, keep_fds)
        yield Step("file system made")
        record.save(formatting=None, owns_file_system=True)
    os.makedirs(path, mode=0o711, exist_ok=True)
    sources.mount(spec.name, source, path, keep_fds, is_file=t.cast(t.Any, state.found).is_file)
    yield Step("source mounted")


def _definition(name: str, path: str) -> str:
    """libvirt's definition. It sees a folder, whatever the pool is made of: volumes are the business of our drivers."""
    pool = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(pool, "name").text = name
    target = ElementTree.SubElement(pool, "target")
    ElementTree.SubElement(target, "path").text = path
    return ElementTree.tostring(pool, encoding="unicode")


def _change(spec: Spec, state: State, plan: Plan, work: Work, record: Owned[PoolRecord]) -> t.Iterator[Change | Step]:
    path, handle = t.cast(str, state.path), work.host.pools[spec.name].handle
    for change in plan.changes:
        if change.path == "autostart":
            with errors_of(f"set autostart of the storage pool {spec.name}", ApplyError):
                handle.setAutostart(int(bool(change.after)))
        elif change.path == "warn_free":
            record.save(path=record.content.path or path, warn_free=spec.values.get("warn_free"))
        elif change.path == "quota":
            _driver(spec.name, t.cast(str, state.type), path).make_pool()
        elif change.after == "started":
            if state.source is not None and not state.is_mounted:
                if state.found is None:
                    raise MissingRequirement(f"source: there is no {state.source} on this host", missing=[state.source])
                sources.mount(spec.name, state.source, path, work.held.fds, is_file=state.found.is_file)
                yield Step("source mounted")
            _start(spec.name, handle)
        else:
            _stop(spec.name, handle)
            if state.source is not None:
                sources.unmount(path, work.held.fds)
        yield change


def _start(name: str, handle: t.Any) -> None:
    with errors_of(f"start the storage pool {name}", ApplyError):
        if not handle.isActive():
            handle.create(libraries.libvirt().VIR_STORAGE_POOL_CREATE_NORMAL)


def _stop(name: str, handle: t.Any) -> None:
    with errors_of(f"stop the storage pool {name}", ApplyError):
        if handle.isActive():
            handle.destroy()


def _unregister(name: str, handle: t.Any) -> None:
    _stop(name, handle)
    with errors_of(f"undefine the storage pool {name}", ApplyError):
        handle.undefine()


def _remove(spec: Spec, state: State, plan: Plan, work: Work, record: Owned[PoolRecord]) -> t.Iterator[Change | Step]:
    removal = plan.get("state")
    deletion = plan.get("source") or plan.get("path")
    owns_data = state.owns_file_system if state.source else state.owns_folder
    if deletion is not None and state.source:
        # Once it is unmounted nobody can tell any more that it was empty.
        record.save(formatting=state.source)
        yield Step("record written")
    if removal is not None:
        handle = work.host.pools[spec.name].handle if state.is_registered else None
        if state.source:
            # libvirt forgets the pool last: until then the next run sees that there is something to remove.
            yield from _release(spec.name, state, handle, work.held.fds)
        if handle is not None:
            _unregister(spec.name, handle)
            yield Step("pool undefined")
        if owns_data and (state.source or state.content is not None):
            record.save(is_building=False, warn_free=None)
        else:
            record.remove()
        yield removal
    if deletion is not None:
        if state.source:
            sources.wipe(state.source, work.held.fds)
            yield Step("source wiped")
        else:
            _driver(spec.name, record.content.type or "dir", t.cast(str, state.path)).remove_pool()
            yield Step("folder removed")
        record.remove()
        yield deletion


def _release(name: str, state: State, handle: t.Any, keep_fds: t.Sequence[int]) -> t.Iterator[Step]:
    """Mount the source no more, and leave no folder of ours where it was."""
    path = t.cast(str, state.path)
    if handle is not None:
        _stop(name, handle)
    sources.unmount(path, keep_fds)
    sources.forget(name)
    if state.owns_folder and os.path.isdir(path) and not os.listdir(path):
        os.rmdir(path)
    yield Step("source unmounted")
