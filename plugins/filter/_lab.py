# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The filters of this collection's own playbooks. Each has a file of its name for ansible-doc; its code says the rest."""

from __future__ import annotations

import typing as t

from ..plugin_utils._advice import guest_advice
from ..plugin_utils._completed import completed
from ..plugin_utils._fleet import share, steps
from ..plugin_utils._guest_options import Once, guest_errors
from ..plugin_utils._guest_services import lab_services
from ..plugin_utils._host_options import deleted_with_pruned, host_error, host_options, quarantine_of_pruned
from ..plugin_utils._lab_guests import forgotten, lab_summed
from ..plugin_utils._limit import left_out
from ..plugin_utils._report import lab_report
from ..plugin_utils._serving import deferred, serving
from ..plugin_utils._table import shown, table
from ..plugin_utils._waiting import waiting
from .guests_by_hypervisor import sort_by_hypervisor


def guests_sorted(names: t.Sequence[str], hostvars: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The guests *names* by hypervisor (``by_hypervisor``), and those that are in no layout, each with the reason (``errors``).

    They do not say where they live, or their options cannot be read.
    """
    known = Once(hostvars)
    found, lost = sort_by_hypervisor(names, known)
    return {"by_hypervisor": found, "errors": {**guest_errors(names, known), **lost}}


def guests_beside(names: t.Sequence[str], hostvars: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The guests *names* by hypervisor. Who does not say where it lives is beside nobody."""
    return sort_by_hypervisor(names, hostvars)[0]


class FilterModule:
    """The filters of this file, each with an underscore before its name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "_guest_advice": guest_advice,
            "_deferred": deferred,
            "_deleted_with_pruned": deleted_with_pruned,
            "_quarantine_of_pruned": quarantine_of_pruned,
            "_guest_errors": guest_errors,
            "_guests_beside": guests_beside,
            "_guests_serving": serving,
            "_guests_sorted": guests_sorted,
            "_host_error": host_error,
            "_host_options": host_options,
            "_lab_completed": completed,
            "_lab_forgotten": forgotten,
            "_lab_parts": share,
            "_lab_report": lab_report,
            "_lab_services": lab_services,
            "_lab_steps": steps,
            "_lab_summed": lab_summed,
            "_left_out": left_out,
            "_shown": shown,
            "_table": table,
            "_waiting": waiting,
        }
