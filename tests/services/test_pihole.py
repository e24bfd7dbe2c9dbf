# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest in which Pi-hole would not start is refused before anything is done, check mode included."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services.pihole import SCENARIO


@pytest.fixture(autouse=True)
def _guest() -> t.Iterator[None]:
    try:
        guest.set_up("pihole.img")
        yield
    finally:
        guest.tear_down()


def test_a_guest_without_the_capabilities_of_its_unit_is_refused_with_their_names(tmp_path: Path) -> None:
    config = Path("/var/lib/lxc") / guest.NAME / "config"
    guest.run("lxc-stop", "-n", guest.NAME)
    config.write_text(config.read_text(encoding="utf-8") + "lxc.cap.drop = sys_time net_admin\n", encoding="utf-8")
    guest.run("lxc-start", "-n", guest.NAME)
    guest.inside("systemctl", "is-system-running", "--wait", check=False)
    lab = guest.Lab(tmp_path, SCENARIO.role, SCENARIO.variables)
    before = guest.inside("dpkg-query", "--show")
    for argv in (("--check",), ()):
        refused = lab.entry("main", *argv).failed()
        assert f"pihole: {guest.NAME} lacks CAP_NET_ADMIN, CAP_SYS_TIME, without which" in refused.said
    assert guest.inside("dpkg-query", "--show") == before
