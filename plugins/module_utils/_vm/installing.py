# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The one run of a new machine in which its installer is at work: begun, and cleared away.

libvirt lets a machine run with another definition than the one that lasts: what only the installer needs is in no definition, and gone with
its run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import typing as t

from .._core import atomic, libraries, paths
from .._core.errors import ApplyError
from .._core.removal import remove_tree
from .._host.libvirt import errors_of
from .._image import store
from . import answer, asked
from .installer import Installer, command_line
from .xml import domain as domain_xml
from .xml.install import InstallerRun, make_installer_run

_ANSWER, _KERNEL, _INITRD = "answer.iso", "kernel", "initrd"
# Windows asks for a key before its medium is booted, for some 5 seconds once the firmware is through: the space bar.
_KEY_SPACE, _KEY_MILLISECONDS, _KEY_TIMES = 57, 50, 10


def begin(host: t.Any, domain: t.Any, installer: Installer, own: t.Sequence[str]) -> None:
    """Start *domain* for its installer. *own* are the disks that were made for it, the one that the system goes to first.

    :raises ApplyError:
    """
    name = domain.name()
    clear(name)
    folder = paths.installer_folder(name)
    # QEMU's user passes through, and sees nothing.
    for path in (paths.INSTALLERS, folder):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o711)
    run = _prepare(folder, installer, own)
    library = libraries.libvirt()
    with errors_of(f"start the installer of {name}", ApplyError):
        root = domain_xml.parse(domain.XMLDesc(library.VIR_DOMAIN_XML_INACTIVE | library.VIR_DOMAIN_XML_SECURE))
        make_installer_run(root, run._replace(log=paths.installer_console(name)))
        host.connection.createXML(domain_xml.to_text(root), 0)
    if installer.answer == "autounattend":
        _press_a_key(domain)


def clear(name: str) -> None:
    """Remove all that only the installer of *name* needed."""
    folder = paths.installer_folder(name)
    if os.path.lexists(folder):
        remove_tree(folder)


def _prepare(folder: str, installer: Installer, own: t.Sequence[str]) -> InstallerRun:
    """Lay down the answer, and what is taken out of the medium."""
    kind, medium = installer.kind, path_of(installer.media) if installer.media else None
    media = [*([medium] if medium else []), *map(path_of, installer.extra_media)]
    kernel, initrd, cmdline = installer.kernel or "", installer.initrd or "", ""
    if kernel:
        cmdline = command_line(installer, None, "")
    elif medium and installer.layouts:
        with answer.Medium(medium) as iso:
            layout = iso.layout(installer.layouts)
            if layout is not None:
                kernel, initrd = os.path.join(folder, _KERNEL), os.path.join(folder, _INITRD)
                for path, source in ((kernel, layout.kernel), (initrd, layout.initrd)):
                    with _new(path) as stream:
                        iso.copy(source, stream)
                cmdline = command_line(installer, layout, iso.label)
    if kind is not None and kind.is_asked:
        path = os.path.join(folder, asked.ANSWER)
        atomic.write_file(path, asked.prepared(own[0], installer.text), mode=0o600)
    elif kind is not None and kind.is_in_initrd:
        initrd = _with_answer(initrd, os.path.join(folder, _INITRD), kind.file, installer.text)
    elif kind is not None:
        path = os.path.join(folder, _ANSWER)
        atomic.write_file(path, answer.medium(kind, installer.text), mode=0o600)
        media.insert(1 if medium else 0, path)
    return InstallerRun(
        log="",
        media=media,
        kernel=kernel,
        initrd=initrd,
        cmdline=cmdline,
        restarts=installer.restarts_as_itself(has_kernel=bool(kernel)),
        boots_medium=medium is not None,
        only=own if installer.is_asked else None,
    )


def _with_answer(initrd: str, path: str, name: str, text: str) -> str:
    """The initial RAM disk *initrd* as the file *path*, with the answer in it."""
    if initrd != path:
        with open(initrd, "rb") as source, _new(path) as stream:
            shutil.copyfileobj(source, stream)
    with open(path, "ab") as stream:
        stream.write(answer.archive(name, text, behind=stream.tell()))
    return path


def _new(path: str) -> t.BinaryIO:
    """A new file that only its owner reads: libvirt gives it to QEMU's user while the machine runs."""
    return t.cast(t.BinaryIO, open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)))


def path_of(medium: str) -> str:
    """The file of a medium: a path, or that of an image."""
    return medium if medium.startswith("/") else store.find(medium).path


def _press_a_key(domain: t.Any) -> None:
    library = libraries.libvirt()
    for dummy in range(_KEY_TIMES):
        time.sleep(1)
        # It may have ended by now.
        with contextlib.suppress(library.libvirtError):
            domain.sendKey(library.VIR_KEYCODE_SET_LINUX, _KEY_MILLISECONDS, [_KEY_SPACE], 1, 0)
