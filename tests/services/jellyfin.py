# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jellyfin as upstream publishes it, of a stand-in: a signed archive of packages with the names, paths, user and unit of the real ones."""

from __future__ import annotations

import asyncio
import atexit
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import aiojellyfin

from ansible_collections.homelab.hybrid.tests.harness.service_guest import Releases
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

STAND_IN = Path(__file__).parent / "stand_ins" / "jellyfin.py"
SUITE = "trixie"
KEY = "jellyfin_team.gpg.key"
UNIT = """\
[Unit]
Description = Jellyfin Media Server
After = network-online.target

[Service]
Type = simple
EnvironmentFile = /etc/default/jellyfin
User = jellyfin
Group = jellyfin
WorkingDirectory = /var/lib/jellyfin
ExecStart = /usr/bin/jellyfin $JELLYFIN_WEB_OPT $JELLYFIN_FFMPEG_OPT
Restart = on-failure
TimeoutSec = 15
SuccessExitStatus = 0 143

[Install]
WantedBy = multi-user.target
"""
DEFAULT = """\
JELLYFIN_DATA_DIR="/var/lib/jellyfin"
JELLYFIN_CONFIG_DIR="/etc/jellyfin"
JELLYFIN_WEB_OPT="--webdir=/usr/share/jellyfin/web"
JELLYFIN_FFMPEG_OPT="--ffmpeg=/usr/lib/jellyfin-ffmpeg/ffmpeg"
"""
# What upstream's does: a user, groups of graphics cards that are there, folders, and the start of the unit.
AFTER_INSTALLATION = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent group jellyfin > /dev/null || addgroup --quiet --system jellyfin
  getent passwd jellyfin > /dev/null || adduser --quiet --system --ingroup jellyfin --shell /bin/false \\
    --no-create-home --home /var/lib/jellyfin jellyfin
  for group in render video; do if getent group $group > /dev/null; then usermod -aG $group jellyfin; fi; done
  for folder in /var/lib/jellyfin /etc/jellyfin /var/log/jellyfin /var/cache/jellyfin; do
    if [ ! -d $folder ]; then mkdir $folder; chown jellyfin:adm $folder; chmod 0750 $folder; fi
  done
  ln -sf /usr/lib/jellyfin/bin/jellyfin /usr/bin/jellyfin
  deb-systemd-helper unmask jellyfin.service > /dev/null || true
  deb-systemd-helper enable jellyfin.service > /dev/null || true
  systemctl --system daemon-reload || true
  deb-systemd-invoke start jellyfin > /dev/null || true
