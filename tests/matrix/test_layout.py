# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole small host in one run, proven with virsh, lxc-info and ip."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import KINDS
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import LayoutOutcome, converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._run import journal
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.fingerprint import differences, narrowed
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_host

PREFIX = "hlly"
BRIDGE, POOL, IMAGE, VM = f"{PREFIX}br0", f"{PREFIX}-pool", f"{PREFIX}-tiny", f"{PREFIX}-vm"
NAMES = [f"{PREFIX}-a", f"{PREFIX}-b", f"{PREFIX}-c"]
LXC = Path("/var/lib/lxc")
RUN = """
import json, sys
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
said = lambda message: print(json.dumps(message, default=str), flush=True)
outcome = converge_layout(json.load(sys.stdin), dry_run=False, report=said)
said({"result": outcome.result()})
"""

Params = dict[str, t.Any]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layout") / "tiny.tar.zst"
    tiny_root.build(path)
    return path


@pytest.fixture
def folder() -> t.Iterator[Path]:
    folder = Path("/srv") / PREFIX
    remove_host(PREFIX, folder)
    folder.mkdir()
    yield folder
    remove_host(PREFIX, folder)


@pytest.fixture
def layout(folder: Path, archive: Path) -> Params:
    """A bridge, a pool, an image, a machine without an operating system and three containers."""
    net = {"name": "lan", "bridge": BRIDGE}
    return {
        "bridges": [{"name": BRIDGE, "mode": "nat", "address": "10.91.9.1/24"}],
        "storage_pools": [{"name": POOL, "path": str(folder / "pool")}],
        "images": [{"name": IMAGE, "kind": "container", "path": str(archive)}],
        "vms": [
            {
                "name": VM,
                "memory": "64",
                "state": "stopped",
                "disks": [{"name": "root", "pool": POOL, "size": "16M"}],
                "networks": [net],
            }
        ],
        "containers": [
            {
                "name": name,
                "image": IMAGE,
                "rootfs": {"pool": POOL},
                "state": "started" if name == NAMES[0] else "stopped",
                "networks": [{**net, "ip": f"10.91.9.{number}/24"}],
                "shutdown_timeout": 1,
                "force_stop": True,
            }
            for number, name in enumerate(NAMES, 10)
        ],
        "parallel": 2,
    }


