# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a virtual machine: made, switched, taken away, and what is refused; proven with virsh and the file system."""

from __future__ import annotations

import io
import json
import os
import subprocess
import typing as t
from pathlib import Path

import libvirt
import pycdlib
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import converge
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import GUEST, Host
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.options import ARGUMENTS
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hostile import assert_harmless, hostile_cases
from ansible_collections.homelab.hybrid.tests.harness.kill import Child, at_once, survive_kills
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    BRIDGES,
    IMAGE,
    PAPER,
    POOL,
    attribute,
    definition,
    device,
    running,
    state_of,
    virsh,
    volume,
)

VM = KvmVm()
NAME = f"{machines.PREFIX}-main"
OTHER = f"{machines.PREFIX}-other"
RECORDS = Path("/var/lib/homelab_hybrid/guests")
STOPPED: dict[str, t.Any] = {"name": NAME, "state": "stopped", **PAPER}
FULL: dict[str, t.Any] = {
    **STOPPED,
    "vcpus": 2,
    "image": IMAGE,
    "disks": [{"name": "root", "pool": POOL, "size": "16M"}, {"name": "data", "pool": POOL, "size": "2M"}],
    "networks": [{"name": "lan", "bridge": BRIDGES[0]}],
    "cloud_init": {
        "user": "admin",
        "ssh_keys": ["ssh-ed25519 AAAA me"],
        "user_data": "#cloud-config\nfinal_message: x\n",
    },
    "description": "all of it",
    "tags": ["one"],
    "autostart": True,
    "startup": {"order": 3, "up_delay": 4},
}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def made(**params: t.Any) -> None:
    outcome = converge_now(VM, {**STOPPED, **params})
    assert outcome.error is None, outcome.error


def seed_files(path: Path) -> dict[str, str]:
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    found = {}
    for child in iso.list_children(rr_path="/"):
        if child.is_file():
            name, stream = child.rock_ridge.name().decode(), io.BytesIO()
            iso.get_file_from_iso_fp(stream, rr_path="/" + name)
            found[name] = stream.getvalue().decode()
    iso.close()
    return found


def test_it_is_made_as_declared(folder: Path) -> None:
    run = check_run_again(VM, FULL)
    assert run.plan.changes[0].report()["before"] == "absent"
    root = definition(NAME)
    assert state_of(NAME) == "shut off"
    assert (root.findtext("vcpu"), root.findtext("memory")) == ("2", "65536")
    assert attribute(root, "os/type", "machine").startswith("pc-q35")
    disk = device(root, "disk", "root")
    path = folder / f"{NAME}.root.qcow2"
    assert attribute(disk, "source", "file") == str(path) and attribute(disk, "target", "dev") == "vda"
    assert volume(path)["virtual-size"] == 16 << 20 and volume(path)["full-backing-filename"].endswith(
        "image/disk.qcow2"
    )
    assert "backing-filename" not in volume(folder / f"{NAME}.data.qcow2")
    seed = device(root, "disk", "seed")
    assert seed.find("readonly") is not None and attribute(seed, "target", "bus") == "virtio"
    assert attribute(device(root, "interface", "lan"), "source", "bridge") == BRIDGES[0]
    assert attribute(device(root, "interface", "lan"), "mac", "address").startswith("52:54:00:")
    assert attribute(device(root, "interface", "lan"), "target", "dev") == f"{NAME}.lan"
    assert len([line for line in virsh("vol-list", POOL).splitlines() if NAME in line]) == 3
    said = seed_files(folder / f"{NAME}.seed.iso")
    assert said["user-data"] == FULL["cloud_init"]["user_data"] and '"admin"' in said["vendor-data"]
    assert json.loads(said["meta-data"])["local-hostname"] == NAME
    assert os.stat(folder / f"{NAME}.seed.iso").st_mode & 0o777 == 0o600
    assert json.loads((RECORDS / f"{NAME}.json").read_text())["startup"] == FULL["startup"]
    secret = run.plan.get("cloud_init.user_data").report()
    assert (secret["before"], secret["after"]) == (None, "(secret)")


