# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A module that is sent what the entries of the catalogue say, and not the catalogue."""

from __future__ import annotations

import typing as t

from ._catalogue import CatalogueError, all_resolved, resolved
from ._kept import KeptAction, Result, Vars

OWN = "hypervisor_image_catalogue"


class CatalogueAction(KeptAction):
    """Fills in the entries that the options of the task name, before anything is sent to the host."""

    def run(self, tmp: str | None = None, task_vars: Vars | None = None) -> Result:
        template: t.Callable[[t.Any], t.Any] = self._templar.template
        args = self._task.args
        names_any = args.get("from") is not None or any(
            isinstance(image, t.Mapping) and image.get("from") is not None for image in args.get("images") or ()
        )
        if names_any:
            own = template((task_vars or {}).get(OWN))
            try:
                args = (
                    {**args, "images": all_resolved(args["images"], own)} if "images" in args else resolved(args, own)
                )
            except CatalogueError as exc:
                return {"failed": True, "changed": False, "msg": str(exc)}
        self._task.args = args
        result: Result = super().run(tmp, task_vars)
        return result
