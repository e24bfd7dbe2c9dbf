# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab that is watched: what its inventory has is asked, and what goes wrong is told to whom its hypervisor tells it."""

from __future__ import annotations

import json
import typing as t
import urllib.parse
from pathlib import Path

import pytest
from unit.roles.monitoring.test_monitoring_files import DASHBOARDS, metrics_in, queries, rules

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import service_lab
from ansible_collections.homelab.hybrid.tests.harness.listeners import Listener, listening
from ansible_collections.homelab.hybrid.tests.harness.service_lab import in_guest, on_host

GUESTS: dict[str, service_lab.Variables] = {
    "watch": {"guest_services": ["monitoring", "node_exporter"], "monitoring_interval": "5s"},
    "broker": {"guest_services": ["mosquitto"]},
}
METRICS = "/var/lib/prometheus/node-exporter"
# Written by hand, as the host and its backups write it: of two files that tell one figure in other words the exporter takes one.
WRONG = """\
# HELP homelab_hybrid_pool_available_bytes How much of the storage pool is free.
# TYPE homelab_hybrid_pool_available_bytes gauge
# HELP homelab_hybrid_pool_warn_bytes How much of the storage pool should be free.
# TYPE homelab_hybrid_pool_warn_bytes gauge
homelab_hybrid_pool_available_bytes{pool="bulk"} 1
homelab_hybrid_pool_warn_bytes{pool="bulk"} 1000
homelab_hybrid_backup_job_due_timestamp_seconds{job="nightly",repository="nas"} 1000
homelab_hybrid_backup_guest_jobs{guest="nas",kind="vm"} 1
"""
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
ALERT_SECONDS = 600


@pytest.fixture
def heard() -> t.Iterator[Listener]:
    """Whom the hypervisor tells, beside a hypervisor that has nothing yet."""
    try:
        service_lab.set_up()
        with listening(service_lab.GATEWAY) as listener:
            yield listener
    finally:
        service_lab.tear_down()


def ask(url: str) -> str:
    return in_guest("watch", "python3", "-c", ASK, url)


def groups_of(unit: str) -> list[str]:
    """The groups of the process of *unit* on the hypervisor, by number."""
    pid = on_host("systemctl", "show", "--property=MainPID", "--value", unit)
    lines = on_host("cat", f"/proc/{pid}/status").splitlines()
    return [word for line in lines if line.startswith(("Gid:", "Groups:")) for word in line.split()[1:]]


def ask_beside() -> str:
    return on_host("python3", "-c", ASK, "http://127.0.0.1:9178/metrics", check=False)


def write(path: str, text: str) -> None:
    in_guest("watch", "sh", "-c", 'printf "%s" "$2" > "$1"', "sh", path, text)


def figures(query: str) -> dict[tuple[str, ...], float]:
    """What Prometheus tells, by the labels without the name of the address that was asked."""
    told = json.loads(ask(f"http://127.0.0.1:9090/api/v1/query?query={urllib.parse.quote(query)}"))
    return {
        tuple(value for key, value in sorted(its["metric"].items()) if key not in ("__name__", "instance")): float(
            its["value"][1]
        )
        for its in told["data"]["result"]
    }


def firing() -> dict[str, dict[str, str]]:
    """The alerts that Alertmanager has, by their names."""
    return {its["labels"]["alertname"]: its["labels"] for its in json.loads(ask("http://127.0.0.1:9093/api/v2/alerts"))}


def said(heard: Listener) -> str:
    return "\n".join(its.body["text"] for its in heard.heard)


