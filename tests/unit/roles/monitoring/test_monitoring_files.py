# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules and dashboards ask for what somebody measures."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from unit.tree import ROOT

from ansible_collections.homelab.hybrid.plugins.module_utils._backup import metrics as backups
from ansible_collections.homelab.hybrid.plugins.module_utils._core.exposition import PREFIX, Metric
from ansible_collections.homelab.hybrid.plugins.module_utils._notify import figures

ROLE = ROOT / "roles" / "monitoring"
RULES = ROLE / "templates" / "homelab.rules.yml.j2"
DASHBOARDS = sorted((ROLE / "files" / "dashboards").glob("*.json"))
# What exporters of others measure is asked of them where they run: tests/services/test_monitoring.py.
_OF_OTHERS = ("node_", "libvirt_", "probe_", "prometheus_", "alertmanager_")


def rules_text() -> str:
    """The file as Prometheus has it: nothing of it is filled in."""
    lines = RULES.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("{{", "{%")))


def rules() -> list[dict[str, t.Any]]:
    return [rule for group in yaml.safe_load(rules_text())["groups"] for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = json.loads(path.read_text(encoding="utf-8"))["panels"]
    return found


def queries(path: Path) -> list[str]:
    return [target["expr"] for panel in panels(path) for target in panel["targets"]]


def metrics_in(expression: str) -> set[str]:
    plain = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:homelab_hybrid|node|libvirt|probe|prometheus|alertmanager)_\w+", plain))


def measured() -> set[str]:
    """All that this collection measures."""
    parts = {
        "guest_": figures._OF_GUESTS,
        "container_": figures._OF_CONTAINERS,
        "pool_": figures._OF_POOLS,
        "unit_": figures._OF_UNITS,
        "": figures._OF_HOST,
        "backup_": (
            *backups._OF_GUESTS,
            *backups._OF_BACKUPS,
            *backups._OF_DRILLS,
            *backups._OF_RUNS,
            *backups._OF_VERIFICATIONS,
        ),
        "replication_": (*backups._OF_REPLICATIONS, *backups._OF_RUNS),
        "replica_": backups._OF_REPLICAS,
    }
    kinds: t.Mapping[str, t.Iterable[Metric]] = parts
    return {f"{PREFIX}{of}{kind.name}" for of, its in kinds.items() for kind in its}


def test_each_rule_asks_for_what_is_measured() -> None:
    for rule in rules():
        unknown = metrics_in(rule["expr"]) - measured()
        assert not [name for name in unknown if not name.startswith(_OF_OTHERS)], rule["alert"]


def test_what_a_host_tells_of_itself_is_marked() -> None:
    """So that it is not told twice."""
    marked = {rule["alert"] for rule in rules() if rule["labels"].get("of") == "host"}
    assert {"PoolFull", "BackupFailed", "BackupOverdue", "DrillFailed", "Drift", "NetworkChangeTakenBack"} <= marked
    assert not {"GuestDown", "HostDown", "ServiceSilent", "ExporterSilent"} & marked


def test_each_alert_says_in_a_sentence_what_is_wrong() -> None:
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["annotations"]["summary"][-1] not in ".!" and rule["labels"]["severity"] in ("warning", "critical")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_query_of_a_dashboard_asks_for_what_is_measured(path: Path) -> None:
    assert queries(path)
    for query in queries(path):
        unknown = metrics_in(query) - measured()
        assert not [name for name in unknown if not name.startswith(_OF_OTHERS)], query
        assert metrics_in(query) or "ALERTS" in query or "up{" in query, query


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_of_its_own(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) and board["uid"] == f"homelab-{path.stem}"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
