# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows Server as the playbooks install it, with a Linux that says it is Windows in its place: secure boot, TPM, virtio and the agent are real.

What no stand-in tells is how the Setup of Microsoft takes the answer. It is judged by the rules that are published of it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.tests.harness import labs, machines, windows_stand_in
from ansible_collections.homelab.hybrid.tests.harness.labs import MACHINE, Lab, Variables, changed
from ansible_collections.homelab.hybrid.tests.harness.unattend import problems, revealed, values
from ansible_collections.homelab.hybrid.tests.harness.windows_stand_in import ANSWER_AT_MIB, MIB

PASSWORD = "Tea & <Cake> 4"
MEDIA = ("windows-server-2025", "virtio-win")
# Each start under emulation: firmware, shim, GRUB and kernel.
SECONDS = 2400


class Windows(Lab):
    """The lab with one machine, which has the role."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.hosts = {
            MACHINE: {
                "guest_hypervisor": "alpha",
                "guest_services": ["windows_server"],
                "windows_server_administrator_password": PASSWORD,
                "windows_server_time_zone": "Europe/Berlin",
                "windows_server_remote": ["rdp", "winrm"],
                "windows_server_install_timeout": SECONDS,
                # Emulated, and small.
                "guest_spec": {
                    "memory": "768MiB",
                    "vcpus": 2,
                    "disks": [{"name": "root", "size": "2GiB"}],
                    "wait_timeout": SECONDS,
                    "shutdown_timeout": 60,
                },
            }
        }

    def write(self) -> Path:
        files = {name: labs.FOLDER / f"{name}.iso" for name in MEDIA}
        images = [
            {"name": name, "kind": "iso", "path": str(path), "checksum": digest_of(path)}
            for name, path in files.items()
        ]
        host = {**labs.HOST, "hypervisor_images": images}
        path = self.folder / "hosts.yml"
        children: Variables = {"hypervisors": {"hosts": {"alpha": host}}, "guests": {"hosts": self.hosts}}
        path.write_text(yaml.safe_dump({"all": {"children": children}}))
        return path


def digest_of(path: Path) -> str:
    with open(path, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Windows]:
    labs.tear_down()
    labs.FOLDER.mkdir(parents=True)
    for name, source in zip(MEDIA, (windows_stand_in.medium(), windows_stand_in.drivers()), strict=True):
        (labs.FOLDER / f"{name}.iso").symlink_to(source)
    labs.converge(
        bridges=labs.HOST["hypervisor_bridges"],
        storage_pools=labs.HOST["hypervisor_storage_pools"],
    )
    try:
        yield Windows(tmp_path_factory.mktemp("lab"))
    finally:
        absent = {"state": "absent", "force_stop": True, "shutdown_timeout": 1}
        labs.converge(vms=[{**absent, "name": MACHINE, "delete": ["disks", "nvram", "tpm"]}])
        labs.converge(images=[{"name": name, "state": "absent"} for name in MEDIA])
        labs.tear_down()


def command_of_qemu() -> list[str]:
    """What the kernel says QEMU was started with."""
    pid = Path(f"/run/libvirt/qemu/{MACHINE}.pid").read_text().strip()
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def drives() -> list[str]:
    nodes = machines.running(MACHINE).iterfind("devices/disk[@device='cdrom']/source")
    return [str(node.get("file")) for node in nodes]


def answer_on(path: str) -> str:
    """``autounattend.xml`` of a medium, as another program reads it."""
    return labs.run("isoinfo", "-J", "-i", path, "-x", "/autounattend.xml")


def test_the_machine_is_planned_with_all_that_windows_wants(lab: Windows) -> None:
    planned = lab.play("site", "--check", "--diff")
    told = planned.stdout + planned.stderr
    assert planned.returncode == 0, told
    assert "windows-server-2025 (autounattend)" in told and "Cake" not in told and "<unattend" not in told


def test_a_password_that_windows_does_not_take_fails_in_the_plan(lab: Windows) -> None:
    lab.hosts[MACHINE]["windows_server_administrator_password"] = "simple"
    try:
        planned = lab.play("site", "--check")
    finally:
        lab.hosts[MACHINE]["windows_server_administrator_password"] = PASSWORD
    told = planned.stdout + planned.stderr
    assert planned.returncode == 2 and "windows_server_administrator_password: is needed, with 8 to 127" in told, told


def test_windows_is_installed_and_stands_without_its_media(lab: Windows) -> None:
    # What it prints is read when it has ended.
    with open(lab.folder / "log", "w+", encoding="utf-8") as log:
        run = subprocess.Popen(
            lab.command("homelab.hybrid.site"), env=lab.environment(), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            look_at_the_installer(run)
            assert run.wait(SECONDS) == 0
        except AssertionError as exc:
            raise AssertionError(Path(log.name).read_text()) from exc
        finally:
            run.kill()
        told = Path(log.name).read_text()
    assert "Cake" not in told and "<unattend" not in told and MACHINE in told
    check_machine()
    check_disk()


def look_at_the_installer(run: subprocess.Popen[str]) -> None:
    """While Setup is at work: what is in the drives, and what the answer says."""
    deadline = time.monotonic() + 600
    while machines.virsh("domstate", MACHINE, check=False) != "running":
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(1)
    found = drives()
    assert len(found) == 3, found
    text = answer_on(found[1])
    assert problems(text) == []
    shell = "oobeSystem/Microsoft-Windows-Shell-Setup"
    (hidden,) = values(text, f"{shell}/UserAccounts/AdministratorPassword/Value")
    assert revealed(hidden, "AdministratorPassword") == PASSWORD
    assert values(text, "specialize/Microsoft-Windows-Shell-Setup/TimeZone") == ["W. Europe Standard Time"]
    assert Path(found[1]).stat().st_mode & 0o777 == 0o600
    look_at_the_machine()


def look_at_the_machine() -> None:
    """Secure boot with Microsoft's keys, a TPM, and disk and card of virtio: as libvirt has it, and as QEMU was told."""
    root = machines.running(MACHINE)
    assert "OVMF_CODE_4M.ms.fd" in (root.findtext("os/loader") or ""), root.findtext("os/loader")
    nvram = root.find("os/nvram")
    assert nvram is not None and "OVMF_VARS_4M.ms.fd" in nvram.get("template", "")
    backend = root.find("devices/tpm/backend")
    assert backend is not None and (backend.get("type"), backend.get("version")) == ("emulator", "2.0")
    assert [node.get("bus") for node in root.iterfind("devices/disk[@device='disk']/target")] == ["virtio"]
    clock = root.find("clock")
    assert clock is not None and clock.get("offset") == "localtime"
    said = command_of_qemu()
    whole = " ".join(said)
    assert "driver=cfi.pflash01,property=secure,value=on" in whole and "smm=on" in whole
    assert "emulator,id=tpm-tpm0" in whole and any("tpm-crb" in word or "tpm-tis" in word for word in said)
    assert "virtio-blk-pci" in whole and "virtio-net-pci" in whole