def test_what_is_not_written_gets_the_defaults(folder: Path) -> None:
    check_run_again(VM, {"name": NAME, "state": "stopped"})
    root = definition(NAME)
    assert root.findtext("memory") == str(1024 * 1024) and root.findtext("vcpu") == "1"
    assert root.find("devices/graphics") is None and root.find("devices/serial") is not None
    assert attribute(root, "devices/channel/target", "name") == "org.qemu.guest_agent.0"
    assert root.get("type") in ("qemu", "kvm")


def test_a_mac_stays_and_is_nobody_elses(folder: Path) -> None:
    made(networks=[{"name": "lan", "bridge": BRIDGES[0]}])
    mac = attribute(device(definition(NAME), "interface", "lan"), "mac", "address")
    refuse(
        VM,
        {**STOPPED, "name": OTHER, "networks": [{"name": "x", "bridge": BRIDGES[0], "mac": mac}]},
        "belongs to the guest",
    )
    check_run_again(VM, {**STOPPED, "name": OTHER, "networks": [{"name": "lan", "bridge": BRIDGES[0]}]})
    assert attribute(device(definition(OTHER), "interface", "lan"), "mac", "address") != mac
    check_run_again(VM, {"name": NAME, "state": "absent"})
    made(networks=[{"name": "lan", "bridge": BRIDGES[0]}])
    assert attribute(device(definition(NAME), "interface", "lan"), "mac", "address") == mac


def test_a_card_has_the_same_name_on_the_host_at_each_start(folder: Path) -> None:
    long = f"{machines.PREFIX}-with-a-rather-long-name"
    networks = [{"name": "lan", "bridge": BRIDGES[0]}]
    try:
        for name in (NAME, long):
            check_run_again(VM, {**STOPPED, "name": name, "state": "started", "networks": networks})
        first = machines.taps(BRIDGES[0])
        assert f"{NAME}.lan" in first and all(len(tap) <= 15 for tap in first) and len(first) == 2
        for name in (NAME, long):
            check_run_again(VM, {**STOPPED, "name": name, "state": "restarted"}, ["state"])
        assert machines.taps(BRIDGES[0]) == first
        more = {"name": NAME, "networks": [{"name": "dmz", "bridge": BRIDGES[1]}]}
        check_run_again(VM, more, ["networks[dmz]"])
        assert machines.taps(BRIDGES[1]) == [f"{NAME}.dmz"]
    finally:
        machines.remove_machines()


def test_it_is_switched(folder: Path) -> None:
    made(disks=[{"name": "root", "pool": POOL, "size": "1M"}])
    for state, shown in (
        ("started", "running"), ("paused", "paused"), ("started", "running"), ("suspended", "shut off"), ("running", "running"),
        ("suspended", "shut off"), ("stopped", "shut off"), ("paused", "paused"), ("shutdown", "shut off"),
    ):  # fmt: skip
        check_run_again(VM, {"name": NAME, "state": state, **PAPER_TIMES}, ["state"])
        assert state_of(NAME) == shown, state
        unchanged(VM, {"name": NAME})
    refuse(VM, {"name": NAME, "state": "suspended"}, "nothing to suspend")
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])
    pid = Path(f"/run/libvirt/qemu/{NAME}.pid").read_text()
    check_run_again(VM, {"name": NAME, "state": "restarted", **PAPER_TIMES}, ["state"])
    assert Path(f"/run/libvirt/qemu/{NAME}.pid").read_text() != pid


PAPER_TIMES = {"shutdown_timeout": 0, "force_stop": True}


def test_a_saved_machine_takes_changes_with_its_next_boot(folder: Path) -> None:
    made(state="started", memory_max="128", networks=[{"name": "lan", "bridge": BRIDGES[0]}])
    check_run_again(VM, {"name": NAME, "state": "suspended"}, ["state"])
    change = {"name": NAME, "networks": [{"name": "lan", "link": "down"}], "description": "later"}
    run = check_run_again(VM, change)
    assert {item.how.value for item in run.plan.changes} == {"next_boot"}
    woken = check_run_again(VM, {**change, "state": "started"})
    assert woken.plan.has("state", "networks[lan].link")
    assert attribute(device(running(NAME), "interface", "lan"), "link", "state") == "down"