def test_a_lab_is_watched_and_what_goes_wrong_is_told(heard: Listener, tmp_path: Path) -> None:
    lab = service_lab.Lab(tmp_path, GUESTS)
    hook = {"name": "hook", "type": "webhook", "url": f"{heard.url}/hook"}
    more = ("-e", json.dumps({"hypervisor_metrics": True, "hypervisor_notify": [hook]}))
    lab.play("site", *more).succeeded()
    again = lab.play("site", *more).succeeded()
    assert again.changed == 0, again.changes

    up = {("alpha", "node"): 1, ("alpha", "libvirt"): 1, ("watch", "alpha", "node"): 1}
    wait_until("the exporters", lambda: figures('up{host="alpha",job=~"node|libvirt"}') == up, timeout_seconds=180)
    services = {("broker", "alpha", "tcp", "Mosquitto"): 1, ("watch", "alpha", "http", "Prometheus"): 1}
    wait_until("the services", lambda: figures("probe_success") == services, timeout_seconds=60)
    running = {("broker", "alpha", "node", "container"): 1, ("watch", "alpha", "node", "container"): 1}
    wait_until("the guests", lambda: figures("homelab_hybrid_guest_running") == running, timeout_seconds=180)
    assert figures('homelab_hybrid_container_memory_bytes{guest="broker"}') != {}
    for unit in ("prometheus-node-exporter", "prometheus-libvirt-exporter"):
        assert on_host("getent", "group", "libvirt").split(":")[2] not in groups_of(unit), "it may only ask libvirt"
        journal = on_host("journalctl", "--no-pager", "--unit", unit)
        assert "collector failed" not in journal and "error gathering" not in journal

    # No virtual machine runs here: libvirt's own driver for tests has one.
    beside = ["prometheus-libvirt-exporter", "--web.listen-address=127.0.0.1:9178", "--libvirt.uri=test:///default"]
    on_host("systemd-run", "--quiet", "--unit=machines", *beside)
    machines = wait_until("libvirt's figures", ask_beside, timeout_seconds=60)
    asked = {name for rule in rules() for name in metrics_in(rule["expr"])}
    asked |= {name for path in DASHBOARDS for query in queries(path) for name in metrics_in(query)}
    known = set(json.loads(ask("http://127.0.0.1:9090/api/v1/label/__name__/values"))["data"])
    others = {name for name in asked if not name.startswith("homelab_hybrid_")}
    # A container is shown no disks.
    disks = "" if on_host("cat", "/proc/diskstats") else "node_disk_"
    missing = {name for name in others - known if name not in machines and not (disks and name.startswith(disks))}
    assert missing == set()

    on_host("sh", "-c", f'printf "%s" "$1" > {METRICS}/test.prom', "sh", WRONG)
    on_host("lxc-stop", "-n", "broker")
    wanted = {"GuestDown", "PoolFull", "BackupOverdue"}
    wait_until("the alerts", lambda: wanted <= firing().keys(), timeout_seconds=ALERT_SECONDS)
    assert firing()["GuestDown"]["guest"] == "broker" and "told_by_host" not in firing()["GuestDown"]
    assert firing()["PoolFull"]["told_by_host"] == firing()["BackupOverdue"]["told_by_host"] == "true"
    sentence = "broker does not run on alpha, and starts with it"
    wait_until("the word", lambda: sentence in said(heard), timeout_seconds=150)
    assert "bulk" not in said(heard) and "nightly" not in said(heard), "what a host tells of itself is not told twice"

    on_host("rm", f"{METRICS}/test.prom")
    on_host("lxc-start", "-n", "broker")
    wait_until("the end of it", lambda: f"Over: {sentence}" in said(heard), timeout_seconds=ALERT_SECONDS)

    write("/root/homelab.rules.yml", in_guest("watch", "cat", "/etc/prometheus/homelab.rules.yml") + "\n")
    write("/root/rules_cases.yml", (service_lab.ROOT / "tests/services/rules_cases.yml").read_text(encoding="utf-8"))
    in_guest("watch", "sh", "-c", "cd /root && promtool test rules rules_cases.yml")

    off = ("-e", json.dumps({"hypervisor_metrics": False, "hypervisor_notify": [hook]}))
    lab.play("hypervisors", *off).succeeded()
    for unit in ("prometheus-node-exporter", "prometheus-libvirt-exporter", "homelab-hybrid-metrics.timer"):
        assert on_host("systemctl", "is-active", unit, check=False) == "inactive", unit
    assert lab.play("hypervisors", *off).succeeded().changed == 0
