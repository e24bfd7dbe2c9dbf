# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""An installer as declared: what a new machine boots once, how each kind finds its answer, and how its end is seen."""

from __future__ import annotations

import json
import typing as t

from .._core.errors import SpecError
from .._guest.installing import Installation

Values = t.Mapping[str, t.Any]

_PREFIX = "install."
_TIMEOUT_SECONDS = 3600
_LEAST_PASSWORD = 8


class Kind(t.NamedTuple):
    """How one kind of installer finds its answer: as *file* on a medium with the *label*, or in its initial RAM disk.

    *words* are for the kernel's command line. *needs_words*: without them it asks somebody. *more* are empty files that lie beside the
    answer. *restarts*: it starts the machine anew on its way. *is_attended*: it asks on the serial console even so.
    *is_asked*: it reads none, and waits to be asked over the network; then it sees no disk but those that are made for it. *least_bytes* its
    disk has to have.
    """

    file: str
    label: str = ""
    words: str = ""
    needs_words: bool = False
    more: tuple[str, ...] = ()
    restarts: bool = False
    is_in_initrd: bool = False
    is_attended: bool = False
    is_asked: bool = False
    least_bytes: int = 0


# Debian's installer mounts no medium before it is told to, and reads /preseed.cfg of its initial RAM disk by itself. Anaconda looks for the
# label OEMDRV, cloud-init for cidata, Windows for the file at the root of every drive, the importer of OPNsense in /conf. Subiquity
# asks whether it may begin unless the word is on the command line.
KINDS = {
    "preseed": Kind("preseed.cfg", words="priority=critical", needs_words=True, is_in_initrd=True),
    "kickstart": Kind("ks.cfg", "OEMDRV", words="inst.text inst.ks=hd:LABEL=OEMDRV:/ks.cfg"),
    "autoinstall": Kind(
        "user-data", "cidata", words="autoinstall", needs_words=True, more=("meta-data", "vendor-data")
    ),
    "autounattend": Kind("autounattend.xml", "ANSWER", restarts=True),
    "config": Kind("conf/config.xml", "CONFIG", is_attended=True),
    # MIN_DISK_SIZE of truenas_installer/disks.py: it lists none that is smaller. A restart lets it forget who it belongs to.
    "truenas": Kind("", is_asked=True, restarts=True, least_bytes=8_000_000_000),
}
_CONSOLE = "console=tty0 console=ttyS0,115200"


class Layout(t.NamedTuple):
    """Where an ISO has its kernel and its initial RAM disk, and the words by which those find it; ``{label}`` is its label."""

    kernel: str
    initrd: str
    words: str = ""


# Debian (netinst and DVD; mini.iso), Ubuntu's server and desktop, Fedora and what descends from RHEL.
LAYOUTS = {
    "preseed": (Layout("/install.amd/vmlinuz", "/install.amd/initrd.gz"), Layout("/linux", "/initrd.gz")),
    "autoinstall": (Layout("/casper/vmlinuz", "/casper/initrd"),),
    "kickstart": (Layout("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img", "inst.stage2=hd:LABEL={label}"),),
}


