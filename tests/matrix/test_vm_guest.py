# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs a guest that answers: the waits, and devices, CPUs and memory that it must take or let go. One boot for all."""

from __future__ import annotations

import base64
import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths, record
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import seed
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import Child
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, POOL, device, running, state_of, virsh
from ansible_collections.homelab.hybrid.tests.harness.tiny_vm import tiny_vm

VM = KvmVm()
NAME = f"{machines.PREFIX}-tiny"
ADDRESS = "10.219.77.5"


@pytest.fixture(scope="module")
def guest() -> t.Iterator[dict[str, t.Any]]:
    tiny = tiny_vm()
    with machines.surroundings():
        machines.command("ip", "addr", "add", "10.219.77.1/24", "dev", BRIDGES[0])
        params = {
            "name": NAME,
            "state": "started",
            "memory": "256",
            "cpu": {"cores": 1, "max_cores": 2},
            "rng": False,
            "watchdog": {"model": "i6300esb", "action": "pause"},
            "boot": {
                "kernel": str(tiny.kernel),
                "initrd": str(tiny.initrd),
                "cmdline": f"{tiny.cmdline} tiny.ip={ADDRESS}/24",
            },
            "disks": [{"name": "data", "pool": POOL, "size": "64M"}],
            "cdroms": [{"name": "cd", "bus": "scsi"}],
            "networks": [{"name": "lan", "bridge": BRIDGES[0]}, {"name": "two", "bridge": BRIDGES[1]}],
            "wait_for": ["agent", "ip", "ssh"],
            "wait_timeout": 120,
        }
        outcome = converge_now(VM, params)
        assert outcome.error is None, outcome.error
        yield t.cast("dict[str, t.Any]", outcome.facts["guest"])


@pytest.fixture(autouse=True)
def _stands(guest: dict[str, t.Any]) -> None:
    """What a test that failed has left fails none after it: the machine is off, its disk is mounted, or it has snapshots."""
    if state_of(NAME) != "running":
        outcome = converge_now(VM, {"name": NAME, "state": "started", "wait_for": ["agent"], "wait_timeout": 120})
        assert outcome.error is None, outcome.error
    for name in record.load("guests", NAME).data.get("snapshots", {}):
        outcome = converge_now(GuestSnapshot(), {"guest": NAME, "name": name, "state": "absent"})
        assert outcome.error is None, outcome.error
    assert runs_inside("mkdir -p /mnt && ! grep -q /mnt /proc/mounts || umount /mnt")


def agent(command: str, **arguments: t.Any) -> t.Any:
    request = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(virsh("qemu-agent-command", NAME, request))["return"]


def in_time(ask: t.Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def runs_inside(script: str) -> bool:
    """Whether a shell in the guest ends well."""
    pid = agent("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
    told: dict[str, t.Any] = {}

    def has_ended() -> bool:
        told.update(agent("guest-exec-status", pid=pid))
        return bool(told["exited"])

    assert in_time(has_ended)
    print(script, {key: base64.b64decode(told.get(key, "")).decode() for key in ("out-data", "err-data")})
    return told["exitcode"] == 0


def balloon_rests_at(memory_mib: int) -> bool:
    """Whether libvirt tells this size for good. QEMU holds its events back for a second, so an older one may come after an answer."""

    def rests() -> bool:
        for dummy in range(3):
            if running(NAME).findtext("currentMemory") != str(memory_mib * 1024):
                return False
            time.sleep(0.6)
        return True

    return in_time(rests)


def test_the_waits_came_true_and_the_facts_tell(guest: dict[str, t.Any]) -> None:
    assert guest["addresses"] == [ADDRESS] and guest["state"] == "started"
    assert guest["networks"][0]["addresses"] == [ADDRESS] and guest["uptime_seconds"] >= 0
    assert str(guest["pid"]) == Path(f"/run/libvirt/qemu/{NAME}.pid").read_text().strip()
    assert agent("guest-ping") == {}
    timeout = converge_now(
        VM, {"name": f"{NAME}-none", "wait_for": ["agent"], "wait_timeout": 0, "state": "started", **machines.PAPER}
    )
    assert timeout.error is not None and "the agent in" in timeout.error.message and timeout.changed
    # Firmware that finds nothing to boot keeps a CPU busy.
    virsh("destroy", f"{NAME}-none")


def test_the_guest_takes_a_cpu(guest: dict[str, t.Any]) -> None:
    run = check_run_again(VM, {"name": NAME, "vcpus": 2}, ["vcpus"])
    assert run.plan.changes[0].how.value == "live"
    assert in_time(lambda: len([cpu for cpu in agent("guest-get-vcpus") if cpu["online"]]) == 2)


def test_the_guest_sees_an_x86_64_v2(guest: dict[str, t.Any]) -> None:
    flags = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
    assert runs_inside(f"for flag in {flags}; do grep -qw $flag /proc/cpuinfo || exit 1; done")


def test_the_guest_finds_randomness_that_is_plugged_in(guest: dict[str, t.Any]) -> None:
    sees = "grep virtio /sys/class/misc/hw_random/rng_available"
    assert not runs_inside(sees)
    run = check_run_again(VM, {"name": NAME, "rng": True}, ["rng"])
    assert run.plan.changes[0].how.value == "live"
    assert in_time(lambda: runs_inside(sees))


def test_a_guest_that_hangs_is_held_by_its_watchdog(guest: dict[str, t.Any]) -> None:
    # The tiny guest loads the driver after its agent has answered.
    assert in_time(lambda: runs_inside("test -c /dev/watchdog"))
    assert runs_inside("watchdog -F -T 4 -t 1 /dev/watchdog >/dev/null 2>&1 & sleep 2; kill -9 $!")
    assert in_time(lambda: virsh("domstate", NAME, "--reason") == "paused (watchdog)")
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])
    assert in_time(lambda: runs_inside("true"))


