# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nextcloud's image as a preset meets it: ``install``, ``serve`` and ``occ ...`` with the PostgreSQL of its variables.

As the image of Nextcloud 34 has it: it installs where there is no version.php, and only then; without an installation its page makes
whoever comes first the administrator; it answers names that it trusts, and localhost.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
from pathlib import Path

import psycopg2

HTML = Path("/var/www/html")
CONFIG, VERSION = HTML / "config" / "config.php", HTML / "version.php"
MAINTENANCE, OPEN = HTML / "config" / "maintenance", HTML / "open"


def database() -> psycopg2.extensions.connection:
    names = {"host": "POSTGRES_HOST", "dbname": "POSTGRES_DB", "user": "POSTGRES_USER", "password": "POSTGRES_PASSWORD"}
    return psycopg2.connect(**{key: os.environ[name] for key, name in names.items()})


def install() -> None:
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    VERSION.write_text("34.0.4\n")
    with database() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS oc_users (uid text PRIMARY KEY, password text NOT NULL)")
        user = (os.environ["NEXTCLOUD_ADMIN_USER"], os.environ["NEXTCLOUD_ADMIN_PASSWORD"])
        cursor.execute("INSERT INTO oc_users VALUES (%s, %s) ON CONFLICT DO NOTHING", user)
    CONFIG.write_text("<?php\n$CONFIG = array (\n  'installed' => true,\n);\n")


def occ(command: str, option: str) -> None:
    assert command == "maintenance:mode"
    if option == "--on":
        MAINTENANCE.touch()
    else:
        MAINTENANCE.unlink()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        trusted = {"localhost", "127.0.0.1", *os.environ["NEXTCLOUD_TRUSTED_DOMAINS"].split()}
        if not CONFIG.exists():
            OPEN.touch()
            self.say(200, "create an administrator")
        elif host not in trusted and not os.environ["OVERWRITEHOST"]:
            self.say(400, "trusted domain error")
        elif self.path == "/status.php":
            told = {"installed": True, "maintenance": MAINTENANCE.exists(), "needsDbUpgrade": False}
            self.say(200, json.dumps(told, separators=(",", ":")))
        else:
            self.say(200, " ".join(os.environ[name] for name in ("OVERWRITECLIURL", "TRUSTED_PROXIES")))

    def say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    if sys.argv[1] == "install":
        install()
    elif sys.argv[1] == "occ":
        occ(*sys.argv[2:])
    else:
        http.server.ThreadingHTTPServer(("", 80), Page).serve_forever()
