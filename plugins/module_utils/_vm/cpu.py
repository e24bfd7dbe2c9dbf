# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Which CPUs a machine can have on this host, and which one runs."""

from __future__ import annotations

import difflib
import typing as t

from .._core import libraries
from .._core.errors import ObserveError
from .._host import capabilities
from .._host.libvirt import errors_of
from .._host.snapshot import Host
from .spec import Spec
from .state import State, VmSide
from .xml import cpu
from .xml import domain as domain_xml

PATHS = ("cpu.type", "cpu.flags")


def obstacles(spec: Spec, state: State, host: Host, place: tuple[str, str]) -> dict[str, str]:
    """Why the declared CPU cannot be had, by option path; nothing is asked where it is what stands. *place* is accelerator and machine."""
    now = state.persistent.values if state.exists else {}
    changed = [path for path in PATHS if spec.get(path) is not None and spec.get(path) != now.get(path)]
    if not changed:
        return {}
    kind, flags = spec.get("cpu.type"), spec.get("cpu.flags", now.get("cpu.flags", ()))
    offers = host.offers(*place)
    if "cpu.type" in changed and (why := _obstacle_to_kind(kind, offers, place[0])) is not None:
        return {"cpu.type": why}
    # What is wrong with a model that stands is no matter here.
    base = kind if "cpu.type" in changed else cpu.HOST_MODEL
    if not flags and (base in cpu.MODES or offers.cpu_models[base] == "yes"):
        return {}
    xml = domain_xml.to_text(cpu.compared(base, flags, offers.host_model))
    why = capabilities.obstacle_to_cpu(host.connection, *place, xml)
    if why is None:
        return {}
    if base in cpu.MODES:
        return {"cpu.flags": why}
    return {"cpu.type": f"{why}. Take that off with cpu.flags, or take {_near(kind, offers)}"}


def _obstacle_to_kind(kind: str, offers: capabilities.Capabilities, accelerator: str) -> str | None:
    if kind in cpu.MODES:
        if offers.has_cpu_mode(kind):
            return None
        whose = "a machine that is emulated" if accelerator != "kvm" else "this host"
        return f"{whose} has none such. Take {_near(cpu.EMULATED, offers)}"
    return None if kind in offers.cpu_models else f"libvirt knows no such model. Take {_near(kind, offers)}"


def _near(kind: str, offers: capabilities.Capabilities) -> str:
    """The modes, and those models that this host has all of whose names are like *kind*."""
    usable = [model for model, is_usable in offers.cpu_models.items() if is_usable == "yes"]
    modes = [mode for mode in cpu.MODES if offers.has_cpu_mode(mode)]
    close = difflib.get_close_matches(kind, usable, n=4, cutoff=0.0)
    return ", ".join([*modes, *close]) + " (virsh domcapabilities names all of them)"


def as_started(live: VmSide, spec: Spec, domain: t.Any, host: Host) -> VmSide:
    """*live* with the CPU as it was asked for: libvirt writes what QEMU made of it into what runs.

    Only the document for a migration still has it. There ``host-model`` is the model that it became when the machine started.
    """
    if not any(path in spec.values or path in spec.unset for path in PATHS):
        return live
    with errors_of(f"read the CPU of {spec.name}", ObserveError):
        xml = domain.XMLDesc(libraries.libvirt().VIR_DOMAIN_XML_MIGRATABLE)
    root = domain_xml.parse(xml)
    kind, features = cpu.read_type(root), cpu.features(root)
    model, policies = host.offers(live.domain.type, live.domain.machine).host_model
    if kind == model and policies.keys() <= features.keys():
        kind = cpu.HOST_MODEL
        features = {name: policy for name, policy in features.items() if policies.get(name) != policy}
    return live.but(values={**live.values, "cpu.type": kind, "cpu.flags": cpu.as_flags(features)})
