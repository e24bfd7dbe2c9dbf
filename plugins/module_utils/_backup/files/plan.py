# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do to bring single files out of a backup."""

from __future__ import annotations

from ..._core.decide import Draft, Power
from ..._core.options import NEVER_PERMITTED
from ..._core.plan import Plan
from ..._guest.capture import CRASH
from ..._guest.content import show_copied
from ..restore.spec import OPTIONS, Spec
from .state import FilesState


def plan_files(spec: Spec, state: FilesState) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True))
    if state.is_done:
        return draft.finish()
    obstacle = _obstacle(spec, state)
    if obstacle is not None:
        draft.add("to", None, spec.to, permit=NEVER_PERMITTED, reason=obstacle)
        return draft.finish()
    for path, size in state.sizes.items():
        draft.add(f"paths[{path}]", None, f"{spec.to}{path} ({size} bytes)")
    if state.chosen.consistent == CRASH:
        draft.plan.warnings.append(f"the backup {state.chosen} holds what a power cut would have left of {spec.source}")
    return draft.finish()


def _obstacle(spec: Spec, state: FilesState) -> str | None:
    its = f"the backup {state.chosen}"
    if state.obstacle is not None:
        return f"paths: {state.obstacle}"
    missing = [path for path, size in state.sizes.items() if size is None]
    if missing:
        return f"paths: {its} has no {', '.join(missing)}"
    if not state.is_free:
        return f"to: {spec.to} is there already, with something in it. Name a folder that is not there"
    for path, outer in ((path, outer) for path in spec.paths for outer in spec.paths if path.startswith(f"{outer}/")):
        if outer in state.found and not state.found[outer].is_folder:
            return f"paths: {outer} is a link in {its}, and {path} lies where it leads. Leave one of the two away"
    needed = sum(size or 0 for size in state.sizes.values())
    if needed > state.available_bytes:
        return (
            f"to: it takes {show_copied(needed)}, and the file system of {spec.to} has "
            f"{show_copied(state.available_bytes)} left. Make room, or name another folder"
        )
    return None
