# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Devices of guests by a name that is the same on each hypervisor, which says in ``hypervisor_devices`` which device of its own that is."""

from __future__ import annotations

import typing as t

from ._profiles import ProfileError, dictionaries

Variables = t.Mapping[str, t.Any]

MAPPING = "mapping"


def has_mapped(variables: Variables) -> bool:
    """Whether a guest with these *variables* may have such a device: by itself, or by a profile."""
    spec, names, catalog = (variables.get(f"guest_{word}") for word in ("spec", "profiles", "profile_catalog"))
    profiles = [catalog.get(name) for name in names or ()] if isinstance(catalog, t.Mapping) else []
    return any(MAPPING in device for options in (spec, *profiles) for device in _devices(options))


def with_mapped(options: dict[str, t.Any], where: str, hypervisor: str, host: Variables) -> dict[str, t.Any]:
    """*options* with what the *hypervisor*, which has the variables *host*, says of each device with a mapping. What is written beside it counts.

    :raises ProfileError: for a mapping that the hypervisor does not have.
    """
    if not any(MAPPING in device for device in _devices(options)):
        return options
    known = host.get("hypervisor_devices")
    found = known if isinstance(known, t.Mapping) else {}
    devices = []
    for device in options["devices"]:
        name = device.get(MAPPING) if isinstance(device, t.Mapping) else None
        if name is None:
            devices.append(device)
            continue
        if not isinstance(found.get(name), t.Mapping):
            there = ", ".join(sorted(map(str, found))) or "none"
            raise ProfileError(
                f"{where}: devices[{device.get('name')}].{MAPPING}: the hypervisor {hypervisor} has no {name!r} in hypervisor_devices. "
                f"It has: {there}"
            )
        own = {key: value for key, value in device.items() if key != MAPPING}
        devices.append({**found[name], **own})
    return {**options, "devices": devices}


def _devices(options: t.Any) -> list[t.Mapping[str, t.Any]]:
    return dictionaries(options.get("devices")) if isinstance(options, t.Mapping) else []
