# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``node`` runs in the image of Uptime Kuma, as a preset meets it: its server, and the two programs that the preset hands it.

As Uptime Kuma 2.5 has it: without a variable the first visitor chooses the database, and while it has no user the first one becomes it.
"""

from __future__ import annotations

import http.server
import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

DATABASE, OPEN = Path("/app/data/kuma.db"), Path("/app/data/open")
ADDRESS = "http://127.0.0.1:3001"


def users() -> int:
    if not DATABASE.exists():
        return 0
    return int(sqlite3.connect(DATABASE).execute("SELECT count(*) FROM user").fetchone()[0])


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = {"runningSetup": False, "needSetup": "UPTIME_KUMA_DB_TYPE" not in os.environ}
        self.say(200, json.dumps(told, separators=(",", ":")) if self.path == "/setup-database-info" else "dashboard")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if users():
            self.say(403, "it has been initialized")
            return
        with sqlite3.connect(DATABASE) as connection:
            connection.execute("INSERT INTO user VALUES (?, ?)", (body["username"], body["password"]))
        self.say(200, "successAdded")

    def say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


def serve() -> None:
    with sqlite3.connect(DATABASE) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS user (username text, password text)")
    host = os.environ.get("UPTIME_KUMA_HOST", "")
    if host != "127.0.0.1" and not users():
        OPEN.touch()
    http.server.ThreadingHTTPServer((host, 3001), Page).serve_forever()


def set_up() -> int:
    body = json.dumps({"username": os.environ["ADMIN_USER"], "password": os.environ["ADMIN_PASSWORD"]}).encode()
    for dummy in range(60):
        try:
            urllib.request.urlopen(f"{ADDRESS}/setup", body, timeout=5)
            return 0
        except urllib.error.HTTPError:
            return 1
        except OSError:
            time.sleep(0.5)
    return 1


if __name__ == "__main__":
    if sys.argv[1] == "server/server.js":
        serve()
    assert sys.argv[1] == "-e"
    sys.exit(set_up() if "socket.io-client" in sys.argv[2] else int(not users()))