def test_what_a_saved_machine_holds_is_not_thrown_away_by_a_stop(folder: Path) -> None:
    made(state="started")
    made(state="suspended")
    outcome = converge_now(VM, {"name": NAME, "state": "stopped", "shutdown_timeout": 1})
    # Its guest goes on, and this one does not obey.
    assert outcome.error is not None and "force_stop" in outcome.error.message
    assert state_of(NAME) == "running"


@pytest.mark.parametrize("state", ["paused", "suspended"])
def test_a_machine_that_is_held_or_saved_waits_for_its_restart(folder: Path, state: str) -> None:
    made(state="started")
    made(state=state)
    change = {"name": NAME, "graphics": {"type": "vnc"}, "restart_policy": "if_needed"}
    for params in ({**change, "state": state}, change):
        run = check_run_again(VM, {**params, "serial": "state" in params}, None)
        assert run.plan.restart_required and not run.plan.has("state")
    check_run_again(VM, {**STOPPED, **change, "state": "started"})
    assert machines.running(NAME).find("devices/graphics") is not None


def test_nothing_is_waited_for_where_a_machine_is_left_stopped_or_held(folder: Path) -> None:
    waits = {**STOPPED, "state": "present", "wait_for": ["agent", "ip"], "wait_timeout": 2}
    assert converge_now(VM, waits).error is None
    unchanged(VM, waits)
    made(state="paused")
    unchanged(VM, waits)
    made(state="started")
    error = converge_now(VM, waits).error
    assert error is not None and "waited 2 s for the agent" in error.message


def test_a_sata_disk_is_unplugged_with_the_next_boot(folder: Path) -> None:
    file = folder / f"{NAME}-installer.img"
    file.write_bytes(bytes(1 << 20))
    made(state="started", disks=[{"name": "installer", "source": str(file), "bus": "sata"}])
    gone = {**STOPPED, "state": "started", "disks": [{"name": "installer", "state": "absent"}]}
    run = check_run_again(VM, gone, ["disks[installer]"])
    assert run.plan.restart_required == ["disks[installer]"] and run.plan.kept == [str(file)]
    assert device(definition(NAME), "disk", "installer") is None
    run = check_run_again(VM, {**gone, "restart_policy": "if_needed"}, ["disks[installer]"])
    assert device(running(NAME), "disk", "installer") is None and not run.plan.restart_required


def test_a_guest_that_does_not_shut_down_is_left_running(folder: Path) -> None:
    made(state="started")
    outcome = converge_now(VM, {"name": NAME, "state": "stopped", "shutdown_timeout": 1})
    assert outcome.error is not None and "force_stop" in outcome.error.message
    assert state_of(NAME) == "running"


def test_absent_keeps_what_it_made(folder: Path) -> None:
    made(**{key: value for key, value in FULL.items() if key not in STOPPED})
    kept = [str(folder / f"{NAME}.{item}") for item in ("root.qcow2", "data.qcow2", "seed.iso")]
    run = check_run_again(VM, {"name": NAME, "state": "absent"}, ["state"])
    assert sorted(run.plan.kept) == sorted(kept) and all(map(os.path.exists, kept))
    assert state_of(NAME) == "" and not {"tags", "startup"} & json.loads((RECORDS / f"{NAME}.json").read_text()).keys()
    refuse(VM, FULL, "allow: [adopt]")
    (folder / f"{NAME}.data.qcow2").touch()
    before = os.stat(kept[0]).st_ino
    check_run_again(VM, {**FULL, "allow": ["adopt"]})
    assert os.stat(kept[0]).st_ino == before
    check_run_again(VM, {"name": NAME, "state": "absent", "delete": ["disks"]}, ["state", "disks[root]", "disks[data]"])
    assert [name for name in files(folder) if NAME in name] == [f"{NAME}.seed.iso"]
    check_run_again(VM, {"name": NAME, "state": "absent", "delete": ["seed", "disks"]}, ["disks[seed]"])
    assert not [name for name in files(folder) if NAME in name] and not (RECORDS / f"{NAME}.json").exists()
    assert NAME not in virsh("vol-list", POOL)


