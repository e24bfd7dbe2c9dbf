# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see at the front door while a service behind it is closed for its update."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest

SITES = [{"name": "films.test", "upstreams": ["http://127.0.0.1:9"]}]


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[guest.Lab]:
    try:
        guest.set_up("proxy.img")
        yield guest.Lab(tmp_path, "reverse_proxy", {"reverse_proxy_sites": SITES})
    finally:
        guest.tear_down()


def test_a_site_whose_service_does_not_answer_says_to_come_back(lab: guest.Lab) -> None:
    lab.entry("main").succeeded()
    said = guest.run("curl", "-sSi", "-H", "Host: films.test", f"http://{guest.ADDRESS}/")
    assert said.startswith("HTTP/1.1 503 ") and "Retry-After: 60" in said
    assert "films.test is being updated, or does not run." in said
    assert lab.entry("main").succeeded().changed == 0
