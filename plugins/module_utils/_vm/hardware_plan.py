# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the hardware of a virtual machine bears together: its memory, CPUs, boot order, screen and small parts."""

from __future__ import annotations

import ipaddress
import typing as t

from .._core.decide import Draft
from .._core.errors import SpecError
from .._guest.device import PCI
from .._guest.plan import Kind, refuse
from .options import OPTIONS
from .spec import TOPOLOGY_PATHS, Spec, cpus_of, topology_error
from .state import State
from .xml.watchdog import DEFAULT_ACTION

BOOT_AREAS = ("disks", "cdroms", "networks")
_VNC_PASSWORD = 8


class HardwarePlan(Kind):
    """The part of ``VmKind`` that checks what is written of the machine itself."""

    spec: Spec
    state: State

    def _check_memory(self, draft: Draft) -> None:
        least, memory = (self.state.presets.memory or 0) // 1024, self.spec.get("memory", 0)
        if memory < least:
            show = OPTIONS["memory"].show
            draft.plan.warnings.append(f"memory: {show(memory)} is less than the {show(least)} that its image asks for")

    def _check_limits(self) -> None:
        for path, limit in (("memory", "memory_max"), (self.spec.cores_path, "cpu.max_cores")):
            most, now = self.spec.get(limit), self.state.persistent.values[path]
            if most is not None and self.spec.get(path) is None and most < now:
                show = OPTIONS[limit].show
                raise SpecError(f"{limit}: {show(most)} is less than {path}, which is {show(now)}", key=limit)

    def _check_cells(self, draft: Draft) -> None:
        persistent = self.state.persistent
        now = persistent.values["memory_max"]
        for path in ("memory", "memory_max"):
            value = self.spec.get(path, now)
            if persistent.domain.has_cells and (value > now or (path == "memory_max" and value < now)):
                before, after = (OPTIONS[path].show(size) for size in (now, value))
                whole = f"the {before} of {self.spec.name} are the sum of its NUMA cells and memory modules"
                refuse(draft, path, before, after, f"{path}: {whole}; change them")

    def _check_balloon(self, draft: Draft) -> None:
        memory, most = self.spec.get("memory"), self.spec.get("memory_max")
        if self.state.persistent.domain.has_balloon or memory is None or most is None or memory == most:
            return
        before, after = (OPTIONS["memory"].show(size) for size in (self.state.persistent.values["memory"], memory))
        reason = (
            f"memory: {self.spec.name} has no balloon, and gets all of its memory_max at once. Write the same for both"
        )
        refuse(draft, "memory", before, after, reason)

    def _check_cpus(self, draft: Draft) -> None:
        """Whether what names CPUs, or says how they lie together, can stay with another number of them."""
        persistent = self.state.persistent
        path, now = "cpu.max_cores", persistent.values["cpu.max_cores"]
        most = self.spec.get(path)
        if most is None:
            path, most = self.spec.cores_path, max(now, self.spec.get(self.spec.cores_path, now))
        is_said_anew = self._check_topology(most) or TOPOLOGY_PATHS[0] in self.spec.unset
        if most == now:
            return
        fitting = {} if is_said_anew else persistent.domain.fitting_topology(most)
        if most <= persistent.domain.highest_named_cpu:
            named = f"the CPU {persistent.domain.highest_named_cpu} in its cputune or NUMA cells"
            refuse(draft, path, now, most, f"{path}: the definition of {self.spec.name} names {named}; change them")
        elif fitting is None:
            whole = "sockets, dies, cores and threads of its topology"
            reason = f"{path}: {most} is no multiple of what {self.spec.name} has as {whole}; change it"
            refuse(draft, path, now, most, reason)
        else:
            told = ", ".join(f"{count} {key}" for key, count in fitting.items())
            draft.plan.warnings += [f"{path}: the topology of {self.spec.name} gets {told}"] if told else []

    def _check_topology(self, most: int) -> bool:
        """Whether it is declared how the cores lie together, of *most*."""
        persistent, declared = self.state.persistent, {key: self.spec.get(key) for key in TOPOLOGY_PATHS}
        written = {key: count for key, count in declared.items() if count is not None}
        whole = cpus_of({**persistent.values, **written}) * persistent.domain.clusters
        if written and whole != most:
            raise topology_error(whole, most)
        return bool(written)

    def _check_boot_order(self) -> None:
        once = self.spec.get("boot.once")
        declared = {"boot.order": self.spec.get("boot.order") or (), "boot.once": (once,) if once else ()}
        known = {item.name for area in BOOT_AREAS for item in self.spec.wanted(area)}
        if self.state.exists:
            known |= {name for area in BOOT_AREAS for name in self.state.persistent.things(area)}
        for key, names in declared.items():
            unknown = ", ".join(name for name in names if name not in known)
            if unknown:
                there = ", ".join(sorted(known)) or "none"
                raise SpecError(
                    f"{key}: there is no disk, CD-ROM drive or network card {unknown}. There are: {there}", key=key
                )

    def _effective(self, draft: Draft, path: str) -> t.Any:
        """What the option is once the plan is carried out."""
        now = self.state.persistent.values.get(path) if self.state.exists else None
        return (
            OPTIONS[path].off if path in draft.unset else self.spec.get(path, OPTIONS[path].off if now is None else now)
        )

    def _check_screen(self, draft: Draft) -> None:
        kind, password = (self._effective(draft, f"graphics.{key}") for key in ("type", "password"))
        for path in ("graphics.listen", "graphics.port", "graphics.password", "video"):
            if kind == "none" and self.spec.get(path) not in (None, OPTIONS[path].off):
                raise SpecError(f"{path}: {self.spec.name} has no screen. Write graphics.type too", key=path)
        # libvirt takes none that VNC would cut off.
        if kind == "vnc" and len(password.encode()) > _VNC_PASSWORD:
            reason = f"VNC knows only {_VNC_PASSWORD} characters of a password. Take one of {_VNC_PASSWORD}, or graphics.type: spice"
            raise SpecError(f"graphics.password: {reason}", key="graphics.password")
        listen = self._effective(draft, "graphics.listen")
        why = self.state.screen_obstacle if kind != "none" else None
        if why is not None and draft.power.will_run:
            now = self.state.persistent.values["graphics.listen"] if self.state.exists else None
            refuse(
                draft, "graphics.listen", now, listen, f"graphics.listen: {why}, and {self.spec.name} would not start"
            )
        elif why is not None:
            draft.plan.warnings.append(f"graphics.listen: {why}. {self.spec.name} does not start until it is")
        is_changed = draft.plan.has("graphics.type", "graphics.listen", "graphics.password")
        if is_changed and kind != "none" and not password and _is_reachable(listen):
            draft.plan.warnings.append(
                f"graphics.listen: everybody who reaches {listen} can use the screen of {self.spec.name}. Write graphics.password too"
            )

    def _check_parts(self, draft: Draft) -> None:
        if self.spec.get("watchdog.action") not in (None, DEFAULT_ACTION) and not self._effective(
            draft, "watchdog.model"
        ):
            raise SpecError(
                f"watchdog.action: {self.spec.name} has no watchdog. Write watchdog.model too", key="watchdog.action"
            )
        if self.spec.get("tablet") and self.state.exists and not self.state.persistent.domain.has_usb:
            raise SpecError(f"tablet: the definition of {self.spec.name} says that it has no USB", key="tablet")

    def _check_saving(self, draft: Draft) -> None:
        """Whether what it has of its host can be saved along with its memory."""
        live, name = self.state.live, self.spec.name
        if live is None or self.spec.state != "suspended" or self.state.power == "suspended":
            return
        held = [f"devices[{item}]" for item, its in live.devices.items() if its.value("type") == PCI]
        held += [f"shares[{item}]" for item in live.shares]
        if held:
            reason = f"state: {name} runs with {', '.join(held)}, and is not saved to disk with that. Write paused, or stopped"
            refuse(draft, "state", self.state.power, "suspended", reason)


def _is_reachable(place: str) -> bool:
    """Whether others reach what listens there: it is an address, and not the host's loopback."""
    try:
        return not ipaddress.ip_address(place).is_loopback
    except ValueError:
        return False
