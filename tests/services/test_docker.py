# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker of Debian 13 in an unprivileged guest, with images made here and a registry of Debian."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services.registry import Registry

SERVER = ("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")


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
    assert lab.entry("main").succeeded().changed == 0, "a second run changes nothing"
    assert lab.entry("main", "--check").succeeded().changed == 0
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
