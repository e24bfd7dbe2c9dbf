# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The TPM that swtpm emulates."""

from __future__ import annotations

from .node import Node, attribute, make, remove

# What is there, and is no emulated one: the host's own, or one that somebody else runs.
OTHER = "other"
_MODEL = "tpm-"


def read_version(root: Node) -> str:
    """Its version, empty where there is none, ``OTHER`` for one that is not emulated here."""
    its = root.find("devices/tpm")
    if its is None:
        return ""
    return attribute(its, "backend", "version") if attribute(its, "backend", "type") == "emulator" else OTHER


def read_model(root: Node) -> str:
    """``crb``, ``tis``, or what else libvirt calls it; empty where there is none."""
    return attribute(root, "devices/tpm", "model").removeprefix(_MODEL)


def write_version(root: Node, version: str) -> None:
    """Another version, or with an empty one none at all. What it holds lies outside of the definition."""
    its = root.find("devices/tpm")
    if not version:
        remove(its)
    elif its is None:
        root.find("devices").append(_build(version, default_model(version)))
    else:
        its.find("backend").set("version", version)
        if version == "1.2":
            its.set("model", _MODEL + default_model(version))


def write_model(root: Node, model: str) -> None:
    its = root.find("devices/tpm")
    if not model:
        remove(its)
    else:
        its.set("model", _MODEL + model)


def default_model(version: str) -> str:
    """CRB is of TPM 2.0 alone, and what newer systems want to see."""
    return "tis" if version == "1.2" else "crb"


def _build(version: str, model: str) -> Node:
    its = make("tpm", model=_MODEL + model)
    its.append(make("backend", type="emulator", version=version))
    return its
