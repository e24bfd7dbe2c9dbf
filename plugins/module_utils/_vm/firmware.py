# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""By what a machine starts, and what it remembers beside its disks: the variables of its UEFI and the state of its TPM."""

from __future__ import annotations

import fnmatch
import posixpath
import typing as t
from xml.etree import ElementTree

NVRAM = "nvram"
TPM = "tpm"
WORDS = {NVRAM: "UEFI variables", TPM: "secrets of the TPM"}
# The options that together say by what a machine starts.
PATHS = ("firmware.type", "firmware.secure_boot", "firmware.enrolled_keys")
_TPM_FOLDER = "/var/lib/libvirt/swtpm"
_NVRAM_FOLDER = "/var/lib/libvirt/qemu/nvram"


class Seen(t.NamedTuple):
    """What a definition says of its firmware.

    *loader* and *template* are paths, empty where libvirt chooses. *secure_boot* and *enrolled_keys* are what it is told to look for.
    *has_acpi*: the machine has what UEFI needs.
    """

    is_uefi: bool
    loader: str
    template: str
    secure_boot: bool | None
    enrolled_keys: bool | None
    has_acpi: bool = True


class Way(t.NamedTuple):
    """By what a machine starts: BIOS, or UEFI. *enrolled_keys*: secure boot is in force from the first start on."""

    is_uefi: bool = False
    secure_boot: bool = False
    enrolled_keys: bool = False

    @property
    def values(self) -> dict[str, t.Any]:
        """The same by option path."""
        return dict(zip(PATHS, ("uefi" if self.is_uefi else "bios", self.secure_boot, self.enrolled_keys), strict=True))

    @property
    def word(self) -> str:
        return "enrolled" if self.enrolled_keys else "secure" if self.secure_boot else "plain"


WAYS = (Way(True), Way(True, True), Way(True, True, True))


class Firmware(t.NamedTuple):
    """A firmware of the host as its descriptor says it: docs/interop/firmware.json of QEMU. *machines* are patterns of their types."""

    executable: str
    template: str
    features: frozenset[str]
    machines: tuple[str, ...]

    @property
    def way(self) -> Way:
        return Way(True, "secure-boot" in self.features, "enrolled-keys" in self.features)

    def fits(self, machine: str) -> bool:
        return any(fnmatch.fnmatchcase(machine, pattern) for pattern in self.machines)


def of_descriptor(data: t.Any) -> Firmware | None:
    """The firmware of a descriptor; ``None`` for one of another architecture, or one that is no UEFI with variables in a flash of its own.

    A descriptor that has another form is none for libvirt too.
    """
    try:
        mapping = data["mapping"]
        is_split = mapping["device"] == "flash" and mapping.get("mode", "split") == "split"
        if "uefi" not in data["interface-types"] or not is_split:
            return None
        machines = [
            pattern
            for its in data["targets"]
            if its["architecture"] == "x86_64"
            for pattern in t.cast("list[str]", its["machines"])
        ]
        files = mapping["executable"]["filename"], mapping["nvram-template"]["filename"]
        return Firmware(*files, frozenset(data["features"]), tuple(machines)) if machines else None
    except (KeyError, TypeError, AttributeError):
        return None


def way_of(seen: Seen, machine: str, firmwares: t.Sequence[Firmware]) -> Way | None:
    """By what a machine of the type *machine* starts; ``None`` where it starts from a file of which no descriptor tells.

    Where libvirt chooses it takes the first that has what it is told to look for.
    """
    if not seen.is_uefi:
        return None if seen.loader else Way()
    if seen.loader:
        same = [its for its in firmwares if its.executable == seen.loader]
        found = [its for its in same if its.template == seen.template] or same
    else:
        found = [its for its in firmwares if its.fits(machine) and _allows(seen, its.way)]
    return found[0].way if found else None


def _allows(seen: Seen, way: Way) -> bool:
    return seen.secure_boot in (None, way.secure_boot) and seen.enrolled_keys in (None, way.enrolled_keys)


def wanted_way(values: t.Mapping[str, t.Any], now: Way) -> Way:
    """What is declared, over what stands. Secure boot that nobody says more of comes with the keys, or it would let everything start."""
    kind, secure, enrolled = (values.get(path) for path in PATHS)
    if not (kind == "uefi" if kind else secure or enrolled or now.is_uefi):
        return Way()
    if secure is None:
        secure = bool(enrolled) or now.secure_boot
    if enrolled is None:
        enrolled = secure and (now.enrolled_keys or not now.secure_boot)
    return Way(True, secure, enrolled)


def tpm_folder(uuid: str) -> str:
    """Where libvirt keeps the state of an emulated TPM."""
    return posixpath.join(_TPM_FOLDER, uuid)


def uuid_of_tpm(folder: str) -> str:
    """Whose TPM keeps its state in *folder*."""
    return posixpath.basename(folder)


def places(root: ElementTree.Element) -> dict[str, str]:
    """Where the machine *root* keeps which of them; an empty path for what lies in no file or folder."""
    found = {}
    system, nvram, backend = root.find("os"), root.find("os/nvram"), root.find("devices/tpm/backend[@type='emulator']")
    if nvram is not None:
        source = nvram.find("source")  # libvirt 8.5 and newer, where it is not a plain file as a rule
        found[NVRAM] = (nvram.text or "").strip() if source is None else source.get("file", "")
    elif system is not None and system.get("firmware") == "efi":
        found[NVRAM] = own_nvram(root.findtext("name", ""), "")  # libvirt 9.0 writes it into what runs alone
    if backend is not None:
        source = backend.find("source")  # libvirt 10.10 and newer
        found[TPM] = tpm_folder(root.findtext("uuid", "")) if source is None else source.get("path", "")
    return found


def own_nvram(name: str, like: str) -> str:
    """Where the clone *name* has UEFI variables of its own, as libvirt itself calls them, in the format of the file *like*."""
    return posixpath.join(_NVRAM_FOLDER, f"{name}_VARS{posixpath.splitext(like)[1] or '.fd'}")


def nvram_of(name: str, way: Way) -> str:
    """Where the machine *name* has the UEFI variables of *way*: those of one hold nothing for another, or would switch secure boot off."""
    return posixpath.join(_NVRAM_FOLDER, f"{name}_VARS.{way.word}.fd")


def recorded_as(word: str, path: str, known: t.Mapping[str, str]) -> str:
    """The name of *path*, which is what *word* says, in a record that has the paths *known* by name."""
    names = [name for name, its in known.items() if its == path]
    return names[0] if names else word if word not in known else f"{word}@{posixpath.basename(path)}"


def word_of(name: str) -> str:
    """What the file *name* of a record is: ``NVRAM``, ``TPM`` or none of them."""
    word = name.partition("@")[0]
    return word if word in WORDS else ""
