# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Paperless-ngx whose database, and the folder that it takes documents from, do not go back with its guest."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import paperless_ngx

SCANS = "/srv/scans"
PASSWORD = r"a:password\with 'all of it"
SCENARIO = paperless_ngx.SCENARIO


@pytest.fixture(autouse=True)
def _guest() -> t.Iterator[None]:
    try:
        # A mount is in no snapshot: what lies there stays what the failed version made of it.
        mounts = [("database", "/var/lib/postgresql"), ("scans", SCANS)]
        sources = [{"name": name, "source": str(guest.FOLDER / name), "path": path} for name, path in mounts]
        guest.set_up("paperless.img", mounts=sources)
        yield
    finally:
        guest.tear_down()


def sql(statement: str, database: str = "postgres") -> str:
    return guest.inside("runuser", "-u", "postgres", "--", "psql", "-Atc", statement, database)


def test_a_database_elsewhere_is_read_back_when_a_version_fails(tmp_path: Path) -> None:
    guest.inside("apt-get", "-qq", "update")
    guest.inside("apt-get", "-qqy", "install", "--no-install-recommends", "postgresql")
    quoted = PASSWORD.replace("'", "''")
    sql(f"CREATE ROLE papers LOGIN PASSWORD '{quoted}'")
    sql("CREATE DATABASE papers OWNER papers ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0")
    variables = {
        **SCENARIO.variables,
        "paperless_ngx_consumption_dir": SCANS,
        "paperless_ngx_database_host": "127.0.0.1",
        "paperless_ngx_database_name": "papers",
        "paperless_ngx_database_user": "papers",
        "paperless_ngx_database_password": PASSWORD,
    }
    releases = guest.Releases(tmp_path / "releases")
    try:
        lab = guest.Lab(tmp_path, SCENARIO.role, {**variables, **SCENARIO.upstream.first(releases)})
        lab.entry("main").succeeded()
        assert lab.entry("main").succeeded().changed == 0
        guest.inside(*paperless_ngx.take_in("4711", SCANS))
        assert sql("SELECT count(*) FROM documents_document", "papers") == "1"

        # What lies in the folder when the door closes: the version that fails must leave it alone.
        guest.inside("systemctl", "stop", "paperless-consumer.service")
        guest.inside("cp", "/srv/4711.png", f"{SCANS}/late.png")
        silent = SCENARIO.upstream.silent(releases)
        failed = lab.entry("main", "-e", '{"__service_attempts": 30}', **silent).failed()
        assert "went back" in failed.said, failed.printed[-4000:]
        assert SCENARIO.row in guest.inside(*SCENARIO.read)
        assert '"late.png"' in guest.inside(*paperless_ngx.call('"late.png"', "600")), (
            "it is taken in by the old version"
        )
        migrated = sql("SELECT count(*) FROM django_migrations WHERE name = '0002_forget'", "papers")
        assert migrated == "0", "what the failed version made of it is gone"
        again = lab.entry("main", **silent).succeeded()
        assert again.changed == 0 and "failed before" in again.said
    finally:
        releases.close()
