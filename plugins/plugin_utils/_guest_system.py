# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The system in a guest, in the words of ``os_variant``, and what Ansible must know to run anything there."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

from ._guest_services import Service
from ._profiles import ProfileError, pick

Variables = t.Mapping[str, t.Any]

# It has a shell of its own, and no Python.
WINDOWS = "windows"


def system_of(name: str, services: t.Iterable[Service], variables: Variables) -> str | None:
    """The system that the inventory gives the guest *name*: itself, by a profile, or by its services. ``None`` where nobody says it."""
    layers = [service.guest.get("spec") for service in services][::-1]
    # Profiles that cannot be read fail their guest where its options are made of them.
    with contextlib.suppress(ProfileError, AnsibleError, UndefinedError):
        catalog = variables.get("guest_profile_catalog") or {}
        layers += [layer.options for layer in pick(variables.get("guest_profiles") or (), catalog, name)]
    layers.append(variables.get("guest_spec"))
    found = None
    for layer in layers:
        if isinstance(layer, t.Mapping) and "os_variant" in layer:
            found = layer["os_variant"]
    return None if found is None else str(found)


def shell_of(system: str | None) -> dict[str, str]:
    """The variable with the shell of a guest with this *system*, where it has another than all others.

    By ssh too: Windows' own default there is cmd, in which what Ansible sends for PowerShell runs as well.
    """
    return {"ansible_shell_type": "powershell"} if system == WINDOWS else {}
