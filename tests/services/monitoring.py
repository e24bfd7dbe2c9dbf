# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Prometheus with Alertmanager: a figure of a moment that is past outlives what happens to the guest."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.tests.services.debian_package import Debian
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario

NAME, PASSWORD = "house", "a long and winding password"
# It takes what it finds away, and ends.
SILENT = "#!/bin/sh\nrm -rf /var/lib/prometheus/metrics2/*\nexit 1\n"
ASK = f"""\
import base64, json, pathlib, sys, time, urllib.error, urllib.request
moment = pathlib.Path("/root/moment")
def ask(path, login="{NAME}:{PASSWORD}"):
    given = {{"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}} if login else {{}}
    return urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:" + path, headers=given), timeout=10).read()
def found(at):
    told = json.loads(ask(f"9090/api/v1/query?query=up%7Bjob%3D%22alertmanager%22%7D&time={{at}}"))
    return [its["value"][1] for its in told["data"]["result"]]
if sys.argv[1] == "write":
    deadline = time.monotonic() + 120
    while found(time.time()) != ["1"]:
        assert time.monotonic() < deadline, "nothing is measured"
        time.sleep(1)
    moment.write_text(str(time.time()))
elif sys.argv[1] == "read":
    print("kept" if found(moment.read_text()) == ["1"] else "gone")
else:
    ask(*sys.argv[2:])
"""

SCENARIO = Scenario(
    role="monitoring",
    unit="prometheus.service",
    units=("prometheus-alertmanager.service", "prometheus-blackbox-exporter.service"),
    upstream=Debian("prometheus", "usr/bin/prometheus", SILENT),
    variables={"monitoring_interval": "5s", "monitoring_users": [{"name": NAME, "password": PASSWORD}]},
    listens=frozenset({"tcp *:9090", "tcp *:9093", "tcp 127.0.0.1:9115"}),
    write=("python3", "-c", ASK, "write"),
    read=("python3", "-c", ASK, "read"),
    row="kept",
    logins=tuple(
        ("python3", "-c", ASK, "ask", path, login)
        for path in ("9090/api/v1/status/config", "9093/api/v2/status")
        for login in ("", "admin:admin", f"{NAME}:")
    ),
    refusal="Hash Sum mismatch",
    refusals=(({"monitoring_users": [{"name": NAME, "password": "x" * 73}]}, "a password is longer than 72 bytes"),),
    gone=(
        "/etc/prometheus/prometheus.yml",
        "/etc/prometheus/web.yml",
        "/etc/homelab_hybrid/alerts",
        "/usr/bin/prometheus",
    ),
)
