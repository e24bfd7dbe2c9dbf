# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker of Debian 13 in an unprivileged guest, with images made here and a registry of Debian."""

from __future__ import annotations

import json
import typing as t
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import presets
from ansible_collections.homelab.hybrid.tests.services.registry import Registry

SERVER = ("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")

# It starts, deletes what it finds, and never answers.
BROKEN = ("/bin/busybox", "sh", "-c", "/bin/busybox rm -f /www/data/row; exec /bin/busybox sleep 3600")

TOKEN = "$argon2id$v=19$m=65540,t=3,p=4$c29tZXNhbHQ$aGFzaA"


@pytest.fixture(autouse=True)
def _guest() -> t.Iterator[None]:
    yield
    guest.tear_down()


@pytest.fixture
def registry(tmp_path: Path) -> t.Iterator[Registry]:
    """A registry at the bridge of a guest that may run containers."""
    guest.set_up("docker.img", features={"docker": True})
    served = Registry(tmp_path / "registry", guest.GATEWAY)
    yield served
    served.close()


def packages() -> str:
    return guest.inside("dpkg-query", "--show")


def outside() -> set[str]:
    """What others than the guest itself can reach."""
    return {each for each in guest.listeners() if " 127." not in each}


def docker(*argv: str) -> str:
    return guest.inside("docker", *argv)


def test_a_guest_that_may_not_run_containers_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    guest.set_up("docker-bare.img")
    fresh = packages()
    lab = guest.Lab(tmp_path, "docker_host")
    for arguments in (("--check",), ()):
        assert "without features.docker" in lab.entry("main", *arguments).failed().said
    assert packages() == fresh


def test_docker_stands_runs_on_and_is_taken_away(registry: Registry, tmp_path: Path) -> None:
    before, fresh = outside(), packages()
    lab = guest.Lab(tmp_path, "docker_host", {"docker_host_insecure_registries": [registry.name]})
    refused = lab.entry("main", docker_host_settings={"hosts": ["tcp://0.0.0.0:2375"]}).failed()
    assert "docker_host_settings: hosts" in refused.said

    checked = lab.entry("main", "--check").succeeded()
    assert checked.changed and "docker-compose" in checked.said and packages() == fresh
    lab.entry("main").succeeded()
    lab.entry("main").unchanged()
    lab.entry("main", "--check").unchanged()
    assert outside() == before, "Docker has its socket alone"

    told = json.loads(docker("info", "--format", "json"))
    assert (told["Driver"], told["LoggingDriver"], told["LiveRestoreEnabled"]) == ("overlay2", "local", True)
    assert docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}") == "172.24.0.0/24"
    assert docker("image", "ls", "--quiet") == "", "the check leaves no image behind"
    image = registry.push("web", "1", SERVER, {"www/index.html": "it runs\n"})
    docker("run", "--detach", "--name", "web", image)
    pid = docker("inspect", "web", "--format", "{{.State.Pid}}")

    lab.variables = {**lab.variables, "docker_host_settings": {"max-concurrent-downloads": 2}}
    assert lab.entry("main").succeeded().changed
    assert docker("inspect", "web", "--format", "{{.State.Running}} {{.State.Pid}}") == f"true {pid}"
    guest.inside("systemctl", "stop", "docker.service", "docker.socket")
    assert lab.entry("main").succeeded().changed, "what was stopped is healed, and told"
    assert docker("inspect", "web", "--format", "{{.State.Pid}}") == pid
    docker("rm", "--force", "web")

    lab.entry("remove").succeeded()
    assert guest.status("sh", "-c", "command -v docker") != 0
    assert guest.status("test", "-d", "/var/lib/docker/overlay2") == 0, "what Docker kept is data"


WIKI = """# As its author wrote it.
x-restart: &restart
  restart: always
services:
  wiki:
    <<: *restart
    image: ${IMAGE:-docker.io/example/wiki:latest}
    ports:
      - 127.0.0.1:8081:80
    volumes: [./pages:/www/pages]
  job:
    image: docker.io/example/job:latest
    command: [/bin/busybox, "true"]
"""