class Installer(t.NamedTuple):
    """What is written of it, with what follows where nothing is."""

    media: str | None
    extra_media: tuple[str, ...]
    kernel: str | None
    initrd: str | None
    cmdline: str
    answer: str | None
    text: str
    done_when: str
    port: int | None
    pattern: str | None
    timeout: int

    @property
    def kind(self) -> Kind | None:
        return KINDS[self.answer] if self.answer else None

    @property
    def is_asked(self) -> bool:
        return self.kind is not None and self.kind.is_asked

    @property
    def images(self) -> tuple[str, ...]:
        """The media that are images, by their names."""
        return tuple(medium for medium in (self.media, *self.extra_media) if medium and not medium.startswith("/"))

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Where its medium may have a kernel to which words can be given; none where it boots by itself."""
        return () if self.kernel else LAYOUTS.get(self.answer or "", ())

    @property
    def source(self) -> str:
        """What the system is installed from, as it is told."""
        what = self.media or self.kernel or "its disk"
        return f"{what} ({self.answer})" if self.answer else what

    def begun(self, now: float) -> Installation:
        """What the record says of it once it is begun."""
        asked = self.answer if self.is_asked else None
        return Installation(
            self.source, now, self.timeout, self.done_when, port=self.port, pattern=self.pattern, asked=asked
        )

    def restarts_as_itself(self, *, has_kernel: bool) -> bool:
        """Whether a restart belongs to the installation. Of one that a kernel was given to, a restart would begin it again."""
        if has_kernel:
            return False
        return self.done_when != "powered_off" or (self.kind is not None and self.kind.restarts)


def installer_of(declared: Values) -> Installer | None:
    """The installer that is declared, by option path."""
    values = {path.removeprefix(_PREFIX): value for path, value in declared.items() if path.startswith(_PREFIX)}
    if not values:
        return None
    return Installer(
        media=values.get("media"),
        extra_media=values.get("extra_media", ()),
        kernel=values.get("kernel"),
        initrd=values.get("initrd"),
        cmdline=values.get("cmdline", ""),
        answer=values.get("answer"),
        text=values.get("answer_text", ""),
        done_when=values.get("done_when", "powered_off"),
        port=values.get("port"),
        pattern=values.get("pattern"),
        timeout=values.get("timeout", _TIMEOUT_SECONDS),
    )


def without_installer(declared: Values) -> dict[str, t.Any]:
    """What is declared, but for the installer."""
    return {path: value for path, value in declared.items() if not path.startswith(_PREFIX)}


def check_installer(declared: Values) -> None:
    """Whether what is declared of an installer makes one.

    :raises SpecError:
    """
    its = installer_of(declared)
    if its is None:
        return
    for key in ("image", "clone_from.guest"):
        if key in declared and not (key == "image" and its.answer == "config"):
            raise _error("media", f"{key} is written too. A system is installed, or it is there already")
    if its.media is None and its.kernel is None and its.answer != "config":
        raise _error(
            "media", "is needed: what the machine boots (or install.kernel, for one that is booted over the network)"
        )
    if (its.initrd or its.cmdline) and its.kernel is None and not its.layouts:
        raise _error(
            "cmdline",
            "reaches a kernel that is booted directly: install.kernel, or that of a medium with such an answer",
        )
    if its.text and its.answer is None:
        raise _error("answer", "is needed: of which kind the text of the answer (answer_text) is")
    if its.answer == "preseed" and its.kernel and not its.initrd:
        raise _error("initrd", "is needed: the installer of Debian finds the answer in it")
    for word, value in (("port", its.port), ("serial", its.pattern)):
        key = "port" if word == "port" else "pattern"
        if (its.done_when == word) != (value is not None):
            raise _error(key, f"belongs to done_when: {word}")
    if its.is_asked:
        _check_asked(its)
    if its.done_when == "agent" and declared.get("agent") is False:
        raise _error("done_when", "agent: false is written too. Without its channel no agent answers")


def _check_asked(its: Installer) -> None:
    if its.done_when != "powered_off":
        raise _error(
            "done_when", f"with the answer {its.answer} it is powered_off: it is told to go off when it is through"
        )
    if not its.text:
        return
    try:
        login = json.loads(its.text)["authentication"]
        is_complete = bool(login["username"]) and len(login["password"]) >= _LEAST_PASSWORD
    except (ValueError, KeyError, TypeError):
        is_complete = False
    if not is_complete:
        raise _error(
            "answer_text",
            "has to be a JSON object with what its installer takes: authentication with a username, and a password of at least "
            f"{_LEAST_PASSWORD} characters",
        )


def _error(key: str, why: str) -> SpecError:
    return SpecError(f"install.{key}: {why}", key=f"install.{key}")


def command_line(installer: Installer, layout: Layout | None, label: str) -> str:
    """The command line of a kernel that is booted directly. What the user wrote comes last: there the kernel takes the last word."""
    own = installer.kind.words if installer.kind else ""
    medium = layout.words.format(label=label.replace(" ", "\\x20")) if layout else ""
    return " ".join(part for part in (own, medium, _CONSOLE, installer.cmdline) if part)
