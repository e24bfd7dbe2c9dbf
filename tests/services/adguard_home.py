# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of AdGuard Home: releases in the shape in which upstream publishes them, of a stand-in."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import tarfile
import tempfile
import zipapp
from pathlib import Path

import yaml
from adguardhome import AdGuardHome

from ansible_collections.homelab.hybrid.tests.harness.service_guest import Releases
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

STAND_IN = Path(__file__).parent / "stand_ins" / "adguard_home.py"
ARCHIVE = "AdGuardHome_linux_amd64.tar.gz"
PASSWORD = "a long and winding password"
LIST = "! Title: a small list\n||ads.example^\n||track.example^\n"


def executable(version: str, schema: int, *, answers: bool) -> bytes:
    """The stand-in and the YAML library of this interpreter, as one file that Debian's Python runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "app"
        (folder / "yaml").mkdir(parents=True)
        for path in Path(yaml.__file__).parent.glob("*.py"):
            (folder / "yaml" / path.name).write_bytes(path.read_bytes())
        (folder / "__main__.py").write_bytes(STAND_IN.read_bytes())
        release = {"version": version, "schema_version": schema, "answers": answers}
        (folder / "release.json").write_text(json.dumps(release), encoding="utf-8")
        made = Path(name) / "made"
        zipapp.create_archive(folder, made, interpreter="/usr/bin/python3")
        return made.read_bytes()


def publish(releases: Releases, version: str, schema: int, *, answers: bool = True) -> Path:
    """Put a release into the tree as upstream's build-release.sh does, and return its archive."""
    folder = releases.folder / version
    folder.mkdir(exist_ok=True)
    files = {
        "AdGuardHome": executable(version, schema, answers=answers),
        "AdGuardHome.sig": b"no signature of upstream\n",
        "CHANGELOG.md": b"# Changelog\n",
        "LICENSE.txt": b"GPL-3.0\n",
        "README.md": b"# AdGuard Home\n",
    }
    archive = folder / ARCHIVE
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./AdGuardHome/{name}")
            member.size, member.mode = len(content), 0o755 if name == "AdGuardHome" else 0o644
            tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / "checksums.txt").write_text(f"{digest}  ./{ARCHIVE}\n", encoding="utf-8")
    return archive


class Github:
    """Versions are pinned: another one is wanted by its variable."""

    entry = "main"

    def first(self, releases: Releases) -> Variables:
        publish(releases, "v0.107.79", 34)
        (releases.folder / "list.txt").write_text(LIST, encoding="utf-8")
        lists = [{"name": "Small", "url": f"{releases.url}/list.txt"}]
        return {
            "adguard_home_version": "0.107.79",
            "adguard_home_download_base_url": releases.url,
            "adguard_home_blocklists": lists,
        }

    def turned(self, releases: Releases) -> Variables:
        archive = publish(releases, "v0.107.80", 34)
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
        return {"adguard_home_version": "0.107.80"}

    def silent(self, releases: Releases) -> Variables:
        publish(releases, "v0.107.81", 35, answers=False)
        return {"adguard_home_version": "0.107.81"}


def ask(address: str) -> None:
    """What the client of Home Assistant's integration sees of what was declared."""

    async def asked() -> None:
        async with AdGuardHome(f"http://{address}", username="admin", password=PASSWORD) as client:
            status = await client.status()
            assert status.running and str(status.version) == "v0.107.79"
            config = await client.dns.config()
            assert config.upstream_dns == ("10.93.64.1",) and config.ratelimit == 0
            filtering = await client.filtering.get()
            assert [(each.name, each.rules_count) for each in filtering.blocklists] == [("Small", 2)]
            assert filtering.user_rules == ("||blocked.example^",)
            rules = {(each.domain, each.answer) for each in await client.rewrite.get()}
            assert ("nas.lab.home.arpa", "10.93.64.20") in rules

    asyncio.run(asked())


BASIC = "import base64, sys, urllib.request as u\nr = u.Request('http://127.0.0.1/control/' + sys.argv[2])\n"
BASIC += "r.add_header('Authorization', 'Basic ' + base64.b64encode(sys.argv[1].encode()).decode())\n"
BASIC += "r.add_header('Content-Type', 'application/json')\n"
API = BASIC + "print(u.urlopen(r, sys.argv[3].encode() if len(sys.argv) > 3 else None).read().decode())\n"


def call(who: str, *argv: str) -> tuple[str, ...]:
    """A request to the API in the guest."""
    return ("/usr/bin/python3", "-c", API, who, *argv)


SCENARIO = Scenario(
    role="adguard_home",
    unit="adguard_home.service",
    upstream=Github(),
    variables={
        "adguard_home_password": PASSWORD,
        "adguard_home_upstreams": ["10.93.64.1"],
        "adguard_home_settings": {"ratelimit": 0},
        "adguard_home_rules": ["||blocked.example^"],
        "adguard_home_domain": "lab.home.arpa",
        "adguard_home_records": [{"name": "nas", "addresses": ["10.93.64.20"], "aliases": ["files"]}],
    },
    listens=frozenset({"tcp 0.0.0.0:80", "tcp 0.0.0.0:53", "udp 0.0.0.0:53"}),
    write=call(f"admin:{PASSWORD}", "rewrite/add", '{"domain": "row.example", "answer": "192.0.2.7"}'),
    read=call(f"admin:{PASSWORD}", "rewrite/list"),
    row="192.0.2.7",
    logins=(call("admin:admin", "status"), call("admin:adguard", "status"), call("admin:", "status")),
    refusal="checksum",
    gone=("/opt/adguard_home",),
    judge=ask,
)

if __name__ == "__main__":
    sys.stdout.buffer.write(executable("v0.107.79", 34, answers=True))