def command(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout.strip()


def virsh(*argv: str, check: bool = True) -> str:
    return command("virsh", "-q", "-c", "qemu:///system", *argv, check=check)


def power(name: str) -> str:
    return command("lxc-info", "-n", name, "-s", "-H", check=False)


def run(params: Params, *, dry_run: bool = False) -> LayoutOutcome:
    return converge_layout(params, dry_run=dry_run)


def item(outcome: LayoutOutcome | dict[str, t.Any], name: str) -> dict[str, t.Any]:
    told = outcome if isinstance(outcome, dict) else outcome.told
    (found,) = [each for each in told["resources"] if each["name"] == name]
    return found


def child(params: Params) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None
    json.dump(params, process.stdin)
    process.stdin.close()
    process.stdin = None
    return process


def result_of(process: subprocess.Popen[str]) -> dict[str, t.Any]:
    out, dummy = process.communicate(timeout=300)
    return t.cast("dict[str, t.Any]", json.loads(out.splitlines()[-1])["result"])


def assert_stands(layout: Params) -> None:
    assert os.path.isdir(f"/sys/class/net/{BRIDGE}/bridge")
    assert POOL in virsh("pool-list", "--name").split()
    assert virsh("domstate", VM) == "shut off"
    assert [power(name) for name in NAMES] == ["RUNNING", "STOPPED", "STOPPED"]
    again = run(layout)
    assert again.error is None, again.error
    assert not again.told["changed"], again.told["plan"]


def test_a_whole_host_is_checked_made_and_then_left_alone(layout):
    before = narrowed(PREFIX)
    check = run(layout, dry_run=True)
    assert check.error is None, check.error
    assert not differences(before, narrowed(PREFIX)), "the check changed the host"
    assert check.told["assumed"] == []
    done = run(layout)
    assert done.error is None, done.error
    assert check.told["changed"] and done.told["changed"]
    assert [change["path"] for change in check.told["plan"]] == [change["path"] for change in done.told["plan"]]
    assert check.told["diff"] == done.told["diff"]
    assert all(change["done"] for change in done.told["plan"])
    assert not any(change["done"] for change in check.told["plan"])
    assert f"containers[{NAMES[0]}].networks[lan]" in done.told["diff"]["after"]
    assert "10.91.9.10/24" in command("lxc-attach", "-n", NAMES[0], "--", "/bin/ip", "addr")
    assert_stands(layout)


def test_every_change_is_in_the_journal(layout, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "JOURNAL", str(tmp_path / "journal"))
    run({"storage_pools": layout["storage_pools"]})
    run({"storage_pools": layout["storage_pools"]})
    (entry,) = journal.read(9)
    assert (entry["module"], entry["name"], entry["result"]) == ("layout", f"storage_pools[{POOL}]", "ok")


def test_a_failed_item_stops_only_what_depends_on_it(layout):
    layout["images"].append({"name": f"{PREFIX}-none", "kind": "container", "path": "/nonexistent/root.tar"})
    layout["containers"][1]["image"] = f"{PREFIX}-none"
    outcome = run(layout)
    assert outcome.error is not None
    assert f"image {PREFIX}-none: " in outcome.error.message
    assert f"Skipped: container {NAMES[1]} (depends on image {PREFIX}-none, which failed)" in outcome.error.message
    assert outcome.told["changed"]
    assert item(outcome, f"{PREFIX}-none")["failed"] and "skipped" in item(outcome, NAMES[1])
    assert (power(NAMES[0]), power(NAMES[2])) == ("RUNNING", "STOPPED")
    assert virsh("domstate", VM) == "shut off"
    assert not (LXC / NAMES[1]).exists()


def test_what_is_written_wrong_stops_only_what_depends_on_it(layout):
    layout["bridges"].append({"name": f"{PREFIX}br1", "mode": "nat", "address": "10.91.10.1/240"})
    layout["images"].append({"name": f"{PREFIX}-other", "kind": "container", "path": "root.tar"})
    layout["containers"][1]["networks"][0]["bridge"] = f"{PREFIX}br1"
    layout["containers"][2]["image"] = f"{PREFIX}-other"
    for outcome in (run(layout, dry_run=True), run(layout)):
        assert outcome.error is not None and "address: '10.91.10.1/240' is not allowed" in outcome.error.message
        assert item(outcome, NAMES[1])["skipped"] == f"depends on bridge {PREFIX}br1, which failed"
        assert item(outcome, NAMES[2])["skipped"] == f"depends on image {PREFIX}-other, which failed"
        assert item(outcome, NAMES[0])["changed"]
    assert power(NAMES[0]) == "RUNNING"


def test_what_is_taken_away_and_cannot_be_read_fails_alone(layout):
    """The record of an image that a newer version of the collection wrote."""
    assert run(layout).error is None
    newer = Path(paths.record_path("images", f"{PREFIX}-newer"))
    newer.write_text('{"schema": 99}')
    lists = {
        "images": [{"name": f"{PREFIX}-newer", "state": "absent"}],
        "containers": [{"name": NAMES[1], "memory": "64"}],
    }
    for outcome in (run(lists, dry_run=True), run(lists)):
        assert outcome.error is not None and "has schema 99" in item(outcome, f"{PREFIX}-newer")["msg"]
        assert item(outcome, NAMES[1])["changed"]
    assert newer.read_text() == '{"schema": 99}'


def test_a_refused_change_of_one_guest_is_not_another_ones(layout):
    assert run(layout).error is None
    layout["vms"][0]["disks"][0]["size"] = "8M"
    layout["containers"][1]["memory"] = "64"
    check, done = run(layout, dry_run=True), run(layout)
    for outcome in (check, done):
        assert outcome.error is not None and "vms" not in outcome.error.message
        assert item(outcome, VM)["failed"] and not item(outcome, VM)["changed"]
        assert item(outcome, NAMES[1])["changed"] and not item(outcome, NAMES[1])["failed"]


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda it: it["containers"][1]["networks"][0].update(ip="10.91.9.10/24"), "have both the address 10.91.9.10"),
        (lambda it: it["containers"][1]["networks"][0].update(ip="10.91.9.1/24"), "have both the address 10.91.9.1 "),
        (
            lambda it: [
                each["networks"][0].update(mac="52:54:00:91:00:01") for each in it["containers"][:2] + it["vms"]
            ],
            "have both the MAC address 52:54:00:91:00:01",
        ),
        (lambda it: it["containers"][1].update(name=VM), "share one namespace of names"),
        (lambda it: it["containers"][1].update(name=NAMES[0]), f"{NAMES[0]} is there twice"),
        (lambda it: it["vms"][0].update(memory="60T"), "all guests of this host would be promised"),
        (lambda it: it["vms"][0]["disks"][0].update(size="500T"), "root of vm hlly-vm (500TiB)"),
        (lambda it: it["bridges"].clear(), f"container {NAMES[0]} needs bridge {BRIDGE}: there is no bridge"),
        (lambda it: it["storage_pools"].clear(), f"needs pool {POOL}"),
        (
            lambda it: it["bridges"].append({"name": f"{PREFIX}br1", "mode": "nat", "address": "10.91.9.129/25"}),
            f"bridge {BRIDGE} and bridge {PREFIX}br1 have subnets that overlap",
        ),
        (
            lambda it: it["storage_pools"].append({**it["storage_pools"][0], "name": f"{PREFIX}-p2"}),
            f"storage pool {POOL} and storage pool {PREFIX}-p2 have both the folder",
        ),
        (lambda it: it["images"].clear(), f"needs image {IMAGE}"),
        (
            lambda it: it["bridges"][0].update(state="stopped"),
            f"needs bridge {BRIDGE}, which this layout leaves stopped",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_applied(layout, change, saying):
    change(layout)
    before = narrowed(PREFIX)
    check, done = run(layout, dry_run=True), run(layout)
    for outcome in (check, done):
        assert outcome.error is not None and saying in outcome.error.message, outcome.error
        assert not outcome.told["changed"]
    assert not differences(before, narrowed(PREFIX))


def test_a_vlan_on_a_bridge_that_will_know_none_fails_its_guests_alone_before_they_are_made(layout):
    layout["containers"][1]["networks"][0]["vlan"] = layout["vms"][0]["networks"][0]["vlan"] = 10
    for outcome in (run(layout, dry_run=True), run(layout)):
        assert outcome.error is not None
        assert outcome.error.message.count("networks[lan].vlan: 10 is refused, as ") == 2
        assert {each["name"] for each in outcome.told["resources"] if each["failed"]} == {VM, NAMES[1]}
    assert (power(NAMES[0]), power(NAMES[2])) == ("RUNNING", "STOPPED")
    assert not (LXC / NAMES[1]).exists() and VM not in virsh("list", "--all", "--name").split()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_size_in_a_pool_that_holds_none_is_refused_before_the_guest_is_made(layout, is_there):
    if is_there:
        assert run({"storage_pools": layout["storage_pools"]}).error is None
    layout["containers"][1]["rootfs"]["size"] = "64M"
    for outcome in (run(layout, dry_run=True), run(layout)):
        assert outcome.error is not None
        assert f"rootfs.size: the storage pool {POOL} of type dir lies on" in item(outcome, NAMES[1])["msg"]
        assert {each["name"] for each in outcome.told["resources"] if each["failed"]} == {NAMES[1]}
    assert power(NAMES[0]) == "RUNNING" and not (LXC / NAMES[1]).exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_an_image_for_the_other_kind_of_guest_is_refused_before_the_guest_is_made(layout, is_there, tmp_path):
    disk = tmp_path / "disk.qcow2"
    command("qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M")
    layout["images"].append({"name": f"{PREFIX}-disk", "kind": "vm", "path": str(disk)})
    if is_there:
        assert run({"images": layout["images"]}).error is None
    layout["vms"][0]["image"] = IMAGE
    layout["containers"][1]["image"] = f"{PREFIX}-disk"
    check, done = run(layout, dry_run=True), run(layout)
    for outcome in (check, done):
        assert outcome.error is not None
        assert f"image: {IMAGE} is an image for containers" in item(outcome, VM)["msg"]
        assert f"image: {PREFIX}-disk is an image for virtual machines" in item(outcome, NAMES[1])["msg"]
    assert [change["path"] for change in check.told["plan"]] == [change["path"] for change in done.told["plan"]]
    assert power(NAMES[0]) == "RUNNING" and not (LXC / NAMES[1]).exists()


@pytest.fixture
def small(folder: Path) -> t.Iterator[Path]:
    """A file system of 8 MiB."""
    place = folder / "small"
    place.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place))
    yield place
    command("umount", str(place))


