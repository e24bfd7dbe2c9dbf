# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What QEMU and libvirt of a host offer to a machine of one type, and why something cannot be had."""

from __future__ import annotations

import typing as t

from .firmware import Firmware, Way
from .xml import machine as machine_xml
from .xml import tpm

_ROLE = "(the role homelab.hybrid.hypervisor installs it)"


class Offer(t.NamedTuple):
    """What is offered to machines of the type *machine*: files of firmware that QEMU can start (*loaders*), emulated TPMs.

    *obstacle* says why there are no such machines.
    """

    machine: str
    obstacle: str | None = None
    loaders: tuple[str, ...] = ()
    firmwares: tuple[Firmware, ...] = ()
    tpm_versions: tuple[str, ...] = ()
    tpm_models: tuple[str, ...] = ()

    def obstacle_to_firmware(self, way: Way) -> str | None:
        """Why no machine starts by *way*, as the end of a sentence."""
        if not way.is_uefi:
            return None
        fitting = [its for its in self.firmwares if its.executable in self.loaders and its.fits(self.machine)]
        if any(its.way == way for its in fitting):
            return None
        if way.secure_boot and machine_xml.family(self.machine) != "q35":
            return f"{self.machine} has no secure boot. It takes a machine of the type q35"
        what = {
            "plain": "UEFI",
            "secure": "UEFI with secure boot and no keys",
            "enrolled": "UEFI with secure boot and its keys",
        }
        return f"this host has no firmware with {what[way.word]} for {self.machine}. Install the package ovmf {_ROLE}"

    def obstacle_to_tpm(self, version: str, model: str) -> str | None:
        """Why no machine has such a TPM, as the end of a sentence."""
        if not self.tpm_versions:
            return f"nothing on this host emulates a TPM. Install the packages swtpm and swtpm-tools {_ROLE}"
        if version not in self.tpm_versions:
            return f"swtpm of this host emulates {' and '.join(sorted(self.tpm_versions))} alone"
        if f"tpm-{model}" not in self.tpm_models:
            models = sorted(its.removeprefix("tpm-") for its in self.tpm_models)
            return f"QEMU of this host has no such TPM for {self.machine}, only {' and '.join(models)}"
        return None


def default_tpm(values: t.Mapping[str, t.Any]) -> dict[str, str]:
    """What a new TPM is where nothing else is written; nothing where none is declared."""
    version, model = values.get("tpm.version"), values.get("tpm.model")
    if version is None and model is None:
        return {}
    version = version or "2.0"
    return {"tpm.version": version, "tpm.model": model or tpm.default_model(version)}