def test_a_kept_disk_that_is_taken_again_grows(folder: Path) -> None:
    disk = {"name": "data", "pool": POOL, "size": "16M"}
    made(disks=[disk])
    check_run_again(VM, {"name": NAME, "state": "absent"}, ["state"])
    made(disks=[{**disk, "size": "24M"}], allow=["adopt"])
    assert volume(folder / f"{NAME}.data.qcow2")["virtual-size"] == 24 << 20


def test_a_seed_that_no_record_knows_is_written_where_it_lies(folder: Path) -> None:
    made(**{key: value for key, value in FULL.items() if key not in STOPPED})
    (RECORDS / f"{NAME}.json").unlink()
    check_run_again(VM, {**STOPPED, "cloud_init": {"user": "other"}}, ["cloud_init.user"])
    seed = folder / f"{NAME}.seed.iso"
    assert '"other"' in seed_files(seed)["vendor-data"] and os.stat(seed).st_mode & 0o777 == 0o600


def test_what_is_not_ours_is_never_deleted(folder: Path) -> None:
    source = folder / "hlvm-foreign.img"
    source.write_bytes(bytes(1 << 20))
    made(disks=[{"name": "root", "source": str(source)}])
    run = check_run_again(VM, {"name": NAME, "state": "absent", "delete": ["disks", "seed"]}, ["state"])
    assert source.exists() and run.plan.kept == [f"{source} (not made by this collection)"]


def test_a_machine_whose_disk_is_gone_is_refused_and_left_alone(folder: Path) -> None:
    """As where the file system of a pool is not mounted."""
    made(disks=[{"name": "root", "pool": POOL, "size": "2M"}])
    path = folder / f"{NAME}.root.qcow2"
    path.rename(folder / "away")
    for change in ({"memory": "96MiB"}, {"disks": [{"name": "root", "size": "4M"}]}, {"state": "started"}):
        refuse(VM, {"name": NAME, "disks": [{"name": "root"}], **change}, f"disks[root]: its file {path} is gone")
    (folder / "away").rename(path)
    check_run_again(VM, {"name": NAME, "disks": [{"name": "root", "size": "4M"}]}, ["disks[root].size"])
    path.unlink()
    check_run_again(VM, {"name": NAME, "disks": [{"name": "root", "state": "absent"}]}, ["disks[root]"])


def test_losses_and_nonsense_are_refused(folder: Path) -> None:
    made(disks=[{"name": "root", "pool": POOL, "size": "2M"}], protection=True)
    disk = {"name": "root"}
    refuse(VM, {"name": NAME, "disks": [{**disk, "size": "1M"}]}, "never made smaller")
    refuse(VM, {"name": NAME, "disks": [{**disk, "format": "raw"}]}, "not moved or converted")
    refuse(VM, {"name": NAME, "disks": [{**disk, "source": "/etc/hostname"}]}, "allow: [replace_disk]")
    refuse(VM, {"name": NAME, "state": "absent"}, "protected")
    refuse(VM, {"name": NAME, "memory_max": "32"}, "is less than memory")
    refuse(VM, {"name": NAME, "boot": {"order": ["nothing"]}}, "no disk, CD-ROM drive or network card nothing")
    refuse(VM, {"name": NAME, "disks": [{"name": "new", "pool": POOL}]}, "is needed to make an empty disk")
    refuse(VM, {"name": NAME, "networks": [{"name": "new"}]}, "networks[new].bridge")
    refuse(
        VM,
        {**STOPPED, "name": OTHER, "disks": [{"name": "a", "pool": POOL, "size": "1M", "image": IMAGE}]},
        "less than the image",
    )
    refuse(VM, {**STOPPED, "name": OTHER, "image": IMAGE}, "needs a disk")
    refuse(VM, {**STOPPED, "name": "with blank"}, "name")
    refuse(VM, {**STOPPED, "cloud_init": {"user_data": "{'a': 1}"}}, "must be text")
    refuse(VM, {"name": NAME, "exact": ["disks"]}, "disks is not written")
    assert state_of(OTHER) == ""


