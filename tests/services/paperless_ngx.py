# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario of Paperless-ngx: releases in the shape in which upstream publishes them, of a stand-in on real Django, Celery and Granian."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.harness.build_cache import CACHE, built_once
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

STAND_IN = Path(__file__).parent / "stand_ins" / "paperless_ngx"
# As upstream bounds them (pyproject.toml of 3.0.5).
PACKAGES = (
    "django~=5.2.13",
    "celery[redis]~=5.6.2",
    "djangorestframework~=3.16",
    "granian[uvloop]~=2.7.0",
    "redis~=5.2.1",
)
PACKAGES += ("psycopg[binary]~=3.3", "python-dotenv~=1.2", "watchfiles>=1.1.1")
CLIENT = ("pypaperless>=6",)
PASSWORD = "it's a long \\ winding password"
# pip takes an index of the file before one of its command line; that of upstream would be asked with these.
INDEXES = "--index-url https://index.invalid/simple\n--extra-index-url https://torch.invalid/whl/cpu\n\n"
EXAMPLE = (
    "# Have a look at the docs for documentation.\nPAPERLESS_SECRET_KEY=change-me\n#PAPERLESS_URL=https://example.com\n"
)


def wheels(packages: tuple[str, ...]) -> Path:
    """What Python 3.13 of Debian 13 installs for *packages*, all of it, fetched once."""

    def fetch(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "-qq", "--dest", str(folder), "--only-binary=:all:"]
        command += ["--python-version", "3.13", "--implementation", "cp", *packages]
        command += [f"--abi={abi}" for abi in ("cp313", "abi3", "none")]
        command += [f"--platform={tag}_x86_64" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
        subprocess.run(command, check=True, capture_output=True)

    key = hashlib.sha256(repr(packages).encode()).hexdigest()[:12]
    return built_once(CACHE / f"wheels-{key}", fetch)


def write_torch(folder: Path) -> None:
    """A package with the name and the version of the build that needs no graphics card, which is in no index but its own."""
    info = "torch-2.13.0+cpu.dist-info"
    files = {
        "torch.py": "__version__ = '2.13.0+cpu'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(folder / "torch-2.13.0+cpu-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(zipfile.ZipInfo(name), text)


def write_index(folder: Path) -> list[str]:
    """Make an index (PEP 503) of the wheels in *folder*, and return lines for requirements, each with its digest, as uv writes them."""
    lines = []
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        name = name.replace("_", "-").lower()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / name).mkdir()
        (folder / name / "index.html").write_text(f'<a href="../{path.name.replace("+", "%2B")}">{path.name}</a>\n')
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return lines


def write_indexes(releases: guest.Releases) -> str:
    """Serve two indexes, as upstream's requirements name them, and return those requirements."""
    simple, torch = releases.folder / "simple", releases.folder / "cpu"
    simple.mkdir()
    torch.mkdir()
    for path in wheels(PACKAGES).iterdir():
        (simple / path.name).write_bytes(path.read_bytes())
    write_torch(torch)
    return INDEXES + "".join(write_index(simple) + write_index(torch))


def publish(releases: guest.Releases, requirements: str, version: str, *, answers: bool = True) -> Path:
    """Put a release into the tree as upstream's workflow assembles it, and return its archive."""
    files = {
        path.relative_to(STAND_IN).as_posix(): path.read_bytes()
        for path in sorted(STAND_IN.rglob("*"))
        if path.suffix == ".py"
    }
    files["src/release.json"] = json.dumps({"version": version, "answers": answers}).encode()
    files["requirements.txt"] = requirements.encode()
    files["paperless.conf"] = EXAMPLE.encode()
    files["static/frontend/index.html"] = b"<title>Paperless-ngx</title>\n"
    files["scripts/paperless-webserver.service"] = b"[Service]\nWorkingDirectory=/opt/paperless/src\n"
    files["LICENSE"] = b"GPL-3.0\n"
    if not answers:
        # What was written before is gone unless the guest goes back.
        files["src/documents/migrations/0002_forget.py"] = FORGET.encode()
    archive = releases.folder / f"v{version}" / f"paperless-ngx-v{version}.tar.xz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"paperless-ngx/{name}")
            member.size, member.mode, member.uid, member.gid = len(content), 0o644, 1000, 1000
            tar.addfile(member, io.BytesIO(content))
    return archive


FORGET = """from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("documents", "0001_initial")]
    operations = [migrations.RunSQL("DELETE FROM documents_document")]
"""


def describe(releases: guest.Releases, version: str, archive: Path) -> None:
    """Say the digest of *archive* as GitHub's API does."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    told = {"tag_name": f"v{version}", "assets": [{"name": archive.name, "digest": f"sha256:{digest}"}]}
    (releases.folder / "tags").mkdir(exist_ok=True)
    (releases.folder / "tags" / f"v{version}").write_text(json.dumps(told), encoding="utf-8")


def trust(root: Path, address: str) -> None:
    """Let pip of the guest with this *root* ask an index without TLS, which it would pass over."""
    (root / "etc/pip.conf").write_text(f"[global]\ntrusted-host = {address}\n", encoding="utf-8")


class Github:
    """Versions are pinned: another one is wanted by its variable."""

    entry = "main"

    def first(self, releases: guest.Releases) -> Variables:
        trust(guest.rootfs(), guest.GATEWAY)
        return self.published(releases)

    def published(self, releases: guest.Releases) -> Variables:
        """What ``first`` returns, of a guest that trusts the server already."""
        self._requirements = write_indexes(releases)
        describe(releases, "3.0.5", publish(releases, self._requirements, "3.0.5"))
        return {
            "paperless_ngx_version": "3.0.5",
            "paperless_ngx_download_base_url": releases.url,
            "paperless_ngx_release_api_url": f"{releases.url}/tags",
            "paperless_ngx_index_url": f"{releases.url}/simple",
            "paperless_ngx_torch_index_url": f"{releases.url}/cpu",
        }

    def turned(self, releases: guest.Releases) -> Variables:
        archive = publish(releases, self._requirements, "3.0.6")
        describe(releases, "3.0.6", archive)
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
        return {"paperless_ngx_version": "3.0.6"}

    def silent(self, releases: guest.Releases) -> Variables:
        describe(releases, "3.0.7", publish(releases, self._requirements, "3.0.7", answers=False))
        return {"paperless_ngx_version": "3.0.7"}


JUDGE = """
import asyncio, pathlib, sys
from pypaperless import PaperlessClient

async def main():
    token = pathlib.Path("/var/lib/homelab_hybrid/secrets/paperless_ngx/token").read_text()
    async with PaperlessClient(sys.argv[1], token) as paperless:
        status = await paperless.status()
        assert paperless.host_version == status.pngx_version == "3.0.5", status
        assert not status.has_errors and status.database.type == "postgresql", status
        assert status.database.migration_status.unapplied_migrations == [], status
        assert (status.tasks.redis_status, status.tasks.celery_status) == ("OK", "OK"), status
        sent = paperless.documents.create(document=b"from a client", filename="client.txt", title="Client")
        assert await paperless.documents.save(sent)
        for attempt in range(600):
            titles = {each.title: each.content async for each in paperless.documents}
            if "Client" in titles:
                break
            await asyncio.sleep(0.1)
        assert titles == {"Client": "from a client"}, titles

asyncio.run(main())
"""


def ask(address: str) -> None:
    """What a client that others wrote sees, from the guest, whose Python is new enough for it."""
    folder = guest.rootfs() / "srv/judge"
    folder.mkdir()
    for path in wheels(CLIENT).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    guest.inside("python3", "-m", "venv", "/root/judge")
    guest.inside("/root/judge/bin/pip", "install", "-q", "--no-index", "--find-links=/srv/judge", *CLIENT)
    guest.inside("/root/judge/bin/python", "-c", JUDGE, f"http://{address}:8000")


API = """
import base64, pathlib, sys, time, urllib.request

def ask(path, authorization):
    request = urllib.request.Request("http://127.0.0.1:8000" + path)
    request.add_header("Accept", "application/json")
    request.add_header("Authorization", authorization)
    return urllib.request.urlopen(request, timeout=20).read().decode()

if ":" in sys.argv[1]:
    print(ask("/api/documents/", "Basic " + base64.b64encode(sys.argv[1].encode()).decode()))
elif sys.argv[1] == "visitor":
    print(urllib.request.urlopen("http://127.0.0.1:8000/accounts/signup/").read().decode())
else:
    token = "Token " + pathlib.Path("/var/lib/homelab_hybrid/secrets/paperless_ngx/token").read_text()
    for attempt in range(600):
        seen = ask("/api/documents/", token)
        if sys.argv[1] in seen or attempt >= int(sys.argv[2]):
            break
        time.sleep(0.1)
    print(seen)
"""


def call(*argv: str) -> tuple[str, ...]:
    """A request to the API in the guest."""
    return ("/usr/bin/python3", "-c", API, *argv)


# A picture, which Tesseract has to read.
DRAW = "convert -size 900x120 xc:white -font Liberation-Sans -pointsize 48 -fill black -draw \"text 20,80 'Invoice $1'\" /srv/$1.png; "
DRAW += 'cp /srv/$1.png "$2/$1.png"; shift 2; exec "$@"'


def take_in(number: str, folder: str = "/var/lib/paperless_ngx/consume") -> tuple[str, ...]:
    """Put an invoice with this *number* into *folder*, from which it is consumed, in the guest, and wait for it."""
    return ("sh", "-c", DRAW, "sh", number, folder, *call(number, "600"))


SCENARIO = Scenario(
    role="paperless_ngx",
    unit="paperless-webserver.service",
    units=("paperless-task-queue.service", "paperless-scheduler.service", "paperless-consumer.service"),
    upstream=Github(),
    variables={
        "paperless_ngx_administrator_password": PASSWORD,
        "paperless_ngx_languages": ["deu", "eng"],
        "paperless_ngx_time_zone": "Europe/Berlin",
        "paperless_ngx_settings": {"PAPERLESS_CONSUMER_STABILITY_DELAY": 0.2, "PAPERLESS_OCR_USER_ARGS": {"a": "it's"}},
    },
    listens=frozenset(
        {"tcp 0.0.0.0:8000", *(f"tcp {ip}:{port}" for ip in ("127.0.0.1", "[::1]") for port in (5432, 6379))}
    ),
    stays=frozenset({f"tcp {ip}:{port}" for ip in ("127.0.0.1", "[::1]") for port in (5432, 6379)}),
    write=take_in("4711"),
    read=call("4711", "0"),
    row="Invoice 4711",
    dump=("pg_restore", "--file=-", "/var/lib/paperless_ngx/dump/backup.dump"),
    logins=(
        *(call(who) for who in ("admin:admin", "admin:paperless", "admin:", "paperless:paperless")),
        call("visitor"),
    ),
    refusal="checksum",
    gone=("/opt/paperless_ngx", "/etc/paperless.conf", "/etc/systemd/system/paperless-consumer.service"),
    judge=ask,
)