def check_machine() -> None:
    assert drives() == [] and not Path(f"/var/lib/homelab_hybrid/installers/{MACHINE}").exists()
    told = json.loads(machines.virsh("qemu-agent-command", MACHINE, '{"execute": "guest-get-osinfo"}'))
    assert told["return"]["id"] == "mswindows"


def check_disk() -> None:
    """The answer that the installer found, behind what it copied."""
    (disk,) = (labs.FOLDER / "pool").rglob(f"{MACHINE}.root*")
    said = labs.run("qemu-img", "map", "-U", "--output=json", str(disk))
    assert any(
        part["data"] and part["start"] <= ANSWER_AT_MIB * MIB < part["start"] + part["length"]
        for part in json.loads(said)
    )


def test_a_second_run_changes_nothing_and_asks_the_agent(lab: Windows) -> None:
    again = lab.play("site")
    assert (again.returncode, changed(again)) == (0, 0), again.stdout + again.stderr
    shown = lab.play("show", "--limit", MACHINE)
    assert "Windows Server 2025 Standard" in shown.stdout, shown.stdout + shown.stderr


def test_what_updates_itself_is_told_so(lab: Windows) -> None:
    done = lab.play("update", "--limit", MACHINE, update_hosts=False)
    assert done.returncode == 0 and "updates itself as you have told Windows" in done.stdout, done.stdout + done.stderr


def test_tasks_reach_it_by_powershell_where_the_inventory_does_not_say_how(lab: Windows) -> None:
    (lab.folder / "task.yml").write_text(f"""
- ansible.builtin.import_playbook: homelab.hybrid.guests
- hosts: {MACHINE}
  gather_facts: false
  tasks:
    - ansible.builtin.raw: . /etc/os-release; echo "$PRETTY_NAME"
      register: said
    - ansible.builtin.debug: {{msg: "it says {{{{ said.stdout }}}}"}}
""")
    command = lab.command(str(lab.folder / "task.yml"))
    done = subprocess.run(command, env=lab.environment(), capture_output=True, text=True, check=False)
    assert "it says Windows Server 2025 Standard" in done.stdout, done.stdout + done.stderr