def test_a_missing_requirement_is_assumed_by_the_check_and_refused_by_the_run(folder: Path) -> None:
    params = {
        **STOPPED,
        "disks": [{"name": "root", "pool": "hlvm-none", "size": "1M"}],
        "networks": [{"name": "lan", "bridge": "hlvmnone"}],
    }
    check = converge_now(VM, params, dry_run=True)
    assert check.error is None and set(check.plan.assumed) == {"pool hlvm-none", "bridge hlvmnone"}
    run = converge_now(VM, params)
    assert run.error is not None and not run.changed and "hlvm-none" in run.error.message
    assert state_of(NAME) == "" and not (RECORDS / f"{NAME}.json").exists()


@pytest.mark.parametrize("install", [{}, {"install": {"media": "/etc/hostname"}}])
def test_a_source_that_is_missing_is_assumed_by_the_check_and_stops_a_run_before_it_writes(
    folder: Path, install: dict[str, dict[str, str]]
) -> None:
    ours = {"name": "data", "pool": POOL, "size": "1M"}
    params = {**STOPPED, "disks": [{"name": "root", "source": "/srv/none.img"}, ours], **install}
    check = converge_now(VM, params, dry_run=True)
    assert check.error is None and check.plan.assumed == ["file /srv/none.img"]
    run = converge_now(VM, params)
    assert run.error is not None and "no /srv/none.img" in run.error.message and not run.changed
    assert state_of(NAME) == "" and not (RECORDS / f"{NAME}.json").exists() and list(folder.glob(f"{NAME}*")) == []


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_disk_is_not_replaced_by_a_source_that_is_missing(folder: Path, state: str) -> None:
    made(state=state, disks=[{"name": "root", "pool": POOL, "size": "1M"}])
    before = virsh("dumpxml", NAME)
    wanted = {"name": NAME, "disks": [{"name": "root", "source": "/srv/none.img"}], "allow": ["replace_disk"]}
    check = converge_now(VM, wanted, dry_run=True)
    assert check.error is None and check.plan.assumed == ["file /srv/none.img"]
    run = converge_now(VM, wanted)
    assert run.error is not None and "no /srv/none.img" in run.error.message and not run.changed
    assert virsh("dumpxml", NAME) == before


def test_a_medium_of_files_lies_in_the_place_of_a_seed(folder: Path) -> None:
    made(disks=[{"name": "root", "pool": POOL, "size": "1M"}])
    files = {"network/my-network": "[ipv4]\nmethod=auto\n", "authorized_keys": "ssh-ed25519 AAAA one\n"}
    config = {"files": json.dumps(files), "label": "CONFIG"}
    check_run_again(VM, {"name": NAME, "cloud_init": config}, ["cloud_init.files", "cloud_init.label"])
    medium = folder / f"{NAME}.seed.iso"
    listed = subprocess.run(["isoinfo", "-R", "-f", "-i", str(medium)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["/authorized_keys", "/network", "/network/my-network"]
    label = subprocess.run(["blkid", "-p", "-o", "value", "-s", "LABEL", str(medium)], capture_output=True, check=True)
    assert label.stdout.strip() == b"CONFIG"
    text = subprocess.run(
        ["isoinfo", "-R", "-x", "/network/my-network", "-i", str(medium)], capture_output=True, check=True
    )
    assert text.stdout.decode() == files["network/my-network"]
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])
    other = {"name": NAME, "cloud_init": {**config, "files": json.dumps({**files, "authorized_keys": ""})}}
    run = check_run_again(VM, other, ["cloud_init.files"])
    assert [change.how.value for change in run.plan.changes] == ["next_boot"]
    assert "AAAA" not in json.dumps(run.result())
    refuse(VM, {"name": NAME, "cloud_init": {"user": "joe"}}, "cloud_init.files is all that is on the medium")
    refuse(VM, {"name": NAME, "cloud_init": {"files": '{"../a": ""}'}}, "'../a' is no path on a medium")
    refuse(VM, {"name": NAME, "cloud_init": {"files": "{'a': 'b'}"}}, "as JSON")
    back = {"name": NAME, "cloud_init": {"user": "joe"}, "unset": ["cloud_init.files", "cloud_init.label"]}
    check_run_again(VM, back, ["cloud_init.files", "cloud_init.label", "cloud_init.user"])
    assert "meta-data" in seed_files(medium)


