# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on a guest: the order of questions that both kinds share. What only one kind knows, its ``Kind`` answers."""

from __future__ import annotations

import typing as t

from .._core import keyed
from .._core.decide import SAME, Draft, Power
from .._core.errors import SpecError
from .._core.keyed import Show, Thing
from .._core.options import INSIDE, NEVER_PERMITTED, RECORD, VOLUME, Item, Option, Options, split
from .._core.plan import How, Plan
from .._core.units import show_moment
from .content import Source, show_copied
from .identity import derive_mac
from .installing import INSTALL
from .options import TEMPLATE
from .record import Origin
from .spec import GuestSpec, SpecT
from .state import GuestState, Side

RUNNING = ("started", "paused", "suspended")
# Of a guest that is asked to have these powers a run that was killed may have left it without.
_DUE = {"started": "started", "restarted": "started", "paused": "paused"}
_AFTER_CREATION = {"present": "stopped", "restarted": "started"}


class Kind(keyed.Rules):
    """What only one kind of guest knows. Here are the answers of one that knows nothing of its own."""

    # How a name's owner is called, the rows, the keyed lists, and the first half of the MACs that are derived.
    word: str
    options: Options
    areas: tuple[str, ...]
    mac_prefix: str

    def __init__(self, spec: GuestSpec, state: GuestState) -> None:
        self.spec = spec
        self.state = state

    # -- a new guest and its items

    def created(self) -> GuestSpec:
        """The spec with what a new guest gets where nothing was written. Raises ``SpecError`` where it lacks what it needs."""
        raise NotImplementedError

    def created_item(self, area: str, item: Item) -> Item:
        """A new item with what it gets where nothing was written, but for its MAC. Raises ``SpecError`` like ``created``."""
        return self.options.created_item(area, item)

    def plan_creation(self, draft: Draft) -> None:
        """What is to be said of a creation beside the compared options: refusals, warnings, what is assumed."""

    # -- a guest that stands

    def touches_data(self, path: str) -> bool:
        """Whether a change of *path* writes to the volumes of the guest."""
        return path in self.options and self.options[path].home in (VOLUME, INSIDE)

    def blocks(self, draft: Draft) -> bool:
        """Whether nothing can be done on the guest as it is; *draft* says why then."""
        return False

    def beyond_live(self) -> set[str]:
        """Paths that could be changed live by their rows, and cannot on this guest as it runs."""
        return set()

    def is_asked_again(self, path: str) -> bool:
        """Whether the guest, which has declined a change of *path*, may give in to it in this run."""
        return False

    def value(self, side: Side, path: str) -> t.Any:
        """The value of an option in the light of what is declared."""
        return side.values.get(path)

    def may_have(self, draft: Draft, path: str, declared: t.Any) -> bool:
        """Whether the option can have the value; where not, *draft* says why."""
        return True

    def compare(self, draft: Draft) -> None:
        """Whatever this kind has to compare or to refuse beyond its rows."""

    # -- removal

    def obstacle_to_removal(self) -> str | None:
        """Why the guest cannot be taken away now, as a sentence."""
        return None

    def volume_path(self, name: str) -> str:
        """The option path of one of its volumes."""
        raise NotImplementedError

    def deleted_by(self, name: str) -> tuple[str, ...]:
        """The words of ``delete`` that delete the volume *name*."""
        raise NotImplementedError

    # -- cards are the same for both

    def check(self, draft: Draft, area: str, item: Item, before: Thing | None) -> bool:
        if area == "networks":
            self._check_vlan(draft, item, before)
            return self._can_be_limited(draft, item)
        return True

    def _can_be_limited(self, draft: Draft, item: Item) -> bool:
        limits = {key: value for key, value in item.values.items() if key.startswith("rate_limit.")}
        if not limits or self.state.rate_obstacle is None:
            return True
        key, value = next(iter(limits.items()))
        path = f"networks[{item.name}].{key}"
        shown = keyed.show(self.options[path], value)
        refuse(draft, path, None, shown, f"{path}: {shown} is refused, as {self.state.rate_obstacle}")
        return False

    def _check_vlan(self, draft: Draft, item: Item, before: Thing | None) -> None:
        path = f"networks[{item.name}].vlan"
        now = before.value("bridge") if before is not None else ""
        bridge = item.get("bridge", now)
        kept = before.value("vlan") if before is not None and path not in draft.unset else 0
        vlan = item.get("vlan", kept if bridge != now else 0)
        if vlan and bridge in self.state.vlan_obstacles:
            row = self.options[path]
            before_shown, shown = keyed.show(row, kept), keyed.show(row, vlan)
            reason = f"{path}: {shown} is refused, as {self.state.vlan_obstacles[bridge]}"
            refuse(draft, path, before_shown, shown, reason)

    def details(self, draft: Draft, area: str, item: Item, *, is_live: bool) -> Show | None:
        full = self.created_item(area, item)
        if area != "networks":
            return full.values
        mac = self.mac_of(full)
        return None if self.is_taken(draft, f"networks[{item.name}].mac", mac) else {**full.values, "mac": mac}

    def mac_of(self, item: Item) -> str:
        """The MAC of a new card: declared, recorded of an earlier time, or derived: the same on every run, and nobody else's."""
        known = item.text("mac") or self.state.record.macs.get(item.name)
        return known or derive_mac(
            self.state.machine_id, self.spec.name, item.name, self.state.taken_macs, prefix=self.mac_prefix
        )

    def may_become(self, draft: Draft, path: str, declared: t.Any, before: Thing) -> bool:
        return not (keyed.key_of(path) == "mac" and self.is_taken(draft, path, declared))

    def is_taken(self, draft: Draft, path: str, mac: t.Any) -> bool:
        """Whether another guest has *mac*, which *draft* says then."""
        owner = self.state.taken_macs.get(mac)
        if owner is None:
            return False
        reason = f"{path}: {mac} belongs to the guest {owner} of this host{keyed.NEEDS_TWO_RUNS}"
        refuse(draft, path, None, mac, reason)
        return True