def keeps_files() -> None:
    """The guest has a file system on its disk, mounted at /mnt."""
    # The tiny guest loads the file system after its agent has answered.
    assert in_time(lambda: runs_inside("grep -q ext4 /proc/filesystems"))
    assert runs_inside("mke2fs /dev/vda && mount -t ext4 /dev/vda /mnt")


LIVE = {"guest": NAME, "name": "live", "memory": True}
REVERT = {**LIVE, "state": "reverted", "allow": ["revert"], "shutdown_timeout": 0, "force_stop": True}


def test_a_snapshot_has_what_the_guest_has_not_written_out_yet(guest: dict[str, t.Any], tmp_path: Path) -> None:
    """The agent freezes its file systems for it."""
    keeps_files()
    assert runs_inside("echo unwritten > /mnt/note")
    run = check_run_again(GuestSnapshot(), {"guest": NAME, "name": "frozen"}, ["state", "volumes[data]"])
    assert run.facts["snapshot"]["consistency"] == "frozen"
    assert agent("guest-fsfreeze-status") == "thawed" and state_of(NAME) == "running"
    (kept,) = Path(guest["disks"][0]["path"]).parent.glob(f"{NAME}.data@frozen.*")
    machines.command("qemu-img", "convert", "-O", "raw", str(kept), str(tmp_path / "raw"))
    assert machines.command("debugfs", "-R", "cat /note", str(tmp_path / "raw")) == "unwritten\n"
    assert runs_inside("umount /mnt")
    check_run_again(GuestSnapshot(), {"guest": NAME, "name": "frozen", "state": "absent"}, ["state"])


def test_a_machine_goes_on_where_its_memory_was_kept(guest: dict[str, t.Any], tmp_path: Path) -> None:
    """With a CPU that was plugged in, and a file that was in no disk yet; memory and disk are of one moment."""
    keeps_files()
    cpus = len(agent("guest-get-vcpus"))
    assert runs_inside("echo kept > /run/note && echo unwritten > /mnt/more")
    run = check_run_again(GuestSnapshot(), LIVE, ["state", "volumes[data]", "memory"])
    assert run.facts["snapshot"]["consistency"] == "live" and run.facts["snapshot"]["beside"] == ["memory"]
    assert state_of(NAME) == "running" and runs_inside("rm /run/note /mnt/more && sync")
    aside = "snapshots[before-revert-1]"
    run = check_run_again(GuestSnapshot(), REVERT, ["volumes[data]", "memory", aside, "state"])
    assert any("goes on where it was then" in warning for warning in run.plan.warnings)
    assert state_of(NAME) == "running" and virsh("snapshot-list", NAME) == ""
    assert in_time(lambda: runs_inside("grep kept /run/note && grep unwritten /mnt/more"))
    assert runs_inside(f"test $(nproc) = {cpus} && umount /mnt")
    disk = Path(guest["disks"][0]["path"])
    machines.command("qemu-img", "convert", "-U", "-O", "raw", str(disk), str(tmp_path / "raw"))
    machines.command("e2fsck", "-fn", str(tmp_path / "raw"))
    assert machines.command("debugfs", "-R", "cat /more", str(tmp_path / "raw")) == "unwritten\n"
    for name in ("live", "before-revert-1"):
        check_run_again(GuestSnapshot(), {"guest": NAME, "name": name, "state": "absent"}, ["state"])
    assert not Path(paths.snapshot_folder(NAME, "live")).parent.exists()


