# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The run of a whole host: one look, one plan, refusals, and then every item through the one run of every resource."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import traceback
import typing as t

from .._core import libraries, lock
from .._core.claims import NOTHING, Address, Claims, Room
from .._core.converge import converge, rehearse
from .._core.errors import HybridError, LockTimeout, MissingLibrary, MissingRequirement
from .._core.plan import Change, Step
from .._core.reference import Reference
from .._guest.clones import clones_of
from .._host import remote
from .._host.mount_record import MountRecord
from .._host.probe import read_memory
from .._host.snapshot import BRIDGE, FOLDER, Asked, Gone, Host
from .._run import journal
from .._storage.choice import load_drivers
from . import refusals
from .crew import Crew, Message, Report, Spawner, Tell
from .kinds import KINDS
from .plan import (
    Item,
    Told,
    drop_assumed,
    empty,
    failure,
    failures,
    in_order,
    let_guests_serve,
    merge,
    settle,
    tell,
)
from .spec import Declared, Kind, Params, Spec, arguments, as_written, parse

MakeHost = t.Callable[[], Host]
# What stands on the host, by the word of its kind and its name.
Standing = t.Mapping[str, t.Mapping[str, Claims]]


@dataclasses.dataclass
class LayoutOutcome:
    """How the run ended. *told* is what the module returns."""

    told: Told
    warnings: list[str] = dataclasses.field(default_factory=list)
    error: HybridError | None = None

    def result(self) -> Told:
        return self.told


class LayoutError(HybridError):
    """Some items failed; the others stand."""


def converge_layout(
    params: Params,
    *,
    host: MakeHost = Host,
    dry_run: bool,
    report: Report | None = None,
    kinds: t.Sequence[Kind] = KINDS,
) -> LayoutOutcome:
    """Converge a whole host, or with *dry_run* say what would be done; then no process is started, and a lock waited for where something is refused.

    *report* hears of the plan and of every step, as dictionaries.
    """
    try:
        spec = parse(params, kinds)
    except HybridError as exc:
        return _refused(params, exc, [], kinds)
    if dry_run:
        return _run(spec, params, host(), None, report, kinds)

    def load() -> None:
        for kind in dict.fromkeys(item.kind.word for item in spec.items):
            _kind(kind, kinds).load()
        load_drivers()
        # Loaded, not opened: without a connection of libvirt or a container of liblxc a fork takes them along unharmed.
        for library in (libraries.libvirt, libraries.lxc):
            with contextlib.suppress(MissingLibrary):
                library()

    spawner = Spawner(lambda order, tell_it: _work(order, tell_it, kinds, host), load)
    try:
        return _run(spec, params, host(), spawner, report, kinds)
    finally:
        spawner.close()


def _run(
    spec: Spec, params: Params, host: Host, spawner: Spawner | None, report: Report | None, kinds: t.Sequence[Kind]
) -> LayoutOutcome:
    items: list[Item] = []
    claimed: t.Mapping[Address, int] = {}
    with contextlib.ExitStack() as locks:
        try:
            look = _look(spec, host, kinds)
            if spawner is not None:
                new = {address for item in look.items if item.told.get("plan") for address in item.after.addresses}
                claimed = locks.enter_context(lock.addresses(new))
                look = _undisturbed(look, spec, host, kinds, lock.hold, is_doubted=bool(new))
            else:
                look = _undisturbed(look, spec, host, kinds, lock.hold_still)
            items = look.items
            refusals.refuse(look.conflicts, failures(items))
        except HybridError as exc:
            return _refused(params, exc, items, kinds)
        drop_assumed(items)
        items = in_order(items)
        if report is not None:
            report({"plan": merge(items)["plan"]})
        if spawner is None:
            settle(items)
        else:
            parallel = spec.parallel or default_parallel()
            Crew(
                spawner,
                items,
                parallel=parallel,
                note=_note,
                report=report,
                claimed=claimed,
                silent=_still_silent(host.silent, items),
                serve_later=spec.serve_later,
            ).work()
    left = [guest for guest in look.unlisted if not (spec.prune and guest.is_made)]
    return _outcome(params, items, left, kinds, with_facts=spec.facts)