def refuse(draft: Draft, path: str, before: t.Any, after: t.Any, reason: str, permit: str = NEVER_PERMITTED) -> None:
    """Put a change that cannot be, or that *permit* permits, into *draft* with its sentence."""
    draft.add(path, before, after, permit=permit, reason=reason)


def plan_guest(kind: Kind) -> Plan:
    """The plan from the state that *kind* holds to its spec. Pure.

    :raises SpecError: where something is missing that a new guest or item needs.
    """
    plan = _plan(kind)
    if kind.state.begun is not None:
        plan.notes.append("quarantine")
    return plan


def _plan(kind: Kind) -> Plan:
    kind.spec = with_due_power(kind.spec, kind.state)
    spec, state = kind.spec, kind.state
    if spec.state == "absent":
        return _plan_removal(kind)
    if not state.exists and not state.other_kind:
        kind.spec = kind.created()
    draft = Draft(
        kind.options,
        power_of(spec, state),
        allow=spec.allow,
        unset=spec.unset if state.exists else (),
        declined=_declined(kind) if state.exists and state.live else state.declined,
    )
    if state.other_kind:
        reason = f"name: {spec.name} is the name of a {state.other_kind} on this host; guests share one namespace"
        refuse(draft, "name", state.other_kind, kind.word, reason)
        return draft.finish()
    if state.exists and kind.blocks(draft):
        return draft.finish()
    if not state.exists:
        _plan_creation(draft, kind)
    _compare_options(draft, kind)
    kind.compare(draft)
    for area in kind.areas:
        _compare_list(draft, kind, area)
    if state.exists:
        _plan_installation(draft, kind)
        if not is_left_to_installer(spec, state):
            _plan_power(draft, spec, state)
        _guard_data(draft, kind)
    # A restart would let go on what somebody holds or has saved.
    is_left = is_left_to_installer(spec, state)
    is_held = is_left or (state.power in ("paused", "suspended") and spec.state in ("present", state.power))
    is_restart = not is_left and state.exists and (spec.state == "restarted" or _runs_for_installer(state))
    plan = draft.finish(restart=is_restart, restart_if_needed=spec.restart_policy == "if_needed" and not is_held)
    if not state.exists and plan.has(INSTALL):
        plan.awaited = [change.path for change in plan.changes]
    return plan


def _declined(kind: Kind) -> set[str]:
    return kind.beyond_live() | {path for path in kind.state.declined if not kind.is_asked_again(path)}


def power_of(spec: GuestSpec, state: GuestState) -> Power:
    """Whether the guest runs, whether it will, and whether it takes changes while it runs.

    One that is saved to disk takes none, until a run that wakes it up.
    """
    is_running = state.exists and state.power in RUNNING
    if is_running and is_left_to_installer(spec, state):
        return Power(is_running, will_run=True, takes_changes=False)
    will_run = is_running if spec.state == "present" else spec.state not in ("stopped", "absent")
    is_asleep = state.power == "suspended" and spec.state in ("present", "suspended")
    return Power(is_running, will_run, takes_changes=not (is_asleep or _runs_for_installer(state)))


