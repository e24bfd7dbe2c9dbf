# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What is done to a guest itself while its volumes are worked on: held still, let go, stopped and started."""

from __future__ import annotations

import typing as t

from .._container import power as container_power
from .._core.converge import Work
from .._core.errors import ApplyError
from .._guest.ownership import Ownership
from .._storage.driver import Attempt
from .._vm import backup, saving, stillness, storage
from .._vm import power as machine_power
from .._vm.spec import Spec as MachineSpec
from .spec import Spec


class Hands(t.Protocol):
    """How one kind of guest is handled. A method ends when what it does is true.

    :raises ApplyError:
    """

    def hold(self, *, stops: bool, memory: str | None = None) -> bool:
        """Let nothing be written until ``release``; with *stops* the guest stands still, its memory as of then in the file *memory*.

        Returns whether its file systems are whole.
        """

    def release(self, *, stopped: bool) -> None:
        """Let a guest go on that was held, also by a run that was killed."""

    def begin_copies(self, copies: t.Mapping[str, Attempt]) -> None:
        """Let the running guest begin to copy its disks at these paths as they are now, each into an empty disk."""

    def finish_copies(self) -> None:
        """Wait until they are whole."""

    def end_copies(self, beginnings: t.Collection[str]) -> None:
        """End those that a run which failed or was killed has begun, known by how their paths begin."""

    def end_saving(self) -> None:
        """End to write the memory of the guest, which a run that failed or was killed has begun."""

    def wake(self, memory: str) -> None:
        """Start the guest where it was when *memory* was written."""

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def tell(self, pools: t.Collection[str]) -> list[str]:
        """Tell whoever keeps a list that there are other files in *pools*. Returns warnings."""


class Container:
    """See ``Hands``."""

    def __init__(self, spec: Spec, fds: t.Sequence[int]) -> None:
        self.spec = spec
        self.fds = fds

    def hold(self, *, stops: bool, memory: str | None = None) -> bool:
        if stops:
            container_power.freeze(self.spec.guest, keep_fds=self.fds)
        return False

    def release(self, *, stopped: bool) -> None:
        if stopped:
            container_power.unfreeze(self.spec.guest, keep_fds=self.fds)

    def begin_copies(self, copies: t.Mapping[str, Attempt]) -> None:
        raise ApplyError(f"{self.spec.guest} is a container, and copies nothing itself")

    def finish_copies(self) -> None:
        """Nothing was begun."""

    def end_copies(self, beginnings: t.Collection[str]) -> None:
        """Nothing was begun."""

    def end_saving(self) -> None:
        """Nothing was begun."""

    def wake(self, memory: str) -> None:
        raise ApplyError(f"{self.spec.guest} is a container, and its memory is in no snapshot")

    def stop(self) -> None:
        container_power.stop(
            self.spec.guest, timeout=self.spec.shutdown_timeout, force=self.spec.force_stop, keep_fds=self.fds
        )

    def start(self) -> None:
        container_power.start(self.spec.guest)

    def tell(self, pools: t.Collection[str]) -> list[str]:
        return []


class Machine:
    """See ``Hands``. Its agent freezes the file systems, where it answers; QEMU writes out what it holds when it stops."""

    def __init__(self, spec: Spec, work: Work, own: Ownership, *, has_agent: bool, warnings: list[str]) -> None:
        self.spec = spec
        self.work = work
        self.own = own
        self.has_agent = has_agent
        self.warnings = warnings
        self.is_frozen = False

    @property
    def _domain(self) -> t.Any:
        return self.work.host.domains[self.spec.guest]

    def hold(self, *, stops: bool, memory: str | None = None) -> bool:
        if memory is not None:
            # What is frozen in its memory would be so when it wakes up.
            saving.save(self._domain, memory)
            return False
        self.is_frozen = stillness.hold(self._domain, stops=stops, has_agent=self.has_agent, warnings=self.warnings)
        return self.is_frozen

    def release(self, *, stopped: bool) -> None:
        stillness.release(self._domain, stopped=stopped, is_frozen=self.is_frozen)

    def begin_copies(self, copies: t.Mapping[str, Attempt]) -> None:
        backup.begin(self._domain, copies)

    def finish_copies(self) -> None:
        backup.finish(self._domain)

    def end_copies(self, beginnings: t.Collection[str]) -> None:
        backup.end(self._domain, beginnings)

    def end_saving(self) -> None:
        saving.end(self._domain)

    def wake(self, memory: str) -> None:
        saving.wake(self._domain, memory)

    def stop(self) -> None:
        values = {"shutdown_timeout": self.spec.shutdown_timeout, "force_stop": self.spec.force_stop}
        machine_power.stop(self._domain, MachineSpec(self.spec.guest, values=values), self.own)

    def start(self) -> None:
        machine_power.start(self._domain, self.own)

    def tell(self, pools: t.Collection[str]) -> list[str]:
        return storage.refresh(self.work, pools)
