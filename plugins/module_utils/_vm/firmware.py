# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a machine remembers beside its disks: the variables of its UEFI and the state of its TPM."""

from __future__ import annotations

import posixpath
from xml.etree import ElementTree

NVRAM = "nvram"
TPM = "tpm"
WORDS = {NVRAM: "UEFI variables", TPM: "secrets of the TPM"}
_TPM_FOLDER = "/var/lib/libvirt/swtpm"
_NVRAM_FOLDER = "/var/lib/libvirt/qemu/nvram"


def tpm_folder(uuid: str) -> str:
    """Where libvirt keeps the state of an emulated TPM."""
    return posixpath.join(_TPM_FOLDER, uuid)


def places(root: ElementTree.Element) -> dict[str, str]:
    """Where the machine *root* keeps which of them; an empty path for what lies in no file or folder."""
    found = {}
    nvram, backend = root.find("os/nvram"), root.find("devices/tpm/backend[@type='emulator']")
    if nvram is not None:
        source = nvram.find("source")  # libvirt 8.5 and newer, where it is not a plain file as a rule
        found[NVRAM] = (nvram.text or "").strip() if source is None else source.get("file", "")
    if backend is not None:
        source = backend.find("source")  # libvirt 10.10 and newer
        found[TPM] = tpm_folder(root.findtext("uuid", "")) if source is None else source.get("path", "")
    return found


def own_nvram(name: str, like: str) -> str:
    """Where the machine *name* has UEFI variables of its own, as libvirt calls them, in the format of the file *like*."""
    return posixpath.join(_NVRAM_FOLDER, f"{name}_VARS{posixpath.splitext(like)[1] or '.fd'}")


def starts_by_uefi(root: ElementTree.Element) -> bool:
    """Whether the machine *root* does, also where libvirt has not chosen its firmware yet."""
    system = root.find("os")
    is_flash = system is not None and system.find("loader[@type='pflash']") is not None
    return system is not None and (is_flash or system.get("firmware") == "efi" or system.find("nvram") is not None)
