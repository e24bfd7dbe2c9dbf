# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What libvirt and QEMU of this host offer to a virtual machine, as libvirt itself tells it."""

from __future__ import annotations

import functools
import re
from xml.etree import ElementTree

from .._core import libraries
from .._core.errors import ObserveError
from .libvirt import Connection, errors_of


class Capabilities:
    """The answer for one kind of machine, such as a q35 that KVM runs."""

    def __init__(self, xml: str) -> None:
        self._root = ElementTree.fromstring(xml)

    def offered(self, path: str, enum: str) -> tuple[str, ...] | None:
        """The values of the list *enum* at *path* (``devices/graphics``); ``None`` where libvirt says nothing of it."""
        found = self._root.find(f"{path}/enum[@name='{enum}']")
        return None if found is None else tuple(value.text or "" for value in found.iterfind("value"))

    @property
    def machine(self) -> str:
        """The type that was asked for, with its version."""
        return self._root.findtext("machine", "")

    @property
    def loaders(self) -> tuple[str, ...]:
        """The files of firmware that such a machine can start by."""
        return tuple(its.text or "" for its in self._root.iterfind("os/loader/value"))

    def has_cpu_mode(self, mode: str) -> bool:
        found = self._root.find(f"cpu/mode[@name='{mode}']")
        return found is not None and found.get("supported") == "yes"

    @functools.cached_property
    def cpu_models(self) -> dict[str, str]:
        """Each model that libvirt knows, with ``yes``, ``no`` or ``unknown`` for whether this host has all of it."""
        nodes = self._root.iterfind("cpu/mode[@name='custom']/model")
        return {node.text or "": node.get("usable", "unknown") for node in nodes}

    @functools.cached_property
    def host_model(self) -> tuple[str, dict[str, str]]:
        """The model that ``host-model`` becomes, and the policies of the features that it gets beside it."""
        node = self._root.find("cpu/mode[@name='host-model']")
        if node is None:
            return "", {}
        features = node.iterfind("feature")
        return node.findtext("model") or "", {its.get("name", ""): its.get("policy", "") for its in features}


def read(connection: Connection, accelerator: str, machine: str) -> Capabilities:
    """What a machine of the type *machine* gets that *accelerator* (``kvm`` or ``qemu``) runs.

    :raises ObserveError:
    """
    with errors_of("ask libvirt what virtual machines can have", ObserveError):
        return Capabilities(connection.getDomainCapabilities(None, None, machine, accelerator, 0))


def obstacle_to_cpu(connection: Connection, accelerator: str, machine: str, cpu: str) -> str | None:
    """Why a machine cannot have this *cpu* (XML), as a sentence; ``None`` where it can, or where libvirt cannot tell."""
    library = libraries.libvirt()
    flags = library.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    try:
        connection.compareHypervisorCPU(None, None, machine, accelerator, cpu, flags)
    except library.libvirtError as exc:
        if exc.get_error_code() in (library.VIR_ERR_NO_SUPPORT, library.VIR_ERR_OPERATION_UNSUPPORTED):
            return None
        return _in_other_words(exc.get_error_message(), accelerator)
    return None


def _in_other_words(message: str, accelerator: str) -> str:
    lacking = re.search(r"does not provide required features: (.*)", message)
    if lacking:
        return f"{'this host' if accelerator == 'kvm' else 'the emulation of this host'} lacks {lacking[1]}"
    unknown = re.search(r"[Uu]nknown CPU feature:? (.*)", message)
    return f"libvirt knows no feature {unknown[1]}" if unknown else message
