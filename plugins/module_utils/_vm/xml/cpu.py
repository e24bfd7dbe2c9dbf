# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Which CPU the guest sees: its kind, its flags and how its cores lie together."""

from __future__ import annotations

import typing as t

from .node import Node, child, make, remove, text_of

# Those that are no model: what the host has, as much of it as can migrate, or all that QEMU can do.
HOST, HOST_MODEL, MAXIMUM = "host-passthrough", "host-model", "maximum"
MODES = (HOST, HOST_MODEL, MAXIMUM)
# The oldest that is an x86-64-v2, as RHEL 9 and Windows 11 24H2 ask for it, and that QEMU emulates whole. Debian boots
# with it as fast as with the plain qemu64.
EMULATED = "Nehalem"
TOPOLOGY = ("sockets", "dies", "cores", "threads")

_SIGNS = {"require": "+", "force": "+", "disable": "-", "forbid": "-"}
_POLICIES = {"+": "require", "-": "disable"}
# What QEMU makes where a definition names no model.
_PLAIN = "qemu64"
_OF_MODES = ("migratable",)
_OF_MODELS = ("match",)


def build_default(accelerator: str) -> Node:
    """The CPU of a new machine."""
    if accelerator == "kvm":
        return make("cpu", mode=HOST, check="none", migratable="on")
    cpu = make("cpu", mode="custom", match="exact", check="none")
    cpu.append(make("model", EMULATED, fallback="allow"))
    return cpu


def read_type(root: Node) -> str:
    """The mode or the name of the model; empty where the definition leaves it to QEMU."""
    node = root.find("cpu")
    mode = "" if node is None else node.get("mode", "custom")
    return text_of(root, "cpu/model") if mode in ("", "custom") else mode


def write_type(root: Node, value: str) -> None:
    """Another kind of CPU. How its cores lie together and its flags stay."""
    if value == read_type(root):
        return
    node = child(root, "cpu")
    mode = value if value in MODES else "custom"
    if mode != node.get("mode"):
        # They belong to the mode that it had.
        for path in ("model", "vendor", "cache", "maxphysaddr"):
            remove(node.find(path))
        for name in (*_OF_MODES, *_OF_MODELS):
            node.attrib.pop(name, None)
    node.set("mode", mode)
    # "partial": what the host lacks of a named CPU stops its start, and is not left out silently.
    node.set("check", "none" if mode in (HOST, MAXIMUM) else "partial")
    if mode in (HOST, MAXIMUM):
        node.set("migratable", "on")
    if mode == "custom":
        node.set("match", "exact")
        model = child(node, "model")
        model.text = value
        model.set("fallback", "forbid")


def features(root: Node) -> dict[str, str]:
    """The policy of each feature that is named."""
    return {node.get("name", ""): node.get("policy", "require") for node in root.iterfind("cpu/feature")}


def as_flags(policies: t.Mapping[str, str]) -> tuple[str, ...]:
    """``+aes`` and ``-pcid`` of the *policies* of features. One that is optional is neither."""
    return tuple(sorted(f"{_SIGNS[policy]}{name}" for name, policy in policies.items() if policy in _SIGNS))


def read_flags(root: Node) -> tuple[str, ...]:
    return as_flags(features(root))


def write_flags(root: Node, flags: t.Collection[str]) -> None:
    there = set()
    for node in root.findall("cpu/feature"):
        name, sign = node.get("name", ""), _SIGNS.get(node.get("policy", "require"), "")
        if sign and sign + name in flags:
            there.add(sign + name)
        elif sign or {f"+{name}", f"-{name}"} & set(flags):
            remove(node)
    missing = [flag for flag in flags if flag not in there]
    if missing and not read_type(root):
        write_type(root, _PLAIN)
    for flag in missing:
        root.find("cpu").append(make("feature", policy=_POLICIES[flag[0]], name=flag[1:]))


def read_topology(root: Node, key: str) -> int:
    """How many there are of *key*; 0 where nothing is said of how the cores lie together."""
    node = root.find("cpu/topology")
    return 0 if node is None else int(node.get(key, "1"))


def write_topology(root: Node, key: str, count: int) -> None:
    """0 takes off all of it: libvirt knows no part of a topology."""
    if not count:
        remove(root.find("cpu/topology"))
        return
    node = child(root, "cpu/topology")
    for name in ("sockets", "cores", "threads"):
        node.set(name, node.get(name, "1"))
    node.set(key, str(count))


def compared(kind: str, flags: t.Iterable[str], host_model: tuple[str, t.Mapping[str, str]]) -> Node:
    """The CPU by whose name and *flags* libvirt says whether the host has it. One without a model has that of *host_model*."""
    node = make("cpu", mode="custom", match="exact")
    model, policies = (kind, {}) if kind not in MODES else host_model
    node.append(make("model", model or _PLAIN))
    for name, policy in {**policies, **{flag[1:]: _POLICIES[flag[0]] for flag in flags}}.items():
        node.append(make("feature", policy=policy, name=name))
    return node