def test_what_did_not_fit_its_pool_leaves_nothing_in_it(layout, archive, small, tmp_path):
    large, disk = tmp_path / "large.tar", tmp_path / "disk.qcow2"
    command("zstd", "-q", "-d", str(archive), "-o", str(large))
    (tmp_path / "noise").write_bytes(os.urandom(16 << 20))
    command("tar", "-r", "-f", str(large), "-C", str(tmp_path), "noise")
    command("zstd", "-q", "-1", "--rm", str(large))
    command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(tmp_path / "noise"), str(disk))
    layout["overcommit"] = {"storage": 1000}
    layout["storage_pools"].append({"name": f"{PREFIX}-small", "path": str(small)})
    layout["images"] += [
        {"name": f"{PREFIX}-large", "kind": "container", "path": f"{large}.zst"},
        {"name": f"{PREFIX}-disk", "kind": "vm", "path": str(disk)},
    ]
    layout["containers"][1].update(image=f"{PREFIX}-large", rootfs={"pool": f"{PREFIX}-small"})
    layout["vms"][0]["disks"][0] = {
        "name": "root",
        "pool": f"{PREFIX}-small",
        "image": f"{PREFIX}-disk",
        "format": "raw",
    }
    for dummy in range(2):
        outcome = run(layout)
        assert outcome.error is not None
        assert {each["name"] for each in outcome.told["resources"] if each["failed"]} == {VM, NAMES[1]}
        assert os.listdir(small) == [], outcome.error
    assert (power(NAMES[0]), power(NAMES[2])) == ("RUNNING", "STOPPED")
    command("mount", "-o", "remount,size=64m", str(small))
    assert run(layout).error is None
    assert_stands(layout)


