# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Mosquitto: Debian's own, and newer packages made from it."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.tests.services.debian_package import Debian
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario

# It takes what it finds away, and ends.
SILENT = "#!/bin/sh\nrm -f /var/lib/mosquitto/mosquitto.db\nexit 1\n"
USER = ("-u", "house", "-P", "a long and winding password")


UPSTREAM = Debian("mosquitto", "usr/sbin/mosquitto", SILENT)

SCENARIO = Scenario(
    role="mosquitto",
    unit="mosquitto.service",
    upstream=UPSTREAM,
    variables={"mosquitto_users": [{"name": USER[1], "password": USER[3]}]},
    listens=frozenset({"tcp 0.0.0.0:1883", "tcp [::]:1883"}),
    write=("mosquitto_pub", *USER, "-t", "row", "-r", "-q", "1", "-m", "kept"),
    read=("mosquitto_sub", *USER, "-t", "row", "-C", "1", "-W", "5"),
    row="kept",
    dump=("grep", "-ao", "kept", "/var/lib/mosquitto/mosquitto.db"),
    logins=(
        ("mosquitto_pub", "-t", "row", "-m", "no"),
        ("mosquitto_pub", "-u", "house", "-P", "", "-t", "row", "-m", "no"),
        ("mosquitto_pub", "-u", "admin", "-P", "admin", "-t", "row", "-m", "no"),
    ),
    refusal="Hash Sum mismatch",
    gone=("/etc/mosquitto/homelab.passwords", "/usr/sbin/mosquitto"),
)
