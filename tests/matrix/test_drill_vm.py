# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of virtual machines that are proven by booting them, beside the machine that goes on. Proven with ip, virsh and the machine's own shell."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import backups, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.machines import POOL, command, left_of_a_drill, state_of, virsh
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import tiny_vm
from ansible_collections.homelab.hybrid.tests.harness.two_pools import needs_firmware

NAME = f"{machines.PREFIX}-tried"
BRIDGE = machines.BRIDGES[0]
ADDRESS, HOST, STRANGER = "10.87.3.5", "10.87.3.1", "10.87.3.77"
MAC = "52:54:00:87:03:05"
REPOSITORY = Path("/var/tmp/hlvm-drill-repository")
SSH = 22
MOUNTED = "{ grep -q ' /mnt ' /proc/mounts || mount -t ext4 /dev/vda /mnt; }"
VM = KvmVm()


@pytest.fixture(autouse=True)
def _repository() -> t.Iterator[None]:
    with machines.surroundings():
        for address in (HOST, STRANGER):
            command("ip", "address", "add", f"{address}/24", "dev", BRIDGE)
        backups.set_up(REPOSITORY)
        yield
        backups.backup("tidy", check=False)
        backups.tear_down(REPOSITORY)
        for path in Path(paths.DRILL_REPORTS).glob("hl*"):
            path.unlink()


def made(**params: t.Any) -> None:
    outcome = converge_now(VM, {"name": NAME, "state": "stopped", "disks": [DISK], **params})
    assert outcome.error is None, outcome.error


DISK = {"name": "data", "pool": POOL, "size": "16M"}


def backed_up() -> None:
    backups.backup("run", backups.JOB)
    assert backups.report()["result"] == "ok", backups.report()


def drill() -> tuple[dict[str, t.Any], str]:
    """What the report says of the machine after a drill, and what the program said."""
    done = backups.backup("drill", backups.JOB, check=False)
    told = json.loads(Path(paths.drill_report(backups.JOB)).read_text(encoding="utf-8"))
    assert done.returncode == (0 if told["result"] == "ok" else 1), done.stderr
    (its,) = told["guests"]
    return its, done.stderr


def inside(script: str) -> str:
    """What a shell in the machine prints, which must end well."""

    def ask(request: str, **arguments: t.Any) -> t.Any:
        words = json.dumps({"execute": request, "arguments": arguments})
        return json.loads(virsh("qemu-agent-command", NAME, words))["return"]

    pid = ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
    while not (told := ask("guest-exec-status", pid=pid))["exited"]:
        time.sleep(0.1)
    assert told["exitcode"] == 0, told
    return base64.b64decode(told.get("out-data", "")).decode().strip()


def greets() -> bool:
    """Whether the machine itself answers at its address, in the network of the host."""
    with socket.create_connection((ADDRESS, SSH), timeout=120) as stream:
        return stream.recv(4) == b"SSH-"


def test_a_backup_comes_to_life_beside_the_machine_that_goes_on_with_its_own_address() -> None:
    tiny = tiny_vm()
    made(
        state="started",
        memory="256",
        boot={
            "kernel": str(tiny.kernel),
            "initrd": str(tiny.initrd),
            "cmdline": f"{tiny.cmdline} tiny.ip={ADDRESS}/24,{HOST} tiny.name=tried",
        },
        graphics={"type": "vnc"},
        networks=[{"name": "lan", "bridge": BRIDGE, "mac": MAC}],
        backup={
            "health": [
                f"tcp:{SSH}",
                f"command:{MOUNTED} && cat /mnt/row",
                "command:cat /sys/class/net/eth0/address",
                f"command:{MOUNTED} && echo written in the drill | tee /mnt/new > /dev/ttyS0",
                f"command:ping -c 1 -W 5 {HOST} > /dev/null && ! ping -c 1 -W 1 {STRANGER} > /dev/null",
            ],
            "data_paths": ["/etc/dropbear"],
        },
        wait_for=["agent"],
        wait_timeout=240,
    )
    inside(f"until grep -qw ext4 /proc/filesystems; do sleep 1; done; mke2fs /dev/vda > /dev/null 2>&1; {MOUNTED}")
    inside("echo written before > /mnt/row; sync")
    backed_up()
    inside("echo written since > /mnt/row; sync")
    definition, uuid, links = virsh("dumpxml", NAME), virsh("domuuid", NAME), machines.taps(BRIDGE)
    seen, is_over = [], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            seen.append((greets(), machines.taps(BRIDGE) == links))
            time.sleep(0.2)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        its, said = drill()
    finally:
        is_over.set()
        watching.join()
    assert its["result"] == "ok" and its["recovery_seconds"] > 0, (its, said)
    assert its["seconds"].keys() == {"restore", "boot"}
    answers = {check["check"]: check["said"] for check in its["checks"]}
    assert answers[f"tcp {SSH}"] == f"{ADDRESS}: it takes connections"
    assert answers["data /etc/dropbear"] == "it is there" and answers["init"] == "alive"
    told = list(answers.values())
    assert "written before" in told and MAC in told
    assert its["left_out"] == ["its screen"] and f"{NAME}: it was tried without its screen" in said
    log = Path(paths.drill_log(NAME))
    assert "written in the drill" in log.read_text(encoding="utf-8") and log.stat().st_mode & 0o077 == 0
    assert set(seen) == {(True, True)} and len(seen) > 3
    assert inside("cat /mnt/row; ls /mnt/new 2> /dev/null || true") == "written since"
    assert (virsh("dumpxml", NAME), virsh("domuuid", NAME)) == (definition, uuid)
    assert left_of_a_drill() == []


