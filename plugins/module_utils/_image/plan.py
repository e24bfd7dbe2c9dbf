# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on an image."""

from __future__ import annotations

import typing as t

from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import Plan
from .spec import OPTIONS, Spec, with_create_defaults
from .state import State

# How the paths of copies begin. They are no options of anything.
COPIES = "copies."


def plan_image(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True))
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
    elif state.image is None:
        _plan_creation(draft, with_create_defaults(spec), state)
    else:
        _compare(draft, spec, state)
    return draft.finish()


def _plan_creation(draft: Draft, wanted: Spec, state: State) -> None:
    reason = None
    if state.is_foreign:
        reason = f"name: the image store has something named {wanted.name} that this collection did not make; move it away first"
    draft.add("state", "absent", "present", permit=NEVER_PERMITTED if reason else None, reason=reason)
    draft.compare("kind", wanted.kind, None)
    if wanted.build is not None:
        draft.compare("build.suite", wanted.build.suite, None)
        draft.compare("build.packages", wanted.build.packages or None, None)
        draft.compare("build.firmware", wanted.build.firmware, None)
    draft.compare("path", wanted.path, None)
    if wanted.path is not None and state.source is None:
        draft.plan.assumed.append(f"file {wanted.path}")


def _compare(draft: Draft, spec: Spec, state: State) -> None:
    kind = state.image.kind if state.image else None
    if spec.kind is not None and spec.kind != kind:
        reason = f"kind: the image {spec.name} is of kind {kind}; one of kind {spec.kind} is another image. Give it another name"
        draft.add("kind", kind, spec.kind, permit=NEVER_PERMITTED, reason=reason)
    stale = stale_paths(spec, state)
    if stale:
        draft.plan.warnings.append(
            f"image {spec.name}: {', '.join(stale)}: what is declared is not what it was made of. An image is never made anew "
            "under its guests: give the new one another name"
        )


def stale_paths(spec: Spec, state: State) -> list[str]:
    """The paths of what the user declared and the image was not made of. Empty where nothing stands or nothing is declared."""
    if state.image is None or spec.state == "absent":
        return []
    built: t.Mapping[str, t.Any] | None = state.origin.get("build")
    if spec.path is not None:
        is_other = state.is_same_source is False or state.origin.get("path") != spec.path
        return ["path"] if is_other and state.is_same_source is not True else []
    if spec.build is None:
        return []
    if built is None:
        return ["build"]
    packages = None if spec.build.packages is None else list(spec.build.packages)
    declared = {"suite": spec.build.suite, "packages": packages, "firmware": spec.build.firmware}
    return [f"build.{key}" for key, value in declared.items() if value is not None and value != built.get(key)]


def _plan_removal(draft: Draft, spec: Spec, state: State) -> None:
    if not state.is_recorded:
        return
    reason = f"state: the image {spec.name} is in use by {', '.join(state.users)}" if state.users else None
    before = "present" if state.image else "building"
    draft.add("state", before, "absent", permit=NEVER_PERMITTED if reason else None, reason=reason)
    if reason is None:
        for copy in state.copies:
            draft.add(copy_path(spec.name, copy.pool), str(copy), None)


def copy_path(image: str, pool: str) -> str:
    """How a plan calls the copy of an image in a pool: that of a guest which needs it, and that which takes it away."""
    return f"{COPIES}{image}@{pool}"