def ask(port: int, path: str = "index.html") -> str:
    """What the guest answers the hypervisor; nothing where it does not."""
    try:
        with urllib.request.urlopen(f"http://{guest.ADDRESS}:{port}/{path}", timeout=5) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""


def started(app: str) -> set[str]:
    """The containers of an application, each with the moment at which it was started."""
    names = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={app}").split()
    return set(docker("inspect", *names, "--format", "{{.Name}} {{.State.StartedAt}}").splitlines()) if names else set()


def web(image: str, **options: t.Any) -> dict[str, t.Any]:
    service = {"image": "${IMAGE}", "ports": ["8080:80"], "volumes": ["./data:/www/data"], "restart": "unless-stopped"}
    beside = {"image": "${IMAGE}", "restart": "unless-stopped"}
    project = {"services": {"web": service, "beside": beside}}
    return {"name": "web", "project": project, "env": {"IMAGE": image}, "port": 8080, **options}


def test_applications_from_compose_files_are_kept(registry: Registry, tmp_path: Path) -> None:
    before, fresh = outside(), packages()
    image = registry.push("web", "1.0", SERVER, {"www/index.html": "one\n"})
    (tmp_path / "wiki.yaml").write_text(WIKI, encoding="utf-8")
    wiki = {
        "name": "wiki",
        "src": str(tmp_path / "wiki.yaml"),
        "images": {"wiki": image, "job": image},
        "check": {"url": "http://127.0.0.1:8081/", "regex": "one"},
        "data": {"pages": "./pages"},
    }
    vault = {"name": "vault", "preset": "vaultwarden", "images": presets.images("vaultwarden", registry)}
    apps = [web(image), wiki, vault]
    lab = guest.Lab(
        tmp_path, "compose_app", {"docker_host_insecure_registries": [registry.name], "compose_app_apps": apps}
    )

    loose = lab.entry("main", "--check", compose_app_apps=[web("docker.io/example/web:1")]).failed()
    assert "web has docker.io/example/web:1" in loose.said and "write the digest" in loose.said
    checked = lab.entry("main", "--check").succeeded()
    assert checked.changed and image in checked.said and packages() == fresh
    lab.entry("main").succeeded()
    lab.entry("main").unchanged()
    lab.entry("main", "--check").unchanged()

    assert ask(8080) == "one"
    ports = {each.rpartition(":")[2] for each in outside() - before}
    assert ports == {"8080", "8222"}, "the wiki answers its guest alone"
    assert ask(8222, "alive").startswith('"20') and ask(8222, "signups") == "false"
    assert ask(8222, "admin") == "", "without a token there is no page for administrators"
    assert guest.inside("cat", "/opt/compose/vault/data/db.sqlite3") == "vault"
    assert WIKI in guest.inside("cat", "/opt/compose/wiki/compose.yaml") + "\n"
    assert guest.inside("stat", "--format", "%a", "/opt/compose/vault/.env") == "600"
    guest.inside("sh", "-c", "echo row > /opt/compose/web/data/row")

    stood = started("web")
    docker("rm", "--force", "web-web-1")
    assert lab.entry("main", "--check").succeeded().changed and ask(8080) == ""
    assert lab.entry("main").succeeded().changed, "a container that is gone is made, and told"
    assert ask(8080, "data/row") == "row" and len(started("web") & stood) == 1, "the one beside it ran on"
    guest.inside("systemctl", "stop", "compose-web.service")
    assert started("web") == set()
    assert lab.entry("main").succeeded().changed and ask(8080, "data/row") == "row"

    stood = started("web")
    vault["env"] = {"ADMIN_TOKEN": TOKEN, "DOMAIN": "https://vault.example.org"}
    lab.variables = {**lab.variables, "compose_app_apps": [{**wiki, "state": "absent"}, web(image), vault]}
    lab.entry("main").succeeded()
    assert ask(8222, "admin") == "https://vault.example.org" and TOKEN in docker("inspect", "vault-vaultwarden-1")
    assert started("wiki") == set() and started("web") == stood
    assert guest.status("test", "-d", "/opt/compose/wiki/pages") == 0, "its pages are data"
    assert lab.entry("main").succeeded().changed == 0
    lab.entry("remove").succeeded()
    assert outside() == before and docker("ps", "--all", "--quiet") == ""
    assert guest.inside("cat", "/opt/compose/web/data/row") == "row"


