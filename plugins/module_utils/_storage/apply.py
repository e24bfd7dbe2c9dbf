# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The only code that writes storage pools."""

from __future__ import annotations

import os
import typing as t

from .._core import libraries
from .._core.converge import Work
from .._core.errors import ApplyError
from .._core.plan import Change, Plan, Step
from .._core.record import Record
from .._host.libvirt import errors_of
from . import driver_dir
from .observe import State
from .spec import Spec, with_create_defaults


def apply_pool(spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
    """Carry out *plan*, yielding each change that stands.

    :raises ApplyError: when libvirt refuses a step.
    """
    record = work.host.record("pools", spec.name)
    if spec.state == "absent":
        yield from _remove(spec, state, plan, work, record)
        return
    if not state.is_defined:
        yield from _create(with_create_defaults(spec), plan, work, record)
        return
    yield from _change(spec, plan, work.host.pools[spec.name].handle, record)


def _create(spec: Spec, plan: Plan, work: Work, record: Record) -> t.Iterator[Change | Step]:
    path = t.cast(str, spec.path)
    owns = record.data.get("owns_folder") if record.data.get("path") == path else None
    record.save(building=True, path=path, owns_folder=owns or not os.path.isdir(path) or None, warn_free=spec.warn_free)
    yield Step("record written")
    driver_dir.make_folder(path)
    yield Step("folder made")
    half_made = work.host.pools.get(spec.name)
    if half_made is not None:
        _unregister(spec.name, half_made.handle)
        yield Step("half-made pool removed")
    with errors_of(f"define the storage pool {spec.name}", ApplyError):
        handle = work.host.connection.storagePoolDefineXML(driver_dir.definition(spec.name, path), 0)
    yield Step("pool defined")
    with errors_of(f"set autostart of the storage pool {spec.name}", ApplyError):
        handle.setAutostart(int(bool(spec.autostart)))
    yield Step("autostart set")
    if spec.state != "stopped":
        _start(spec.name, handle)
    record.save(building=None)
    yield from plan.changes


def _change(spec: Spec, plan: Plan, handle: t.Any, record: Record) -> t.Iterator[Change | Step]:
    for change in plan.changes:
        if change.path == "autostart":
            with errors_of(f"set autostart of the storage pool {spec.name}", ApplyError):
                handle.setAutostart(int(bool(change.after)))
        elif change.path == "warn_free":
            record.save(path=record.data.get("path") or spec.path, warn_free=spec.warn_free)
        elif change.after == "started":
            _start(spec.name, handle)
        else:
            _stop(spec.name, handle)
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


def _remove(spec: Spec, state: State, plan: Plan, work: Work, record: Record) -> t.Iterator[Change | Step]:
    is_emptied = plan.has("path")
    removal = plan.get("state")
    if removal is not None:
        if state.is_registered:
            _unregister(spec.name, work.host.pools[spec.name].handle)
            yield Step("pool undefined")
        if state.owns_folder and state.content is not None:
            record.save(building=None, warn_free=None)
        else:
            record.remove()
        yield removal
    if is_emptied:
        driver_dir.remove_folder(t.cast(str, state.path))
        yield Step("folder removed")
        record.remove()
        yield t.cast(Change, plan.get("path"))
