# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The image as a resource that converges."""

from __future__ import annotations

import typing as t

from .._core.converge import Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._core.units import show_size
from .._host.snapshot import IMAGE, Host
from .observe import observe
from .plan import plan_image, stale_paths
from .presets import shown
from .spec import Spec, parse
from .state import State

if t.TYPE_CHECKING:
    from .._core.claims import Claims


class Image:
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return parse(params)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        return ()

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(IMAGE, spec.name),)

    def observe(self, spec: Spec, host: Host) -> State:
        return observe(spec, host)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_image(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        from .apply import apply_image  # most runs have nothing to apply, and do not pay for it

        return apply_image(spec, state, plan, work)

    def settled(self, spec: Spec) -> Spec:
        return spec

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        """The image as it is, and which declared options it was not made of."""
        image = state.image
        return {
            "image": {
                "name": spec.name,
                "state": "present" if image else "absent",
                "kind": image.kind if image else None,
                "format": image.format if image else None,
                "path": image.path if image else None,
                "size_bytes": image.size_bytes if image else None,
                "size": show_size(-(-image.size_bytes // 2**20) * 2**20) if image else None,
                "digest": image.digest if image else None,
                "serial": (state.origin.get("simplestreams") or {}).get("serial") if image else None,
                "pools": sorted(copy.pool for copy in state.copies),
                "entry": state.origin.get("entry") if image else None,
                "presets": shown(image.presets) if image and image.kind != "container" else None,
                "stale": stale_paths(spec, state),
            }
        }

    def claims(self, spec: Spec | None, state: State) -> Claims:
        from .._core.claims import Claims  # only a layout compares claims

        # They say beside a guest's name what it has of the image.
        return Claims(users=[user.partition(" (")[0] for user in state.users])

    def standing(self, host: Host) -> dict[str, Claims]:
        """An image takes nothing from anybody."""
        return {}

    def promises(self, spec: Spec) -> dict[str, t.Any]:
        told = {"kind": spec.kind, "presets": dict(spec.presets) or None}
        return {path: value for path, value in told.items() if value is not None}

    def waiting(self, spec: Spec, facts: t.Mapping[str, t.Any]) -> None:
        """An image is there when apply ends."""
