# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Mosquitto: Debian's own, and newer packages made from it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import debian_archive
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

# It takes what it finds away, and ends.
SILENT = "#!/bin/sh\nrm -f /var/lib/mosquitto/mosquitto.db\nexit 1\n"
USER = ("-u", "house", "-P", "a long and winding password")


def publish(suffix: str, program: str | None = None) -> str:
    """A newer version of Debian's package, with its daemon or with *program* instead."""
    # Debian's own is fetched once: later it is not the newest any more.
    guest.inside(
        "sh", "-c", "mkdir -p /srv/debian && cd /srv/debian && { test -e *.deb || apt-get -qq download mosquitto; }"
    )
    (found,) = (guest.rootfs() / "srv/debian").glob("mosquitto_*.deb")
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        subprocess.run(["dpkg-deb", "-R", str(found), name], check=True)
        control = tree / "DEBIAN" / "control"
        fields = dict(
            line.split(": ", 1) for line in control.read_text().splitlines() if line[0] != " " and ": " in line
        )
        version = fields["Version"] + suffix
        control.write_text(control.read_text().replace(f"Version: {fields['Version']}", f"Version: {version}"))
        if program:
            (tree / "usr/sbin/mosquitto").write_text(program)
        debian_archive.build(guest.rootfs(), tree, "mosquitto", version)
    return version


class Debian:
    """Nothing is pinned: a newer version is what the archive has when an update is asked for."""

    entry = "update"

    def first(self, releases: guest.Releases) -> Variables:
        return {}

    def turned(self, releases: guest.Releases) -> Variables:
        debian_archive.turn(guest.rootfs(), "mosquitto", publish("+test1"))
        return {}

    def silent(self, releases: guest.Releases) -> Variables:
        publish("+test2", SILENT)
        return {}


SCENARIO = Scenario(
    role="mosquitto",
    unit="mosquitto.service",
    upstream=Debian(),
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
