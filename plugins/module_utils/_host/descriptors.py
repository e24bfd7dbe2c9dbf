# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The descriptors of firmware on this host, as libvirt finds them."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

# The later a folder, the more its files count: one of the same name is in the place of the other, an empty one hides it.
FOLDERS = ("/usr/share/qemu/firmware", "/etc/qemu/firmware")


def read(folders: t.Sequence[str] = FOLDERS) -> list[t.Any]:
    """What each says, the first to choose first. One that is no JSON says nothing."""
    places = {name: os.path.join(folder, name) for folder in folders for name in _names(folder)}
    found = []
    for name in sorted(places):
        with contextlib.suppress(OSError, ValueError), open(places[name], encoding="utf-8") as stream:
            found.append(json.load(stream))
    return found


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith(".")]
    except OSError:
        return []
