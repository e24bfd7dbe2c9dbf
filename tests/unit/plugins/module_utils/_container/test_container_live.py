# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running container has inside, from what ``ip`` answers to several questions at once."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import live

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
