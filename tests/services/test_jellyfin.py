# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role jellyfin on a real Debian 13 under systemd, with a stand-in of upstream's archive, judged by a client that others wrote."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import aiohttp
import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import jellyfin

ADMIN, ALICE = jellyfin.ADMIN, "alice's own password"


def ask(method: str, path: str, body: str = "") -> t.Any:
    """What the API answers the administrator, in the guest."""
    return json.loads(guest.inside(*jellyfin.call(method, path, body)))


@pytest.fixture
def served(tmp_path: Path) -> t.Iterator[tuple[jellyfin.Archive, dict[str, t.Any]]]:
    """The archive with one version, and the variables that lead to it."""
    guest.set_up("jellyfin.img")
    releases = guest.Releases(tmp_path / "releases")
    archive = jellyfin.Archive(releases.folder)
    try:
        archive.publish("10.11.3", 11)
        for folder in ("films", "more films", "music"):
            guest.inside("mkdir", "-p", f"/media/{folder}")
        yield (
            archive,
            {
                **archive.variables(releases.url),
                "jellyfin_administrator": {"name": "admin", "password": ADMIN},
                "jellyfin_server_name": "films of the lab",
                "jellyfin_known_proxies": ["10.93.64.2"],
                "jellyfin_libraries": [
                    {"name": "Films", "type": "movies", "paths": ["/media/films"]},
                    {"name": "Music", "type": "music", "paths": ["/media/music"]},
                ],
                "jellyfin_users": [{"name": "alice", "password": ALICE, "libraries": ["Films"]}, {"name": "bob"}],
                "jellyfin_start_seconds": 20,
            },
        )
    finally:
        archive.close()
        releases.close()
        guest.tear_down()


def test_jellyfin_is_configured_by_its_api(served: tuple[jellyfin.Archive, dict[str, t.Any]], tmp_path: Path) -> None:
    archive, variables = served
    before = guest.listeners()
    lab = guest.Lab(tmp_path, "jellyfin", variables)

    checked = lab.entry("main", "--check").succeeded()
    assert checked.changed and guest.status("test", "-e", "/etc/apt/sources.list.d/jellyfin.sources") != 0
    refused = lab.entry("main", jellyfin_apt_key_fingerprint="0" * 40).failed()
    assert archive.fingerprint in refused.said and guest.status("test", "-e", "/etc/apt/keyrings/jellyfin.asc") != 0

    lab.entry("main").succeeded()
    lab.entry("main").unchanged()
    lab.entry("main", "--check").unchanged()
    assert guest.listeners() - before == {"tcp 0.0.0.0:8096"}

    # As another machine sees it.
    assert jellyfin.seen_by(guest.ADDRESS, "admin", ADMIN) == ["Films", "Music"]
    assert jellyfin.seen_by(guest.ADDRESS, "alice", ALICE) == ["Films"]
    secret = guest.inside("cat", "/var/lib/homelab_hybrid/secrets/jellyfin/bob")
    assert jellyfin.seen_by(guest.ADDRESS, "bob", secret) == ["Films", "Music"]
    assert guest.inside("stat", "-c", "%a %U", "/var/lib/homelab_hybrid/secrets/jellyfin/bob") == "600 root"
    for password in ("", "admin", "password", "jellyfin"):
        with pytest.raises(aiohttp.ClientResponseError):
            jellyfin.seen_by(guest.ADDRESS, "admin", password)
    assert ask("GET", "/System/Configuration")["ServerName"] == "films of the lab"
    assert ask("GET", "/System/Configuration/network")["KnownProxies"] == ["10.93.64.2"]

    # What a person changed in it: what is declared comes back, what is not stays.
    ask("POST", "/Users/New", json.dumps({"Name": "carol"}))
    users = {user["Name"]: user for user in ask("GET", "/Users")}
    ask(
        "POST",
        f"/Users/{users['alice']['Id']}/Policy",
        json.dumps({**users["alice"]["Policy"], "EnableAllFolders": True}),
    )
    ask("POST", f"/Users/Password?userId={users['alice']['Id']}", json.dumps({"NewPw": "another"}))
    ask("POST", f"/Users/Password?userId={users['bob']['Id']}", json.dumps({"NewPw": "chosen by bob"}))
    changed = lab.entry("main", "--check").succeeded()
    assert (
        changed.changed == 1
        and "user alice: another password" in changed.said
        and "user alice: its libraries" in changed.said
    )
    lab.entry("main").succeeded()
    assert jellyfin.seen_by(guest.ADDRESS, "alice", ALICE) == ["Films"]
    assert jellyfin.seen_by(guest.ADDRESS, "bob", "chosen by bob") == ["Films", "Music"]
    assert "carol" in {user["Name"] for user in ask("GET", "/Users")}

    # Another inventory.
    later: dict[str, t.Any] = {
        "jellyfin_libraries": [
            {"name": "Films", "type": "movies", "paths": ["/media/more films"]},
            {"name": "Music", "state": "absent"},
            {"name": "Photos", "type": "homevideos", "paths": ["/media/films"]},
        ],
        "jellyfin_users": [
            {"name": "alice", "password": ALICE, "libraries": ["Photos"]},
            {"name": "carol", "state": "absent"},
        ],
        "jellyfin_discovery": True,
        "jellyfin_known_proxies": ["10.93.64.3"],
    }
    closed = lab.entry("main", jellyfin_libraries=[{"name": "Films", "type": "movies", "paths": ["/root"]}]).failed()
    assert "cannot read /root" in closed.said
    lab.entry("main", **later).succeeded()
    assert lab.entry("main", **later).succeeded().changed == 0
    assert guest.listeners() - before == {"tcp 0.0.0.0:8096", "udp 0.0.0.0:7359"}
    folders = {each["Name"]: each["Locations"] for each in ask("GET", "/Library/VirtualFolders")}
    assert folders == {"Films": ["/media/more films"], "Photos": ["/media/films"]}
    assert jellyfin.seen_by(guest.ADDRESS, "alice", ALICE) == ["Photos"]
    assert {user["Name"] for user in ask("GET", "/Users")} == {"admin", "alice", "bob"}

    guest.inside("systemctl", "stop", "jellyfin")
    assert lab.entry("main", **later).succeeded().changed, "what was stopped is healed, and told"

    # Another version.
    archive.publish("10.11.4", 12)
    assert "has no jellyfin-server 10.11.9" in lab.entry("main", **later, jellyfin_version="10.11.9").failed().said
    assert "10.11.4 then" in lab.entry("main", "--check", **later, jellyfin_version="10.11.4").succeeded().said
    lab.entry("main", **later, jellyfin_version="10.11.4").succeeded()
    assert lab.entry("main", **later, jellyfin_version="10.11.4").succeeded().changed == 0
    assert ask("GET", "/System/Info")["Version"] == "10.11.4"

    lab.entry("remove").succeeded()
    assert guest.listeners() == before
    assert guest.status("systemctl", "cat", "jellyfin.service") != 0
    assert guest.status("test", "-e", "/etc/apt/sources.list.d/jellyfin.sources") != 0
    assert guest.status("test", "-e", "/var/lib/jellyfin/data/jellyfin.db") == 0, "its data stays"
