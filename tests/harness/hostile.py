# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile text for every string option that an ``ARGUMENTS`` has: it is refused before any change, or kept to the letter."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now, unchanged

Arguments = t.Mapping[str, t.Mapping[str, t.Any]]

CANARY = "/run/homelab_hybrid_canary"
VALUES = {
    "path out": "../../etc",
    "absolute path": "/etc/../etc/passwd/..",
    "line break": "first\nsecond = 1",
    "lxc hook": f"x\nlxc.hook.start-host = /usr/bin/touch {CANARY}",
    "shell": f"$(touch {CANARY}); `touch {CANARY}` | touch {CANARY} #",
    "xml end": "]]></description><devices/>",
    "xml attribute": '\'/><interface type="bridge">&evil;',
    "entity": "&lt;&#0;&amp;",
    "control": "a\x00b\x1b[2J",
    "unicode": "Zo\u00eb \u2028 \u202e \U0001f40d",
    "option": "--help",
    "quote": "\"'\\\\",
    "jinja": "{{ lookup('pipe', 'id') }}",
    "long": "x" * 5000,
    "empty": "",
    "blank": "  ",
}


class HostileCase(t.NamedTuple):
    """*params* with the hostile *value* at the option *path*."""

    path: str
    kind: str
    value: str
    params: dict[str, t.Any]

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}"


def hostile_cases(arguments: Arguments, base: t.Mapping[str, t.Any], skip: t.Collection[str] = ()) -> list[HostileCase]:
    """One case for each string option and value. *base* is a set of parameters that converges; *skip* are paths left out.

    An option in a keyed list goes into the first item of *base*'s list, or into an item of its own named ``hostile``.
    Options with choices are Ansible's to refuse.
    """
    cases = []
    for path in string_options(arguments):
        if ".".join(path) in skip:
            continue
        for kind, value in VALUES.items():
            params = copy.deepcopy(dict(base))
            _place(params, arguments, path, value)
            cases.append(HostileCase(".".join(path), kind, value, params))
    return cases


def string_options(arguments: Arguments, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all options that take free text."""
    found: list[tuple[str, ...]] = []
    for name, option in arguments.items():
        path = (*above, name)
        if "options" in option:
            found += string_options(option["options"], path)
        elif option.get("choices"):
            continue
        elif option.get("type", "str") in ("str", "raw", "path") or option.get("elements") in ("str", "raw"):
            found.append(path)
    return found


def _place(params: dict[str, t.Any], arguments: Arguments, path: tuple[str, ...], value: str) -> None:
    name, rest = path[0], path[1:]
    option = arguments[name]
    if not rest:
        params[name] = [value] if option.get("type") == "list" else value
        return
    if option.get("type") == "list":
        items = params.setdefault(name, []) or [{"name": "hostile"}]
        params[name] = items
        _place(items[0], option["options"], rest, value)
        return
    inner = params.get(name) or {}
    params[name] = inner
    _place(inner, option["options"], rest, value)


def assert_harmless(
    resource: t.Any,
    case: HostileCase,
    *,
    is_ours: t.Callable[[t.Mapping[str, t.Any]], bool],
    remove: t.Callable[[], None],
) -> str:
    """Converge *case*: refused before any change, or converged and then found unchanged. Returns ``refused`` or ``kept``.

    *is_ours* says whether the parameters name a resource that the test may make; others are only rehearsed.
    """
    outcome = converge_now(resource, case.params, dry_run=True)
    if outcome.error is None and is_ours(case.params):
        outcome = converge_now(resource, case.params)
        if outcome.error is None:
            unchanged(resource, case.params)
        remove()
    assert not Path(CANARY).exists(), f"{case}: was run as a command"
    if outcome.error is None:
        return "kept"
    assert not outcome.changed, f"{case}: failed after a change: {outcome.error}"
    return "refused"