class _Look(t.NamedTuple):
    """What one look at the host makes of a layout. *conflicts* are sentences, *unlisted* guests."""

    items: list[Item]
    unlisted: list[Unlisted]
    conflicts: list[str]


def _still_silent(silent: t.Mapping[Asked, float], items: t.Iterable[Item]) -> dict[Asked, float]:
    """Those of the *silent* that nobody new can have: what is plugged into a bridge that changes first was not asked."""
    provided = (reference for item in items if item.told.get("plan") for reference in item.provides)
    changing = {reference.name for reference in provided if reference.kind is BRIDGE}
    return {asked: when for asked, when in silent.items() if asked[0] not in changing}


def _look(spec: Spec, host: Host, kinds: t.Sequence[Kind]) -> _Look:
    standing = {kind.word: kind.resource.standing(host) for kind in kinds}
    unlisted = find_unlisted(spec, kinds, standing)
    pruned = _pruned(spec, unlisted) if spec.prune else ()
    items = plan_items((*spec.items, *pruned), standing, host)
    return _Look(items, unlisted, _conflicts(spec, kinds, items, standing, host))


def _undisturbed(
    look: _Look, spec: Spec, host: Host, kinds: t.Sequence[Kind], hold: t.Callable[..., t.Any], is_doubted: bool = False
) -> _Look:
    """*look*, or another one where what others do at this moment may decide.

    An address that a guest gets here may be given to another one by a layout that runs at the same time: then *is_doubted*. And what is
    refused may be what another run is just changing, or the workers of one that was killed: then nobody may be at work on it, which *hold*
    waits for.

    :raises LockTimeout:
    """
    failed = [item for item in look.items if item.has_failed and item.spec is not None]
    doubted = look.items if look.conflicts else failed
    if not is_doubted and not doubted:
        return look
    provided = [reference for item in doubted for reference in item.provides]
    required = [reference for item in doubted for reference in item.requires]
    try:
        with hold(provided, required):
            host.drop()
            return _look(spec, host, kinds)
    except LockTimeout as exc:
        if look.conflicts:
            raise
        for item in failed:
            item.told["msg"] = exc.message
        return look


def default_parallel() -> int:
    return max(2, min(8, len(os.sched_getaffinity(0))))


class Unlisted(t.NamedTuple):
    """A guest of the host that a list which is written does not name. *is_made*: by this collection."""

    kind: Kind
    name: str
    is_made: bool


def find_unlisted(spec: Spec, kinds: t.Sequence[Kind], standing: Standing) -> list[Unlisted]:
    """The guests that are there, and that a list which is written does not name, in the order of their names."""
    named = {item.name for item in spec.items if item.kind.is_guest}
    found = [
        Unlisted(kind, name, claims.is_made)
        for kind in kinds
        if kind.is_guest and kind.list in spec.listed
        for name, claims in standing[kind.word].items()
        if name not in named
    ]
    return sorted(found, key=lambda each: each.name)


def _pruned(spec: Spec, unlisted: t.Iterable[Unlisted]) -> tuple[Declared, ...]:
    return tuple(
        Declared(
            kind,
            name,
            {
                "name": name,
                "state": "absent",
                "delete": [it for it in spec.delete if it in kind.delete],
                "quarantine": spec.quarantine,
            },
        )
        for kind, name, is_made in unlisted
        if is_made
    )


def plan_items(declared: t.Sequence[Declared], standing: Standing, host: Host) -> list[Item]:
    """The plan of each item against one look at the host.

    A bridge, pool or image that is taken away is planned as if the guests that are taken away were gone, since they go first,
    and so is what gets something of them.
    """
    items = [_parsed(each) for each in declared]
    let_guests_serve(items, remote.remotes())
    for item in items:
        if item.spec is not None and not item.is_removed:
            promises = item.declared.kind.resource.promises(item.spec)
            host.expected.update(dict.fromkeys(item.provides, promises))
    late = [item for item in items if item.is_removed and not item.declared.kind.is_guest]
    for item in items:
        if item not in late and item.spec is not None:
            _plan(item, host)
    _plan_origins(items, standing, host)
    going = {item.declared.name: item for item in items if _goes(item, standing)}
    for item in items:
        heir_of = frozenset() if item.is_removed else _inherited(item, going)
        if heir_of:
            item.heir_of = heir_of
            _plan(item, host.without({name: _gone(going[name]) for name in heir_of}))
    foreseen = host.without({name: _gone(item) for name, item in going.items()}) if going else host
    for item in late:
        if item.spec is not None:
            # What cannot be read fails its own plan below.
            with contextlib.suppress(Exception):
                resource = item.declared.kind.resource
                item.users = resource.claims(None, resource.observe(item.spec, host)).users
            _plan(item, foreseen)
    return items


