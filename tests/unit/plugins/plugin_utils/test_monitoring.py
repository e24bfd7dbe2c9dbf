# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Prometheus asks is what the inventory has."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.plugin_utils._monitoring import monitoring_targets

HOSTS: dict[str, dict[str, t.Any]] = {
    "alpha": {"hypervisor_metrics": True, "ansible_host": "10.0.0.1", "hypervisor_notify": [{"name": "phone"}]},
    "beta": {"hypervisor_metrics": True, "ansible_host": "beta.example.net", "hypervisor_metrics_address": "fd00::2"},
    "gamma": {},
    "broker": {"guest_services": ["mosquitto", "node_exporter"], "node_exporter_port": 9200},
    "names": {"guest_services": ["adguard_home"]},
    "bare": {},
    "wrong": {"guest_services": ["no_such_role"]},
    "away": {"guest_services": ["mosquitto"]},
}


def guest(name: str, *addresses: str) -> dict[str, t.Any]:
    return {"name": name, "hypervisor": "alpha", "addresses": list(addresses)}


GUESTS = [
    guest("names", "10.0.1.3", "fd00::3"),
    guest("broker", "10.0.1.2"),
    guest("bare", "10.0.1.4"),
    guest("wrong", "10.0.1.5"),
    guest("away"),
]
FOUND = monitoring_targets(GUESTS, HOSTS, ["beta", "gamma", "alpha"])


def asked(kind: str) -> dict[str, dict[str, str]]:
    return {target: its["labels"] for its in FOUND[kind] for target in its["targets"]}


def test_hypervisors_that_measure_themselves_are_asked_and_no_others() -> None:
    assert asked("libvirt") == {"10.0.0.1:9177": {"host": "alpha"}, "[fd00::2]:9177": {"host": "beta"}}


def test_guests_with_an_exporter_are_asked_at_its_port() -> None:
    assert asked("node") == {
        "10.0.0.1:9100": {"host": "alpha"},
        "[fd00::2]:9100": {"host": "beta"},
        "10.0.1.2:9200": {"host": "alpha", "guest": "broker"},
    }


def test_services_are_asked_where_they_answer() -> None:
    assert asked("http") == {"http://10.0.1.3:80/": {"host": "alpha", "guest": "names", "service": "AdGuard Home"}}
    assert asked("tcp") == {"10.0.1.2:1883": {"host": "alpha", "guest": "broker", "service": "Mosquitto"}}


def test_hypervisors_that_tell_somebody_are_known() -> None:
    assert FOUND["telling"] == ["alpha"]
