# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host measures, judged by the parser of Prometheus' own client."""

from __future__ import annotations

from prometheus_client import parser

from ansible_collections.homelab.hybrid.plugins.module_utils._container.cgroup import cpu_seconds
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.conditions import Pool
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.figures import Guest, Measured, figures

WEB = Guest("web", "container", running=True, autostart=True, cpu=12.5, memory=1 << 20, memory_limit=None, processes=7)
NAS = Guest("nas", "vm", running=False, autostart=False)
POOL = Pool("main", 1000, 50)
WHOLE = Measured(1764300000.25, [WEB, NAS], [POOL], ["homelab-hybrid-backup@nightly.service"], 2, True, True)


def read(text: str) -> dict[tuple[str, ...], float]:
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name.removeprefix("homelab_hybrid_"), *sample.labels.values()] = sample.value
    return found


def test_all_that_is_known_is_told_and_nothing_else() -> None:
    assert read(figures(WHOLE)) == {
        ("guest_running", "web", "container"): 1,
        ("guest_running", "nas", "vm"): 0,
        ("guest_autostart", "web", "container"): 1,
        ("guest_autostart", "nas", "vm"): 0,
        ("container_cpu_seconds_total", "web"): 12.5,
        ("container_memory_bytes", "web"): 1 << 20,
        ("container_processes", "web"): 7,
        ("pool_capacity_bytes", "main"): 1000,
        ("pool_available_bytes", "main"): 50,
        ("pool_warn_bytes", "main"): 100,
        ("unit_failed", "homelab-hybrid-backup@nightly.service"): 1,
        ("drift_entries",): 2,
        ("switch_taken_back",): 1,
        ("restart_required",): 1,
        ("measured_timestamp_seconds",): 1764300000.25,
    }


def test_a_host_with_nothing_says_so() -> None:
    assert read(figures(Measured(1.0))) == {
        ("drift_entries",): 0,
        ("switch_taken_back",): 0,
        ("restart_required",): 0,
        ("measured_timestamp_seconds",): 1,
    }


def test_both_families_of_control_groups_say_how_long_processors_worked() -> None:
    assert cpu_seconds({"cpuacct.usage": "2500000000\n", "cpu.stat": "nr_periods 0\n"}) == 2.5
    assert cpu_seconds({"cpu.stat": "usage_usec 1500000\nuser_usec 1000000\n"}) == 1.5
    assert cpu_seconds({"cpu.stat": "nr_periods 0\n"}) is None
