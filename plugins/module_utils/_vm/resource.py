# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The virtual machine as a resource that converges."""

from __future__ import annotations

import functools
import typing as t

from .._core.converge import Waiting, Work
from .._core.plan import Change, Plan, Step
from .._core.reference import Reference
from .._guest.claims import foreseen
from .._guest.waits import has_to_wait
from .._host.snapshot import BRIDGE, FOLDER, GUEST, IMAGE, ORIGIN, POOL, SERVICE_LIBVIRT, Host
from .._image.store import file_of
from . import installation
from .facts import facts_of, guest_facts, knows_addresses
from .installer import Installer, installer_of, without_installer
from .observe import observe
from .plan import plan_vm
from .source import observe_source
from .spec import Spec, parse, with_media, with_source
from .state import State

if t.TYPE_CHECKING:
    from .._core.claims import Claims


class KvmVm:
    """See ``_core.converge.Resource``."""

    def parse(self, params: t.Mapping[str, t.Any]) -> Spec:
        return with_media(parse(params), file_of)

    def requires(self, spec: Spec) -> tuple[Reference, ...]:
        if spec.state == "absent":
            return (SERVICE_LIBVIRT,)
        named = [(ORIGIN, spec.origin), (IMAGE, spec.image)]
        for item in spec.items("disks"):
            if item.is_wanted:
                named += [(POOL, item.text("pool")), (IMAGE, item.text("image"))]
        named += [(IMAGE, item.text("image")) for item in spec.items("cdroms") if item.is_wanted]
        installer = installer_of(spec.values)
        if installer is not None:
            named += [(IMAGE, medium) for medium in installer.images]
        named += [(BRIDGE, item.text("bridge")) for item in spec.items("networks") if item.is_wanted]
        named += [(FOLDER, path) for path in spec.sources("disks", "cdroms", "shares")]
        found = dict.fromkeys(Reference(kind, name) for kind, name in named if name is not None)
        return (SERVICE_LIBVIRT, *found)

    def provides(self, spec: Spec) -> tuple[Reference, ...]:
        return (Reference(GUEST, spec.name),)

    def observe(self, spec: Spec, host: Host) -> State:
        source = observe_source(spec, host)
        return observe(with_source(spec, source), host).replace(source=source)

    def plan(self, spec: Spec, state: State) -> Plan:
        return plan_vm(spec, state)

    def apply(self, spec: Spec, state: State, plan: Plan, work: Work) -> t.Iterator[Change | Step]:
        return self.load()(spec, state, plan, work)

    def load(self) -> t.Callable[..., t.Iterator[Change | Step]]:
        """The code that applies, for a layout's workers too: they are forked of a process that has it."""
        from .backend import apply_vm  # most runs have nothing to apply, and do not pay for it

        return apply_vm

    def settled(self, spec: Spec) -> Spec:
        # An installer that was begun goes on, and what comes after it is planned when it has ended.
        spec = spec.replace(values=without_installer(spec.values))
        return spec.replace(state="started") if spec.state == "restarted" else spec

    def facts(self, spec: Spec, state: State) -> dict[str, t.Any]:
        return {"guest": facts_of(spec.name, state)}

    def claims(self, spec: Spec | None, state: State) -> Claims:
        from .claims import claims_of  # only a layout compares claims

        return claims_of(spec, state)

    def standing(self, host: Host) -> dict[str, Claims]:
        from .standing import standing  # as above

        return standing(host)

    def promises(self, spec: Spec) -> dict[str, t.Any]:
        """Its cards: what they get is asked for with what others get."""
        return foreseen(spec)

    def waiting(self, spec: Spec, facts: t.Mapping[str, t.Any]) -> Waiting | None:
        installer = installer_of(spec.values)
        if installer is not None and facts["guest"].get("installing"):
            return functools.partial(self._wait_for_installer, spec.name, installer)
        is_due = has_to_wait(spec, facts, knows_addresses=knows_addresses(facts["guest"]))
        return functools.partial(self._wait, spec) if is_due else None

    def _wait_for_installer(self, name: str, installer: Installer, host: Host) -> None:
        is_attended = installer.kind is not None and installer.kind.is_attended
        installation.wait_for_end(name, host, timeout_seconds=installer.timeout, is_attended=is_attended)

    def _wait(self, spec: Spec, host: Host) -> dict[str, t.Any]:
        from .wait import wait_for  # most runs wait for nothing

        wait_for(spec, host)
        host.drop()
        return {"guest": guest_facts(spec.name, host)}
