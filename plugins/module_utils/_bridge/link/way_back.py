# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the program that takes a change back has to know of a host whose network is kept by ifupdown."""

from __future__ import annotations

import os
import posixpath
import typing as t

from . import ifupdown as ifupdown_files
from .ifupdown import Ifupdown
from .moved import Moved


def places(backend: Ifupdown, bridge: str) -> tuple[list[str], list[str]]:
    """The folders that hold files of its own alone, and the files, also the one that the bridge may get."""
    files = sorted({*backend.files, *backend.own_files(bridge)})
    folders = {posixpath.dirname(path) for path in files} - {ifupdown_files.FOLDER}
    below = f"{ifupdown_files.FOLDER}/"
    return sorted(path for path in folders if path.startswith(below) and os.path.isdir(path)), files


def of_links(backend: Ifupdown, links: t.Sequence[str]) -> dict[str, t.Any]:
    """How the DHCP clients of *links* are started again."""
    return {"links": list(links), "clients": {name: backend.client_text(name) for name in links}}


def of_moved(backend: Ifupdown, bridge: str, moved: Moved, edits: t.Mapping[str, str | None]) -> dict[str, t.Any]:
    """How the bridge of the files *edits* goes down, and how the card comes up again by those of before."""
    files = {path: text for path, text in {**backend.files, **edits}.items() if text is not None}
    texts = {bridge: Ifupdown(files, backend.links).text_without_client(bridge)}
    return {"texts": {**texts, moved.port: backend.text_without_client(moved.port)}}


def leases(bridge: str) -> list[str]:
    """What DHCP clients keep of a bridge."""
    return [f"/var/lib/dhcp/dhclient.{bridge}.leases", f"/var/lib/dhcpcd/{bridge}.lease"]
