# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see at the front door while a service behind it is closed for its update."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest

SITES = [
    {"name": "films.test", "upstreams": ["http://127.0.0.1:9"], "tls": "off"},
    {"name": "music.test", "upstreams": ["http://127.0.0.1:80"]},
]
AUTHORITY = "/tmp/authority.crt"


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


def test_a_site_is_served_over_https_with_a_certificate_that_whoever_asks_can_trust(lab: guest.Lab) -> None:
    lab.entry("main").succeeded()
    at = ("--resolve", f"music.test:443:{guest.ADDRESS}", "--resolve", f"music.test:80:{guest.ADDRESS}")
    assert guest.run("curl", "-sS", *at, "https://music.test/", check=False) == "", (
        "it is nobody's that this host trusts"
    )
    page = (
        "--resolve",
        f"overview.home.arpa:80:{guest.ADDRESS}",
        "--resolve",
        f"overview.home.arpa:443:{guest.ADDRESS}",
    )
    guest.run("curl", "-sSf", "-o", AUTHORITY, *page, "http://overview.home.arpa/authority.crt")
    trusted = ("curl", "-sSi", "--cacert", AUTHORITY)
    assert "<title>Homelab" in guest.run(*trusted, *page, "https://overview.home.arpa/")
    # The server behind it is the proxy itself, which knows no such name on its plain port but to send it on.
    assert guest.run(*trusted, *at, "https://music.test/a?b").startswith("HTTP/2 308")
    sent = guest.run("curl", "-sSi", *at, "http://music.test/a?b")
    assert sent.startswith("HTTP/1.1 308 ") and "Location: https://music.test/a?b" in sent
    key = guest.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *page, "http://overview.home.arpa/root.key")
    assert key == "404"
    assert {"tcp *:80", "tcp *:443", "udp *:443"} <= guest.listeners()
    lab.entry("main", reverse_proxy_tls="off").succeeded()
    assert (
        not {"tcp *:443", "udp *:443"} & guest.listeners()
        and guest.status("test", "-e", "/run/homelab-overview/index.html") == 0
    )