def is_left_to_installer(spec: GuestSpec, state: GuestState) -> bool:
    """Whether the guest runs, or does not, as its installer needs it: while that is at work, and for whoever does not write of it."""
    its = state.installing
    return state.exists and its is not None and (its.is_under_way or not _declares_installer(spec))


def _declares_installer(spec: GuestSpec) -> bool:
    return any(path.startswith(f"{INSTALL}.") for path in spec.values)


def _runs_for_installer(state: GuestState) -> bool:
    return state.installing is not None and state.installing.runs


def with_due_power(spec: SpecT, state: GuestState) -> SpecT:
    """*spec* as it is where the power is to stay as it is, and a run was killed before it had given the guest another one: that is due."""
    due = state.record.due_power if spec.state == "present" and is_power_due(state) else None
    return spec if due is None else spec.replace(state=due)


def is_power_due(state: GuestState) -> bool:
    """Whether the guest has not come to the power that the record says is due, or what was to have it was never made."""
    due = state.record.due_power
    return due is not None and (not state.exists or (state.power in ("stopped", "started") and state.power != due))


def noted_power(spec: GuestSpec, state: GuestState) -> str | None:
    """The power that the record is to say is due from before *spec* is carried out until it stands.

    Only what must be finished whatever the next run asks for: a creation, and what a run that was killed has left.
    """
    return _DUE.get(spec.state) if not state.exists or is_power_due(state) else None


def wanted_value(kind_options: Options, spec: GuestSpec, path: str) -> t.Any:
    """What *path* becomes where the plan changes it, in canonical form: what is declared, or its off value."""
    area, name, key = split(path)
    off = kind_options[path].off
    if not key:
        return spec.get(path, off)
    item = spec.item(area, name)
    return off if item is None else item.get(key, off)


def _plan_creation(draft: Draft, kind: Kind) -> None:
    spec = kind.spec
    if spec.state == "suspended":
        raise SpecError(f"state: {spec.name} does not exist; a new guest cannot be made suspended", key="state")
    draft.add("state", "absent", _AFTER_CREATION.get(spec.state, spec.state))
    if spec.image is not None:
        draft.add("image", None, spec.image, How.OFFLINE)
    if spec.origin is not None:
        _plan_clone(draft, kind)
    kind.plan_creation(draft)


def origin_of(spec: GuestSpec, source: Source | None) -> Origin | None:
    """What a new guest is cloned from. Nobody said how: linked to a template where its pool can, for itself otherwise."""
    if spec.origin is None:
        return None
    mode = spec.get("clone_from.mode")
    is_plain_template = source is not None and source.is_template and not source.is_snapshot
    can_link = source is not None and source.link_obstacle is None
    return Origin(
        spec.origin, spec.get("clone_from.snapshot"), mode == "linked" if mode else is_plain_template and can_link
    )


def _plan_clone(draft: Draft, kind: Kind) -> None:
    source, origin = kind.state.source, origin_of(kind.spec, kind.state.source)
    if source is None:
        draft.plan.assumed.append(f"guest {kind.spec.origin}")
        draft.add("clone_from", None, str(origin), How.OFFLINE)
        return
    reason = _obstacle_to_clone(kind, origin)
    if reason is not None:
        refuse(draft, "clone_from", None, str(origin), f"clone_from: {reason}")
        return
    copied = source.copied_bytes
    is_linked = origin is not None and origin.is_linked
    how = "linked" if is_linked else f"a copy of at most {show_copied(copied)}" if copied else "shares its blocks"
    draft.add("clone_from", None, f"{origin} ({how})", How.OFFLINE)
    _say_what_runs(draft, kind)


def _say_what_runs(draft: Draft, kind: Kind) -> None:
    source, name = kind.state.source, kind.spec.origin
    if source is None:
        return
    if source.is_held:
        copied = 0 if source.content.copies_itself else source.copied_bytes
        meanwhile = f" while {show_copied(copied)} are copied" if copied else ""
        draft.plan.warnings.append(f"{name} is held still{meanwhile}, so that all of it is of one moment")
    if source.runs and not source.content.has_agent:
        draft.plan.warnings.append(
            f"{name} runs: {kind.spec.name} gets what a power cut would leave, and what its programs had not written yet is not in it. "
            "Stop it first where that matters"
        )
    if source.content.left_out and not source.is_snapshot:
        draft.plan.warnings.append(
            f"{', '.join(source.content.left_out)}: {name} writes to it, this collection did not make it, and no clone gets it"
        )


