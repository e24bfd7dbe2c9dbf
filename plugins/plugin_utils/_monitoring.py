# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a Prometheus of the lab asks: the exporters of hypervisors and guests, and the services of these, all of it from the inventory."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ._guest_services import services_of
from ._lab_guests import bracketed, offers

NODE_EXPORTER = "homelab.hybrid.node_exporter"
NODE_PORT, LIBVIRT_PORT = 9100, 9177
_TLS_PORTS = (443, 8443)
Variables = t.Mapping[str, t.Any]
# As a list of static_configs has it.
Target = dict[str, t.Any]


def monitoring_targets(
    guests: t.Iterable[Variables], hostvars: t.Mapping[str, Variables], hypervisors: t.Iterable[str]
) -> dict[str, t.Any]:
    """What is asked of the *guests*, entries of the lab, and of *hypervisors*, by their names.

    - ``node``, ``libvirt``: exporters, items with ``targets`` and ``labels``.
    - ``http``, ``tcp``: where services answer, as the blackbox exporter asks them.
    - ``telling``: the hypervisors that tell themselves what is wrong on them.

    Each has the label ``host``, its hypervisor, and what is of a guest ``guest``. Hypervisors have exporters where ``hypervisor_metrics`` says so,
    guests with the service ``node_exporter``. What has no address is not asked.
    """
    found: dict[str, t.Any] = {"node": [], "libvirt": [], "http": [], "tcp": [], "telling": []}
    for name in sorted(hypervisors):
        variables = hostvars[name]
        if variables.get("hypervisor_notify"):
            found["telling"].append(name)
        if _is_true(variables.get("hypervisor_metrics")):
            address = str(variables.get("hypervisor_metrics_address") or variables.get("ansible_host") or name)
            found["node"].append(_target(address, NODE_PORT, host=name))
            found["libvirt"].append(_target(address, LIBVIRT_PORT, host=name))
    known = [guest for guest in sorted(guests, key=lambda guest: str(guest["name"])) if guest["addresses"]]
    for guest in known:
        name, address = str(guest["name"]), str(guest["addresses"][0])
        of = {"host": str(guest["hypervisor"]), "guest": name}
        if NODE_EXPORTER in _roles(name, hostvars[name]):
            port = hostvars[name].get("node_exporter_port") or NODE_PORT
            found["node"].append(_target(address, int(port), **of))
    offered = offers(
        {str(guest["name"]): hostvars[guest["name"]] for guest in known},
        {str(guest["name"]): guest["addresses"] for guest in known},
    )
    host_of = {str(guest["name"]): str(guest["hypervisor"]) for guest in known}
    for offer in offered:
        of = {"host": host_of[offer.guest], "guest": offer.guest, "service": offer.title}
        address = bracketed(str(offer.addresses[0]))
        if offer.http_port is not None:
            scheme = "https" if offer.http_port in _TLS_PORTS else "http"
            found["http"].append({"targets": [f"{scheme}://{address}:{offer.http_port}/"], "labels": of})
        elif offer.first_port is not None:
            found["tcp"].append({"targets": [f"{address}:{offer.first_port}"], "labels": of})
    return found


def _target(address: str, port: int, **labels: str) -> Target:
    return {"targets": [f"{bracketed(address)}:{port}"], "labels": labels}


def _roles(guest: str, variables: Variables) -> set[str]:
    """The services of *guest*; none of one whose services cannot be read, which fails by itself."""
    try:
        return {service.role for service in services_of(guest, variables)}
    except AnsibleFilterError:
        return set()


def _is_true(value: t.Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")