fi
"""
BEFORE_REMOVAL = '#!/bin/sh\nset -e\nif [ "$1" = remove ]; then deb-systemd-invoke stop jellyfin > /dev/null || true; rm -f /usr/bin/jellyfin; fi\n'


class Archive:
    """The archive of packages in *folder*, signed by a key of its own; whoever serves the folder has ``url`` for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Path(tempfile.mkdtemp(prefix="gnupg"))
        (folder / "debian/pool").mkdir(parents=True)
        self._gpg("--quick-gen-key", "Jellyfin Team <team@example.org>", "ed25519", "sign", "never")
        (folder / KEY).write_bytes(self._gpg("--armor", "--export"))
        listed = self._gpg("--list-keys", "--with-colons").decode().splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def variables(self, url: str) -> Variables:
        """Those of a guest that reaches the folder at *url*."""
        return {
            "jellyfin_apt_repo_url": f"{url}/debian",
            "jellyfin_apt_key_url": f"{url}/{KEY}",
            "jellyfin_apt_key_fingerprint": self.fingerprint,
        }

    def _gpg(self, *argv: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", "", *argv]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def publish(self, version: str, schema: int, *, answers: bool = True) -> Path:
        """Add a version, and return the package of its server."""
        release = json.dumps({"version": version, "schema": schema, "answers": answers})
        full = f"{version}+deb13"
        for old in (self.folder / "debian/pool").glob(f"*_{full}_*"):
            old.unlink()
        server = self._build(
            "jellyfin-server",
            full,
            "Depends: python3, adduser\nRecommends: jellyfin-web, sudo, jellyfin-ffmpeg7\n",
            {
                "usr/lib/jellyfin/bin/jellyfin": "#!/usr/bin/python3\n" + STAND_IN.read_text(encoding="utf-8"),
                "usr/lib/jellyfin/bin/release.json": release,
                "usr/lib/systemd/system/jellyfin.service": UNIT,
                "etc/default/jellyfin": DEFAULT,
                "DEBIAN/conffiles": "/etc/default/jellyfin\n",
                "DEBIAN/postinst": AFTER_INSTALLATION,
                "DEBIAN/prerm": BEFORE_REMOVAL,
            },
        )
        self._build("jellyfin-web", full, "", {"usr/share/jellyfin/web/index.html": "<title>Jellyfin</title>\n"})
        self._build("jellyfin-ffmpeg7", "7.1.2-1-trixie", "", {"usr/lib/jellyfin-ffmpeg/ffmpeg": "#!/bin/sh\n"})
        self._build("jellyfin", full, "Depends: jellyfin-server, jellyfin-web, jellyfin-ffmpeg7\n", {})
        self._index()
        return server

    def _build(self, name: str, version: str, relations: str, files: Mapping[str, str]) -> Path:
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\n{relations}"
        control += (
            "Maintainer: Jellyfin Packaging Team <packaging@example.org>\nDescription: a stand-in made by a test\n"
        )
        with tempfile.TemporaryDirectory() as place:
            tree = Path(place)
            tree.chmod(0o755)
            for path, content in {**files, "DEBIAN/control": control}.items():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_text(content, encoding="utf-8")
                (tree / path).chmod(0o755 if content.startswith("#!") else 0o644)
            package = self.folder / "debian/pool" / f"{name}_{version}_all.deb"
            subprocess.run(
                ["dpkg-deb", "-Zgzip", "--root-owner-group", "-b", place, str(package)], check=True, capture_output=True
            )
        package.with_suffix(".control").write_text(control, encoding="utf-8")
        return package

    def _index(self) -> None:
        entries = []
        for package in sorted((self.folder / "debian/pool").glob("*.deb")):
            content, control = package.read_bytes(), package.with_suffix(".control").read_text(encoding="utf-8")
            entries.append(
                f"{control}Filename: pool/{package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
            )
        suite = self.folder / "debian/dists" / SUITE
        index = suite / "main/binary-amd64/Packages.gz"
        index.parent.mkdir(parents=True, exist_ok=True)
        listed = "\n".join(entries).encode()
        # apt takes no index of which only the packed form is listed.
        forms = {"Packages": listed, "Packages.gz": gzip.compress(listed, mtime=0)}
        for name, content in forms.items():
            index.with_name(name).write_bytes(content)
        release = f"Origin: Jellyfin\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\n"
        release += f"Date: {subprocess.run(['date', '-Ru'], check=True, capture_output=True, text=True).stdout}"
        release += "SHA256:\n"
        for name, content in forms.items():
            release += f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-amd64/{name}\n"
        (suite / "Release").write_text(release, encoding="utf-8")
        (suite / "InRelease").unlink(missing_ok=True)
        self._gpg("--clearsign", "--output", str(suite / "InRelease"), str(suite / "Release"))


def turn(package: Path) -> None:
    """Turn one bit of a package that was published."""
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 1
    package.write_bytes(content)


async def libraries_of(address: str, name: str, password: str) -> list[str]:
    """The libraries that a user sees, as Music Assistant's client asks for them."""
    async with aiohttp.ClientSession() as session:
        url = f"http://{address}:8096"
        config = aiojellyfin.SessionConfiguration(session, url, "test", "1", "test", f"test-{os.getpid()}")
        connection = await aiojellyfin.authenticate_by_name(config, name, password)
        return sorted(folder["Name"] for folder in (await connection.get_media_folders())["Items"])


def seen_by(address: str, name: str, password: str) -> list[str]:
    return asyncio.run(libraries_of(address, name, password))


class Team:
    """Upstream's archive. Nothing is pinned: a newer version is what it has when an update is asked for."""

    entry = "update"

    def __init__(self) -> None:
        self.archives: dict[Path, Archive] = {}

    def first(self, releases: Releases) -> Variables:
        archive = self.archives[releases.folder] = Archive(releases.folder)
        atexit.register(archive.close)
        archive.publish("10.11.3", 11)
        return archive.variables(releases.url)

    def turned(self, releases: Releases) -> Variables:
        turn(self.archives[releases.folder].publish("10.11.4", 11))
        return {}

    def silent(self, releases: Releases) -> Variables:
        self.archives[releases.folder].publish("12.0.0", 12, answers=False)
        return {}


ADMIN = "a long and winding password"
CALL = """\
import json, sys, urllib.request
name, password, method, path, body = sys.argv[1:]
client = 'MediaBrowser Client="c", Device="d", DeviceId="e", Version="1"'
def call(method, path, body, token=""):
    headers = {"Authorization": client + f', Token="{token}"' * bool(token), "Content-Type": "application/json"}
    asked = urllib.request.Request("http://127.0.0.1:8096" + path, body.encode() or None, headers, method=method)
    return json.loads(urllib.request.urlopen(asked).read() or "null")
session = call("POST", "/Users/AuthenticateByName", json.dumps({"Username": name, "Pw": password}))
print(json.dumps(call(method, path, body, session["AccessToken"])))
"""


def call(method: str, path: str, body: str = "", name: str = "admin", password: str = ADMIN) -> tuple[str, ...]:
    """A command in the guest that asks the API as a user, and prints the answer."""
    return ("/usr/bin/python3", "-c", CALL, name, password, method, path, body)


def judge(address: str) -> None:
    assert seen_by(address, "admin", ADMIN) == ["Films"]


SCENARIO = Scenario(
    role="jellyfin",
    unit="jellyfin.service",
    upstream=Team(),
    variables={
        "jellyfin_administrator": {"name": "admin", "password": ADMIN},
        "jellyfin_libraries": [{"name": "Films", "type": "movies", "paths": ["/srv"]}],
        "jellyfin_start_seconds": 60,
    },
    listens=frozenset({"tcp 0.0.0.0:8096"}),
    write=call("POST", "/Users/New", '{"Name": "row of the test"}'),
    read=call("GET", "/Users"),
    row="row of the test",
    logins=(
        call("GET", "/Users", password="admin"),
        call("GET", "/Users", password=""),
        call("GET", "/Users", name="root", password=""),
        call("GET", "/Users", name="jellyfin", password="jellyfin"),
    ),
    refusal="Hash Sum mismatch",
    gone=(
        "/etc/apt/sources.list.d/jellyfin.sources",
        "/usr/lib/jellyfin/bin/jellyfin",
        "/var/lib/homelab_hybrid/services/jellyfin.network.json",
    ),
    judge=judge,
)
