# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole lab whose inventory names the service of each guest and no more: built, asked from a guest, started with its host, taken away."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import service_lab
from ansible_collections.homelab.hybrid.tests.harness.service_guest import Releases
from ansible_collections.homelab.hybrid.tests.harness.service_lab import DOMAIN, NETWORK, in_guest, on_host
from ansible_collections.homelab.hybrid.tests.services import (
    adguard_home,
    home_assistant,
    immich,
    jellyfin,
    mosquitto,
    paperless_ngx,
)
from ansible_collections.homelab.hybrid.tests.services.registry import Registry
from ansible_collections.homelab.hybrid.tests.services.scenario import Upstream, Variables

# From it the others are asked, by programs that others wrote.
VISITOR, PROGRAMS = "visitor", ("bind9-dnsutils", "curl", "mosquitto-clients")
VISITOR_SPEC = {
    "image": "debian-13",
    "rootfs": {"pool": "lab"},
    "networks": [{"name": "lan", "bridge": "lab0"}],
    "dns": {"servers": [f"{NETWORK}.1"]},
    "autostart": True,
    "wait_for": ["ip", "systemd"],
}
AUTHORITY = "/root/authority.crt"
SECRETS = "/var/lib/homelab_hybrid/secrets"
RESTART_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Row:
    """The service of a guest, and where it comes from.

    Behind the proxy it ``says`` something at a ``path``, to the user ``login`` where it asks for one, whose password was generated.
    It is found by ``called``, or by the name of its role.
    """

    role: str
    upstream: Upstream = mosquitto.UPSTREAM
    path: str = ""
    says: str = ""
    login: str = ""
    called: str = ""

    @property
    def name(self) -> str:
        return f"{self.called or self.role.replace('_', '-')}.{DOMAIN}"


