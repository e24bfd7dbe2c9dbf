# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that is a program of Python, in a collection of a user: each version in a virtual environment of its own."""

from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import wheels

ROLE = Path("ansible_collections/my/home/roles/clock")
SERVER = """import http.server
import dial

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"clock VERSION " + dial.FACE)

def main():
    http.server.HTTPServer(("127.0.0.1", 8091), Page).serve_forever()
"""
SILENT = "def main():\n    raise SystemExit(1)\n"
DECLARATION = {
    "title": "Clock",
    "description": "What time it is",
    "version": "{{ clock_version }}",
    "virtualenv": {
        "requirements": "{{ clock_requirements }}",
        "constraints": "{{ clock_constraints | default([]) }}",
        "checksum": "{{ clock_checksum | default('') }}",
        "index_url": "{{ clock_index_url }}",
        "environment": {"PIP_TRUSTED_HOST": guest.GATEWAY},
    },
    "user": "clock",
    "unit": {"name": "clock.service", "command": "/opt/clock/current/venv/bin/clock"},
    "listens": [{"port": 8091, "address": "127.0.0.1"}],
    "check": {"url": "http://127.0.0.1:8091/", "regex": "clock"},
}


@pytest.fixture
def releases(tmp_path: Path) -> t.Iterator[guest.Releases]:
    with guest.served("clock.img", tmp_path) as served:
        yield served


def write_role(folder: Path) -> None:
    main = {"name": "Clock", "ansible.builtin.include_role": {"name": "homelab.hybrid._service"}}
    main["vars"] = {"__service_declaration": "{{ __clock_service }}"}
    for path, content in (("vars/main.yml", {"__clock_service": DECLARATION}), ("tasks/main.yml", [main])):
        (folder / ROLE / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / ROLE / path).write_text(json.dumps(content), encoding="utf-8")


def answer() -> str:
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8091/').read().decode())"
    return guest.inside("python3", "-c", ask)


def tree() -> str:
    return guest.inside("sh", "-c", "find /opt /etc/systemd/system /var/cache/homelab_hybrid | sort")


def wanted(version: str, *requirements: str, **variables: t.Any) -> dict[str, t.Any]:
    return {"clock_version": version, "clock_requirements": list(requirements), **variables}


def test_each_version_has_a_virtual_environment_of_its_own(releases: guest.Releases, tmp_path: Path) -> None:
    index, made = wheels.Index(releases.folder), tmp_path / "wheels"

    def clock(version: str, program: str = SERVER) -> str:
        files = {"clock.py": program.replace("VERSION", version)}
        return index.publish(wheels.make(made, "clock", version, files, ["dial"], {"clock": "clock:main"}))

    dial = index.publish(wheels.make(made, "dial", "1.0", {"dial.py": 'FACE = b"round"\n'}))
    index.publish(wheels.make(made, "dial", "2.0", {"dial.py": 'FACE = b"square"\n'}))
    write_role(tmp_path)
    lab = guest.Lab(tmp_path, "my.home.clock", {"clock_index_url": f"{releases.url}/simple"})

    # What has no hash is resolved, within its constraints, and noted.
    first, fresh = clock("1.0"), tree()
    loose = wanted("1.0", "clock==1.0", clock_constraints=["dial<2"])
    assert lab.entry("main", "--check", **loose).succeeded().changed and tree() == fresh
    lab.entry("main", **loose).succeeded()
    assert answer() == "clock 1.0 round"
    noted = guest.inside("cat", "/opt/clock/current/venv/resolved.txt")
    assert noted == f"{first}\n{dial}"
    assert lab.entry("main", **loose).succeeded().changed == 0
    assert lab.entry("main", "--check", **loose).succeeded().changed == 0

    # What has a hash is that one, and what it was resolved to may be held to a checksum.
    stood = tree()
    second = clock("1.1")
    refused = lab.entry("main", **wanted("1.1", second)).failed()
    assert "must have their versions pinned" in refused.said, "what it needs has no hash"
    refused = lab.entry("main", **wanted("1.1", "clock==1.1", clock_checksum="sha256:" + "0" * 64)).failed()
    assert "clock==1.1, dial==2.0" in refused.said
    index.turn("clock-1.1-py3-none-any.whl")
    for requirement in (second, "clock==1.1"):
        refused = lab.entry("main", **wanted("1.1", requirement, dial)).failed()
        assert "DO NOT MATCH THE HASHES" in refused.said, refused.printed[-4000:]
    assert tree() == stood and answer() == "clock 1.0 round", "refused before anything is installed"

    third = clock("1.2")
    both = hashlib.sha256(third.encode()).hexdigest()
    lab.entry("main", **wanted("1.2", dial, "clock==1.2", clock_checksum=f"sha256:{both}")).succeeded()
    assert answer() == "clock 1.2 round", "what is verified stays, though there is a newer one"
    assert guest.inside("ls", "/opt/clock").split() == ["1.0", "1.2", "current"]

    clock("1.3", SILENT)
    failed = lab.entry("main", "-e", '{"__service_door_attempts": 3}', **wanted("1.3", "clock==1.3")).failed()
    assert "went back" in failed.said, failed.printed[-4000:]
    assert answer() == "clock 1.2 round"
