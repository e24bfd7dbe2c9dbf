# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of this host and of one that does not answer, as ansible-inventory shows them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = "hlinv-ct"
MACHINE = "hlinv-vm"
FOLDER = Path("/var/lib/lxc") / CONTAINER
DOMAIN = f"""\
<domain type='qemu'><name>{MACHINE}</name><memory unit='MiB'>64</memory><os><type machine='q35'>hvm</type></os><metadata>
<osinfo:libosinfo xmlns:osinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'><osinfo:os id='http://microsoft.com/win/2k22'/></osinfo:libosinfo>
</metadata></domain>
"""
CONFIG = f"lxc.uts.name = {CONTAINER}\nlxc.rootfs.path = dir:{FOLDER}/rootfs\nlxc.net.0.type = empty\n"
# An ssh that runs the command here: everything of the way is real but the network.
SSH = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
echo asked >> "$0.log"
[ ! -e "$0.down" ] || { echo "no route to $2" >&2; exit 255; }
echo "Welcome to $2"
exec /bin/sh -c "$3"
"""


def virsh(*argv: str) -> None:
    subprocess.run(("virsh", "-q", "-c", "qemu:///system", *argv), capture_output=True, check=False)


def remove() -> None:
    virsh("undefine", MACHINE)
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _guests(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    remove()
    xml = tmp_path_factory.mktemp("domain") / "domain.xml"
    xml.write_text(DOMAIN)
    try:
        (FOLDER / "rootfs").mkdir(parents=True)
        (FOLDER / "config").write_text(CONFIG)
        virsh("define", str(xml))
        yield
    finally:
        remove()


def plain(value: dict[str, t.Any]) -> t.Any:
    """What ansible-inventory marks as no template, without the mark."""
    return value.get("__ansible_unsafe", value)


class Inventory:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ssh = folder / "ssh"
        self.ssh.write_text(SSH)
        self.ssh.chmod(0o755)

    def far(self, name: str) -> dict[str, t.Any]:
        return {"name": name, "host": "192.0.2.1", "user": "root", "ssh_executable": str(self.ssh)}

    def run(self, *argv: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
        config = self.folder / "test.guests.yml"
        config.write_text(yaml.safe_dump({"plugin": "homelab.hybrid.guests", **options}))
        env = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        }
        command = [str(ROOT / ".build/venv/bin/ansible-inventory"), "-i", str(config), *(argv or ("--list",))]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    def read(self, **options: t.Any) -> dict[str, t.Any]:
        done = self.run(**options)
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout, object_hook=plain), "said": " ".join(done.stderr.split())}

    def asked(self) -> int:
        log = Path(f"{self.ssh}.log")
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


def test_both_kinds_over_ssh_with_one_execution(inventory: Inventory) -> None:
    found = inventory.read(
        hypervisors=[inventory.far("alpha")],
        keyed_groups=[{"key": "guest_state", "prefix": "state"}],
        groups={"mine": "inventory_hostname.startswith('hlinv')"},
        compose={"shown": "guest_name ~ '@' ~ guest_hypervisor"},
    )
    assert inventory.asked() == 1
    for name, group in ((CONTAINER, "containers"), (MACHINE, "vms")):
        variables = found["_meta"]["hostvars"][name]
        assert name in found[group]["hosts"]
        for each in ("mine", "state_stopped", "hypervisor_alpha"):
            assert name in found[each]["hosts"]
        assert variables["shown"] == f"{name}@alpha"
        assert variables["guest_state"] == "stopped"
    container = found["_meta"]["hostvars"][CONTAINER]
    assert container["ansible_connection"] == "homelab.hybrid.lxc"
    assert container["ansible_hypervisor"]["ansible_host"] == "192.0.2.1"
    assert found["hypervisors"]["hosts"] == ["alpha"]


def test_no_task_for_a_hypervisor_runs_in_a_guest_of_its_name(inventory: Inventory) -> None:
    both = [inventory.far("alpha"), inventory.far(CONTAINER)]
    found = inventory.read(hypervisors=both)
    assert found["_meta"]["hostvars"][CONTAINER].get("ansible_connection") is None
    assert CONTAINER in found["hypervisors"]["hosts"] and "containers" not in found
    assert f"{CONTAINER} is a hypervisor and a guest on alpha: the guest is left out" in found["said"]
    strict = inventory.run(hypervisors=both, strict=True)
    assert strict.returncode != 0
    assert f"{CONTAINER} is a hypervisor and a guest on alpha" in " ".join(strict.stderr.split())


def test_a_jump_host_and_a_password_are_those_of_the_settings_and_of_templates(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_SSH_COMMON_ARGS", "-o ProxyJump=jump.example.org")
    monkeypatch.setenv("HLINV_WORD", "correct horse")
    word = "{{ lookup('ansible.builtin.env', 'HLINV_WORD') }}"
    found = inventory.read(hypervisors=[inventory.far("alpha")], become_password=word)
    host = found["_meta"]["hostvars"]["alpha"]
    assert host["ansible_ssh_common_args"] == "-o ProxyJump=jump.example.org"
    assert host["ansible_become_password"] == "correct horse"
    assert found["_meta"]["hostvars"][CONTAINER]["ansible_hypervisor"]["ansible_become_password"] == "correct horse"


def test_an_unreachable_hypervisor_is_a_warning(inventory: Inventory) -> None:
    closed = {"name": "closed", "host": "127.0.0.1", "port": 1, "connection": "ssh"}
    found = inventory.read(hypervisors=[closed, "local"])
    assert CONTAINER in found["containers"]["hosts"]
    assert "the hypervisor closed cannot be asked: ssh to 127.0.0.1" in found["said"]
    strict = inventory.run(hypervisors=[closed, "local"], strict=True)
    assert strict.returncode != 0
    assert "the hypervisor closed cannot be asked" in " ".join(strict.stderr.split())


def test_cached_guests_outlive_their_hypervisor(inventory: Inventory) -> None:
    options = {
        "hypervisors": [inventory.far("alpha")],
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(inventory.folder / "cache"),
    }
    assert CONTAINER in inventory.read(**options)["containers"]["hosts"]
    assert CONTAINER in inventory.read(**options)["containers"]["hosts"]
    assert inventory.asked() == 1
    Path(f"{inventory.ssh}.down").touch()
    for file in (inventory.folder / "cache").iterdir():
        file.write_text(re.sub(r'(read_at\\*": )[0-9.]+', r"\g<1>1.0", file.read_text()))
    found = inventory.read(**options, cache_timeout=60)
    assert inventory.asked() == 2
    assert CONTAINER in found["containers"]["hosts"]
    assert "no route to" in found["said"]
    assert "Its guests are taken as they were" in found["said"]


def test_filters_and_ways(inventory: Inventory) -> None:
    found = inventory.read(
        hypervisors=["local"], kinds=["vm"], states=["stopped"], vm_connection="qemu_ga", hostnames="qualified"
    )
    assert "containers" not in found
    variables = found["_meta"]["hostvars"][f"{MACHINE}.local"]
    assert variables["ansible_connection"] == "homelab.hybrid.qemu_ga"
    assert variables["ansible_qemu_ga_name"] == MACHINE
    assert (variables["guest_os_variant"], variables["ansible_shell_type"]) == ("windows", "powershell")


def test_a_hypervisor_that_takes_too_long_is_not_waited_for(inventory: Inventory) -> None:
    inventory.ssh.write_text("#!/bin/sh\nexec sleep 60\n")
    found = inventory.read(hypervisors=[inventory.far("slow")], timeout=2)
    assert "slow cannot be asked: 192.0.2.1 did not answer within 2 s" in found["said"]


def test_a_bad_configuration_is_refused_before_anything_is_asked(inventory: Inventory) -> None:
    done = inventory.run(hypervisors=[inventory.far("alpha"), {"name": "beta", "adress": "x"}])
    assert done.returncode != 0
    assert "hypervisors[1]: there is no adress" in " ".join(done.stderr.split())
    assert inventory.asked() == 0
