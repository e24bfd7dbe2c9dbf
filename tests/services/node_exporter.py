# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of the node exporter, whose only data are those of the moment."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.tests.services.debian_package import Debian
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario

ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"

SCENARIO = Scenario(
    role="node_exporter",
    unit="prometheus-node-exporter.service",
    upstream=Debian("prometheus-node-exporter", "usr/bin/prometheus-node-exporter", "#!/bin/sh\nexit 1\n"),
    variables={
        "node_exporter_port": 9200,
        "node_exporter_arguments": ["--collector.disable-defaults", "--collector.uname"],
    },
    listens=frozenset({"tcp *:9200"}),
    write=("true",),
    read=("python3", "-c", ASK, "http://127.0.0.1:9200/metrics"),
    row="node_uname_info",
    logins=(),
    refusal="Hash Sum mismatch",
    gone=("/etc/default/prometheus-node-exporter", "/usr/bin/prometheus-node-exporter"),
)
