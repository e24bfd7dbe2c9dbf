# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Guests that serve what others of their host stand on: a run keeps their services before it makes those."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

from ._guest_services import lab_services
from ._inventory_words import GUESTS
from ._layouts import layout_of
from ._limit import within
from ._profiles import dictionaries

Variables = t.Mapping[str, t.Any]


def serving(
    names: t.Iterable[str],
    hostvars: t.Mapping[str, Variables],
    hypervisors: t.Iterable[str],
    limit: str,
    groups: t.Mapping[str, t.Iterable[str]],
    run_tags: t.Collection[str] = ("all",),
    skip_tags: t.Collection[str] = (),
) -> dict[str, list[str]]:
    """Those of the guests *names* that serve a mount of their hypervisor, by hypervisor, where this run keeps their services.

    It does where their services are wanted by its tags and they are in its *limit*: elsewhere nobody goes on after them.
    """
    found = {host: [name for name in servers_of(host, hostvars) if name in names] for host in hypervisors}
    if not any(found.values()):
        return {}
    in_run = within(limit, groups)
    wanted = [name for servers in found.values() for name in servers if in_run is None or name in in_run]
    services = lab_services(wanted, hostvars, wanted, run_tags, skip_tags)
    kept = {name for name in wanted if set(services["of"].get(name, ())) & set(services["steps"])}
    found = {
        host: [name for name in servers if name in kept and hostvars[name].get("guest_hypervisor") == host]
        for host, servers in found.items()
    }
    return {host: servers for host, servers in found.items() if servers}


def servers_of(host: str, hostvars: t.Mapping[str, Variables]) -> list[str]:
    """The guests that the mounts of a hypervisor name. What cannot be read its role refuses."""
    try:
        mounts = hostvars[host].get("hypervisor_mounts")
        named = [str(mount.get("wait_for_guest") or "") for mount in dictionaries(mounts)]
    except (AnsibleError, UndefinedError):
        return []
    return [name for name in dict.fromkeys(named) if name]


def deferred(hostvars: t.Any, run: Variables) -> dict[str, dict[str, list[str]]]:
    """What the layouts of a *run* (the variables of localhost) left for later, by hypervisor: its ``guests`` and ``pools`` by name, the guests
    that have to ``serve`` before, and all ``hosts`` that it is about.
    """
    found = {}
    for host, servers in (run.get("guests_serving") or {}).items():
        layout = layout_of(host, run, hostvars.raw_get) or {}
        left = [item for item in layout.get("resources") or () if item.get("deferred")]
        if left:
            guests = [str(item["name"]) for item in left if item["kind"] in GUESTS]
            pools = [str(item["name"]) for item in left if item["kind"] == "storage_pool"]
            serve = [str(name) for name in servers]
            hosts = [*dict.fromkeys((str(host), *guests, *serve))]
            found[str(host)] = {"guests": guests, "pools": pools, "serve": serve, "hosts": hosts}
    return found
