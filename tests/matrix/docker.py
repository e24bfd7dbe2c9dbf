# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker of Debian 13 in an unprivileged container, also after the guest's own reboot: ``make docker``, as its image takes minutes to build."""

from __future__ import annotations

import typing as t
import urllib.request

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import debian_images, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, unchanged

IMAGE = f"{ct.PREFIX}-docker"
PACKAGES = ("docker.io", "docker-cli", "iptables", "busybox-static")
# No registry of images is asked: one of a single program is made inside.
IMPORT = """
mkdir -p /tmp/root/bin /tmp/root/www && cp /usr/bin/busybox /tmp/root/bin/ && echo it runs > /tmp/root/www/index.html
tar -C /tmp/root -c . | docker import - one
"""
WEB = ("docker", "run", "-d", "--name", "web", "--restart", "always", "-p", "8080:80", "one")

pytestmark = pytest.mark.usefixtures("container_host", "no_container")


def said() -> str | None:
    """What the published port answers to the host."""
    try:
        with urllib.request.urlopen("http://10.91.7.10:8080/index.html", timeout=5) as answer:
            return t.cast(str, answer.read().decode().strip())
    except OSError:
        return None


def test_docker_runs_with_overlay2_in_an_unprivileged_guest_and_comes_back_with_it() -> None:
    tiny_root.store(IMAGE, debian_images.container_root("trixie", PACKAGES))
    wanted = {
        **ct.BASE,
        "image": IMAGE,
        "networks": [ct.LAN],
        "features": {"docker": True},
        "wait_for": ["systemd"],
    }
    check_run_again(ct.CONTAINER, wanted)
    wait_until("dockerd", lambda: ct.inside("docker", "info", check=False), timeout_seconds=60)
    assert ct.inside("docker", "info", "--format", "{{.Driver}}") == "overlay2"
    ct.inside("sh", "-c", IMPORT)
    assert ct.inside("docker", "run", "--rm", "one", "/bin/busybox", "echo", "done") == "done"
    ct.inside(*WEB, "/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    assert wait_until("the web server", said, timeout_seconds=60) == "it runs"
    before = ct.pid()
    ct.inside("systemctl", "reboot", check=False)
    wait_until("the guest to be up again", lambda: ct.state() == "RUNNING" and ct.pid() != before, timeout_seconds=120)
    assert wait_until("the web server to come back", said, timeout_seconds=120) == "it runs"
    unchanged(ct.CONTAINER, wanted)
