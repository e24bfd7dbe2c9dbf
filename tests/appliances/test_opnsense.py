# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine of the shape of OPNsense: its image is verified by its signature, it imports its configuration with nobody at its console, and serves.

The image is a stand-in (``harness/opnsense_image``): no FreeBSD is reached from a test host. Who judges is a client that others wrote, busybox as a
guest of its LAN, and virsh.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

import aiohttp
import aioopnsense
import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.appliance import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import importing
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.plugins.plugin_utils._opnsense import made
from ansible_collections.homelab.hybrid.tests.harness import machines, opnsense_image, opnsense_wanted
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now
from ansible_collections.homelab.hybrid.tests.harness.labs import ROOT, changed
from ansible_collections.homelab.hybrid.tests.harness.machines import command, virsh
from ansible_collections.homelab.hybrid.tests.harness.signer import Signer
from ansible_collections.homelab.hybrid.tests.harness.upstream import serving

NAME, IMAGE = f"{machines.PREFIX}-opnsense", f"{machines.PREFIX}-opn-image"
WAN, LAN = machines.BRIDGES
ADDRESS, OURS = "10.93.80.1", "10.93.80.2/24"
WANTED = opnsense_wanted.wanted(NAME, "10.93.80")
MADE = made(WANTED)
SPEC: dict[str, t.Any] = {
    "memory": "512MiB",
    "vcpus": 1,
    "image": IMAGE,
    "disks": [{"name": "root", "pool": machines.POOL, "size": "1GiB"}],
    "networks": [{"name": "wan", "bridge": WAN}, {"name": "lan", "bridge": LAN}],
    "shutdown_timeout": 120,
    "force_stop": True,
}
ANSWER = {
    "answer": "config",
    "answer_text": MADE["config"],
    "done_when": "serial",
    "pattern": r"Restoring config\.xml\.\.\.[\s\S]*\*\*\* gate\.",
}
MAKES = """\
- hosts: {name}
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: homelab.hybrid.opnsense
        tasks_from: guest
    - homelab.hybrid.layout:
        vms: "{{{{ [inventory_hostname] | homelab.hybrid.guest_options(hostvars, 'vm') }}}}"
      delegate_to: alpha
"""
ROLE = """\
- hosts: {name}
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: homelab.hybrid.opnsense
        tasks_from: {part}
"""