def test_a_seed_is_read_back_and_changed(folder: Path) -> None:
    made(disks=[{"name": "root", "pool": POOL, "size": "1M"}])
    check_run_again(VM, {"name": NAME, "cloud_init": {"packages": ["vim"]}}, ["cloud_init.packages"])
    change = {
        "name": NAME,
        "cloud_init": {"user": "joe", "user_data": "a secret text"},
        "unset": ["cloud_init.packages"],
    }
    run = check_run_again(VM, change, ["cloud_init.user", "cloud_init.user_data", "cloud_init.packages"])
    assert "a secret text" not in json.dumps(run.result())
    said = seed_files(folder / f"{NAME}.seed.iso")
    assert said["user-data"] == "a secret text" and "vim" not in said["vendor-data"] and "joe" in said["vendor-data"]
    check_run_again(VM, {"name": NAME, "state": "started"}, ["state"])
    documents = {"meta_data": "instance-id: two\n", "network_config": "version: 2\n"}
    later = {"name": NAME, "cloud_init": {**documents, "ssh_keys": ["ssh-ed25519 AAAA you"]}}
    run = check_run_again(VM, later, ["cloud_init.meta_data", "cloud_init.network_config", "cloud_init.ssh_keys"])
    assert {item.how.value for item in run.plan.changes} == {"next_boot"}
    check_run_again(VM, {**later, "state": "restarted", **PAPER_TIMES})
    assert not unchanged(VM, later).plan.restart_required
    refuse(VM, {"name": NAME, "cloud_init": {"user_data": "short"}}, "at least 8 characters")


BY_HAND = """<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name><title>made by hand</title>
  <metadata><own:note xmlns:own='https://example.org/own'>keep me</own:note></metadata>
  <memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='network'/><boot dev='hd'/><bootmenu enable='yes' timeout='5'/></os>
  <features><acpi/><vmport state='off'/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model>
    <topology sockets='1' dies='1' cores='1' threads='1'/></cpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='writeback' io='threads'/><source file='{disk}'/>
      <target dev='vda' bus='virtio'/><iotune><total_iops_sec>500</total_iops_sec></iotune></disk>
    <interface type='bridge'><mac address='52:54:00:99:00:01'/><source bridge='{bridge}'/><model type='virtio'/>
      <filterref filter='clean-traffic'/></interface>
    <watchdog model='i6300esb' action='reset'/>
  </devices>
  <qemu:commandline><qemu:arg value='-name'/><qemu:arg value='{name},debug-threads=on'/></qemu:commandline>
</domain>"""


def test_a_seed_that_has_no_place_is_refused(folder: Path) -> None:
    file = folder / "system.img"
    file.write_bytes(bytes(1 << 20))
    new = {"name": NAME, "memory": "64", "cloud_init": {"user": "admin"}}
    refuse(VM, {**new, "disks": [{"name": "root", "source": str(file)}]}, "no disk in a pool")
    (folder / f"{NAME}.seed.iso").write_text("of somebody else")
    refuse(VM, {**new, "disks": [{"name": "root", "pool": POOL, "size": "1M"}]}, "was not made for this guest")


