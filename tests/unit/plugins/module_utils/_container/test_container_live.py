# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running container has inside, from what ``ip`` answers to several questions at once."""

from __future__ import annotations

import os
import types
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import cgroup, live

LINKS = '[{"ifname": "lo"}, {"ifname": "eth0", "addr_info": []}]'
ROUTES = """[{"dst": "default", "dev": "eth0", "gateway": "192.0.2.1"},
{"dst": "default", "dev": "eth0", "gateway": "192.0.2.2", "table": "100"},
{"dst": "default", "dev": "eth0", "gateway": "2001:db8::1", "table": "main"}]"""


@pytest.fixture
def ip(monkeypatch):
    """Has ``ip`` answer with what a test sets."""

    def answer(text: str) -> None:
        monkeypatch.setattr(live.command, "run", lambda argv, **given: text)

    return answer


@pytest.mark.parametrize(("is_v2", "asked"), [(True, cgroup.V2_ITEMS), (False, cgroup.V1_ITEMS)])
def test_the_monitor_is_asked_for_the_control_groups_that_the_host_has(monkeypatch, is_v2, asked):
    questions = []
    container = types.SimpleNamespace(
        init_pid=os.getpid(), get_cgroup_item=lambda item: questions.append(item) or "1", name="web"
    )
    monkeypatch.setattr(live, "in_namespaces", lambda *given, **more: {"links": [], "routes": [], "hostname": "web"})
    found = live.observe(container, {}, {}, is_v2=is_v2)
    assert questions == [*asked, "memory.stat"] and set(found.limits) == set(asked)


def test_links_and_the_ways_out_of_both_families_are_told_apart(ip):
    ip(f"{LINKS}\n{ROUTES}\n")
    seen = live._look_inside()
    assert [link["ifname"] for link in seen["links"]] == ["lo", "eth0"]
    assert [route["gateway"] for route in seen["routes"]] == ["192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize("text", [f"{LINKS}\n[ ]\n", f"{LINKS}\n", f"\n{LINKS}[]"])
def test_a_container_without_a_way_out_has_its_links(ip, text):
    ip(text)
    assert (len(live._look_inside()["links"]), live._look_inside()["routes"]) == (2, [])


def test_a_container_without_a_network_is_told_as_such(ip):
    ip("[]\n[]\n")
    assert (live._look_inside()["links"], live._look_inside()["routes"]) == ([], [])


def test_a_folder_of_an_nfs_mount_is_known_by_what_the_kernel_calls_its_source(tmp_path: Path) -> None:
    """As Linux 6.12 wrote it: of NFS every root is ``/``."""
    line = "{} 130 0:68 / {} rw,relatime shared:2 master:9 - nfs4 10.88.0.5:/export{} rw,vers=4.2\n"
    folder = tmp_path / "media"
    (folder / "films").mkdir(parents=True)
    (tmp_path / "host").write_text(f"1 0 254:0 / / rw - ext4 /dev/vda rw\n{line.format(2, folder, '')}")
    (tmp_path / "inside").write_text(line.format(3, "/films", "/films"))
    wanted = live.place_of(str(folder / "films"), live.mounts_of(str(tmp_path / "host")))
    assert wanted == "0:68 10.88.0.5:/export/films"
    assert live.mounts_of(str(tmp_path / "inside"))["/films"].place == wanted
    # Lines without their second half are of tests alone.
    (tmp_path / "short").write_text("1 0 254:0 /a /b rw\n")
    assert live.mounts_of(str(tmp_path / "short"))["/b"].place == "254:0 /a"
