# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A storage pool that is a folder."""

from __future__ import annotations

import os
import shutil
from xml.etree import ElementTree


def definition(name: str, path: str) -> str:
    """libvirt's definition of the pool."""
    pool = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(pool, "name").text = name
    target = ElementTree.SubElement(pool, "target")
    ElementTree.SubElement(target, "path").text = path
    return ElementTree.tostring(pool, encoding="unicode")


def make_folder(path: str) -> None:
    """The pool's folder, which QEMU's user and the mapped root of a container must be able to pass through."""
    os.makedirs(path, mode=0o711, exist_ok=True)


def remove_folder(path: str) -> None:
    """The folder with all that is in it. The plan has made sure that nothing is mounted there."""
    shutil.rmtree(path)
