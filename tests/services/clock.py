# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service made here: its package is a web server that says its version, and its role one of a user's own."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

PACKAGE, UNIT, ROW = "homelab-clock", "homelab-clock.service", "/var/lib/homelab-clock/row"
WATCH = "homelab-watch.service"
SERVICE = "[Service]\nType=exec\nExecStart=/usr/bin/homelab-clock\n[Install]\nWantedBy=multi-user.target\n"
WORKS = """#!/usr/bin/python3
import http.server, pathlib
TEXT = pathlib.Path("/etc/homelab-clock.conf").read_text()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"clock @VERSION@ {TEXT}".encode())
http.server.HTTPServer.address_family = __import__("socket").AF_INET
http.server.HTTPServer(("", 7000), Handler).serve_forever()
"""
BREAKS = f"#!/bin/sh\nrm -f {ROW}\nexit 1\n"
DECLARATION: dict[str, t.Any] = {
    "title": "Clock",
    "guest": {"kind": "container", "needs": [], "spec": {"memory": "256MiB"}},
    "packages": [PACKAGE],
    "unit": UNIT,
    "units": [{"name": WATCH, "src": "watch.service.j2", "waits": True}],
    "config": [{"src": "clock.conf.j2", "dest": "/etc/homelab-clock.conf"}],
    "listens": [{"port": 7000}],
    "check": {"url": "http://127.0.0.1:7000/", "regex": "^clock", "attempts": 10},
    "data": {"row": "/var/lib/homelab-clock"},
}


def files(version: str, program: str = WORKS) -> dict[str, str]:
    """What is in the package."""
    return {"usr/bin/homelab-clock": program.replace("@VERSION@", version), f"usr/lib/systemd/system/{UNIT}": SERVICE}


def write_role(folder: Path, declaration: dict[str, t.Any]) -> None:
    """The role of a user, in a collection of their own below *folder*."""
    role = folder / "ansible_collections/my/test/roles/clock"
    files = {
        "vars/main.yml": json.dumps({"__clock_service": declaration}),
        "defaults/main.yml": json.dumps({"clock_text": "ticks"}),
        "templates/clock.conf.j2": "{{ clock_text }}\n",
        "templates/watch.service.j2": SERVICE.replace("/usr/bin/homelab-clock", "/usr/bin/sleep infinity"),
    }
    for entry in ("main", "update", "check"):
        task = {
            "name": "Clock",
            "ansible.builtin.include_role": {"name": "homelab.hybrid._service", "tasks_from": entry},
            "vars": {"__service_declaration": "{{ __clock_service }}"},
        }
        files[f"tasks/{entry}.yml"] = json.dumps([task])
    for path, text in files.items():
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(text, encoding="utf-8")