def test_a_machine_whose_qemu_dies_as_it_wakes_goes_on_by_the_next_run(guest: dict[str, t.Any]) -> None:
    assert runs_inside("echo kept > /run/note")
    check_run_again(GuestSnapshot(), LIVE, ["state", "volumes[data]", "memory"])
    memory = Path(paths.snapshot_folder(NAME, "live")) / "memory"
    whole = memory.read_bytes()
    # libvirt reads its own part at the beginning, and QEMU gives up at the end.
    os.truncate(memory, len(whole) // 2)
    died = converge_now(GuestSnapshot(), REVERT)
    assert died.error is not None and "could not wake" in died.error.message and died.changed
    assert state_of(NAME) == "shut off" and memory.exists()
    memory.write_bytes(whole)
    aside = "snapshots[before-revert-2]"
    check_run_again(GuestSnapshot(), REVERT, ["volumes[data]", "memory", aside, "state"])
    assert state_of(NAME) == "running" and in_time(lambda: runs_inside("grep kept /run/note"))


def test_a_machine_whose_disk_is_copied_for_long_outlives_the_snapshots_of_its_memory(guest: dict[str, t.Any]) -> None:
    """A QEMU aborts, or reads no more, that takes back a disk which it reads from: of a full one it reads when the machine goes on."""
    assert runs_inside("dd if=/dev/zero of=/dev/vda bs=1M count=64 && sync")
    qemu = Path(f"/run/libvirt/qemu/{NAME}.pid").read_text()
    for number in range(5):
        outcome = converge_now(GuestSnapshot(), {**LIVE, "name": f"live-{number}", "keep": 1})
        assert outcome.error is None, outcome.error
    assert Path(f"/run/libvirt/qemu/{NAME}.pid").read_text() == qemu and runs_inside("true")


def test_a_run_that_is_killed_while_memory_is_written_leaves_nothing_running(guest: dict[str, t.Any]) -> None:
    """libvirt goes on to write for it, and stops the machine at the end."""
    child = Child(GuestSnapshot(), LIVE)
    written = Path(paths.snapshot_folder(NAME, "live")) / "memory"
    while not written.exists() and child.process.poll() is None:
        time.sleep(0.01)
    virsh("migrate-setspeed", NAME, "1")  # in MiB a second
    child.kill()
    child.finish()
    outcome = converge_now(GuestSnapshot(), {"guest": NAME, "name": "live", "state": "absent"})
    assert outcome.error is None and not written.parent.parent.exists()
    assert state_of(NAME) == "running" and "Job type:         None" in virsh("domjobinfo", NAME)
    assert runs_inside("true")


def test_the_guest_gives_memory_back(guest: dict[str, t.Any]) -> None:
    # The tiny guest loads the driver after its agent has answered.
    assert in_time(lambda: "rss" in virsh("dommemstat", NAME) and "usable" in virsh("dommemstat", NAME))
    params = {"name": NAME, "memory": "216"}
    run = check_run_again(VM, params, ["memory"])
    assert run.plan.changes[0].how.value == "live" and not unchanged(VM, params).plan.restart_required
    assert balloon_rests_at(216)
    check_run_again(VM, {"name": NAME, "memory": "256"}, ["memory"])
    assert balloon_rests_at(256)


def test_the_guest_lets_devices_go_and_takes_others(guest: dict[str, t.Any]) -> None:
    gone = {
        "name": NAME,
        "disks": [{"name": "data", "state": "absent"}],
        "networks": [{"name": "two", "state": "absent"}],
    }
    check_run_again(VM, gone, ["disks[data]", "networks[two]"])
    assert not unchanged(VM, gone).plan.restart_required
    assert device(running(NAME), "disk", "data") is None and device(running(NAME), "interface", "two") is None
    new = {
        "name": NAME,
        "disks": [{"name": "more", "pool": POOL, "size": "8M"}],
        "networks": [{"name": "third", "bridge": BRIDGES[0]}],
    }
    check_run_again(VM, new, ["disks[more]", "networks[third]"])
    mac = device(running(NAME), "interface", "third").find("mac").get("address")
    assert in_time(lambda: mac in [card.get("hardware-address") for card in agent("guest-network-get-interfaces")])


def medium(guest: dict[str, t.Any], word: str) -> str:
    path = Path(guest["disks"][0]["path"]).parent / f"{NAME}-{word}.iso"
    path.write_bytes(seed.build({"user-data": word}))
    path.chmod(0o644)
    return str(path)


def drive(name: str, source: str, **more: t.Any) -> dict[str, t.Any]:
    return {"name": NAME, "cdroms": [{"name": name, "source": source, "bus": "scsi"}], **more}


def has_in(name: str) -> str | None:
    """The medium that libvirt sees in a drive."""
    return machines.attribute(device(running(NAME), "disk", name), "source", "file")


def reads(device: str, word: str) -> bool:
    script = f"mkdir -p /cd && mount -t iso9660 -o ro {device} /cd && grep {word} /cd/user-data"
    return in_time(lambda: runs_inside(script))


def test_a_medium_is_mounted_and_only_taken_from_who_holds_it_where_that_is_permitted(guest: dict[str, t.Any]) -> None:
    first, second = medium(guest, "first"), medium(guest, "second")
    path = "cdroms[cd].source"
    run = check_run_again(VM, drive("cd", first), [path])
    assert run.plan.restart_required == [] and reads("/dev/sr0", "first")
    for wanted in (second, ""):
        run = check_run_again(VM, drive("cd", wanted), [path])
        assert (run.plan.restart_required, len(run.plan.warnings), has_in("cd")) == ([path], 1, first)
        assert len(unchanged(VM, drive("cd", wanted)).plan.warnings) == 1
        check_run_again(VM, drive("cd", first), [path])
    assert runs_inside("echo 3 > /proc/sys/vm/drop_caches; grep first /cd/user-data")
    run = check_run_again(VM, drive("cd", second, allow=["eject"]), [path])
    assert (run.plan.restart_required, run.plan.warnings, has_in("cd")) == ([], [], second)
    assert runs_inside("umount -l /cd") and reads("/dev/sr0", "second") and runs_inside("umount /cd")
    run = check_run_again(VM, drive("cd", ""), [path])
    assert (run.plan.restart_required, has_in("cd")) == ([], None)
    assert runs_inside("! mount -t iso9660 -o ro /dev/sr0 /cd")


def test_a_drive_that_comes_while_the_guest_runs_is_read_and_goes(guest: dict[str, t.Any]) -> None:
    first, second = medium(guest, "first"), medium(guest, "second")
    path = "cdroms[dvd].source"
    check_run_again(VM, drive("dvd", first), ["cdroms[dvd]"])
    assert reads("/dev/sr1", "first") and runs_inside("umount /cd")
    run = check_run_again(VM, drive("dvd", second), [path])
    # libvirt 9.0 opens no tray of it.
    assert (run.plan.restart_required, has_in("dvd")) in (([], second), ([path], first))
    run = check_run_again(VM, drive("dvd", second, allow=["eject"]), [path] if run.plan.restart_required else [])
    assert (run.plan.restart_required, has_in("dvd")) == ([], second)
    assert reads("/dev/sr1", "second") and runs_inside("umount /cd")
    check_run_again(VM, {"name": NAME, "cdroms": [{"name": "dvd", "state": "absent"}]}, ["cdroms[dvd]"])
    assert device(running(NAME), "disk", "dvd") is None
    assert in_time(lambda: runs_inside("! test -e /dev/sr1"))


def test_the_guest_shuts_down_when_it_is_asked(guest: dict[str, t.Any]) -> None:
    check_run_again(VM, {"name": NAME, "state": "stopped", "shutdown_timeout": 60}, ["state"])
    assert state_of(NAME) == "shut off"
