# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The run of a whole host: one look, one plan, refusals, and then every item through the one run of every resource."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import traceback
import typing as t

from .._core.converge import Resource, converge, rehearse
from .._core.errors import HybridError
from .._core.plan import Change, Step
from .._host.snapshot import Host
from .._run import journal
from . import claims, refusals
from .crew import Crew, Message, Report, Spawner, Tell
from .kinds import KINDS
from .plan import Item, Told, drop_assumed, empty, failure, failures, in_order, merge, settle, tell
from .spec import Declared, Kind, Params, Spec, arguments, as_written, parse

AnyResource = Resource[t.Any, t.Any]
MakeHost = t.Callable[[], Host]

_RESTING = ("absent", "stopped", "paused", "suspended")


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


class Foreseen(Host):
    """The host as it will be without the guests *gone*, of which those *forgotten* leave nothing. Shares what was read."""

    def __init__(self, host: Host, gone: t.Collection[str], forgotten: t.Collection[str]) -> None:
        self.__dict__.update({area: getattr(host, area) for area in ("pools", "networks", "links")})
        if "connection" in host.__dict__:
            self.__dict__["connection"] = host.connection
        for area, names in (("domains", gone), ("containers", gone), ("guest_records", forgotten)):
            known: dict[str, t.Any] = getattr(host, area)
            self.__dict__[area] = {name: its for name, its in known.items() if name not in names}


class _Later:
    """A resource as it will be found when the guests on it are gone, and with them their ports *links* and their *volumes*."""

    def __init__(self, resource: AnyResource, links: t.Collection[str], volumes: t.Collection[str]) -> None:
        self._resource = resource
        self._links = links
        self._volumes = volumes

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._resource, name)

    def observe(self, spec: t.Any, host: t.Any) -> t.Any:
        state = self._resource.observe(spec, host)
        ports = getattr(state, "ports", ())
        left = tuple(port for port in ports if port not in self._links)
        if left != ports:
            state = dataclasses.replace(state, ports=left)
        if getattr(state, "content", None):
            gone = [volume for volume in self._volumes if os.path.dirname(volume) == state.path]
            state = dataclasses.replace(state, content=state.content - len(gone))
        return state


class _Telling:
    """A resource whose worker says when it begins to wait: it holds no locks any more, and another item may begin."""

    def __init__(self, resource: AnyResource, tell_it: Tell) -> None:
        self._resource = resource
        self._tell = tell_it

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._resource, name)

    def wait(self, spec: t.Any, host: t.Any) -> dict[str, t.Any] | None:
        if getattr(spec, "wait_for", ()):
            self._tell({"waiting": True})
        return self._resource.wait(spec, host)


def converge_layout(
    params: Params,
    *,
    host: MakeHost = Host,
    dry_run: bool,
    report: Report | None = None,
    kinds: t.Sequence[Kind] = KINDS,
) -> LayoutOutcome:
    """Converge a whole host, or with *dry_run* say what would be done; then no process is started and no lock taken.

    *report* hears of the plan and of every step, as dictionaries.
    """
    try:
        spec = parse(params, kinds)
    except HybridError as exc:
        return _refused(params, exc, [], kinds)
    if dry_run:
        return _run(spec, params, host(), None, report, kinds)
    spawner = Spawner(lambda order, tell_it: _work(order, tell_it, kinds, host))
    try:
        return _run(spec, params, host(), spawner, report, kinds)
    finally:
        spawner.close()


def _run(
    spec: Spec, params: Params, host: Host, spawner: Spawner | None, report: Report | None, kinds: t.Sequence[Kind]
) -> LayoutOutcome:
    items: list[Item] = []
    try:
        unlisted = find_unlisted(spec, kinds, host)
        pruned = _pruned(spec, unlisted) if spec.prune else ()
        specs: dict[int, t.Any] = {}
        items = plan_items((*spec.items, *pruned), host, specs)
        refusals.refuse(_conflicts(spec, items, specs, host), failures(items))
    except HybridError as exc:
        return _refused(params, exc, items, kinds)
    drop_assumed(items)
    items = in_order(items)
    if report is not None:
        report({"plan": merge(items)["plan"]})
    if spawner is None:
        settle(items)
    else:
        Crew(spawner, items, parallel=spec.parallel or default_parallel(), note=_note, report=report).work()
    left = [] if spec.prune else unlisted
    return _outcome(params, items, left, kinds, with_facts=spec.facts)


def default_parallel() -> int:
    return max(2, min(8, len(os.sched_getaffinity(0))))


def find_unlisted(spec: Spec, kinds: t.Sequence[Kind], host: Host) -> list[tuple[Kind, str]]:
    """The guests that this collection made, that are there, and that a list which is written does not name, by kind and name."""
    named = {item.name for item in spec.items if item.kind.is_guest}
    listed = {kind.word: kind for kind in kinds if kind.is_guest and kind.list in spec.listed}
    found = []
    for name, record in sorted(host.guest_records.items()):
        kind = listed.get(record.data.get("kind", ""))
        if kind is None or name in named:
            continue
        # Only a creation writes these; a record of a guest that somebody else made has neither.
        is_ours = record.is_building or "uuid" in record.data or (kind.word == "container" and "image" in record.data)
        if is_ours and (record.is_building or name in (host.domains if kind.word == "vm" else host.containers)):
            found.append((kind, name))
    return found


def _pruned(spec: Spec, unlisted: t.Iterable[tuple[Kind, str]]) -> tuple[Declared, ...]:
    return tuple(
        Declared(
            kind, name, {"name": name, "state": "absent", "delete": [it for it in spec.delete if it in kind.delete]}
        )
        for kind, name in unlisted
    )


