# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the presets of ``compose_app``, of stand-ins with their names, tags, ports, volumes, variables and health: PostgreSQL, Valkey
and Syncthing are those of Debian."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.tests.harness.service_guest import ROOT
from ansible_collections.homelab.hybrid.tests.services import immich
from ansible_collections.homelab.hybrid.tests.services.layers import debian_layer
from ansible_collections.homelab.hybrid.tests.services.registry import Registry

PRESETS = {path.stem: path for path in sorted((ROOT / "roles/compose_app/files/presets").glob("*.yml"))}
STAND_INS = Path(__file__).parent / "stand_ins"

# As the image of Vaultwarden behaves: its default lets everybody in, and it ends at once with an address that is none (1.35).
VAULT = """#!/bin/busybox sh
set -eu
case "${DOMAIN-http://localhost}" in
  http://* | https://*) ;;
  *) echo "DOMAIN variable needs to contain the protocol (http, https)" >&2; exit 12 ;;
esac
/bin/busybox mkdir -p /www /data
echo '"2026-01-01T00:00:00.000000Z"' > /www/alive
echo "${SIGNUPS_ALLOWED:-true}" > /www/signups
echo "$IP_HEADER $IP_HEADER_TRUSTED_PROXIES" > /www/proxies
[ -z "${ADMIN_TOKEN:-}" ] || echo "${DOMAIN:-}" > /www/admin
[ -e /data/db.sqlite3 ] || echo vault > /data/db.sqlite3
exec /bin/busybox httpd -f -p 80 -h /www
"""
# As that of Forgejo behaves: without its lock the first visitor finds the installer, and registration is open.
FORGE = """#!/bin/sh
set -eu
[ $# -eq 0 ] || [ "$1" = /bin/s6-svscan ] || exec "$@"
mkdir -p /www/api /data/gitea
[ "${FORGEJO__security__INSTALL_LOCK:-false}" = true ] || touch /data/open
env | grep '^FORGEJO__' | sort > /data/gitea/settings
[ -e /data/gitea/gitea.db ] || echo forge > /data/gitea/gitea.db
sleep 2
echo '{"status": "pass"}' > /www/api/healthz
exec /usr/bin/python3 -m http.server --directory /www 3000
"""
FORGEJO = """#!/bin/sh
set -eu
users=/data/gitea/users
case "$*" in
"admin user list --admin") echo "ID   Username Email"; [ ! -e $users ] || cat $users ;;
"admin user create --admin --must-change-password=false "*) shift 5; echo "1    $*" >> $users ;;
*) exit 1 ;;
esac
"""
CURL = """#!/bin/sh
for url in "$@"; do :; done
exec /usr/bin/python3 -c "import sys, urllib.request as it; it.urlopen(sys.argv[1], timeout=5)" "$url"
"""
SU_EXEC = '#!/bin/sh\nshift\nexec "$@"\n'
# As that of Nextcloud: it installs where there is no version.
CLOUD = """#!/bin/sh
set -eu
if ! [ -e /var/www/html/version.php ]; then /usr/bin/php install && chown -R 33:33 /var/www/html; fi
[ "$1" = apache2-foreground ]
exec /usr/bin/php serve
"""
PHP = '#!/bin/sh\nexec /usr/bin/python3 /usr/src/nextcloud.py "$@"\n'
CRON = "#!/bin/sh\nexec sleep infinity\n"
NODE = '#!/bin/sh\nexec /usr/bin/python3 /app/uptime_kuma.py "$@"\n'
INIT = '#!/bin/sh\nshift\nexec "$@"\n'
# As that of Syncthing: as root it gives its folder to its user, and becomes it.
SYNC = """#!/bin/sh
set -eu
chown "$PUID:$PGID" "$HOME"
exec setpriv --reuid="$PUID" --regid="$PGID" --clear-groups -- env HOME="$HOME" "$@"
"""
PROGRAMS = ("base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "sed", "util-linux")
SYNCED = (*PROGRAMS, "curl", "syncthing")


def preset(name: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = yaml.safe_load(PRESETS[name].read_text(encoding="utf-8"))
    return found


def images(name: str, registry: Registry) -> dict[str, str]:
    """The images of a preset by its services, published under their names and tags."""
    known = {
        "codeberg.org/forgejo/forgejo": forgejo,
        "docker.io/library/nextcloud": nextcloud,
        "docker.io/library/postgres": postgres,
        "docker.io/louislam/uptime-kuma": uptime_kuma,
        "docker.io/syncthing/syncthing": syncthing,
        "docker.io/valkey/valkey": valkey,
        "docker.io/vaultwarden/server": vaultwarden,
    }
    pushed: dict[str, str] = {}
    found = {}
    for service, its in preset(name)["project"]["services"].items():
        image, dummy, tag = its["image"].partition("@")[0].rpartition(":")
        # Those of a service beside it follow by themselves.
        if its["image"] not in pushed:
            found[service] = pushed[its["image"]] = known[image](registry, image.partition("/")[2], tag)
    return found


def vaultwarden(registry: Registry, repository: str, tag: str) -> str:
    settings = {
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Healthcheck": {"Test": ["CMD", "/bin/busybox", "wget", "-qO/dev/null", "http://localhost/alive"]},
    }
    return registry.push(repository, tag, ("/bin/busybox", "sh", "/start.sh"), {"start.sh": VAULT}, settings=settings)


def forgejo(registry: Registry, repository: str, tag: str) -> str:
    files = {
        "usr/bin/entrypoint": FORGE,
        "usr/bin/curl": CURL,
        "usr/bin/su-exec": SU_EXEC,
        "usr/bin/forgejo": FORGEJO,
    }
    settings = {
        "Entrypoint": ["/usr/bin/entrypoint"],
        "ExposedPorts": {"22/tcp": {}, "3000/tcp": {}},
        "Volumes": {"/data": {}},
    }
    command = ("/bin/s6-svscan", "/etc/s6")
    return registry.push(repository, tag, command, files, base=immich.root(), settings=settings)


def nextcloud(registry: Registry, repository: str, tag: str) -> str:
    files = {
        "entrypoint.sh": CLOUD,
        "cron.sh": CRON,
        "usr/bin/php": PHP,
        "usr/src/nextcloud.py": (STAND_INS / "nextcloud.py").read_text(encoding="utf-8"),
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\n",
        "etc/group": "root:x:0:\nwww-data:x:33:\n",
    }
    settings = {
        "Entrypoint": ["/entrypoint.sh"],
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/var/www/html": {}},
        "WorkingDir": "/var/www/html",
    }
    return registry.push(repository, tag, ("apache2-foreground",), files, base=immich.root(), settings=settings)


def postgres(registry: Registry, repository: str, tag: str) -> str:
    clients = {
        f"usr/bin/{name}": f'#!/bin/sh\nexec {immich.PROGRAMS}/{name} "$@"\n'
        for name in ("pg_dump", "pg_isready", "psql")
    }
    passwd = {"etc/passwd": immich.PASSWD, "etc/group": "root:x:0:\npostgres:x:999:\n"}
    files = {**passwd, "usr/bin/entrypoint": immich.DATABASE, **clients}
    settings = {"ExposedPorts": {"5432/tcp": {}}, "Volumes": {"/var/lib/postgresql/data": {}}}
    return registry.push(repository, tag, ("/usr/bin/entrypoint",), files, base=immich.root(), settings=settings)


def valkey(registry: Registry, repository: str, tag: str) -> str:
    settings = {"ExposedPorts": {"6379/tcp": {}}, "Volumes": {"/data": {}}}
    return registry.push(repository, tag, ("valkey-server",), {}, base=immich.root(), settings=settings)


def syncthing(registry: Registry, repository: str, tag: str) -> str:
    files = {"usr/bin/entrypoint.sh": SYNC}
    health = "curl -fkLsS -m 2 127.0.0.1:8384/rest/noauth/health | grep -o --color=never OK || exit 1"
    settings = {
        "Entrypoint": ["/bin/entrypoint.sh", "/bin/syncthing"],
        "Env": [
            "PUID=1000",
            "PGID=1000",
            "HOME=/var/syncthing",
            "STGUIADDRESS=0.0.0.0:8384",
            "STHOMEDIR=/var/syncthing/config",
        ],
        "ExposedPorts": {"8384/tcp": {}, "22000/tcp": {}, "22000/udp": {}, "21027/udp": {}},
        "Volumes": {"/var/syncthing": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", health]},
    }
    base = debian_layer("syncthing", SYNCED, immich.LEFT_OUT)
    return registry.push(repository, tag, (), files, base=base, settings=settings)


def uptime_kuma(registry: Registry, repository: str, tag: str) -> str:
    files = {
        "usr/bin/dumb-init": INIT,
        "usr/bin/node": NODE,
        "app/uptime_kuma.py": (STAND_INS / "uptime_kuma.py").read_text(encoding="utf-8"),
    }
    settings = {
        "Entrypoint": ["/usr/bin/dumb-init", "--"],
        "ExposedPorts": {"3001/tcp": {}},
        "WorkingDir": "/app",
    }
    return registry.push(repository, tag, ("node", "server/server.js"), files, base=immich.root(), settings=settings)