def _obstacle_to_clone(kind: Kind, origin: Origin | None) -> str | None:
    """Why the new guest cannot be cloned, as a sentence."""
    source, name = kind.state.source, kind.spec.origin
    if source is None or origin is None:
        return None
    if source.kind != kind.word:
        return f"{name} is a {'container' if source.kind == 'container' else 'virtual machine'}, and a clone is of the same kind"
    if source.obstacle is not None:
        return source.obstacle
    if origin.is_linked and source.link_obstacle is not None:
        return f"{source.link_obstacle}. Write mode: full"
    if origin.is_linked and source.runs:
        return (
            f"{name} runs, and what is linked stands on what does not change. Link it to a snapshot or to a template, stop {name} first, "
            "or write mode: full"
        )
    for item, part in () if origin.is_linked else source.parts.items():
        if part.copied_bytes > part.available_bytes:
            return (
                f"{item} takes a copy of at most {show_copied(part.copied_bytes)}, and its storage pool has "
                f"{show_copied(part.available_bytes)} left. Make room, or use a pool of type btrfs, where a clone shares its blocks"
            )
    return None


def _guard_data(draft: Draft, kind: Kind) -> None:
    """What clones stand on stays as it is: neither what it is nor what it holds is changed under them."""
    spec, state, name = kind.spec, kind.state, kind.spec.name
    was_template = bool(state.record.value(TEMPLATE))
    declared = False if "template" in draft.unset else spec.get("template")
    is_template = was_template if declared is None else declared
    if was_template and not is_template and state.clones:
        stop(draft, "template", f"{stand_on(name, state.clones)}. Take them away first")
    if not (is_template or state.clones):
        return
    why = stand_on(name, state.clones) if state.clones else f"{name} is a template, from which guests are cloned"
    out = "" if state.clones else ", or write template: false"
    if draft.power.will_run or _starts(draft):
        way = f"{why}, and it is not started. Clone it{out}"
        if draft.plan.has("state") and _starts(draft):
            stop(draft, "state", way)
        elif draft.plan.has("template"):
            stop(draft, "template", f"{name} runs, and a template does not. Stop it first (state: stopped)")
    if was_template or state.clones:
        for change in draft.plan.changes:
            if kind.touches_data(change.path):
                stop(draft, change.path, f"{why}, and what it holds is not changed{out}")


def _starts(draft: Draft) -> bool:
    change = draft.plan.get("state")
    return change is not None and change.after not in ("stopped", "absent")


def stop(draft: Draft, path: str, reason: str) -> None:
    """Refuse the change of *path* that *draft* has."""
    change = draft.plan.get(path)
    if change is not None and change.how is not How.REFUSED:
        change.how, change.permit, change.reason = How.REFUSED, NEVER_PERMITTED, f"{path}: {reason}"


def stand_on(name: str, clones: t.Collection[str]) -> str:
    """That linked *clones* stand on what *name* holds, as a sentence."""
    several = len(clones) > 1
    return f"the linked clone{'s' if several else ''} {', '.join(clones)} stand{'' if several else 's'} on {name}"


def _compare_options(draft: Draft, kind: Kind) -> None:
    state = kind.state
    for path in kind.options.compared():
        declared = kind.spec.get(path)
        if (declared is None and path not in draft.unset) or not kind.may_have(draft, path, declared):
            continue
        row = kind.options[path]
        persistent = _value(kind, state.persistent, row) if state.exists else None
        has_live_value = state.exists and state.live is not None and row.home != RECORD
        live = _value(kind, state.live, row) if has_live_value and state.live else SAME
        draft.compare(path, declared, persistent, live)


def _value(kind: Kind, side: Side, row: Option) -> t.Any:
    return kind.state.record.value(row) if row.home == RECORD else kind.value(side, row.path)


def _compare_list(draft: Draft, kind: Kind, area: str) -> None:
    spec, state = kind.spec, kind.state
    keyed.compare_list(
        draft,
        area,
        spec.lists.get(area),
        state.persistent.things(area) if state.exists else {},
        state.live.things(area) if state.exists and state.live else {},
        rules=kind,
        is_exact=area in spec.exact,
    )