ROWS: dict[str, Row] = {
    "names": Row("adguard_home", adguard_home.Github(), "/control/status", "v0.107.79", "admin"),
    "door": Row("reverse_proxy", called="overview"),
    "films": Row("jellyfin", jellyfin.Team(), "/health", "Healthy"),
    "messages": Row("mosquitto"),
    "documents": Row("paperless_ngx", path="/accounts/login/", says="Paperless-ngx", login="admin", called="paperless"),
    "pictures": Row("immich", immich.Project(), "/api/server/ping", "pong"),
    # It refuses what a proxy passes on that it does not trust.
    "home": Row("home_assistant", home_assistant.PyPI(), "/manifest.json", "Home Assistant"),
    "apps": Row("compose_app", path="/", says="it runs", called="web"),
}
SERVER = ("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[service_lab.Lab]:
    """The inventory, and a hypervisor that has nothing yet."""
    with contextlib.ExitStack() as ends:
        ends.callback(service_lab.tear_down)
        service_lab.set_up()
        releases = {name: Releases(tmp_path / name, service_lab.GATEWAY) for name in ROWS}
        for served in releases.values():
            ends.callback(served.close)
        guests: dict[str, Variables] = {
            name: {"guest_services": [row.role], **row.upstream.first(releases[name])} for name, row in ROWS.items()
        }
        guests["home"]["home_assistant_method"] = "venv"
        guests["documents"].update(paperless_ngx.Github().published(releases["documents"]))
        registry = Registry(tmp_path / "registry", service_lab.GATEWAY)
        ends.callback(registry.close)
        web = {"image": registry.push("web", "1", SERVER, {"www/index.html": "it runs\n"}), "ports": ["8080:80"]}
        guests["apps"].update(
            docker_host_insecure_registries=[registry.name],
            compose_app_apps=[
                {"name": "web", "project": {"services": {"web": {**web, "restart": "always"}}}, "port": 8080}
            ],
        )
        guests[VISITOR] = {"guest_kind": "container", "guest_spec": VISITOR_SPEC}
        yield service_lab.Lab(tmp_path, guests)


def visitor(*argv: str) -> str:
    return in_guest(VISITOR, *argv)


def addresses() -> dict[str, str]:
    """Where the guests are, as LXC tells it."""
    told = {name: on_host("lxc-info", "-n", name, "-iH").split() for name in ROWS}
    # Those of Docker's own networks are nobody's but the guest's.
    return {name: next(each for each in its if each.startswith(f"{NETWORK}.")) for name, its in told.items()}


def ask_all() -> None:
    """Ask each service by its name, as a machine of the lab does."""
    where = addresses()
    door, resolver = where["door"], where["names"]
    for guest, row in ROWS.items():
        # Over HTTP the way to a service leads through the proxy.
        expected = door if row.path else where[guest]
        for server in (f"{NETWORK}.1", resolver):
            found = visitor("dig", "+short", "+time=2", "+tries=2", row.name, f"@{server}")
            assert found == expected, (row.name, server)
        if row.path:
            secret = in_guest(guest, "cat", f"{SECRETS}/{row.role}/{row.login}") if row.login else ""
            login = ("--user", f"{row.login}:{secret}") if row.login else ()
            assert row.says in https(f"{row.name}{row.path}", *login), row.name
    page = https(f"overview.{DOMAIN}/")
    assert f"{len(ROWS) + 1} of {len(ROWS) + 1} guests running" in page
    for row in ROWS.values():
        assert not row.path or f'<a href="https://{row.name}/">' in page, row.name
    said = visitor("sh", "-c", f"mosquitto_pub -h mosquitto.{DOMAIN} -t a -m b 2>&1 || true")
    assert "not authori" in said, said
    assert logs_in("documents") == "302"


def https(where: str, *argv: str) -> str:
    """What is served there, with a certificate of the authority of the lab."""
    return visitor("curl", "-sSf", "--max-time", "10", "--cacert", AUTHORITY, *argv, f"https://{where}")


def logs_in(guest: str) -> str:
    """What the form of a page answers that believes only those who come from its own address."""
    row = ROWS[guest]
    secret = in_guest(guest, "cat", f"{SECRETS}/{row.role}/{row.login}")
    return visitor("sh", "-euc", FORM, "sh", f"https://{row.name}", row.path, row.login, secret)


FORM = f"""\
ask() {{ curl -sS --max-time 10 --cacert {AUTHORITY} --cookie /tmp/jar --cookie-jar /tmp/jar "$@"; }}
token=$(ask "$1$2" | sed -n 's/.*csrfmiddlewaretoken value=\\([^>]*\\)>.*/\\1/p')
ask --output /dev/null --write-out '%{{http_code}}' --header "Origin: $1" --referer "$1$2" \\
  --data-urlencode "login=$3" --data-urlencode "password=$4" --data-urlencode "csrfmiddlewaretoken=$token" "$1$2"
"""


def do_all_answer() -> bool:
    with contextlib.suppress(AssertionError, StopIteration):
        ask_all()
        return True
    return False


def left() -> set[str]:
    """What there is on the hypervisor that a lab may not leave. The settings of the host and what its own daemons make stay."""
    on_host("python3", "/srv/footprint.py", "/root/footprint")
    path = service_lab.rootfs() / "root/footprint"
    kinds = ("entry", "libvirt list", "libvirt net", "libvirt pool", "mount /srv")
    # That of libvirt's package is there once its daemon has run.
    lines = [
        line for line in path.read_text().splitlines() if "/usr/local/" not in line and line != "libvirt net default"
    ]
    return {line for line in lines if line.startswith(kinds) or "lab0" in line}


def test_a_lab_of_services_is_built_answers_and_comes_back_with_its_host(lab: service_lab.Lab) -> None:
    shutil.copy(service_lab.ROOT / "tests/playbooks/footprint.py", service_lab.rootfs() / "srv")
    before = left()
    lab.play("hypervisors").succeeded()
    paperless_ngx.trust(service_lab.rootfs() / "srv/lab/documents.rootfs", service_lab.GATEWAY)
    lab.play("site").succeeded()
    visitor("apt-get", "-qq", "update")
    visitor("apt-get", "-qqy", "install", "--no-install-recommends", *PROGRAMS)
    visitor("curl", "-sSf", "--output", AUTHORITY, f"http://overview.{DOMAIN}/authority.crt")
    ask_all()

    again = lab.play("site").succeeded()
    assert again.changed == 0, again.changes

    where = addresses()
    service_lab.restart()
    wait_until("the services after the restart of their host", do_all_answer, timeout_seconds=RESTART_SECONDS)
    assert addresses() == where
    assert "The lab is answering" in lab.play("show").succeeded().said

    lab.play("destroy").succeeded()
    assert left() == before