def test_a_disk_does_not_grow_beyond_what_its_pool_has(layout):
    assert run(layout).error is None
    larger = {"vms": [{"name": VM, "disks": [{"name": "root", "size": "500T"}]}]}
    for outcome in (run(larger, dry_run=True), run(larger)):
        assert outcome.error is not None and f"root of vm {VM} (524287984MiB)" in outcome.error.message, outcome.error
    larger["vms"][0]["disks"][0]["size"] = "32M"
    assert run(larger).error is None and not run(larger).told["changed"]


def test_a_check_knows_what_lies_where_a_pool_will_be(layout, folder):
    """Data that was kept when the pool went, and a folder that no container may pass through."""
    assert run(layout).error is None
    gone: Params = {
        "storage_pools": [{"name": POOL, "state": "absent"}],
        "vms": [{"name": VM, "state": "absent"}],
        "containers": [{"name": NAMES[1], "state": "absent"}, {"name": NAMES[2], "state": "absent"}],
    }
    gone["containers"].append({"name": NAMES[0], "state": "absent", "delete": ["rootfs"], "force_stop": True})
    assert run(gone).error is None
    (folder / "closed").mkdir(mode=0o700)
    layout["storage_pools"].append({"name": f"{PREFIX}-closed", "path": str(folder / "closed" / "pool")})
    layout["containers"][0]["rootfs"]["pool"] = f"{PREFIX}-closed"
    check, done = run(layout, dry_run=True), run(layout)
    for outcome in (check, done):
        assert "may not pass through" in item(outcome, NAMES[0])["msg"]
        for name in (VM, NAMES[1], NAMES[2]):
            assert item(outcome, name)["needed"] == ["adopt"]
    assert check.told["diff"] == done.told["diff"]


def test_overcommit_lets_more_be_promised(layout):
    layout["vms"][0]["disks"][0]["size"] = "2T"
    layout["overcommit"] = {"storage": 1000}
    assert run(layout, dry_run=True).error is None


