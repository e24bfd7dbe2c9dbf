# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all other guests have is read once for all plans of one look, and each plan leaves its own guest out."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import observe
from ansible_collections.homelab.hybrid.plugins.module_utils._container.config import Config
from ansible_collections.homelab.hybrid.plugins.module_utils._container.idmap import Range
from ansible_collections.homelab.hybrid.plugins.module_utils._container.observe import free_ids, read_host
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._host.lxc import Container
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host

CONFIG = """\
lxc.idmap = u 0 {start} 65536
lxc.net.0.hwaddr = 00:16:3E:00:00:0{number}
lxc.net.0.veth.pair = veth{number}
lxc.cgroup.cpuset.cpus = {number}
lxc.cgroup2.cpuset.cpus = {number}
"""


@pytest.fixture
def host() -> Host:
    """Two containers, and a record of a third whose root was kept."""
    host = Host()
    host.__dict__["containers"] = {
        name: Container(name, CONFIG.format(start=100000 * number, number=number))
        for number, name in ((1, "a"), (2, "b"))
    }
    kept = {"idmap": {"start": 300000, "count": 65536}, "macs": {"lan": "00:16:3e:00:00:03"}}
    host.__dict__["guest_records"] = {"c": Record("guests", "c", kept)}
    host.__dict__["link_names"] = frozenset({"eth0"})
    return host


def test_a_plan_knows_what_all_others_have(host):
    state = read_host("a", host)
    assert state.taken_ids == (Range(200000), Range(300000))
    assert state.taken_links == {"eth0", "veth2"}
    assert state.cpu_claims == ((2,),)
    assert read_host("c", host).taken_ids == (Range(100000), Range(200000))


def test_a_new_container_gets_ids_that_nobody_has_at_this_moment(host, monkeypatch):
    monkeypatch.setattr(observe, "read_containers", lambda: host.containers)
    monkeypatch.setattr(observe, "load_all", lambda kind: host.guest_records)
    monkeypatch.setattr(observe, "_subids", lambda: ("root:100000:655360\nme:365536:65536",) * 2)
    assert free_ids("new") == Range(431072)
    assert free_ids("a") == Range(100000)


def test_each_configuration_is_parsed_once_for_all_plans(host, monkeypatch):
    parsed = []
    parse = Config.parse
    monkeypatch.setattr(Config, "parse", lambda text, *others: parsed.append(text) or parse(text, *others))
    for name in ("a", "b", "c", "new"):
        read_host(name, host)
    assert len(parsed) == 2
