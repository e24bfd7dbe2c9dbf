# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What an inventory leaves open of its guests and what follows from the rest: where a guest lives, of which kind it is, and how it is reached.

Of an appliance it is also what its role makes of its guest (``guest_appliance``).
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

from . import _appliances
from ._guest_services import appliance_of, services_of
from ._guest_system import shell_of, system_of
from ._recommended import kind_of
from ._transport import VARIABLES, connection_variables

Variables = t.Mapping[str, t.Any]

# Inside the guest, so that neither an SSH server nor an address has to be known.
_CONNECTIONS = {"container": "homelab.hybrid.lxc", "vm": "homelab.hybrid.qemu_ga"}
# Who says one of these has a way of his own.
_WAYS = ("ansible_connection", *VARIABLES["host"])


def completed(
    names: t.Iterable[str], hypervisors: t.Collection[str], hostvars: t.Mapping[str, Variables]
) -> list[dict[str, t.Any]]:
    """For each guest of *names* of which something is open and follows: its ``name``, the ``variables`` that it gets, and whether one ``is_secret``.

    A guest lives on the only one of *hypervisors*. One with services is of the kind that they recommend, and is reached from its hypervisor
    unless the inventory has a way to it; so is one with Windows, which has its own shell by any way. To another appliance there is none. Of a
    guest that cannot be read nothing follows: it fails where it is asked for.
    """
    found = []
    for name in names:
        added: dict[str, t.Any] = {}
        with contextlib.suppress(AnsibleError, UndefinedError):
            for key, value in additions(name, hostvars[name], hypervisors, hostvars):
                added[key] = value
        if added:
            is_secret = _appliances.FACT in added or any(
                added.get("ansible_hypervisor", {}).get(key) for key in VARIABLES["become_password"]
            )
            found.append({"name": name, "variables": added, "is_secret": is_secret})
    return found


def additions(
    name: str, variables: Variables, hypervisors: t.Collection[str], hostvars: t.Mapping[str, Variables]
) -> t.Iterator[tuple[str, t.Any]]:
    """The variables that the guest *name* gets, one after the other.

    :raises AnsibleError, UndefinedError: where its own cannot be read any further.
    """
    hypervisor = variables.get("guest_hypervisor")
    if hypervisor is None and len(hypervisors) == 1:
        (hypervisor,) = hypervisors
        yield "guest_hypervisor", hypervisor
    services = services_of(name, variables)
    shell = shell_of(system_of(name, services, variables))
    if not services and not shell:
        return
    kind = variables.get("guest_kind")
    if kind is None and services:
        kind = kind_of(services)
        yield "guest_kind", kind
    if (appliance := appliance_of(services)) is not None:
        try:
            yield _appliances.FACT, _appliances.made_of_guest(name, appliance, hostvars)
        except (AnsibleError, UndefinedError) as exc:
            yield _appliances.REFUSED, str(exc) if name in str(exc) else f"{appliance.name} of {name}: {exc}"
        if not shell:
            # Nobody connects to it.
            return
    yield from ((key, value) for key, value in shell.items() if variables.get(key) is None)
    if kind not in _CONNECTIONS or hypervisor not in hostvars or any(variables.get(way) for way in _WAYS):
        return
    yield "ansible_connection", _CONNECTIONS[kind]
    if variables.get("ansible_hypervisor") is None:
        yield "ansible_hypervisor", connection_variables(hostvars[str(hypervisor)])
    if not shell and variables.get("ansible_python_interpreter") is None:
        yield "ansible_python_interpreter", "/usr/bin/python3"
