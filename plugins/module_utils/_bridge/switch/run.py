# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What the unit of a switch does: the change, then the host's own look at it. Whatever fails has it taken back at once."""

from __future__ import annotations

import secrets
import typing as t

from ..._core import command
from ..._core.converge import Resource, converge
from ..._host.snapshot import Host
from ..._run import journal
from ..spec import parse
from . import program
from .checks import what_is_cut
from .state import DEFAULT_SECONDS


def main(resource: Resource[t.Any, t.Any]) -> None:
    """Make the change that was ordered of *resource*, a bridge."""
    order = program.read(program.ORDER)
    with program.locked():
        saved = program.read(program.SAVED)
    params = order["params"]
    try:
        reason, result = _change(resource, params, saved)
    except Exception as exc:  # whatever it is, the host must not stay half changed
        reason, result = f"{type(exc).__name__}: {exc}", {}
    with program.locked():
        state = program.read(program.STATE)
        # The clock may have run out meanwhile.
        if state.get("id") != order["id"] or state.get("state") != "armed":
            return
        if reason is None:
            program.move_on(state, "applied", result=result, proof=secrets.token_hex(8))
            return
        program.write(program.STATE, {**state, "reason": reason})
    command.run(["systemctl", "start", "--no-block", f"{program.ROLLBACK}.service"], timeout=30)


def _change(
    resource: Resource[t.Any, t.Any], params: t.Mapping[str, t.Any], saved: t.Mapping[str, t.Any]
) -> tuple[str | None, dict[str, t.Any]]:
    """Why what stands now must not stay, ``None`` where it may, and what the module returns of it."""
    host = Host()
    outcome = converge(resource, params, host=host, dry_run=False)
    result = outcome.result()
    result["warnings"] = [*outcome.plan.warnings, *journal.note("bridge", str(params["name"]), result)]
    if outcome.error is not None:
        return outcome.error.message, result
    seconds = (params.get("confirm_timeout") or DEFAULT_SECONDS) / 2
    return what_is_cut(parse(params), saved, timeout_seconds=seconds), result
