# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Pi-hole: two Git repositories and a program in the shape in which upstream publishes them, of a stand-in."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipapp
from pathlib import Path

from pihole6api import PiHole6Client

from ansible_collections.homelab.hybrid.tests.harness.service_guest import Releases, inside
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

FTL = Path(__file__).parent / "stand_ins" / "pihole_ftl.py"
CORE = Path(__file__).parent / "stand_ins" / "pihole_core"
BASH, SH = "#!/usr/bin/env bash\n", "#!/usr/bin/env sh\n"
# Where each file of the core lies, and how it begins.
FILES = {
    "automated install/basic-install.sh": ("basic-install", BASH),
    "automated install/uninstall.sh": ("", BASH),
    "gravity.sh": ("gravity", BASH),
    "pihole": ("pihole", BASH),
    "advanced/Scripts/COL_TABLE": ("", "COL_NC=''\n"),
    "advanced/Scripts/utils.sh": ("utils", SH),
    "advanced/Scripts/updatecheck.sh": ("updatecheck", BASH),
    "advanced/Scripts/version.sh": ("version", BASH),
    "advanced/Templates/pihole-FTL-prestart.sh": ("prestart", SH),
    "advanced/Templates/pihole-FTL-poststop.sh": ("poststop", SH),
    "advanced/Templates/pihole-FTL.systemd": ("pihole-FTL.systemd", ""),
    "advanced/Templates/pihole.cron": ("pihole.cron", ""),
    "advanced/Templates/logrotate": ("logrotate", ""),
    "advanced/Templates/gravity.db.sql": ("gravity.db.sql", ""),
}
PROGRAM = "pihole-FTL-amd64"
PASSWORD = "a long and winding password"
ANSWERS = {"files.lab.home.arpa": "10.93.64.20", "share.lab.home.arpa": "10.93.64.20", "ads.example": "0.0.0.0"}
LIST = "0.0.0.0 ads.example\n0.0.0.0 track.example\n"


def executable(version: str, *, answers: bool) -> bytes:
    """The stand-in of FTL as one file that Debian's Python runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "app"
        folder.mkdir()
        (folder / "__main__.py").write_bytes(FTL.read_bytes())
        (folder / "release.json").write_text(json.dumps({"version": version, "answers": answers}), encoding="utf-8")
        made = Path(name) / "made"
        zipapp.create_archive(folder, made, interpreter="/usr/bin/python3")
        return made.read_bytes()


def publish_program(releases: Releases, version: str, *, answers: bool = True) -> Path:
    """Put FTL into the tree as its releases have it, and return the program."""
    folder = releases.folder / version
    folder.mkdir(exist_ok=True)
    program = folder / PROGRAM
    program.write_bytes(executable(version, answers=answers))
    digest = hashlib.sha1(program.read_bytes(), usedforsecurity=False).hexdigest()
    (folder / f"{PROGRAM}.sha1").write_text(f"{digest}  {PROGRAM}\n", encoding="utf-8")
    return program


def git(folder: Path, *argv: str) -> str:
    who = ["-c", "user.name=upstream", "-c", "user.email=upstream@example.org", "-c", "init.defaultBranch=master"]
    done = subprocess.run(["git", "-C", str(folder), *who, *argv], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def publish_repository(releases: Releases, name: str, tag: str, files: dict[str, str]) -> str:
    """A commit of *files* with a *tag* in a repository that a server of files serves, and return the commit."""
    work = releases.folder / name
    if not work.exists():
        work.mkdir()
        git(work, "init", "--quiet")
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text, encoding="utf-8")
        (work / path).chmod(0o755 if text.startswith("#!") else 0o644)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--allow-empty", "--message", tag)
    git(work, "tag", tag)
    git(work, "update-server-info")
    return git(work, "rev-parse", "HEAD")


def core_files() -> dict[str, str]:
    read = {name: (CORE / name).read_text(encoding="utf-8") if name else "" for name, dummy in FILES.values()}
    return {path: first + read[name] for path, (name, first) in FILES.items()}


class Github:
    """Versions are pinned: others are wanted by their variables."""

    entry = "main"

    def first(self, releases: Releases) -> Variables:
        publish_program(releases, "v6.3.3")
        (releases.folder / "list.txt").write_text(LIST, encoding="utf-8")
        core = publish_repository(releases, "pi-hole", "v6.2.2", core_files())
        web = publish_repository(releases, "web", "v6.3", {"index.lp": "<h1>Pi-hole</h1>\n"})
        return {
            "pihole_core_repository": f"{releases.url}/pi-hole/.git",
            "pihole_core_commit": core,
            "pihole_web_repository": f"{releases.url}/web/.git",
            "pihole_web_commit": web,
            "pihole_ftl_download_base_url": releases.url,
            "pihole_lists": [{"url": f"{releases.url}/list.txt", "comment": "Small", "groups": ["Default", "house"]}],
        }

    def turned(self, releases: Releases) -> Variables:
        program = publish_program(releases, "v6.4.1")
        content = bytearray(program.read_bytes())
        content[len(content) // 2] ^= 1
        program.write_bytes(content)
        return {"pihole_ftl_version": "6.4.1"}

    def silent(self, releases: Releases) -> Variables:
        publish_program(releases, "v6.5", answers=False)
        return {"pihole_ftl_version": "6.5"}


def ask(address: str) -> None:
    """What a client that others wrote sees of what was declared."""
    client = PiHole6Client(f"http://{address}/", PASSWORD)
    try:
        versions = client.ftl_info.get_version()["version"]
        assert [versions[part]["local"]["version"] for part in ("core", "web", "ftl")] == ["v6.2.2", "v6.3", "v6.3.3"]
        dns = client.config.get_config_section("dns")["config"]["dns"]
        assert dns["upstreams"] == ["10.93.64.1"] and dns["dnssec"] is True
        assert "10.93.64.20 nas.lab.home.arpa" in dns["hosts"]
        assert dns["cnameRecords"] == ["share.lab.home.arpa,nas.lab.home.arpa"]
        groups = {each["name"]: each["id"] for each in client.group_management.get_groups()["groups"]}
        (found,) = client.list_management.get_lists()["lists"]
        assert (found["comment"], found["number"], found["groups"]) == ("Small", 2, [0, groups["house"]])
        assert not client.config.get_config_section("ntp")["config"]["ntp"]["sync"]["active"]
    finally:
        client.close_session()
    for name, answer in ANSWERS.items():
        said = inside("dig", "+short", "+tries=1", f"@{address}", name).split()
        assert said[-1:] == [answer], f"{name}: {said}"


API = """
import json, sys, urllib.request as u
def call(method, path, body=None, **headers):
    r = u.Request('http://127.0.0.1/api/' + path, body and json.dumps(body).encode(), headers, method=method)
    return u.urlopen(r).read().decode()