@pytest.mark.parametrize("key", ["vms", "containers"])
def test_a_guest_in_the_list_of_the_other_kind_fails_alone(layout, key):
    assert run(layout).error is None
    wrong = VM if key == "containers" else NAMES[1]
    changed = {**layout["containers"][2], "memory": "64"}
    lists = {"vms": [], "containers": [changed]}
    lists[key].append({**layout[key][0], "name": wrong, "networks": [{"name": "lan", "bridge": BRIDGE}]})
    for outcome in (run(lists, dry_run=True), run(lists)):
        assert outcome.error is not None and f"{wrong}: name: {wrong} is" in outcome.error.message
        assert item(outcome, wrong)["failed"] and item(outcome, NAMES[2])["changed"]
    lists[key][-1] = {"name": wrong, "state": "absent"}
    gone = {**lists, "storage_pools": [{"name": POOL, "state": "absent", "allow": ["delete_data"]}]}
    for outcome in (run(gone, dry_run=True), run(gone)):
        assert not outcome.told["changed"] and wrong in str(outcome.error), outcome.told
    assert (LXC / NAMES[1]).exists() and VM in virsh("list", "--all", "--name").split()


def test_a_guest_that_stays_keeps_its_address(layout):
    """It is another one that goes, it is protected, or its change is refused."""
    layout["containers"][2]["protection"] = True
    assert run(layout).error is None
    refused = {"name": NAMES[0], "rootfs": {"size": "1G"}, "networks": [{"name": "lan", "ip": "10.91.9.50/24"}]}
    for name, key, change in (
        (NAMES[0], "containers", refused),
        (NAMES[1], "vms", {"name": NAMES[1], "state": "absent"}),
        (NAMES[2], "containers", {"name": NAMES[2], "state": "absent"}),
    ):
        lists: Params = {"vms": [], "containers": []}
        lists[key].append(change)
        lists["containers"].append({**layout["containers"][1], "name": f"{PREFIX}-d"})
        lists["containers"][-1]["networks"] = layout["containers"][NAMES.index(name)]["networks"]
        for outcome in (run(lists, dry_run=True), run(lists)):
            assert outcome.error is not None and f"container {name} and container {PREFIX}-d" in outcome.error.message
    assert not (LXC / f"{PREFIX}-d").exists()


@pytest.mark.parametrize("key", ["vms", "containers"])
def test_a_guest_gets_the_mac_of_one_that_goes_first(layout, key):
    old = layout[key][0]
    old["networks"][0]["mac"] = "00:16:3e:91:00:01"
    assert run(layout).error is None
    heir = {**old, "name": f"{PREFIX}-d", "state": "stopped"}
    gone = {"name": old["name"], "state": "absent", "delete": ["disks" if key == "vms" else "rootfs"]}
    lists = {key: [heir, gone | {"shutdown_timeout": 1, "force_stop": True}]}
    check, done = run(lists, dry_run=True), run(lists)
    assert check.error is None and done.error is None, (check.error, done.error)
    assert [each["name"] for each in check.told["resources"]] == [old["name"], f"{PREFIX}-d"]
    assert check.told["diff"] == done.told["diff"]
    assert not run(lists).told["changed"]


def test_a_pool_that_is_not_started_is_named_with_the_ways_out(layout):
    assert run({"storage_pools": [{**layout["storage_pools"][0], "state": "stopped"}]}).error is None
    layout["storage_pools"].clear()
    outcome = run(layout, dry_run=True)
    way_out = "is not started. Start it with homelab.hybrid.storage_pool, or name it in this layout"
    assert f"needs pool {POOL}: the storage pool {POOL} {way_out}" in str(outcome.error)


def test_what_a_guest_loses_is_free_for_another_in_the_same_run(layout):
    layout["containers"][1]["memory"] = "10T"
    layout["overcommit"] = {"memory": 1000.0}
    assert run(layout).error is None
    first = {"name": NAMES[1], "unset": ["memory"], "exact": ["networks"]}
    first["networks"] = [{"name": "other", "bridge": BRIDGE, "ip": "10.91.9.50/24"}]
    second = {**layout["containers"][1], "name": f"{PREFIX}-d", "memory": "64"}
    lists = {"containers": [first, second]}
    check, done = run(lists, dry_run=True), run(lists)
    assert check.error is None and done.error is None, (check.error, done.error)
    assert not run(lists).told["changed"]


