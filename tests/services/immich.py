# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Immich as upstream publishes it, of stand-ins: four images by their names, with the PostgreSQL and the Valkey of Debian."""

from __future__ import annotations

import asyncio
import atexit
import json
from pathlib import Path

import aiohttp
import aioimmich

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services.layers import debian_layer
from ansible_collections.homelab.hybrid.tests.services.registry import Layer, Registry
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, Variables

STAND_IN = Path(__file__).parent / "stand_ins" / "immich.py"
PACKAGES = (
    *("base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "sed", "util-linux"),
    *("postgresql-17", "postgresql-17-pgvector", "python3-minimal", "python3-psycopg2", "valkey-server"),
)
# What a database needs for its faster plans alone, and what only people read.
LEFT_OUT = (
    "libLLVM",
    "llvmjit",
    "libz3",
    "/perl",
    "/share/doc/",
    "/share/man/",
    "/share/locale/",
    "/share/i18n/",
    "/share/perl",
    "./dev/",
)
PASSWD = "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n"
# As the image of PostgreSQL does it: the first start makes the cluster, and no start without a password.
PROGRAMS = "/usr/lib/postgresql/17/bin"
DATABASE = """\
#!/bin/sh
set -eu
export PATH=/usr/lib/postgresql/17/bin:/usr/bin:/usr/sbin LANG=C.UTF-8
data=/var/lib/postgresql/data
as() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }
mkdir -p "$data" /var/run/postgresql && chown postgres:postgres "$data" /var/run/postgresql && chmod 700 "$data"
if ! [ -s "$data/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then echo "superuser password is not specified" >&2; exit 1; fi
  printf %s "$POSTGRES_PASSWORD" > /tmp/password && chown postgres /tmp/password
  as initdb -D "$data" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust ${POSTGRES_INITDB_ARGS:-}
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  as pg_ctl -D "$data" -o "-c listen_addresses=''" -w start
  as createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  as pg_ctl -D "$data" -m fast -w stop
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups -- postgres -D "$data" -c "listen_addresses=*"
"""


def root() -> Layer:
    """What all four images begin with."""
    return debian_layer("immich", PACKAGES, LEFT_OUT)


class Project:
    """Upstream's releases: the images that the compose file of each names."""

    entry = "main"

    def __init__(self) -> None:
        self.registries: dict[Path, Registry] = {}
        self.images: dict[Path, dict[str, str]] = {}

    def first(self, releases: guest.Releases) -> Variables:
        registry = self.registries[releases.folder] = Registry(releases.folder / "registry", releases.address)
        atexit.register(registry.close)
        base, passwd = root(), {"etc/passwd": PASSWD, "etc/group": "root:x:0:\npostgres:x:999:\n"}
        clients = {f"usr/bin/{name}": f'#!/bin/sh\nexec {PROGRAMS}/{name} "$@"\n' for name in ("pg_dumpall", "psql")}
        model = ("/usr/bin/python3", "-m", "http.server", "3003")
        self.images[releases.folder] = {
            "immich-machine-learning": registry.push(
                "immich-app/immich-machine-learning", "v3.2.3", model, passwd, base=base
            ),
            "redis": registry.push(
                "valkey/valkey",
                "9",
                ("/usr/bin/valkey-server", "--save", "", "--protected-mode", "no"),
                {**passwd, "usr/bin/redis-cli": '#!/bin/sh\nexec valkey-cli "$@"\n'},
                base=base,
            ),
            "database": registry.push(
                "immich-app/postgres",
                "14-vectorchord0.4.3-pgvectors0.2.0",
                ("/usr/bin/entrypoint",),
                {**passwd, "usr/bin/entrypoint": DATABASE, **clients},
                base=base,
            ),
        }
        return {
            "docker_host_insecure_registries": [registry.name],
            "immich_registry": registry.name,
            **self.server(releases, "3.2.3", ["1"]),
        }

    def server(self, releases: guest.Releases, version: str, migrations: list[str], answers: bool = True) -> Variables:
        """A release of the server, with the other images as they were."""
        registry, others = self.registries[releases.folder], self.images[releases.folder]
        release = json.dumps({"version": version, "migrations": migrations, "answers": answers})
        files = {
            "etc/passwd": PASSWD,
            "usr/src/app/server.py": STAND_IN.read_text(encoding="utf-8"),
            "usr/src/app/release.json": release,
        }
        command = ("/usr/bin/python3", "/usr/src/app/server.py")
        image = registry.push("immich-app/immich-server", f"v{version}", command, files, base=root())
        images = {**others, "immich-server": image}
        # As upstream writes them: the registry of the test is said by a variable.
        return {"immich_images": {name: named.replace(registry.name, "ghcr.io", 1) for name, named in images.items()}}

    def turned(self, releases: guest.Releases) -> Variables:
        variables = self.server(releases, "3.2.4", ["1", "2"])
        registry = self.registries[releases.folder]
        registry.turn(variables["immich_images"]["immich-server"].replace("ghcr.io", registry.name, 1))
        return variables

    def silent(self, releases: guest.Releases) -> Variables:
        return self.server(releases, "3.3.0", ["1", "2", "3"], answers=False)


ADMIN = {"email": "admin@home.arpa", "name": "admin", "password": "a long and winding password"}
CALL = """\
import json, sys, urllib.request
email, password, method, path, body = sys.argv[1:]
def call(method, path, body, token=""):
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    asked = urllib.request.Request("http://127.0.0.1:2283/api" + path, body.encode() or None, headers, method=method)
    return json.loads(urllib.request.urlopen(asked, timeout=10).read() or "null")
session = call("POST", "/auth/login", json.dumps({"email": email, "password": password}))
print(json.dumps(call(method, path, body, session["accessToken"])))
"""
SIGN_UP = """\
import json, urllib.request
body = json.dumps({"email": "eve@home.arpa", "name": "eve", "password": "eve"}).encode()
url = "http://127.0.0.1:2283/api/auth/admin-sign-up"
urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=10)
"""
DEFAULT_OF_THE_DATABASE = (
    "PGPASSWORD=postgres docker exec -e PGPASSWORD immich_postgres psql -h immich_postgres -U postgres -c ''"
)


def call(
    method: str, path: str, body: str = "", email: str = ADMIN["email"], password: str = ADMIN["password"]
) -> tuple[str, ...]:
    """A command in the guest that asks the API as a user, and prints the answer."""
    return ("/usr/bin/python3", "-c", CALL, email, password, method, path, body)


async def seen_by(address: str, key: str) -> tuple[str, list[str], bool]:
    """The version, the users and whether the key is an administrator's, as Home Assistant's client asks for them."""
    async with aiohttp.ClientSession() as session:
        immich = aioimmich.Immich(session, key, address, use_ssl=False)
        await immich.async_setup()
        about = await immich.server.async_get_about_info()
        people = (await immich.server.async_get_server_statistics()).usage_by_user
        mine = await immich.users.async_get_my_user()
        return about.version, sorted(one.user_name for one in people), mine.is_admin


def judge(address: str) -> None:
    key = guest.inside("cat", "/var/lib/homelab_hybrid/secrets/immich/api-key")
    assert asyncio.run(seen_by(address, key)) == ("v3.2.3", ["Alice", "admin"], True)
    libraries = json.loads(guest.inside(*call("GET", "/libraries")))
    assert [(each["name"], each["importPaths"]) for each in libraries] == [("Scans", ["/srv"])]
    settings = json.loads(guest.inside(*call("GET", "/system-config")))
    assert settings["trash"] == {"days": 60, "enabled": True} and settings["backup"]["database"]["keepLastAmount"] == 14
    assert guest.inside("stat", "--format", "%a %U", "/opt/immich/.env") == "600 root"


SCENARIO = Scenario(
    role="immich",
    unit="immich.service",
    upstream=Project(),
    variables={
        "immich_administrator": ADMIN,
        "immich_users": [{"email": "alice@home.arpa", "name": "Alice", "quota": "10GiB"}],
        "immich_external_libraries": [{"name": "Scans", "owner": "alice@home.arpa", "paths": ["/srv"]}],
        "immich_settings": {"trash": {"days": 60}},
        "immich_start_seconds": 60,
    },
    listens=frozenset({"tcp 0.0.0.0:2283", "tcp [::]:2283"}),
    write=call("POST", "/albums", '{"albumName": "row of the test"}'),
    read=call("GET", "/albums"),
    row="row of the test",
    logins=(
        ("/usr/bin/python3", "-c", SIGN_UP),
        call("GET", "/users/me", password="admin"),
        call("GET", "/users/me", password=""),
        call("GET", "/users/me", email="alice@home.arpa", password="alice@home.arpa"),
        ("sh", "-c", DEFAULT_OF_THE_DATABASE),
    ),
    refusal="verif",
    gone=("/opt/immich/compose.yaml", "/opt/immich/.env"),
    judge=judge,
    features=("docker",),
)