password, method, path = sys.argv[1:]
sid = json.loads(call('POST', 'auth', {'password': password}))['session']['sid']
print(call(method, path, **{'X-FTL-SID': sid}))
call('DELETE', 'auth', **{'X-FTL-SID': sid})
"""


def call(password: str, method: str, path: str) -> tuple[str, ...]:
    """A request to the API in the guest."""
    return ("/usr/bin/python3", "-c", API, password, method, path)


OPEN = ("/usr/bin/python3", "-c", "import urllib.request as u\nu.urlopen('http://127.0.0.1/api/config')")

SCENARIO = Scenario(
    role="pihole",
    unit="pihole-FTL.service",
    upstream=Github(),
    variables={
        "pihole_password": PASSWORD,
        "pihole_upstreams": ["10.93.64.1"],
        "pihole_settings": {"dns.dnssec": True},
        "pihole_domain": "lab.home.arpa",
        "pihole_records": [{"name": "nas", "addresses": ["10.93.64.20"], "aliases": ["files"]}],
        "pihole_cnames": [{"name": "share", "target": "nas"}],
        "pihole_groups": [{"name": "house"}],
        "pihole_domains": [{"domain": "blocked.example", "groups": ["house"]}],
        "pihole_clients": [{"client": "10.93.64.0/24", "groups": ["house"]}],
    },
    listens=frozenset(
        f"{protocol} {address}:{port}"
        for address in ("0.0.0.0", "[::]")
        for protocol, port in (("tcp", 80), ("tcp", 53), ("udp", 53))
    ),
    write=call(PASSWORD, "PUT", "config/dns/hosts/192.0.2.7%20row.example"),
    read=call(PASSWORD, "GET", "config/dns/hosts"),
    row="192.0.2.7",
    logins=(call("admin", "GET", "config"), call("pihole", "GET", "config"), call("", "GET", "config"), OPEN),
    refusal="checksum",
    gone=("/opt/homelab_hybrid/pihole", "/opt/pihole", "/etc/.pihole", "/usr/bin/pihole-FTL"),
    judge=ask,
)

if __name__ == "__main__":
    sys.stdout.buffer.write(executable("v6.3.3", answers=True))
