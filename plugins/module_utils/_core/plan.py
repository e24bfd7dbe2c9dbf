# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The plan: an ordered list of changes in the user's option paths. It is the diff, the check-mode answer and the return value."""

from __future__ import annotations

import enum
import typing as t

from .value import Value


class How(str, enum.Enum):
    """How a change reaches the resource."""

    LIVE = "live"
    CONFIRMED = "confirmed"
    OFFLINE = "offline"
    NEXT_BOOT = "next_boot"
    RESTART = "restart"
    REFUSED = "refused"


class Unknown(Value):
    """A value that stands only after apply, since it depends on something that does not exist yet. Compares as equal."""

    __slots__ = ("text",)

    def __init__(self, text: str = "(known after apply)") -> None:
        self.text = text


UNKNOWN = Unknown()


class Change(Value):
    """One difference that apply removes. *before* and *after* are in the user's form."""

    __slots__ = ("after", "before", "done", "how", "path", "permit", "reason", "secret")
    __hash__ = None  # type: ignore[assignment]  # it comes to be done

    def __init__(
        self,
        path: str,
        before: t.Any,
        after: t.Any,
        how: How = How.LIVE,
        permit: str | None = None,
        secret: bool = False,
        done: bool = False,
        reason: str | None = None,
    ) -> None:
        self.path = path
        self.before = before
        self.after = after
        self.how = how
        self.permit = permit
        self.secret = secret
        self.done = done
        self.reason = reason

    def report(self) -> dict[str, t.Any]:
        """The change as it is returned, secrets masked so that before and after stay different."""
        before, after = self.shown()
        told: dict[str, t.Any] = {"path": self.path, "before": before, "after": after, "how": self.how.value}
        if self.permit:
            told["permit"] = self.permit
        return {**told, "done": self.done}

    def told(self) -> dict[str, str]:
        """What progress tells once it stands: the path alone."""
        return {"stands": self.path}

    def shown(self) -> tuple[t.Any, t.Any]:
        """*before* and *after* as they may be printed."""
        before, after = self.before, self.after
        if self.secret:
            before = None if before is None else "(secret)"
            after = None if after is None else "(secret, changed)" if before else "(secret)"
        return _printable(before), _printable(after)


class Step(Value):
    """A named moment of apply that is not a change of its own: after it, something more stands on the host."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def told(self) -> dict[str, str]:
        """What progress tells of it."""
        return {"step": self.name}


class Plan(Value):
    """What is to do, what only a restart can do, and what is left as it stands.

    *notes* are the paths of items of which only the record learns something, such as the name of what stands: no change. *awaited* are the
    paths of changes that stand once something has come true that apply only begins.
    """

    __slots__ = ("assumed", "awaited", "changes", "kept", "notes", "pending", "unmanaged", "warnings")
    __hash__ = None  # type: ignore[assignment]  # its lists grow

    def __init__(
        self,
        changes: list[Change] | None = None,
        pending: list[Change] | None = None,
        kept: list[str] | None = None,
        unmanaged: list[str] | None = None,
        assumed: list[str] | None = None,
        warnings: list[str] | None = None,
        notes: list[str] | None = None,
        awaited: list[str] | None = None,
    ) -> None:
        self.changes = changes if changes is not None else []
        self.pending = pending if pending is not None else []
        self.kept = kept if kept is not None else []
        self.unmanaged = unmanaged if unmanaged is not None else []
        self.assumed = assumed if assumed is not None else []
        self.warnings = warnings if warnings is not None else []
        self.notes = notes if notes is not None else []
        self.awaited = awaited if awaited is not None else []

    @property
    def changed(self) -> bool:
        return bool(self.changes)

    @property
    def refused(self) -> list[Change]:
        return [change for change in self.changes if change.how is How.REFUSED]

    @property
    def restart_required(self) -> list[str]:
        """The paths that a restart would bring into force: those that wait for it and those that were pending before."""
        waiting = [change.path for change in self.changes if change.how is How.NEXT_BOOT]
        return waiting + [change.path for change in self.pending]

    def followed_by(self, other: Plan) -> Plan:
        """Both as one, where *other* was made when what this one began had come true: what both have is one change."""
        known = {change.path for change in self.changes}
        if all(change.done for change in other.changes):
            for change in self.changes:
                change.done = change.done or change.path in self.awaited
        return Plan(
            [*self.changes, *(change for change in other.changes if change.path not in known)],
            other.pending,
            [*self.kept, *(place for place in other.kept if place not in self.kept)],
            other.unmanaged,
            self.assumed or other.assumed,
            [*self.warnings, *(warning for warning in other.warnings if warning not in self.warnings)],
            awaited=other.awaited,
        )

    def has(self, *paths: str) -> bool:
        return any(change.path in paths for change in self.changes)

    def get(self, path: str) -> Change | None:
        return next((change for change in self.changes if change.path == path), None)

    def result(self) -> dict[str, t.Any]:
        """The plan as every module returns it."""
        shown = {change.path: change.shown() for change in self.changes}
        return {
            "plan": [change.report() for change in self.changes],
            "diff": {
                "before": {path: before for path, (before, dummy) in shown.items()},
                "after": {path: after for path, (dummy, after) in shown.items()},
            },
            "restart_required": self.restart_required,
            "kept": self.kept,
            "unmanaged": self.unmanaged,
            "assumed": self.assumed,
        }


def _printable(value: t.Any) -> t.Any:
    if isinstance(value, Unknown):
        return value.text
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, t.Mapping):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    return value