def plan_items(declared: t.Sequence[Declared], host: Host, specs: dict[int, t.Any]) -> list[Item]:
    """The plan of each item against one look at the host. *specs* gets what each one declares, by its identity.

    Guests are planned first: a bridge, pool or image that is taken away is planned as if the guests that are taken away
    were gone, since they go first.
    """
    items = {each.path: _parsed(each, specs) for each in declared}
    late = [item for item in items.values() if item.is_removed and not item.declared.kind.is_guest]
    host.expected_vlans.update(claims.expected_vlans(list(items.values()), specs, host))
    host.expected_images.update(claims.expected_images(list(items.values()), specs))
    host.expected_pools.update(claims.expected_pools(list(items.values()), specs))
    going = [item for item in items.values() if item.declared.kind.is_guest and item.is_removed]
    going = [item for item in going if not claims.is_of_other_kind(item, host)]
    host.expected_gone.update(item.declared.name for item in going)
    for item in items.values():
        if item not in late and not item.has_failed:
            _plan(item, item.declared.kind.resource, specs, host)
    going = [item for item in going if not item.has_failed]
    for item, name in claims.inheritances(items.values(), going, specs, host):
        item.heir_of |= {name}
    if late:
        forgotten = {item.declared.name for item in going if not item.told["kept"]}
        foreseen = Foreseen(host, {item.declared.name for item in going}, forgotten)
        links = {link for item in going for link in claims.links_of(item, host)}
        volumes = {volume for item in going for volume in claims.volumes_of(item)}
        for item in late:
            resource = item.declared.kind.resource
            # What cannot be read fails its own plan below.
            with contextlib.suppress(Exception):
                users = getattr(resource.observe(specs[id(item)], host), "users", ())
                # The users of an image say beside a guest's name what it has of it.
                item.users = frozenset(user.partition(" ")[0] for user in users)
            _plan(item, t.cast(AnyResource, _Later(resource, links, volumes)), specs, foreseen)
    return list(items.values())


def _parsed(declared: Declared, specs: dict[int, t.Any]) -> Item:
    resource = declared.kind.resource
    item = Item(declared, told={})
    try:
        spec = resource.parse(declared.params)
    except HybridError as exc:
        item.told, item.has_failed = {**empty(), "changed": False, **exc.facts, "msg": exc.message}, True
        # What depends on it must still find it here.
        item.provides = (declared.reference,)
        return item
    specs[id(item)] = spec
    item.provides, item.requires = tuple(resource.provides(spec)), tuple(resource.requires(spec))
    item.is_removed = spec.state == "absent"
    return item


def _plan(item: Item, resource: AnyResource, specs: t.Mapping[int, t.Any], host: Host) -> None:
    try:
        outcome = rehearse(resource, specs[id(item)], host=host)
    except Exception as exc:
        # One guest's failure is never another's, not even where it is a bug.
        why = {"msg": f"{type(exc).__name__}: {exc}", "exception": traceback.format_exc()}
        item.told, item.has_failed = {**empty(), "changed": False, **why}, True
        return
    item.told = outcome.result()
    item.has_failed = outcome.error is not None
    item.warnings = list(outcome.plan.warnings)
    item.waits = not item.has_failed and has_to_wait(specs[id(item)], outcome.facts)


def has_to_wait(spec: t.Any, facts: t.Mapping[str, t.Any]) -> bool:
    """Whether a worker must look for what the user waits for: not for an address that is known already."""
    wanted = set(getattr(spec, "wait_for", ()))
    state = facts.get("guest", {}).get("state") if spec.state == "present" else spec.state
    if not wanted or state in _RESTING:
        return False
    return wanted != {"ip"} or not facts.get("guest", {}).get("addresses")


def _conflicts(spec: Spec, items: t.Sequence[Item], specs: t.Mapping[int, t.Any], host: Host) -> list[str]:
    """Everything that cannot be, as sentences."""
    found = refusals.check_requirements(items, host.missing)
    found += refusals.check_subnets(claims.read_subnets(items, specs))
    found += refusals.check_folders(claims.read_folders(items, specs))
    guests = claims.read_claims(items, specs, host)
    found += refusals.check_doubles(guests)
    found += refusals.check_memory(guests, claims.host_memory_kib(), spec.memory_overcommit)
    volumes, places = claims.read_volumes(items, specs, host)
    return found + refusals.check_storage(volumes, places, spec.storage_overcommit)


def _work(order: Message, tell_it: Tell, kinds: t.Sequence[Kind], host: MakeHost) -> Message:
    """What a worker does: one item, planned again under its own locks, and its line in the journal."""

    def report(step: Change | Step) -> None:
        tell_it(step.told())

    (kind,) = [kind for kind in kinds if kind.word == order["kind"]]
    resource = t.cast(AnyResource, _Telling(kind.resource, tell_it))
    outcome = converge(resource, order["params"], host=host(), dry_run=False, report=report)
    result = outcome.result()
    warnings = list(outcome.plan.warnings)
    if outcome.changed:
        warnings += journal.note("layout", kind.path(order["name"]), result)
    return {**result, "warnings": warnings}


def _note(item: Item) -> list[str]:
    return journal.note("layout", item.declared.path, item.told)


def _outcome(
    params: Params,
    items: t.Sequence[Item],
    unlisted: t.Iterable[tuple[Kind, str]],
    kinds: t.Sequence[Kind],
    *,
    with_facts: bool,
) -> LayoutOutcome:
    told: Told = {
        "changed": any(item.told.get("changed") for item in items if item.skipped is None),
        **merge(items),
        "resources": [tell(item, with_facts=with_facts) for item in items],
        "unlisted": [{"kind": kind.word, "name": name} for kind, name in unlisted],
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