def test_all_is_taken_away_in_the_order_that_its_users_go(layout):
    assert run(layout).error is None
    gone: Params = {
        "bridges": [{"name": BRIDGE, "state": "absent"}],
        "storage_pools": [{"name": POOL, "state": "absent"}],
        "images": [{"name": IMAGE, "state": "absent"}],
        "vms": [{"name": VM, "state": "absent", "delete": ["disks"]}],
        "containers": [
            {"name": name, "state": "absent", "delete": ["rootfs"], "shutdown_timeout": 1, "force_stop": True}
            for name in NAMES
        ],
    }
    check, done = run(gone, dry_run=True), run(gone)
    assert check.error is None and done.error is None, (check.error, done.error)
    assert check.told["diff"] == done.told["diff"] and check.told["kept"] == done.told["kept"] == []
    assert not os.path.exists(layout["storage_pools"][0]["path"])
    assert not os.path.exists(f"/sys/class/net/{BRIDGE}")
    assert not [name for name in virsh("list", "--all", "--name").split() if name.startswith(PREFIX)]
    assert not list(LXC.glob(f"{PREFIX}*"))
    assert not run(gone).told["changed"]


@pytest.mark.parametrize("key", ["vms", "containers"])
def test_a_clone_is_made_after_its_origin_and_goes_before_it(layout, key):
    assert run(layout).error is None
    kept = {**layout[key][0], "name": f"{PREFIX}-zz-base", "state": "stopped", "template": True, "networks": []}
    clone = {
        "name": f"{PREFIX}-clone",
        "state": "stopped",
        "clone_from": {"guest": kept["name"]},
        "shutdown_timeout": 1,
    }
    clone |= {"memory": "64"} if key == "vms" else {}
    params = {key: [clone, kept]}
    check = run(params, dry_run=True)
    assert check.error is None and check.told["assumed"] == []
    outcome = run(params)
    assert outcome.error is None and [each["name"] for each in outcome.told["resources"]] == [
        kept["name"],
        clone["name"],
    ]
    assert not run(params).told["changed"]
    words = ["disks"] if key == "vms" else ["rootfs"]
    gone = {key: [{"name": its["name"], "state": "absent", "delete": words} for its in (kept, clone)]}
    if key == "vms":
        alone = run({key: gone[key][:1]})
        assert (
            alone.error is not None
            and f"the linked clone {clone['name']} stands on {kept['name']}" in alone.told["msg"]
        )
    check = run(gone, dry_run=True)
    assert check.error is None, check.error
    outcome = run(gone)
    assert outcome.error is None, outcome.error
    assert power(kept["name"]) == power(clone["name"]) == ""


def test_a_pool_keeps_its_folder_while_anything_is_kept_in_it(layout):
    assert run(layout).error is None
    place = Path(layout["storage_pools"][0]["path"])
    gone: Params = {
        "storage_pools": [{"name": POOL, "state": "absent"}],
        "vms": [{"name": VM, "state": "absent", "delete": ["disks"]}],
        "containers": [{"name": name, "state": "absent", "force_stop": True} for name in NAMES],
    }
    gone["containers"][1]["delete"] = ["rootfs"]
    check, done = run(gone, dry_run=True), run(gone)
    assert check.error is None and done.error is None, (check.error, done.error)
    assert check.told["diff"] == done.told["diff"]
    assert check.told["kept"] == done.told["kept"] and f"{place} (2 entries)" in done.told["kept"]
    assert sorted(os.listdir(place)) == [f"{NAMES[0]}.rootfs", f"{NAMES[2]}.rootfs"]


