# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Zigbee2MQTT writes into its file outlives what the role declares there, and a broker that goes comes back to it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import zigbee2mqtt

SCENARIO = zigbee2mqtt.SCENARIO


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    with guest.served("zigbee2mqtt-settings.img", tmp_path) as releases:
        zigbee2mqtt.adapter()
        yield guest.Lab(tmp_path, SCENARIO.role, {**SCENARIO.variables, **SCENARIO.upstream.first(releases)})


def configuration() -> dict[str, t.Any]:
    found: dict[str, t.Any] = yaml.safe_load(guest.inside("cat", zigbee2mqtt.FILE))
    return found


def test_what_the_program_wrote_outlives_what_is_declared(lab: guest.Lab) -> None:
    lab.entry("main").succeeded()
    guest.inside(*SCENARIO.write)
    before = configuration()

    settings = {"advanced": {"channel": 15, "last_seen": "ISO_8601"}}
    checked = lab.entry("main", "--check", zigbee2mqtt_settings=settings).succeeded()
    assert checked.changed and configuration() == before
    lab.entry("main", zigbee2mqtt_settings=settings).succeeded()
    before["advanced"]["last_seen"] = "ISO_8601"
    assert configuration() == before and before["groups"], "the key of the network and the group among that"
    assert lab.entry("main", zigbee2mqtt_settings=settings).succeeded().changed == 0

    guest.inside("systemctl", "stop", "zigbee2mqtt.service", "mosquitto.service")
    said = lab.entry("main", "-e", "zigbee2mqtt_start_attempts=2").failed().said
    assert "bridge/state at mqtt://127.0.0.1:1883" in said and "Connection refused" in said, "it says what is missing"
    guest.inside("systemctl", "start", "mosquitto.service")
    guest.inside("sh", "-c", "for attempt in $(seq 60); do ss -Hltn | grep -q :8080 && exit; sleep 1; done; exit 1")
    assert zigbee2mqtt.said("zigbee2mqtt/bridge/state") == {"state": "online"}, "it went on trying"

    guest.inside("sh", "-c", f"systemctl stop zigbee2mqtt; : > {zigbee2mqtt.FILE}")
    assert "Bring it back from a backup" in lab.entry("main").failed().said
    assert guest.inside("cat", zigbee2mqtt.FILE) == "", "no network with another key"
