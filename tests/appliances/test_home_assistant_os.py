# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Home Assistant OS by the playbook site: fetched as upstream publishes it, started by UEFI, told its settings on a medium, and asked."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import home_assistant_os as stand_in
from ansible_collections.homelab.hybrid.tests.harness import labs
from ansible_collections.homelab.hybrid.tests.harness.labs import Lab, changed
from ansible_collections.homelab.hybrid.tests.harness.upstream import serving

HOME = f"{labs.PREFIX}-home"
ADDRESS, LATER = "10.93.61.88", "10.93.61.89"
PUBLISHED = "home-assistant/operating-system/releases/download/18.2/haos_ova-18.2.qcow2.xz"


def play(lab: Lab, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    done = lab.play(name, *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def answer(port: int, path: str, address: str = ADDRESS) -> str:
    return labs.run("curl", "-sS", "--fail", f"http://{address}:{port}{path}")


def domain() -> str:
    return labs.run("virsh", "-c", "qemu:///system", "dumpxml", HOME)


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Lab]:
    key = tmp_path / "key"
    labs.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    found = Lab(tmp_path)
    packed = stand_in.packed_disk()
    (tmp_path / "upstream" / PUBLISHED).parent.mkdir(parents=True)
    (tmp_path / "upstream" / PUBLISHED).symlink_to(packed)
    with serving(tmp_path / "upstream") as upstream:
        found.hosts = {
            HOME: {
                "guest_services": ["home_assistant_os"],
                "home_assistant_os_address": f"{ADDRESS}/24",
                "home_assistant_os_gateway": "10.93.61.1",
                "home_assistant_os_ssh_keys": [key.with_suffix(".pub").read_text().strip()],
                "home_assistant_os_start_seconds": 180,
                "guest_spec": {"memory": "512MiB", "disks": [{"name": "root", "size": "1GiB"}], "wait_timeout": 300},
            }
        }
        digest = hashlib.sha256(packed.read_bytes()).hexdigest()
        found.host.update(
            hypervisor_images=[],
            hypervisor_image_mirrors=[{"name": "github.com", "url": upstream.url}],
            hypervisor_image_catalogue=[{"name": "home-assistant-18.2", "checksum": f"sha256:{digest}"}],
        )
        try:
            labs.tear_down()
            yield found
        finally:
            found.play("destroy", hybrid_is_disposable=True, purge=1)
            labs.tear_down()


def test_home_assistant_os_is_a_guest_of_the_lab(lab: Lab) -> None:
    planned = play(lab, "site", "--check", "--diff")
    assert "home-assistant-18.2" in planned.stdout and "AAAA" not in planned.stdout + planned.stderr
    assert labs.run("virsh", "-q", "-c", "qemu:///system", "list", "--all", "--name") == ""
    play(lab, "site")
    # It started by UEFI, took its address from the keyfile, and the keys of root at the port that upstream has.
    assert "OVMF_CODE" in domain() and "secure='yes'" not in domain()
    assert json.loads(answer(8123, "/manifest.json"))["name"] == "Home Assistant" and "Observer" in answer(4357, "/")
    assert all(step["done"] for step in json.loads(answer(8123, "/api/onboarding"))), "it has an owner"
    ssh = [
        "ssh",
        "-p",
        "22222",
        "-i",
        str(lab.folder / "key"),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]
    connection = labs.run(*ssh, "-o", "LogLevel=ERROR", f"root@{ADDRESS}", "cat /run/connections/my-network")
    assert f"address1={ADDRESS}/24,10.93.61.1" in connection and "method=manual" in connection
    medium = next(Path(path) for path in re.findall(r"source file='([^']*seed[^']*)'", domain()))
    assert labs.run("blkid", "-p", "-o", "value", "-s", "LABEL", str(medium)) == "CONFIG"
    named = labs.run("virsh", "-c", "qemu:///system", "net-dumpxml", labs.BRIDGE)
    assert re.search(rf"'{ADDRESS}'>\s*<hostname>", named) and f"<hostname>{HOME}.home.arpa<" in named
    again = play(lab, "site")
    assert changed(again) == 0, again.stdout
    shown = play(lab, "show")
    assert re.search(
        rf"{HOME} +home_assistant_os +http://{ADDRESS}:8123/manifest.json and its observer +200, 200", shown.stdout
    )

    # Another address is written at once, waits for the next boot, and is taken there. A plan and its run agree.
    lab.hosts[HOME]["home_assistant_os_address"] = f"{LATER}/24"
    lab.hosts[HOME]["home_assistant_os_check_address"] = ADDRESS
    planned, done = play(lab, "site", "--check", "--limit", "alpha"), play(lab, "site", "--limit", "alpha")
    assert changed(planned) == changed(done) == 1, done.stdout
    waiting = play(lab, "site").stdout
    assert "cloud_init.files" in waiting and HOME in waiting, "what waits is told"
    lab.hosts[HOME].pop("home_assistant_os_check_address")
    lab.hosts[HOME]["guest_spec"]["state"] = "restarted"
    play(lab, "site")
    assert json.loads(answer(8123, "/manifest.json", LATER))["name"] == "Home Assistant"
    lab.hosts[HOME]["guest_spec"]["state"] = "started"
    assert changed(play(lab, "site")) == 0


def test_an_address_that_is_none_fails_its_guest_in_the_plan(lab: Lab) -> None:
    lab.hosts[HOME]["home_assistant_os_address"] = "10.93.61.88"
    done = lab.play("site", "--check")
    assert done.returncode == 2 and "10.93.61.88 is no address with its prefix length" in done.stdout, done.stdout