def test_a_machine_made_by_hand_is_changed_and_keeps_the_rest(folder: Path) -> None:
    disk = folder / f"{NAME}-byhand.img"
    disk.write_bytes(bytes(1 << 20))
    xml = folder / "by-hand.xml"
    xml.write_text(BY_HAND.format(name=NAME, disk=disk, bridge=BRIDGES[0]))
    virsh("define", str(xml))
    xml.unlink()
    found = unchanged(VM, {"name": NAME, "disks": [], "networks": []})
    assert found.plan.unmanaged == ["disks[disk0]", "networks[net0]"] and not (RECORDS / f"{NAME}.json").exists()
    unchanged(VM, {"name": NAME, "networks": [{"name": "lan", "mac": "52:54:00:99:00:01"}]})
    params = {
        "name": NAME,
        "description": "adopted",
        "cpu": {"max_cores": 4},
        "disks": [{"name": "disk0", "size": "2M"}],
        "networks": [{"name": "lan", "bridge": BRIDGES[1], "mac": "52:54:00:99:00:01"}],
    }
    check_run_again(VM, params, ["description", "cpu.max_cores", "disks[disk0].size", "networks[lan].bridge"])
    root = definition(NAME)
    assert root.findtext("title") == "made by hand" and "keep me" in virsh("dumpxml", NAME)
    assert root.find("os/bootmenu").get("timeout") == "5" and [
        node.get("dev") for node in root.iterfind("os/boot")
    ] == ["network", "hd"]
    assert root.findtext("devices/disk/iotune/total_iops_sec") == "500"
    assert attribute(root, "devices/disk/driver", "io") == "threads"
    assert attribute(root, "devices/interface/filterref", "filter") == "clean-traffic"
    assert root.find("devices/watchdog") is not None and "debug-threads" in virsh("dumpxml", NAME)
    assert attribute(root, "cpu/topology", "sockets") == "4"
    record = json.loads((RECORDS / f"{NAME}.json").read_text())
    assert not record.get("volumes") and record["names"]["networks"] == {"lan": "52:54:00:99:00:01"}
    check_run_again(
        VM, {"name": NAME, "networks": [{"name": "lan", "mac": "52:54:00:99:00:02"}]}, ["networks[lan].mac"]
    )
    check_run_again(VM, {"name": NAME, "state": "absent", "delete": ["disks"]}, ["state"])
    assert disk.exists() and not (RECORDS / f"{NAME}.json").exists()


def test_killed_anywhere_while_it_is_made(folder: Path) -> None:
    keys = ("image", "disks", "networks", "cloud_init", "autostart")
    params = {**STOPPED, **{key: FULL[key] for key in keys}, "cloud_init": {"user": "joe"}}

    def verify(outcome: t.Any) -> None:
        assert state_of(NAME) == "shut off"
        ours = [name for name in files(folder) if NAME in name]
        assert ours == [f"{NAME}.data.qcow2", f"{NAME}.root.qcow2", f"{NAME}.seed.iso"]
        record = json.loads((RECORDS / f"{NAME}.json").read_text())
        assert not {"building", "due_power"} & record.keys()
        assert not any("fresh" in its for its in record["volumes"].values())
        with lock.hold([Reference(GUEST, NAME)], [], wait_seconds=0):
            pass

    survive_kills(VM, params, begin=machines.remove_machines, verify=verify, moments=2)


def test_killed_before_its_first_start_it_is_started_by_any_next_run(folder: Path) -> None:
    steps, killed = Child(VM, {**STOPPED, "state": "started", "autostart": True}, kill_at=3).finish()
    assert killed is None and steps[-1] == "record complete" and state_of(NAME) == "shut off"
    check_run_again(VM, {"name": NAME}, ["state"])
    assert state_of(NAME) == "running" and NAME in virsh("list", "--all", "--autostart", "--name").split()
    check_run_again(VM, STOPPED, ["state"])
    unchanged(VM, {**STOPPED, "state": "present"})


@pytest.mark.parametrize(("power", "shown"), [("started", "running"), ("paused", "paused")])
def test_killed_anywhere_it_comes_to_its_power_by_a_run_that_leaves_the_power_as_it_is(
    folder: Path, power: str, shown: str
) -> None:
    def verify(outcome: t.Any) -> None:
        assert state_of(NAME) == shown and "due_power" not in json.loads((RECORDS / f"{NAME}.json").read_text())

    then = {key: value for key, value in STOPPED.items() if key != "state"}
    survive_kills(VM, {**STOPPED, "state": power}, begin=machines.remove_machines, verify=verify, moments=0, then=then)


def test_killed_anywhere_in_a_restart_it_runs_again(folder: Path) -> None:
    def begin() -> None:
        machines.remove_machines()
        made(state="started")

    def verify(outcome: t.Any) -> None:
        assert state_of(NAME) == "running" and running(NAME).findtext("memory") == "98304"

    change = {"name": NAME, "memory": "96M", "restart_policy": "if_needed", "shutdown_timeout": 1, "force_stop": True}
    survive_kills(VM, change, begin=begin, verify=verify, moments=0)


