# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether the media of an installer are there, and what they are."""

from __future__ import annotations

import typing as t

from .._core.errors import ObserveError
from .._core.reference import Reference
from .._host import remote
from .._host.snapshot import IMAGE, Host
from .._image.store import stored
from . import answer
from .installer import Installer, installer_of

_ISO = "iso"


def obstacle(declared: t.Mapping[str, t.Any], host: Host) -> str | None:
    """Why nothing can be installed from what is declared, as a sentence."""
    its = installer_of(declared)
    if its is None:
        return None
    named = [
        ("media", its.media),
        *(("extra_media", path) for path in its.extra_media),
        ("kernel", its.kernel),
        ("initrd", its.initrd),
    ]
    for key, path in named:
        if path and path.startswith("/") and not remote.is_there(path):
            return f"install.{key}: there is no {path} on this host"
    for name in its.images:
        if (why := _obstacle_to_image(name, host)) is not None:
            return why
    return _obstacle_to_answer(its, host)


def _obstacle_to_image(name: str, host: Host) -> str | None:
    image = stored(host.record("images", name))
    kind = image.kind if image else host.promised(Reference(IMAGE, name), "kind") or _ISO
    return (
        None
        if kind == _ISO
        else f"install.media: {name} is an image of kind {kind}, and an installer is one of kind {_ISO}"
    )


def _obstacle_to_answer(installer: Installer, host: Host) -> str | None:
    """Why the answer does not reach the kernel on the medium."""
    medium = installer.media
    if medium is not None and not medium.startswith("/"):
        image = stored(host.record("images", medium))
        medium = image.path if image else None
    if medium is None or not installer.layouts:
        return None
    try:
        with answer.Medium(medium) as iso:
            found = iso.layout(installer.layouts)
    except ObserveError as exc:
        return exc.message
    if found is not None or not (installer.kind and installer.kind.needs_words):
        return None
    places = " or ".join(layout.kernel for layout in installer.layouts)
    return (
        f"install.answer: {medium} has no kernel at {places}, through which the answer ({installer.answer}) reaches its installer. "
        "Name another with install.kernel and install.initrd"
    )