def test_guests_that_no_list_names_are_told_and_go_with_prune_alone(layout):
    assert run(layout).error is None
    everyone = {"kind": "container", "name": NAMES[2], "managed": True}
    others = [record.stem for record in Path(paths.record_folder("guests")).glob("*.json")]
    fewer = {"containers": [{"name": name} for name in others if name != NAMES[2] and (LXC / name / "config").exists()]}
    told = run(fewer)
    assert told.error is None, told.error
    assert everyone in told.told["unlisted"] and not told.told["changed"]
    assert not [each for each in told.told["unlisted"] if each["kind"] == "vm"]
    check = run({**fewer, "prune": True, "delete": ["rootfs"]}, dry_run=True)
    assert {each["name"] for each in check.told["resources"] if each["changed"]} == {NAMES[2]}
    done = run({**fewer, "prune": True})
    assert done.error is None, done.error
    assert not (LXC / NAMES[2]).exists() and any(NAMES[2] in kept for kept in done.told["kept"])
    assert (LXC / NAMES[1]).exists()


@pytest.mark.parametrize("steps", [3, 9, 16])
def test_a_run_that_is_killed_goes_on_with_the_next(layout, steps):
    process = child(layout)
    assert process.stdout is not None
    for dummy in range(steps):
        process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    outcome = run(layout)
    assert outcome.error is None, outcome.error
    assert_stands(layout)


def test_a_worker_that_is_killed_fails_its_item_alone(layout, archive, tmp_path):
    # Its root takes long enough to unpack that the worker can be found at work.
    large = tmp_path / "large.tar"
    command("zstd", "-q", "-d", str(archive), "-o", str(large))
    with (tmp_path / "zeros").open("wb") as stream:
        stream.truncate(500 << 20)
    command("tar", "-r", "-f", str(large), "-C", str(tmp_path), "zeros")
    command("zstd", "-q", "-1", "--rm", str(large))
    layout["images"].append({"name": f"{PREFIX}-large", "kind": "container", "path": f"{large}.zst"})
    layout["containers"][1]["image"] = f"{PREFIX}-large"
    process = child(layout)
    assert process.stdout is not None
    killed = None
    for line in process.stdout:
        message = json.loads(line)
        if message.get("item") == f"containers[{NAMES[1]}]" and message.get("step") and killed is None:
            killed = kill_worker(process.pid, NAMES[1])
        if "result" in message:
            break
    process.wait()
    result = message["result"]
    assert killed, "no worker was found"
    assert "ended before it was done" in item(result, NAMES[1])["msg"]
    assert item(result, NAMES[1])["changed"] and not item(result, NAMES[2])["failed"]
    entries = [entry for entry in journal.read(50) if entry["name"] == f"containers[{NAMES[1]}]"]
    assert entries[-1]["result"] == "failed" and "ended before it was done" in entries[-1]["msg"]
    assert run(layout).error is None
    assert_stands(layout)


class BrokenPool(StoragePool):
    """A storage pool whose code has a bug."""

    def apply(self, spec: t.Any, state: t.Any, plan: t.Any, work: t.Any) -> t.Iterator[Change | Step]:
        yield Step("begun")
        raise RuntimeError("a bug")


def test_a_bug_fails_its_item_alone_and_keeps_its_traceback(layout, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "JOURNAL", str(tmp_path / "journal"))
    extra = [{"name": f"{PREFIX}-broken", "path": f"/srv/{PREFIX}/broken"}]
    outcome = converge_layout(
        {"bridges": layout["bridges"], "storage_pools": extra},
        dry_run=False,
        kinds=[
            dataclasses.replace(kind, resource=BrokenPool()) if kind.word == "storage_pool" else kind for kind in KINDS
        ],
    )
    broken = item(outcome, f"{PREFIX}-broken")
    assert broken["failed"] and broken["changed"]
    assert broken["msg"] == "RuntimeError: a bug" and "in apply" in broken["exception"]
    assert "storage pool hlly-broken: RuntimeError: a bug" in outcome.told["msg"]
    assert not item(outcome, BRIDGE)["failed"] and virsh("net-info", BRIDGE)
    told = {entry["name"]: (entry["result"], entry.get("msg")) for entry in journal.read(9)}
    assert told == {
        f"bridges[{BRIDGE}]": ("ok", None),
        f"storage_pools[{PREFIX}-broken]": ("failed", "RuntimeError: a bug"),
    }


