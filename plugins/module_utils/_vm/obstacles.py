# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Why declared values cannot be had on this host, and what Windows finds on it."""

from __future__ import annotations

import os
import typing as t

from .._core.claims import addresses_in
from .._core.errors import ObserveError
from .._host.libvirt import dotted, errors_of
from .._host.links import can_listen
from .._host.snapshot import Host
from . import cpu
from .spec import Spec
from .state import State
from .xml.variant import WINDOWS
from .xml.vsock import AUTO

LEAST_LIBVIRT_FOR_IGB, LEAST_QEMU_FOR_IGB = 9_003_000, 8_000_000
VSOCK_DEVICE = "/dev/vhost-vsock"
# Where libvirt lists what QEMU has, and Debian's package of what may be missing.
_LISTED = {"graphics.type": ("devices/graphics", "type"), "video": ("devices/video", "modelType")}
_APART = {"spice": "qemu-system-modules-spice", "qxl": "qemu-system-modules-spice"}


def observe(spec: Spec, state: State, host: Host, place: tuple[str, str]) -> dict[str, t.Any]:
    """What ``State`` keeps of it; nothing is asked of what stands as declared. *place* is what runs the machine, and its type."""
    found = cpu.obstacles(spec, state, host, place)
    for path, (where, enum) in _LISTED.items():
        value = _changed(spec, state, path)
        offered = None if value in (None, "none") else host.offers(*place).offered(where, enum)
        if offered is not None and value not in offered:
            package = f". The package {_APART[value]} has it where Debian ships it apart" if value in _APART else ""
            found[path] = f"QEMU of this host has no {value}{package}"
    number = _changed(spec, state, "vsock")
    why = _obstacle_to_vsock(spec.name, number, host) if number else None
    if why is not None:
        found["vsock"] = why
    is_windows = _changed(spec, state, "os_variant") == WINDOWS and place[0] == "kvm"
    hyperv = host.offers(*place).offered("features/hyperv", "features") if is_windows else None
    found |= _obstacles_to_models(spec, host)
    return {"obstacles": found, "hyperv": hyperv or ()}


def screen_obstacle(spec: Spec, state: State, host: Host) -> str | None:
    """Why the screen cannot listen where it is declared to, as a part of a sentence. One that runs and listens there can."""
    address = spec.get("graphics.listen")
    if address is None or (state.live is not None and state.live.values.get("graphics.listen") == address):
        return None
    promised = [text for its in host.expected.values() for key in ("address", "address6") if (text := its.get(key))]
    if address in addresses_in(*promised) or can_listen(address):
        return None
    return f"{address} is no address of this host"


def _changed(spec: Spec, state: State, path: str) -> t.Any:
    """The declared value where it is another one than what stands."""
    declared = spec.get(path)
    return None if state.exists and state.persistent.values.get(path) == declared else declared


def _obstacles_to_models(spec: Spec, host: Host) -> dict[str, str]:
    """Why cards cannot be of the model that is declared."""
    paths = [f"networks[{item.name}].model" for item in spec.wanted("networks") if item.get("model") == "igb"]
    if not paths:
        return {}
    with errors_of("ask libvirt for its version", ObserveError):
        library, emulator = host.connection.getLibVersion(), host.connection.getVersion()
    if library >= LEAST_LIBVIRT_FOR_IGB and emulator >= LEAST_QEMU_FOR_IGB:
        return {}
    has = f"this host has QEMU {dotted(emulator)} and libvirt {dotted(library)}"
    return dict.fromkeys(paths, f"igb needs QEMU 8.0 and libvirt 9.3 or newer, and {has}")


def _obstacle_to_vsock(name: str, number: t.Any, host: Host) -> str | None:
    if not os.path.exists(VSOCK_DEVICE):
        return f"there is no {VSOCK_DEVICE} on this host. The kernel module vhost_vsock makes it (modprobe vhost_vsock)"
    if number == AUTO:
        return None
    with errors_of("read the domains", ObserveError):
        definitions = host.definitions
    for other, its in definitions.items():
        socket = its.root.find("devices/vsock/cid")
        if other != name and socket is not None and socket.get("address") == str(number):
            return f"it is the number of {other}. Take another one, or auto"
    return None
