# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The options of what a hypervisor itself has, from its variables: its bridges, pools and images, and what a run permits."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ._catalogue import CatalogueError, resolved, with_mirrors
from ._guest_options import (
    GIVEN_FOR_A_RUN,
    images_brought,
    not_in_inventory,
    permitted,
    quarantine_of,
    read_guest,
    variables_of,
)
from ._named import with_names
from ._networks import NetworkError, bridges_of, networks_of, with_domains, with_slice
from ._profiles import dictionaries
from ._recommended import missing_images

# What items of a list of the host can be permitted, each with its extra variable.
PERMITS = {"storage_pools": {"allow": "hypervisor_allow"}}


def host_options(
    variables: t.Mapping[str, t.Any],
    kind: str,
    guests: t.Iterable[str] = (),
    hostvars: t.Mapping[str, t.Any] | None = None,
) -> t.Any:
    """The list *kind* (``bridges``, ``storage_pools``, ``images``) of a hypervisor, each item with what this run permits.

    Of its *guests* those with services bring the images of Debian along that they need and that are not listed. Bridges get the domains of
    their networks, their addresses of the prefix of IPv6 and the names of the guests with fixed addresses, images what the catalogue says
    of them and the mirrors of their host.

    :raises AnsibleFilterError: for a permission that the inventory keeps, for a network that is none, and for what no catalogue has.
    """
    variable, name = f"hypervisor_{kind}", str(variables.get("inventory_hostname"))
    items = variables.get(variable) or []
    if kind == "images" and isinstance(items, (list, tuple)) and hostvars is not None:
        items = [*items, *images_of_guests(variables, guests, hostvars)]
    if kind == "images" and isinstance(items, (list, tuple)):
        items = [_image_of(name, item, variables) for item in items]
    if kind == "bridges" and isinstance(items, (list, tuple)):
        try:
            networks = networks_of(name, variables)
            items = with_domains(bridges_of(name, variables), networks)
        except NetworkError as exc:
            raise AnsibleFilterError(str(exc)) from exc
        if hostvars is not None:
            # Names of guests with services may lead to a proxy of the lab, which gives them itself.
            plain = [its for its in guests if not variables_of(its, hostvars).get("guest_services")]
            read = guests_read(variables, plain, hostvars)
            # What the bridge keeps for a guest that leaves the choice is its fixed address.
            items = with_names(items, [with_slice(its, networks, ()) for its in read])
    given: dict[str, list[str]] = {}
    for option, extra in PERMITS.get(kind, {}).items():
        for item in dictionaries(items):
            if option in item:
                refused = not_in_inventory(extra, item[option])
                raise AnsibleFilterError(f"{variable}[{item.get('name')}] of {name}: {option}: {refused}")
        if words := permitted(name, variables, extra):
            given[option] = list(words)
    # What is no list of dictionaries the module refuses, in better words.
    return [{**item, **given} if isinstance(item, t.Mapping) else item for item in items] if given else items


def _image_of(host: str, image: t.Any, variables: t.Mapping[str, t.Any]) -> t.Any:
    try:
        found = resolved(image, variables.get("hypervisor_image_catalogue"))
    except CatalogueError as exc:
        raise AnsibleFilterError(f"hypervisor_images[{image.get('name')}] of {host}: {exc}") from exc
    return with_mirrors(found, variables.get("hypervisor_image_mirrors"))


def guests_read(
    host: t.Mapping[str, t.Any], guests: t.Iterable[str], hostvars: t.Mapping[str, t.Any]
) -> list[dict[str, t.Any]]:
    """The options of those of the *guests* of a *host* that can be read."""
    read = (read_guest(name, variables_of(name, hostvars), host) for name in guests)
    return [options for options, error in read if error is None]


def images_of_guests(
    host: t.Mapping[str, t.Any], guests: t.Iterable[str], hostvars: t.Mapping[str, t.Any]
) -> list[dict[str, t.Any]]:
    """The images that those of its *guests* that have services need beside what the *host* lists. A guest that cannot be read needs none."""
    found, brought = [], []
    for name in guests:
        variables = variables_of(name, hostvars)
        if variables.get("guest_services"):
            options, error = read_guest(name, variables, host)
            if error is None:
                found.append(options)
                brought += images_brought(name, variables)
    return missing_images(found, host, brought)


def host_error(variables: t.Mapping[str, t.Any]) -> str | None:
    """Why what the inventory says of a hypervisor itself is refused; ``None`` where it is not."""
    try:
        for kind in ("bridges", "storage_pools", "images"):
            host_options(variables, kind)
    except AnsibleFilterError as exc:
        return str(exc)
    return None


def deleted_with_pruned(variables: t.Mapping[str, t.Any]) -> list[str]:
    """What goes with the guests of a hypervisor that no inventory names any more.

    :raises AnsibleFilterError: where the inventory keeps it.
    """
    return list(permitted(str(variables.get("inventory_hostname")), variables, GIVEN_FOR_A_RUN["delete"]))


def quarantine_of_pruned(variables: t.Mapping[str, t.Any]) -> str:
    """Whether that lies in the quarantine, as text; empty where the run does not say.

    :raises AnsibleFilterError: where the inventory keeps it.
    """
    given = quarantine_of(str(variables.get("inventory_hostname")), variables)
    return "" if given is None else str(given)
