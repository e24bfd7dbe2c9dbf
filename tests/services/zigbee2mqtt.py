# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Zigbee2MQTT: the real one of npm at the real Mosquitto of this collection, with what answers as an adapter does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import npm_registry
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

LOCK = guest.ROOT / "roles/zigbee2mqtt/files/package-lock-2.14.1.json"
STAND_IN = Path(__file__).parent / "stand_ins" / "zigate.py"
PORT = "/dev/serial/by-id/usb-ZiGate_stand_in-if00-port0"
FILE = "/var/lib/zigbee2mqtt/configuration.yaml"
TOKEN = "a long and winding token"
USERS = [
    {"name": "zigbee", "password": "the password of the adapter"},
    {"name": "house", "password": "the password of the house"},
]
# It takes what it finds away, and ends.
SILENT = "require('node:fs').rmSync('/var/lib/zigbee2mqtt/configuration.yaml');\nprocess.exit(1);\n"
ADAPTER = f"""[Unit]
Before=zigbee2mqtt.service
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/zigate.py {PORT} /usr/local/lib/zigate.json
[Install]
WantedBy=multi-user.target
"""


class Npm:
    """Versions are pinned: another one is wanted by its variable."""

    entry = "main"

    def first(self, releases: guest.Releases) -> Variables:
        registry = npm_registry.Registry(releases)
        for archive in npm_registry.collect(LOCK):
            registry.publish(archive)
        return {"zigbee2mqtt_registry_url": registry.url, "zigbee2mqtt_index_url": npm_registry.serve_node(releases)}

    def small(self, releases: guest.Releases, version: str) -> Variables:
        """A version that is a program of its own."""
        files = {
            "index.js": SILENT,
            "dist/util/settings.schema.json": "{}",
        }
        made = npm_registry.make(releases.folder / "made", "zigbee2mqtt", version, files, {"ajv": "*"})
        npm_registry.Registry(releases).publish(made)
        return {"zigbee2mqtt_version": version}

    def turned(self, releases: guest.Releases) -> Variables:
        variables = self.small(releases, "2.14.2")
        npm_registry.Registry(releases).turn("zigbee2mqtt", "2.14.2")
        return variables

    def silent(self, releases: guest.Releases) -> Variables:
        return self.small(releases, "2.14.3")


# Whether its page lets in who has this token.
LOGIN = """import socket, sys, urllib.parse
asked = socket.create_connection(("127.0.0.1", 8080), 5)
head = "GET /api?token=" + urllib.parse.quote(sys.argv[1]) + " HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
head += "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
asked.sendall(head.encode())
said = asked.makefile("rb")
while said.readline().strip():
    pass
sys.exit(said.read(1)[0] & 15 != 1)
"""
# What its onboarding would tell whoever asks.
ONBOARDING = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/data', timeout=10)"


def login(token: str) -> tuple[str, ...]:
    return ("/usr/bin/python3", "-c", LOGIN, token)


def adapter() -> None:
    """The adapter, and the Mosquitto of this collection, in a guest that trusts the index of these tests."""
    for path, text in (
        ("usr/local/lib/zigate.py", STAND_IN.read_text()),
        ("etc/systemd/system/zigate.service", ADAPTER),
    ):
        guest.inside("sh", "-euc", 'cat > "/$1" <<"END"\n' + text + "\nEND\n", "sh", path)
    guest.inside("systemctl", "enable", "--now", "zigate.service")
    npm_registry.configure({})
    with tempfile.TemporaryDirectory() as folder:
        guest.Lab(Path(folder), "mosquitto", {"mosquitto_users": USERS}).entry("main").succeeded()


def mqtt(program: str, *argv: str) -> tuple[str, ...]:
    return (program, "-h", "127.0.0.1", "-u", USERS[1]["name"], "-P", USERS[1]["password"], *argv)


def said(topic: str) -> object:
    return json.loads(guest.inside(*mqtt("mosquitto_sub", "-t", topic, "-C", "1", "-W", "10")))


def judge(address: str) -> None:
    """What another client of the broker hears, what lies in the file, and what merging leaves there."""
    assert said("zigbee2mqtt/bridge/state") == {"state": "online"}
    info = said("zigbee2mqtt/bridge/info")
    assert isinstance(info, dict)
    assert (info["version"], info["network"]["channel"]) == ("2.14.1", 15)
    assert info["coordinator"] == {
        "ieee_address": "0x00158d0000abcdef",
        "type": "zigate",
        "meta": info["coordinator"]["meta"],
    }
    written = yaml.safe_load(guest.inside("cat", FILE))
    assert len(written["advanced"]["network_key"]) == 16 and "GENERATE" not in str(written), "a network of its own"
    assert written["advanced"]["enable_external_js"] is False
    assert guest.inside("stat", "--format=%U %a", FILE) == "zigbee2mqtt 600"
    (runs,) = [
        line for line in guest.inside("ps", "-eo", "user:20,args").splitlines() if line.endswith("zigbee2mqtt/index.js")
    ]
    assert runs.startswith("zigbee2mqtt ")
    guest.inside(*login(TOKEN))


SCENARIO = Scenario(
    role="zigbee2mqtt",
    unit="zigbee2mqtt.service",
    upstream=Npm(),
    variables={
        "zigbee2mqtt_serial_port": PORT,
        "zigbee2mqtt_adapter": "zigate",
        "zigbee2mqtt_mqtt_server": "mqtt://127.0.0.1:1883",
        "zigbee2mqtt_mqtt_user": USERS[0]["name"],
        "zigbee2mqtt_mqtt_password": USERS[0]["password"],
        "zigbee2mqtt_token": TOKEN,
        "zigbee2mqtt_settings": {"advanced": {"channel": 15}},
    },
    listens=frozenset({"tcp 0.0.0.0:8080"}),
    # A group is what the program itself writes into its file.
    write=(
        "sh",
        "-euc",
        """
        topic=zigbee2mqtt/bridge/request/group/add
        mosquitto_pub "$@" -t $topic -m '{"friendly_name": "kept"}'
        for attempt in $(seq 50); do
          ! grep -q kept /var/lib/zigbee2mqtt/configuration.yaml || exit 0
          sleep 0.2
        done
        exit 1
    """,
        *mqtt("sh"),
    ),
    read=mqtt("mosquitto_sub", "-t", "zigbee2mqtt/bridge/groups", "-C", "1", "-W", "10"),
    row='"friendly_name":"kept"',
    logins=(login(""), login("admin"), ("/usr/bin/python3", "-c", ONBOARDING)),
    refusal="EINTEGRITY",
    gone=("/opt/zigbee2mqtt", "/etc/zigbee2mqtt/homelab.check/check.json"),
    judge=judge,
    prepare=adapter,
    refusals=(
        (
            {"zigbee2mqtt_serial_port": "/dev/serial/by-id/usb-other"},
            f"hlsv-guest has no /dev/serial/by-id/usb-other. It has {PORT}",
        ),
        ({"zigbee2mqtt_mqtt_server": "mosquitto"}, "'mosquitto' is no broker"),
        ({"zigbee2mqtt_version": "latest"}, "zigbee2mqtt latest: write the version"),
        (
            {"zigbee2mqtt_settings": {"advanced": {"channel": "many", "chanel": 20}}},
            "does not take it: advanced.channel must be number, there is no advanced.chanel",
        ),
    ),
)