def _plan_installation(draft: Draft, kind: Kind) -> None:
    """What is left to do of an installation that was begun."""
    its, name = kind.state.installing, kind.spec.name
    if its is None:
        return
    if not _declares_installer(kind.spec):
        draft.plan.warnings.append(
            f"{name} is being installed from {its.source}, and is left as it runs. Its end is seen to by a run that says install"
        )
    elif its.is_lost and "adopt" not in draft.allow:
        reason = (
            f"install: the installation of {name} from {its.source} was cut off long ago, and somebody may use by now what is on its disks. "
            "Take it as installed with allow: [adopt], or let its disks be made anew"
        )
        draft.add(INSTALL, "installing", its.source, permit="recreate", reason=reason)
    else:
        how = How.RESTART if its.is_over and its.runs and draft.power.will_run else How.LIVE
        draft.add(INSTALL, "installing", its.source, how)
        draft.plan.awaited += [INSTALL] if its.is_under_way else []


def _plan_power(draft: Draft, spec: GuestSpec, state: GuestState) -> None:
    now, target = state.power, spec.state
    if target == "present":
        target = now
    if target == "restarted":
        how = How.RESTART if now in RUNNING else How.LIVE
        draft.add("state", now, "started" if now == "stopped" else "restarted", how)
    elif target == "suspended" and now == "stopped":
        reason = f"state: {spec.name} is stopped; there is nothing to suspend"
        refuse(draft, "state", now, target, reason)
    elif target != now:
        draft.add("state", now, target)
    if state.record.due_power is not None and not draft.plan.has("state"):
        draft.plan.notes.append("state")


def _plan_removal(kind: Kind) -> Plan:
    spec, state = kind.spec, kind.state
    draft = Draft(kind.options, Power(is_running=False, will_run=False), allow=spec.allow)
    if state.other_kind:
        return draft.finish()
    before = state.power if state.is_known else "building"
    reason = _obstacle_to_removal(kind)
    if reason is not None:
        refuse(draft, "state", before, "absent", reason)
        return draft.finish()
    is_here = state.is_known or state.is_building
    # A deletion that was interrupted leaves the name of what it deleted, and perhaps what was no longer in its place.
    begun = [] if is_here else [name for name in state.record.volumes if name not in state.owned]
    # A removal that was interrupted right at its end leaves a record of nothing.
    is_left = state.is_managed and not state.owned and not begun and not any(state.snapshots.values())
    if is_here or is_left:
        draft.add("state", before, "absent")
    for name in begun:
        draft.add(kind.volume_path(name), str(state.record.volumes[name].volume), _moved(state))
    for name, place in state.owned.items():
        path = kind.volume_path(name)
        if is_half_made(state, name):
            continue  # it goes with the rest of the creation
        if not {*kind.deleted_by(name)} & {*spec.delete}:
            draft.plan.kept.append(place)
        elif name in state.used:
            refuse(draft, path, place, None, f"{path}: {state.used[name]}")
        else:
            _let_go(draft, state, path, [place])
    for name, places in state.snapshots.items():
        path = snapshot_path(name)
        if not places:
            continue  # it is forgotten with the guest
        if "snapshots" not in spec.delete:
            draft.plan.kept += places
        elif path in state.used:
            refuse(draft, path, ", ".join(places), None, f"{path}: {state.used[path]}")
        else:
            _let_go(draft, state, path, places)
    draft.plan.kept += state.foreign
    return draft.finish()


def _let_go(draft: Draft, state: GuestState, path: str, places: t.Sequence[str]) -> None:
    """Delete *places*, or move them to the quarantine."""
    moved = _moved(state)
    draft.add(path, ", ".join(places), moved)
    if moved is not None:
        draft.plan.kept += [f"{place} ({moved})" for place in places]


def _moved(state: GuestState) -> str | None:
    """What becomes of what is deleted: nothing is left of it, or it lies in the quarantine."""
    until = state.quarantined_until
    return None if until is None else f"in the quarantine until {show_moment(until).partition('T')[0]}"


def snapshot_path(name: str) -> str:
    """How a plan calls the snapshot *name* of a guest. It is no option of one."""
    return f"snapshots[{name}]"


def _obstacle_to_removal(kind: Kind) -> str | None:
    spec, state = kind.spec, kind.state
    if state.clones:
        return f"state: {spec.name} cannot be taken away: {stand_on(spec.name, state.clones)}. Take them away first"
    is_protected = state.record.value(kind.options["protection"])
    if state.is_known and is_protected and spec.get("protection") is not False:
        return f"state: {spec.name} is protected. Take that off first (protection: false)"
    return kind.obstacle_to_removal() if state.is_known else None


def is_half_made(state: GuestState, name: str) -> bool:
    """Whether the volume *name* was made by a creation that was interrupted: no guest ever ran on it."""
    volume = state.record.volumes.get(name)
    return state.is_building and not state.exists and volume is not None and volume.is_fresh