def play(folder: Path, text: str, *argv: str, **more: t.Any) -> subprocess.CompletedProcess[str]:
    """A play as a user writes it. Nobody connects to its guest."""
    lists = ("interfaces", "dhcp_ranges", "dns_hosts", "rules", "secret", "hostname", "domain", "timeservers")
    variables = {f"opnsense_{key}": WANTED[key] for key in lists}
    guest = {"guest_hypervisor": "alpha", "guest_kind": "vm", "guest_services": ["opnsense"], "guest_spec": SPEC}
    host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    hosts = {"alpha": host, NAME: {"ansible_host": "192.0.2.1", **guest, **variables, **more}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (folder / "play.yml").write_text(text)
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
    command_line = [str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml", *argv]
    return subprocess.run(command_line, capture_output=True, text=True, env=environment, check=False, cwd=folder)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """The machine, once for all tests; the folder of its pool."""
    folder = tmp_path_factory.mktemp("upstream")
    signer = Signer(tmp_path_factory.mktemp("signer"))
    with machines.surroundings() as pool, serving(folder) as upstream:
        published = opnsense_image.publish(folder, signer, offers="26.7.1 26.7.2-broken")
        image = {
            "name": IMAGE,
            "kind": "vm",
            "url": f"{upstream.url}/{published.image.name}",
            "checksum": f"{upstream.url}/{published.checksums.name}",
            "signature": {"url": f"{upstream.url}/{published.signature.name}", "of": "content", "key": published.key},
        }
        command("ip", "addr", "add", OURS, "dev", LAN)
        try:
            check_run_again(Image(), image)
            folder = tmp_path_factory.mktemp("play")
            made_now, again = (play(folder, MAKES.format(name=NAME)) for _run in range(2))
            assert made_now.returncode == 0 and changed(made_now) == 1, made_now.stdout + made_now.stderr
            assert again.returncode == 0 and changed(again) == 0, again.stdout
            assert MADE["secrets"]["key"] not in made_now.stdout
            yield pool
        finally:
            converge_now(
                KvmVm(),
                {"name": NAME, "state": "absent", "delete": ["disks"], "force_stop": True, "shutdown_timeout": 0},
            )
            converge_now(Image(), {"name": IMAGE, "state": "absent"})
            Path(paths.record_path("appliances", NAME)).unlink(missing_ok=True)
            signer.stop()


def run(*, wanted: t.Any = None, **more: t.Any) -> Outcome:
    return opnsense_wanted.run({**WANTED, **(wanted or {})}, ADDRESS, **{"wait": 180, **more})


async def asked(path: str, secret: str) -> t.Any:
    async with aiohttp.ClientSession() as session:
        client = aioopnsense.OPNsenseClient(f"https://{ADDRESS}/api", MADE["secrets"]["key"], secret, session)
        return await (client.get_interfaces() if path == "interfaces" else client._get(path))


def test_it_has_imported_its_configuration_and_nothing_is_left_of_it(gate: Path) -> None:
    """The medium is in no drive any more, and its disk was grown before its first start."""
    root = machines.running(NAME)
    assert root.find("devices/disk[@device='cdrom']") is None and root.find("devices/serial/log") is None
    assert not Path(paths.installer_folder(NAME)).exists()
    record = Path(paths.record_path("guests", NAME)).read_text()
    assert json.loads(record)["install"]["stage"] == "done" and MADE["secrets"]["key"] not in record
    (disk,) = gate.glob(f"{NAME}.root*")
    assert machines.volume(disk)["virtual-size"] == 1 << 30


def test_a_client_of_others_gets_in_by_the_key_that_was_there_before_it(gate: Path) -> None:
    assert run(ask="health").error is None
    secret = MADE["secrets"]["secret"]
    assert asyncio.run(asked("interfaces", secret)) == {"vtnet0": "WAN", "vtnet1": "LAN"}
    assert asyncio.run(asked("core/system/status", secret))["metadata"]["system"]["status"] == "OK"
    with pytest.raises(aioopnsense.OPNsenseAuthError):
        asyncio.run(asked("interfaces", opnsense_image.DEFAULT_PASSWORD))


@contextlib.contextmanager
def guest_of_lan() -> t.Iterator[str]:
    """A network namespace with a cable to the LAN."""
    name = f"{machines.PREFIX}-client"
    command("ip", "netns", "add", name)
    try:
        command("ip", "link", "add", "hlvmc0", "type", "veth", "peer", "name", "eth0", "netns", name)
        command("ip", "link", "set", "hlvmc0", "master", LAN, "up")
        command("ip", "-n", name, "link", "set", "eth0", "up")
        yield name
    finally:
        command("ip", "netns", "del", name)


def test_it_gives_addresses_to_its_lan(gate: Path) -> None:
    assert run(ask="health").error is None
    with guest_of_lan() as name:
        argv = (
            "ip",
            "netns",
            "exec",
            name,
            "busybox",
            "udhcpc",
            "-n",
            "-q",
            "-t",
            "8",
            "-i",
            "eth0",
            "-s",
            "/bin/true",
        )
        told = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert "lease of 10.93.80.10" in told.stdout + told.stderr, told


def test_its_items_are_changed_through_its_api_and_stay_when_it_restarts(gate: Path) -> None:
    wanted = {
        "rules": [
            *WANTED["rules"],
            {"name": "no mail", "interface": "lan", "action": "block", "protocol": "tcp", "port": "25"},
        ],
        "users": [{"name": "ada", "password": "analytical engine", "admin": True}],
    }
    check, real = run(dry_run=True, wanted=wanted), run(wanted=wanted)
    assert check.error is None and real.error is None, (check.error, real.error)
    assert real.result()["plan"] == check.result()["plan"] == [
        "what opens it is kept on its hypervisor", "dns_hosts[nas] is made", "rules[no mail] is made", "users[ada] is made"
    ]  # fmt: skip
    assert not run(wanted=wanted).changed
    virsh("reset", NAME)
    assert run(ask="health").error is None
    assert not run(wanted=wanted).changed
    rows = asyncio.run(asked("auth/user/search", MADE["secrets"]["secret"]))["rows"]
    assert [(row["name"], row["is_admin"]) for row in rows] == [("root", "1"), ("ada", "1")]


def test_what_is_for_its_own_pages_is_told_and_nothing_is_changed(gate: Path) -> None:
    told = run(
        wanted={"hostname": "door", "users": [{"name": "ada", "admin": True}], "rules": WANTED["rules"]}, dry_run=True
    )
    assert [(each["path"], each["stands"]) for each in told.facts["differs"]] == [("hostname", "gate")]


def test_the_role_makes_it_what_its_variables_say(gate: Path, tmp_path: Path) -> None:
    """From the hypervisor alone; a check says what the run does, and a second run does nothing."""
    check, real, again = (
        play(tmp_path, ROLE.format(name=NAME, part="main"), *argv) for argv in (["--check", "--diff"], [], [])
    )
    for done in (check, real, again):
        assert done.returncode == 0, done.stdout + done.stderr
        assert MADE["secrets"]["secret"] not in done.stdout and "UNREACHABLE" not in done.stdout
    assert "rules[no mail].description" in check.stdout and "users[ada].descr" in check.stdout
    assert changed(check) == changed(real) == 1 and changed(again) == 0
    kept = json.loads(Path(f"/var/lib/homelab_hybrid/secrets/opnsense/{NAME}.json").read_text())
    assert kept == MADE["secrets"]
    assert play(tmp_path, ROLE.format(name=NAME, part="check")).returncode == 0


def test_an_update_goes_through_the_door_and_back_where_it_does_not_answer(gate: Path, tmp_path: Path) -> None:
    said = play(tmp_path, ROLE.format(name=NAME, part="update"), "--check")
    assert said.returncode == 0 and changed(said) == 1, said.stdout + said.stderr
    done = play(tmp_path, ROLE.format(name=NAME, part="update"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(ask="updates", dry_run=True).facts["version"] == "26.7.1"
    failed = play(tmp_path, ROLE.format(name=NAME, part="update"), opnsense_update_seconds=20)
    assert failed.returncode != 0 and "went back to 26.7.1, which answers" in failed.stdout, failed.stdout
    assert run(ask="updates", dry_run=True).facts["version"] == "26.7.1"


def test_what_opens_it_is_forgotten_with_it(gate: Path, tmp_path: Path) -> None:
    done = play(tmp_path, ROLE.format(name=NAME, part="remove"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not Path(f"/var/lib/homelab_hybrid/secrets/opnsense/{NAME}.json").exists()
    assert not Path(paths.record_path("appliances", NAME)).exists()


def test_one_that_was_not_answered_in_time_is_never_left_running(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would run with the password of its image; the next run begins anew, with a disk of its own."""
    other = f"{NAME}-late"
    guest = {**SPEC, "name": other, "state": "stopped", "networks": [], "install": {**ANSWER, "timeout": 600}}
    with monkeypatch.context() as patch:
        patch.setattr(importing, "_type", lambda *_words: None)
        late = converge_now(KvmVm(), guest)
    assert late.error is not None and "was not answered in time" in late.error.message
    assert machines.state_of(other) == "shut off"
    try:
        anew = converge_now(KvmVm(), guest)
        assert anew.error is None, anew.error
        assert machines.state_of(other) == "shut off" and not Path(paths.installer_folder(other)).exists()
    finally:
        converge_now(KvmVm(), {"name": other, "state": "absent", "delete": ["disks"], "force_stop": True})
