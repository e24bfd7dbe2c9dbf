# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OPNsense has, compared with what it should have."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.compare import (
    KINDS,
    difference,
    requests,
    search_path,
    update_step,
)

HOSTS = next(kind for kind in KINDS if kind.name == "dhcp_hosts")
NAS = {"host": "nas", "ip": "10.1.0.5", "hwaddr": "52:54:00:aa:bb:cc", "descr": "nas (homelab.hybrid)"}


def row(number, item, **more):
    return {"uuid": f"u{number}", "ignore": "0", **item, **more}


def test_what_is_there_is_left_alone():
    assert requests(HOSTS, [NAS], [row(1, NAS), row(2, {**NAS, "descr": "somebody's"})]) == []
    assert requests(HOSTS, [NAS], [row(1, {**NAS, "hwaddr": NAS["hwaddr"].upper()})]) == []


def test_what_is_not_ours_is_never_taken_away():
    """Neither what has no mark, nor what OPNsense makes by itself and has no name of its own."""
    assert requests(HOSTS, [], [row(1, {**NAS, "descr": "nas"}), {**NAS}]) == []


def test_what_is_missing_is_made_and_what_is_no_longer_declared_goes_first():
    old = {**NAS, "descr": "old (homelab.hybrid)"}
    gone, new = requests(HOSTS, [NAS], [row(7, old)])
    assert (gone.path, gone.body, gone.says) == ("dnsmasq/settings/del_host/u7", {}, "dhcp_hosts[old] goes")
    assert (new.path, new.body) == ("dnsmasq/settings/add_host", {"host": NAS})


def test_only_what_differs_is_told():
    (changed,) = requests(HOSTS, [NAS], [row(3, {**NAS, "ip": "10.1.0.9"}, lease_time="")])
    assert (changed.path, changed.says) == ("dnsmasq/settings/set_host/u3", "dhcp_hosts[nas]: ip")
    assert (changed.before, changed.after) == ({"ip": "10.1.0.9"}, {"ip": "10.1.0.5"})
    shown = {"before": "dhcp_hosts[nas].ip: 10.1.0.9\n", "after": "dhcp_hosts[nas].ip: 10.1.0.5\n"}
    assert difference([changed]) == shown


def test_one_that_a_killed_run_made_twice_is_there_once():
    (gone,) = requests(HOSTS, [NAS], [row(1, NAS), row(2, NAS)])
    assert gone.path == "dnsmasq/settings/del_host/u2"


def test_a_kind_is_searched_where_it_is_changed():
    assert search_path(HOSTS) == "dnsmasq/settings/search_host"


@pytest.mark.parametrize(
    ("status", "step"), [("none", "nothing"), ("update", "update"), ("upgrade", "upgrade"), ("error", "error")]
)
def test_an_update_is_what_its_own_status_says(status, step):
    assert update_step({"status": status}) == step
    assert update_step({}) == "nothing"