def kill_worker(main: int, name: str) -> int | None:
    """End the worker that holds the lock of the guest *name*."""
    lock = os.path.join(paths.LOCKS, "guest", name + ".lock")
    for place in Path("/proc").glob("[0-9]*"):
        try:
            held = [os.readlink(link) for link in (place / "fd").iterdir()]
        except OSError:
            continue
        if lock in held and int(place.name) not in (main, os.getpid()) and "python" in os.readlink(place / "exe"):
            os.kill(int(place.name), signal.SIGKILL)
            return int(place.name)
    return None


def test_two_layouts_at_once_make_one_host(layout):
    first, second = child(layout), child(layout)
    results = [result_of(first), result_of(second)]
    assert not [each["msg"] for each in results if "msg" in each]
    for name in (*NAMES, VM, POOL, IMAGE, BRIDGE):
        assert sum(item(each, name)["changed"] for each in results) == 1, name
    assert_stands(layout)


OTHER_RUN = """
import os, sys, time
from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import GUEST
name, before, after = sys.argv[1:]
with lock.hold([Reference(GUEST, name)], []):
    print("held", flush=True)
    time.sleep(2)
    os.rename(before, after)
"""


def test_a_guest_that_another_run_is_just_making_is_not_refused(layout):
    assert run(layout).error is None
    definition = LXC / NAMES[1] / "config"
    away = definition.rename(definition.with_name("config.away"))
    check = run(layout, dry_run=True)
    assert check.error is not None and "kept of an earlier" in check.error.message
    argv = [sys.executable, "-c", OTHER_RUN, NAMES[1], str(away), str(definition)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        outcome = run(layout)
    assert outcome.error is None, outcome.error
    assert not outcome.told["changed"]


def test_a_refusal_holds_when_nobody_is_at_work(layout):
    assert run(layout).error is None
    (LXC / NAMES[1] / "config").rename(LXC / NAMES[1] / "config.away")
    outcome = run(layout)
    assert outcome.error is not None and "kept of an earlier" in outcome.error.message


def test_one_address_goes_to_one_of_two_layouts_at_once(layout):
    whole = {**layout, "containers": []}
    assert run(whole).error is None
    for number in range(4):
        rivals = [f"{PREFIX}-x{number}", f"{PREFIX}-y{number}"]
        card = {"name": "lan", "bridge": BRIDGE, "ip": f"10.91.9.{50 + number}/24"}
        base = {"image": IMAGE, "rootfs": {"pool": POOL}, "state": "stopped", "networks": [card]}
        running = [child({"containers": [{"name": name, **base}]}) for name in rivals]
        results = [result_of(each) for each in running]
        lost = [each["msg"] for each in results if "msg" in each]
        assert len(lost) == 1, lost
        assert "have both the address" in lost[0] and card["ip"].partition("/")[0] in lost[0]
        assert len([name for name in rivals if (LXC / name).exists()]) == 1


def test_a_guest_that_may_stay_stopped_is_not_waited_for(layout):
    for guest, what in ((layout["vms"][0], "agent"), (layout["containers"][1], "systemd")):
        guest.update(state="present", wait_for=[what], wait_timeout=1)
    for changed in (True, False):
        outcome = run(layout)
        assert outcome.error is None, outcome.error
        assert outcome.told["changed"] is changed and outcome.told["waits"] == []
    layout["containers"][1]["state"] = "started"
    outcome = run(layout)
    assert "systemd of the container" in item(outcome, NAMES[1])["msg"]
    layout["containers"][1]["state"] = "present"
    assert run(layout).told["waits"] == [f"containers[{NAMES[1]}]"]


def test_nothing_to_do_starts_no_worker_and_reads_once(layout, monkeypatch):
    from ansible_collections.homelab.hybrid.plugins.module_utils._layout import crew

    assert run(layout).error is None
    monkeypatch.setattr(crew.Spawner, "start", lambda *dummy: pytest.fail("a worker was started"))
    layout["containers"][0]["wait_for"] = ["ip"]
    outcome = run({**layout, "facts": True})
    assert outcome.error is None and not outcome.told["changed"]
    assert item(outcome, NAMES[0])["facts"]["addresses"] == ["10.91.9.10"]