def test_images_of_an_application_change_through_the_door(registry: Registry, tmp_path: Path) -> None:
    image = registry.push("web", "1.0", SERVER, {"www/index.html": "one\n"})
    lab = guest.Lab(tmp_path, "compose_app", {"docker_host_insecure_registries": [registry.name]})
    lab.entry("main", compose_app_apps=[web(image)]).succeeded()
    # Later runs are of the application alone.
    lab.variables = {**lab.variables, "guest_services": ["docker_host", "compose_app"]}
    guest.inside("sh", "-c", "echo row > /opt/compose/web/data/row")

    turned = registry.push("web", "1.1", SERVER, {"www/index.html": "two\n"})
    registry.turn(turned)
    stood = started("web")
    refused = lab.entry("main", compose_app_apps=[web(turned)]).failed()
    assert "verif" in refused.said and started("web") == stood, refused.printed[-3000:]
    assert image in guest.inside("cat", "/opt/compose/web/.env"), "refused before anything is changed"

    silent = [web(registry.push("web", "1.2", BROKEN, {}), check={"attempts": 5})]
    failed = lab.entry("main", compose_app_apps=silent).failed()
    assert "went back" in failed.said, failed.printed[-4000:]
    assert ask(8080) == "one" and ask(8080, "data/row") == "row", "the old one answers, with what was written before"
    again = lab.entry("main", compose_app_apps=silent).succeeded()
    assert again.changed == 0 and "failed before" in again.said

    newer = [web(registry.push("web", "1.3", SERVER, {"www/index.html": "three\n"}))]
    assert lab.entry("main", "--check", compose_app_apps=newer).succeeded().changed and ask(8080) == "one"
    assert lab.entry("main", compose_app_apps=newer).succeeded().changed
    assert ask(8080) == "three" and ask(8080, "data/row") == "row"
    assert lab.entry("main", compose_app_apps=newer).succeeded().changed == 0


def test_other_images_are_refused_where_nobody_knows_which_ones_stand(registry: Registry, tmp_path: Path) -> None:
    image = registry.push("web", "1.0", SERVER, {"www/index.html": "one\n"})
    lab = guest.Lab(tmp_path, "compose_app", {"docker_host_insecure_registries": [registry.name]})
    lab.entry("main", compose_app_apps=[web(image)]).succeeded()
    lab.variables = {**lab.variables, "guest_services": ["docker_host", "compose_app"]}
    guest.inside("sh", "-c", "echo 'services: [' > /opt/compose/web/compose.yaml")
    stood = started("web")
    other = [web(registry.push("web", "1.1", SERVER, {"www/index.html": "two\n"}))]
    for arguments in (("--check",), ()):
        refused = lab.entry("main", *arguments, compose_app_apps=other).failed()
        assert "compose.yaml of hlsv-guest cannot be read" in refused.said and image in refused.said
    assert started("web") == stood and ask(8080) == "one"
    assert lab.entry("main", compose_app_apps=[web(image)]).succeeded().changed, "the role writes its file anew"
    assert started("web") == stood and lab.entry("main", compose_app_apps=[web(image)]).succeeded().changed == 0

    # As Compose names what it builds; it builds nothing that is there.
    docker("tag", image, "built-web")
    service = {"build": ".", "ports": ["8081:80"], "restart": "unless-stopped"}
    built = {"name": "built", "project": {"services": {"web": service}}, "unpinned": True, "port": 8081}
    lab.entry("main", compose_app_apps=[web(image), built]).succeeded()
    stood = started("built")
    guest.inside("sh", "-c", "echo 'services: [' > /opt/compose/built/compose.yaml")
    assert lab.entry("main", compose_app_apps=[web(image), built]).succeeded().changed, "what is built has no version"
    assert started("built") == stood and ask(8081) == "one"