def _plan_origins(items: t.Sequence[Item], standing: Standing, host: Host) -> None:
    """The plans of guests that are taken away with all that was linked to them: as if those were gone, since they go first."""
    removed = [item for item in items if item.is_removed and item.declared.kind.is_guest and item.spec is not None]
    for dummy in removed:
        going = {item.declared.name: item for item in removed if _goes(item, standing)}
        for item in removed:
            clones = frozenset(clones_of(host, item.declared.name)) if item.has_failed else frozenset()
            if clones and clones <= going.keys():
                item.heir_of = clones
                _plan(item, host.without({name: _gone(going[name]) for name in clones}))


def _goes(item: Item, standing: Standing) -> bool:
    """Whether a guest is taken away: not where its name is that of a guest of another kind."""
    if not (item.is_removed and item.declared.kind.is_guest) or item.has_failed:
        return False
    own = item.declared.kind.word
    return not any(item.declared.name in names for word, names in standing.items() if word != own)


def _inherited(item: Item, going: t.Mapping[str, Item]) -> frozenset[str]:
    macs, addresses = item.after.macs, item.after.addresses
    return frozenset(
        name for name, other in going.items() if other.before.macs & macs or other.before.addresses & addresses
    )


def _gone(item: Item) -> Gone:
    return Gone(item.before.links, item.before.paths - item.after.paths, is_forgotten=not item.told["kept"])


def _parsed(declared: Declared) -> Item:
    resource = declared.kind.resource
    # What depends on an item that cannot be read must still find it here.
    item = Item(declared, told={}, provides=(declared.reference,))
    try:
        item.spec = resource.parse(declared.params)
    except HybridError as exc:
        item.told, item.has_failed = {**empty(), "changed": False, **exc.facts, "msg": exc.message}, True
        return item
    item.provides, item.requires = tuple(resource.provides(item.spec)), tuple(resource.requires(item.spec))
    item.is_removed = item.spec.state == "absent"
    return item


def _plan(item: Item, host: Host) -> None:
    resource = item.declared.kind.resource
    try:
        outcome = rehearse(resource, item.spec, host=host)
        if outcome.state is not None:
            if item.is_removed:
                item.before = resource.claims(None, outcome.state)
            item.after = resource.claims(item.spec, outcome.state)
        item.waits = outcome.error is None and resource.waiting(item.spec, outcome.facts) is not None
    except Exception as exc:
        # One guest's failure is never another's, not even where it is a bug.
        why = {"msg": f"{type(exc).__name__}: {exc}", "exception": traceback.format_exc()}
        item.told, item.has_failed = {**empty(), "changed": False, **why}, True
        return
    item.told = outcome.result()
    item.has_failed = outcome.error is not None
    item.warnings = list(outcome.plan.warnings)
    item.has_notes = bool(outcome.plan.notes)


def _conflicts(
    spec: Spec, kinds: t.Sequence[Kind], items: t.Sequence[Item], standing: Standing, host: Host
) -> list[str]:
    """Everything that cannot be, as sentences."""
    claimants, rooms = find_claims(kinds, items, standing)
    return [
        *refusals.check_requirements(items, host.missing),
        *refusals.check_claims(
            claimants,
            rooms,
            read_memory() // 1024,
            memory_overcommit=spec.memory_overcommit,
            storage_overcommit=spec.storage_overcommit,
        ),
    ]


