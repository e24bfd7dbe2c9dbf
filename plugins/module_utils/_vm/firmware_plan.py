# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on the firmware, the UEFI variables and the TPM of a virtual machine."""

from __future__ import annotations

import typing as t

from .._core.decide import SAME, Draft
from .._core.plan import How
from .._guest.plan import Kind, refuse, stop
from .firmware import NVRAM, PATHS, TPM, Way, nvram_of, own_nvram, tpm_folder, wanted_way, word_of
from .options import OPTIONS
from .spec import Spec
from .state import State
from .xml import tpm

TPM_PATHS = ("tpm.version", "tpm.model")


def way_after(spec: Spec, state: State) -> Way:
    """By what the machine starts once *spec* stands."""
    now = state.persistent.values if state.exists else Way().values
    declared = {path: OPTIONS[path].off if path in spec.unset else spec.get(path) for path in PATHS}
    return wanted_way(declared, Way(now["firmware.type"] == "uefi", *(bool(now.get(path)) for path in PATHS[1:])))


def kept_tpm(state: State) -> str | None:
    """Where the TPM of an earlier guest of this name has left its state."""
    files = state.record.files.items()
    found = [its.path for name, its in files if word_of(name) == TPM and not its.is_fresh]
    return next((path for path in found if path in state.remembered), None)


class FirmwarePlan(Kind):
    """The part of ``VmKind`` that plans what a machine starts by."""

    spec: Spec
    state: State

    def _plan_firmware(self, draft: Draft, beside: t.Mapping[str, str]) -> None:
        origin, name = self.spec.origin, self.spec.name
        if NVRAM in beside:
            self._plan_nvram_of_clone(draft, beside[NVRAM])
        if TPM in beside:
            draft.plan.warnings.append(
                f"{name} gets a TPM of its own, with nothing in it: what that of {origin} keeps for its disks (BitLocker, systemd-cryptenroll) "
                f"is not there, and {name} asks for its recovery key"
            )

    def _plan_nvram_of_clone(self, draft: Draft, place: str) -> None:
        origin, own = self.spec.origin, own_nvram(self.spec.name, place)
        if own in self.state.owned.values():
            self._plan_adoption(draft, NVRAM, own)
        else:
            draft.add(NVRAM, None, f"those of {origin}" if place else "new", How.OFFLINE)
        theirs = self.state.source.values if self.state.source else {}
        other = next((path for path in PATHS if self.spec.get(path) != theirs.get(path)), None)
        if other is not None:
            known = theirs.get(other, "what no descriptor of firmware on this host tells of")
            reason = f"{other}: a clone starts as {origin} does ({known}). Change it once it stands"
            refuse(draft, other, known, self.spec.get(other), reason)

    def _plan_adoption(self, draft: Draft, word: str, place: str) -> None:
        """A new machine takes over what one of its name has left."""
        reason = (
            f"{word}: {place} is there already, and may be of an earlier guest of this name. Move it away, delete it "
            f"(state: absent, delete: [{word}]), or use it"
        )
        draft.add(word, None, place, How.OFFLINE, permit="adopt", reason=reason)

    def _compare_firmware(self, draft: Draft) -> None:
        """The three options are one thing: where one is written, the others are what follows from it."""
        declared = {path for path in PATHS if path in draft.unset or self.spec.get(path) is not None}
        if not declared:
            return
        if self.state.exists and PATHS[1] in self.state.persistent.values:
            live = self.state.live.values if self.state.live else {}
            for path, value in way_after(self.spec, self.state).values.items():
                if path not in declared:
                    draft.compare(path, value, self.state.persistent.values[path], live.get(path, SAME))
        if draft.plan.has(*PATHS) and not (self.state.source and NVRAM in self.state.source.beside):
            self._plan_nvram(draft)

    def _plan_nvram(self, draft: Draft) -> None:
        """The variables of another firmware are others: those of the one before are kept, and taken up again with it."""
        way = way_after(self.spec, self.state)
        place = nvram_of(self.spec.name, way) if way.is_uefi else ""
        ours = {its.path: its.is_fresh for its in self.state.record.files.values()}
        if self.state.exists:
            sides = [self.state.persistent, *([self.state.live] if self.state.live else [])]
            before = {side.domain.places.get(NVRAM, "") for side in sides}
            draft.plan.kept += sorted((before & {*self.state.remembered}) - {place})
        if place not in self.state.remembered or ours.get(place):
            return
        if not self.state.exists:
            self._plan_adoption(draft, NVRAM, place)
        elif place in ours:
            draft.plan.warnings.append(f"{self.spec.name} has the UEFI variables again that it had before: {place}")
        else:
            changed = next(path for path in PATHS if draft.plan.has(path))
            stop(draft, changed, f"{place} is there already, and was not made for this guest. Move it away")

    def _plan_tpm(self, draft: Draft) -> None:
        if not draft.plan.has(*TPM_PATHS):
            return
        if not self.state.exists:
            kept = kept_tpm(self.state)
            if kept is not None:
                self._plan_adoption(draft, TPM, kept)
            return
        place = tpm_folder(self.state.persistent.domain.uuid)
        if place not in self.state.remembered:
            return
        if "tpm.version" in draft.unset:
            draft.plan.kept.append(place)
        elif not self.state.persistent.values["tpm.version"]:
            draft.plan.warnings.append(f"the TPM of {self.spec.name} has again what it held before: {place}")

    def _check_offer(self, draft: Draft) -> None:
        """Whether this host has what is new."""
        offer = self.state.offer
        if offer is None:
            return
        version, model = (self.spec.get(path) or self._now(path) for path in TPM_PATHS)
        why = {
            ("machine",): offer.obstacle,
            PATHS: offer.obstacle_to_firmware(way_after(self.spec, self.state)),
            TPM_PATHS: offer.obstacle_to_tpm(version or "2.0", model or tpm.default_model(version or "2.0")),
        }
        for paths, obstacle in why.items():
            changed = [path for path in paths if draft.plan.has(path) and path not in draft.unset]
            if changed and obstacle:
                stop(draft, changed[0], obstacle)

    def _now(self, path: str) -> t.Any:
        return self.state.persistent.values[path] if self.state.exists else None