@needs_firmware
def test_a_machine_that_is_not_well_fails_the_drill_and_what_it_remembers_stays_where_it_is() -> None:
    firmware = {"firmware": {"type": "uefi"}, "tpm": {"version": "2.0"}}
    made(
        state="started",
        **machines.PAPER,
        **firmware,
        backup={"health": ["tcp:1"]},
        networks=[{"name": "lan", "bridge": BRIDGE}],
    )
    virsh("destroy", NAME)
    record = json.loads((Path(paths.record_folder("guests")) / f"{NAME}.json").read_text(encoding="utf-8"))
    nvram, tpm = (Path(record["files"][word]["path"]) for word in ("nvram", "tpm"))
    (tpm / "secret").write_text("mine", encoding="utf-8")
    before = nvram.read_bytes(), sorted(path.name for path in tpm.rglob("*"))
    backed_up()
    converge_now(backups.BACKUP, backups.declared(REPOSITORY, drill={"timeout": 2}))
    its, said = drill()
    assert its["result"] == "failed" and "guest agent is not connected" in its["error"], (its, said)
    assert (nvram.read_bytes(), sorted(path.name for path in tpm.rglob("*"))) == before and state_of(NAME) == "shut off"
    assert left_of_a_drill() == []
    nvram.unlink()
    shutil.rmtree(tpm.parent if tpm.name == "tpm2" else tpm)


def test_one_of_which_nobody_could_tell_whether_it_is_well_is_not_tried() -> None:
    made(**machines.PAPER, agent=False)
    outcome = converge_now(backups.BACKUP, backups.declared(REPOSITORY, drill={"timeout": 2}))
    (warning,) = outcome.plan.warnings
    assert warning.startswith(f"jobs[{backups.JOB}].drill: {NAME} comes to nothing in it"), warning
    backed_up()
    said = drill()[1]
    assert f"{NAME}: the drill failed: nobody could tell whether it is well" in said
    assert left_of_a_drill() == []


def test_one_for_which_the_host_has_no_memory_left_is_not_tried() -> None:
    made(**{**machines.PAPER, "memory": "4TiB"}, backup={"health": ["tcp:1"]})
    backed_up()
    said = drill()[1]
    assert "it takes 4194496MiB of memory, and the host has" in said, said
    assert left_of_a_drill() == []


@pytest.mark.parametrize("step", ["restic restore", "master segment0"])
def test_a_drill_that_is_killed_leaves_nothing_that_tidy_does_not_take_away(step: str) -> None:
    """Killed at each program that it runs it is in tests/recovery."""
    made(**machines.PAPER, backup={"health": ["tcp:1"]}, networks=[{"name": "lan", "bridge": BRIDGE}])
    backed_up()
    assert step in str(backups.killed_before(step, "drill"))
    assert left_of_a_drill() != []
    backups.backup("tidy")
    assert left_of_a_drill() == [] and state_of(NAME) == "shut off"