def test_killed_anywhere_while_it_is_changed(folder: Path) -> None:
    change = {
        "name": NAME,
        "vcpus": 2,
        "description": "after",
        "tags": ["new"],
        "disks": [{"name": "root", "size": "3M"}, {"name": "more", "pool": POOL, "size": "1M"}],
        "networks": [{"name": "lan", "link": "down"}],
        "cloud_init": {"user": "joe"},
    }

    def begin() -> None:
        machines.remove_machines()
        made(
            state="started",
            cpu={"cores": 1, "max_cores": 2},
            disks=[{"name": "root", "pool": POOL, "size": "2M"}],
            networks=[{"name": "lan", "bridge": BRIDGES[0]}],
        )

    def verify(outcome: t.Any) -> None:
        root = running(NAME)
        assert (
            root.find("vcpu").get("current", root.findtext("vcpu")) == "2" and root.findtext("description") == "after"
        )
        assert device(root, "disk", "more") is not None
        assert attribute(device(root, "interface", "lan"), "link", "state") == "down"
        assert volume(folder / f"{NAME}.root.qcow2")["virtual-size"] == 3 << 20
        assert "joe" in seed_files(folder / f"{NAME}.seed.iso")["user-data"]
        assert not [name for name in files(folder) if name.startswith(".")]

    survive_kills(VM, change, begin=begin, verify=verify, moments=2)


def test_killed_anywhere_while_it_is_taken_away(folder: Path) -> None:
    def begin() -> None:
        machines.remove_machines()
        made(**{key: value for key, value in FULL.items() if key not in STOPPED})

    def verify(outcome: t.Any) -> None:
        assert state_of(NAME) == "" and not [name for name in files(folder) if NAME in name]
        assert not (RECORDS / f"{NAME}.json").exists()

    survive_kills(
        VM, {"name": NAME, "state": "absent", "delete": ["disks", "seed"]}, begin=begin, verify=verify, moments=2
    )


def test_a_machine_that_goes_in_the_midst_of_a_run_is_told_in_a_sentence(folder: Path) -> None:
    made(state="started")

    def take_away(step: t.Any) -> None:
        if getattr(step, "name", "") == "definition written":
            virsh("destroy", NAME)
            virsh("undefine", NAME)

    more = {"name": NAME, "disks": [{"name": "new", "pool": POOL, "size": "1M"}]}
    outcome = converge(VM, more, host=Host(), dry_run=False, report=take_away)
    assert outcome.changed and outcome.error is not None
    assert outcome.error.message.startswith(f"could not change {NAME}: Domain not found")


def test_two_runs_at_once(folder: Path) -> None:
    results = at_once(VM, FULL, FULL, {**FULL, "name": OTHER})
    assert [result.get("msg") for result in results] == [None, None, None]
    assert sorted(result["changed"] for result in results[:2]) == [False, True]
    unchanged(VM, FULL)
    macs = {attribute(device(definition(name), "interface", "lan"), "mac", "address") for name in (NAME, OTHER)}
    assert len(macs) == 2


BASE: dict[str, t.Any] = {
    **STOPPED,
    "disks": [{"name": "root", "pool": POOL, "size": "1M"}],
    "networks": [{"name": "lan", "bridge": BRIDGES[0]}],
}


@pytest.mark.parametrize("option", sorted({case.path for case in hostile_cases(ARGUMENTS, BASE)}))
def test_hostile_text_is_refused_or_kept(folder: Path, option: str) -> None:
    def is_ours(params: t.Mapping[str, t.Any]) -> bool:
        return str(params["name"]).startswith(machines.PREFIX)

    def remove() -> None:
        machines.remove_machines()

    ends = {}
    for case in hostile_cases(ARGUMENTS, BASE):
        if case.path == option:
            ends[case.kind] = assert_harmless(VM, case, is_ours=is_ours, remove=remove)
    print(option, ends)


def test_a_description_with_line_ends_of_windows_is_kept(folder: Path) -> None:
    for state in ("stopped", "started"):
        check_run_again(VM, {**STOPPED, "state": state, "description": f"one\r\n{state}\rthree \n"})
        assert definition(NAME).findtext("description") == f"one\n{state}\nthree \n"


def test_nothing_is_left_of_a_hostile_description(folder: Path) -> None:
    text = "]]></description><devices/><!-- & \"'"
    made(description=text)
    connection = libvirt.open(machines.URI)
    found = connection.lookupByName(NAME).metadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, None, 0)
    connection.close()
    assert found == text