def find_claims(
    kinds: t.Sequence[Kind], items: t.Sequence[Item], standing: Standing
) -> tuple[list[refusals.Claimant], dict[str, Room]]:
    """What everything on the host and in the layout lays claim to after the run, and the room that pools offer by their names.

    One whose plan failed stays as it is.
    """
    listed = {(item.declared.kind.word, item.declared.name): item for item in items}
    claimants, rooms = [], {}
    for kind in kinds:
        known = standing[kind.word]
        names = dict.fromkeys([*known, *(name for word, name in listed if word == kind.word)])
        for name in names:
            before = known.get(name, NOTHING)
            item = listed.get((kind.word, name))
            after = before if item is None or item.has_failed else item.after
            claimants.append(refusals.Claimant(kind.label(name), item is not None, after, before))
            if after.room is not None:
                rooms[name] = after.room
    return claimants, rooms


def _work(order: Message, tell_it: Tell, kinds: t.Sequence[Kind], host: MakeHost) -> Message:
    """What a worker does: one item, planned again under its own locks, and its line in the journal."""

    def report(step: Change | Step) -> None:
        tell_it(step.told())

    kind = _kind(order["kind"], kinds)
    later = order.get("serve_later") or {}
    served = _served_by(later, kind, order["params"]) if later else {}
    its_host = host()
    its_host.silent.update({(bridge, vlan, address): when for bridge, vlan, address, when in order.get("silent") or ()})
    outcome = converge(
        kind.resource,
        order["params"],
        host=its_host,
        dry_run=False,
        report=report,
        # It writes no more, and another item may begin.
        written=lambda: tell_it({"written": True}),
        # It holds no locks any more.
        waits=lambda: tell_it({"waiting": True}),
        unawaited=[reference for reference, its in served.items() if not later[its.wait_for_guest]],
    )
    if served and isinstance(outcome.error, MissingRequirement) and not outcome.changed:
        mounts = {str(reference): its for reference, its in served.items()}
        missing = outcome.error.facts.get("missing") or ()
        if missing and all(what in mounts for what in missing):
            return {"deferred": _deferral(mounts[what] for what in missing)}
    result = outcome.result()
    warnings = list(outcome.plan.warnings)
    if outcome.changed:
        warnings += journal.note("layout", kind.path(order["name"]), result)
    return {**result, "warnings": warnings}


def _served_by(guests: t.Container[str], kind: Kind, params: Params) -> dict[Reference, MountRecord]:
    """What an item requires that lies on a mount of the host which one of *guests* serves."""
    folders = (its for its in kind.resource.requires(kind.resource.parse(params)) if its.kind is FOLDER)
    found = {its: remote.remote_of(its.name) for its in folders}
    return {its: mount for its, mount in found.items() if mount is not None and mount.wait_for_guest in guests}


def _deferral(mounts: t.Iterable[MountRecord]) -> str:
    told = dict.fromkeys(f"{its.source} at {its.path}, which {its.wait_for_guest} serves" for its in mounts)
    return f"waits for {' and for '.join(told)}"


def _kind(word: str, kinds: t.Iterable[Kind]) -> Kind:
    (found,) = [kind for kind in kinds if kind.word == word]
    return found


def _note(item: Item) -> list[str]:
    return journal.note("layout", item.declared.path, item.told)


def _outcome(
    params: Params,
    items: t.Sequence[Item],
    unlisted: t.Iterable[Unlisted],
    kinds: t.Sequence[Kind],
    *,
    with_facts: bool,
) -> LayoutOutcome:
    told: Told = {
        "changed": any(item.told.get("changed") for item in items if item.skipped is None),
        **merge(items),
        "resources": [tell(item, with_facts=with_facts) for item in items],
        "unlisted": [{"kind": kind.word, "name": name, "managed": is_made} for kind, name, is_made in unlisted],
        "waits": [item.declared.path for item in items if item.waits],
        "invocation": {"module_args": as_written(params, arguments(kinds))},
    }
    warnings = [warning for item in items for warning in item.warnings]
    message = failure(items)
    if message is None:
        return LayoutOutcome(told, warnings)
    return LayoutOutcome({**told, "msg": message}, warnings, LayoutError(message))


def _refused(params: Params, error: HybridError, items: t.Sequence[Item], kinds: t.Sequence[Kind]) -> LayoutOutcome:
    """Nothing was applied."""
    outcome = _outcome(params, (), (), kinds, with_facts=False)
    warnings = [warning for item in items for warning in item.warnings]
    return LayoutOutcome({**outcome.told, **error.facts, "msg": error.message}, warnings, error)
