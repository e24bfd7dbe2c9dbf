# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed anywhere: nothing is lost, the next run needs no permission, nothing is left over.

KILLS is how many there are, spread evenly over the scenarios and over the time that each takes; where in its part of the time
a kill falls, HARNESS_SEED draws. ``make kills`` is 200 of them.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._container.resource import LxcContainer
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths, record
from ansible_collections.homelab.hybrid.plugins.module_utils._image import downloads
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import tiny_root, upstream
from ansible_collections.homelab.hybrid.tests.harness.cases import AnyResource, converge_now
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED, Child
from ansible_collections.homelab.hybrid.tests.harness.leftovers import remove_host

Params = dict[str, t.Any]

PREFIX = "hlkl"
BRIDGE, POOL, IMAGE = f"{PREFIX}br0", f"{PREFIX}-pool", f"{PREFIX}-tiny"
CONTAINER, OTHER, VM, OTHER_VM = f"{PREFIX}-a", f"{PREFIX}-b", f"{PREFIX}-vm", f"{PREFIX}-other"
FOLDER = Path("/srv") / PREFIX
ARCHIVE = FOLDER.with_name(f"{PREFIX}-archive") / "tiny.tar.zst"
LXC = Path("/var/lib/lxc")
NVRAM = Path("/var/lib/libvirt/qemu/nvram")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
KILLS = int(os.environ.get("KILLS", "20"))

ENDING = {"shutdown_timeout": 1, "force_stop": True}
NETWORK: Params = {"name": BRIDGE, "mode": "nat", "address": "10.91.11.1/24"}
SURROUNDINGS: Params = {
    "bridges": [NETWORK],
    "storage_pools": [{"name": POOL, "path": str(FOLDER / "pool")}],
    "images": [{"name": IMAGE, "kind": "container", "path": str(ARCHIVE)}],
}
LAN: Params = {"name": "lan", "bridge": BRIDGE}
CONTAINER_ITEM: Params = {
    "name": CONTAINER,
    "state": "started",
    "image": IMAGE,
    "rootfs": {"pool": POOL},
    "networks": [{**LAN, "ip": "10.91.11.10/24"}],
    **ENDING,
}
OTHER_ITEM: Params = {
    **CONTAINER_ITEM,
    "name": OTHER,
    "state": "stopped",
    "networks": [{**LAN, "ip": "10.91.11.11/24"}],
}
VM_ITEM: Params = {
    "name": VM,
    "state": "started",
    "memory": "64",
    "firmware": {"type": "uefi"},
    "tpm": {"version": "2.0"},
    "disks": [{"name": "root", "pool": POOL, "size": "2M"}],
    "networks": [LAN],
    **ENDING,
}
CONTAINER_CHANGE: Params = {
    "name": CONTAINER,
    "memory": "96M",
    "description": "changed",
    "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1 me"],
    "networks": [{"name": "lan", "mtu": 1400}, {**LAN, "name": "more"}],
    "mounts": [{"name": "data", "source": "/srv", "path": "/data"}],
    **ENDING,
}
VM_CHANGE: Params = {
    "name": VM,
    "description": "changed",
    "firmware": {"secure_boot": True},
    "disks": [{"name": "root", "size": "3M"}, {"name": "data", "pool": POOL, "size": "1M"}],
    "networks": [{"name": "lan", "link": "down"}, {**LAN, "name": "more"}],
    **ENDING,
}
NETWORK_CHANGE: Params = {
    "name": BRIDGE,
    "mtu": 1400,
    "dhcp": {"start": "10.91.11.100", "end": "10.91.11.150"},
    "dns": {"domain": "hlkl.internal"},
}
WHOLE: Params = {**SURROUNDINGS, "containers": [CONTAINER_ITEM, OTHER_ITEM], "vms": [VM_ITEM], "parallel": 2}
WHOLE_CHANGE: Params = {
    "bridges": [NETWORK_CHANGE],
    "containers": [CONTAINER_CHANGE, {"name": OTHER, "state": "absent"}],
    "vms": [VM_CHANGE],
    "parallel": 2,
}

CONTAINER_CLONE: Params = {
    **{key: value for key, value in OTHER_ITEM.items() if key not in ("image", "rootfs")},
    "clone_from": {"guest": CONTAINER},
}
VM_CLONE: Params = {"name": OTHER_VM, "memory": "64", "clone_from": {"guest": VM}, "networks": [LAN], **ENDING}

VM_QUARANTINE: Params = {
    "name": VM,
    "state": "absent",
    "delete": ["disks", "nvram", "tpm"],
    "quarantine": True,
    **ENDING,
}
# When it came there, in the names of what lies there.
MOMENT = re.compile("@[0-9]{8}T[0-9]{6}Z")

# Where it comes from is known when the server runs.
FETCHED: Params = {"name": IMAGE, "kind": "container"}

SNAPSHOT: Params = {"guest": CONTAINER, "name": "before"}
KEPT = "before-revert-1"
# A run that is killed behind its end had kept what was there already, as the next one does.
KEPT_TWICE: Params = {"guest": CONTAINER, "name": "before-revert-2", "state": "absent"}


class Scenario(t.NamedTuple):
    """What stands at first, as a layout, and the run that is killed; *resource* is ``None`` for a layout.

    *snapshot* is one of a guest that stands at first too, and was written to since.
    """

    name: str
    start: Params
    resource: AnyResource | None
    params: Params
    snapshot: Params | None = None

    def __str__(self) -> str:
        return self.name


SCENARIOS = (
    Scenario("container_create", SURROUNDINGS, LxcContainer(), CONTAINER_ITEM),
    Scenario("container_change", {**SURROUNDINGS, "containers": [CONTAINER_ITEM]}, LxcContainer(), CONTAINER_CHANGE),
    Scenario(
        "container_absent",
        {**SURROUNDINGS, "containers": [CONTAINER_ITEM]},
        LxcContainer(),
        {"name": CONTAINER, "state": "absent", **ENDING},
    ),
    Scenario("vm_create", SURROUNDINGS, KvmVm(), VM_ITEM),
    Scenario("vm_change", {**SURROUNDINGS, "vms": [VM_ITEM]}, KvmVm(), VM_CHANGE),
    Scenario("vm_absent", {**SURROUNDINGS, "vms": [VM_ITEM]}, KvmVm(), {"name": VM, "state": "absent", **ENDING}),
    # What goes lies in the quarantine.
    Scenario("vm_quarantine", {**SURROUNDINGS, "vms": [VM_ITEM]}, KvmVm(), VM_QUARANTINE),
    # Its root is copied, and it is held meanwhile.
    Scenario(
        "snapshot_create",
        {**SURROUNDINGS, "containers": [CONTAINER_ITEM]},
        GuestSnapshot(),
        SNAPSHOT,
    ),
    Scenario(
        "revert",
        {**SURROUNDINGS, "containers": [CONTAINER_ITEM]},
        GuestSnapshot(),
        {**SNAPSHOT, "state": "reverted", "allow": ["revert"], **ENDING},
        SNAPSHOT,
    ),
    # Its origin runs: it is held while its root is copied, or copies its disks itself.
    Scenario(
        "container_clone",
        {**SURROUNDINGS, "containers": [CONTAINER_ITEM]},
        LxcContainer(),
        CONTAINER_CLONE,
    ),
    Scenario("vm_clone", {**SURROUNDINGS, "vms": [VM_ITEM]}, KvmVm(), VM_CLONE),
    Scenario("network_change", {**SURROUNDINGS, "containers": [CONTAINER_ITEM]}, Bridge(), NETWORK_CHANGE),
    Scenario("layout_create", {}, None, WHOLE),
    Scenario("layout_change", WHOLE, None, WHOLE_CHANGE),
    Scenario("image_create", {}, Image(), SURROUNDINGS["images"][0]),
    Scenario("image_fetch", {}, Image(), FETCHED),
)


@pytest.fixture(scope="module", autouse=True)
def _archive() -> t.Iterator[None]:
    remove_host(PREFIX, ARCHIVE.parent)
    ARCHIVE.parent.mkdir()
    tiny_root.build(ARCHIVE)
    with upstream.serving(ARCHIVE.parent) as server:
        FETCHED["url"] = f"{server.url}/{ARCHIVE.name}"
        FETCHED["checksum"] = server.put("SHA256SUMS", command("sha256sum", str(ARCHIVE)))
        yield
    remove_host(PREFIX, ARCHIVE.parent)


@pytest.fixture(autouse=True)
def _clean() -> t.Iterator[None]:
    forwarding = FORWARDING.read_text()
    yield
    clean(forwarding)


def clean(forwarding: str) -> None:
    remove_host(PREFIX, FOLDER)
    FORWARDING.write_text(forwarding)


def begin(scenario: Scenario) -> None:
    """Bring the host to where the run starts from, with data in everything that holds some."""
    clean("0\n")
    FOLDER.mkdir()
    if scenario.start:
        machines = [{**item, "state": "stopped"} for item in scenario.start.get("vms", ())]
        stood(converge_layout({**scenario.start, "vms": machines}, dry_run=False))
    for root in roots():
        (root / "precious").write_text(root.name)
    for disk in disks():
        command("qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 0 64k", str(disk))
    if scenario.start.get("vms"):
        stood(converge_layout({"vms": scenario.start["vms"]}, dry_run=False))
    if scenario.snapshot:
        stood(converge_now(GuestSnapshot(), scenario.snapshot))
        (FOLDER / "pool" / f"{CONTAINER}.rootfs" / "later").touch()


def roots() -> list[Path]:
    """The roots, and their snapshots."""
    return sorted((FOLDER / "pool").glob("*.rootfs*"))


def disks() -> list[Path]:
    return sorted((FOLDER / "pool").glob("*.root.qcow2"))


def command(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def virsh(*argv: str, check: bool = True) -> str:
    return command("virsh", "-q", "-c", "qemu:///system", *argv, check=check).strip()


def stood(outcome: t.Any) -> t.Any:
    assert outcome.error is None, outcome.error
    return outcome


def run(scenario: Scenario) -> t.Any:
    if scenario.resource is None:
        return stood(converge_layout(scenario.params, dry_run=False))
    return stood(converge_now(scenario.resource, scenario.params))


def run_again(scenario: Scenario) -> t.Any:
    """A further run, which changes nothing. Of a revert, which is done by each run, what it leads to is asked for."""
    if scenario.snapshot is None:
        return run(scenario)
    stood(converge_now(GuestSnapshot(), KEPT_TWICE))
    return stood(converge_now(GuestSnapshot(), scenario.snapshot))


def is_changed(outcome: t.Any) -> bool:
    return bool(outcome.result()["changed"])


def things() -> list[str]:
    """All that stands on the host of what the scenarios make, by the host's own tools, and the form of our records."""
    found = [f"file {path}" for folder in (FOLDER / "pool", *LXC.glob(f"{PREFIX}*")) for path in folder.glob("*")]
    found += [f"file {path}" for path in (FOLDER / "pool").glob(".*")]
    found += [f"file {path}" for path in NVRAM.glob(f"{PREFIX}*")]
    for pattern in (f"{PREFIX}*/*", f".attempts/{PREFIX}*"):
        found += [f"image {path}" for path in Path(paths.IMAGES).glob(pattern)]
    found += [f"download {path}" for path in Path(downloads.FOLDER).glob("*")]
    for kind in record.SCHEMAS:
        for file in Path(paths.record_folder(kind)).glob(f"{PREFIX}*"):
            found += [f"{kind} {file.name}: {key}" for key in keys_of(record.load(kind, file.stem).data)]
    for word, listing in (("network", "net-list"), ("pool", "pool-list"), ("machine", "list")):
        lines = virsh(listing, "--all").splitlines()
        # A machine that runs has a number.
        words = [line.split()[1 if word == "machine" else 0 :] for line in lines]
        found += [f"{word} {' '.join(each)}" for each in words if each[0].startswith(PREFIX)]
    for container in LXC.glob(f"{PREFIX}*"):
        found.append(f"container {container.name} {command('lxc-info', '-n', container.name, '-s', '-H').strip()}")
    found += [f"link {link}" for link in os.listdir("/sys/class/net") if link.startswith(PREFIX)]
    ports = Path(f"/sys/class/net/{BRIDGE}/brif")
    found.append(f"ports {len(list(ports.iterdir())) if ports.exists() else None}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line.split()[4]}" for line in mounts if PREFIX in line.split()[4]]
    return sorted(MOMENT.sub("@moment", each) for each in found)


def keys_of(value: t.Any, path: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [path]
    return [each for key in value for each in keys_of(value[key], f"{path}/{key}")]


def precious() -> dict[str, bool]:
    """Whether each root and disk that data was written to still has it."""
    found = {f"{root.name}/{name}": (root / name).is_file() for root in roots() for name in ("precious", "later")}
    for disk in disks():
        argv = ["qemu-io", "-U", "-r", "-f", "qcow2", "-c", "read -P 0x5a 0 64k", str(disk)]
        told = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert "read 65536/65536" in told.stdout, told.stderr
        found[MOMENT.sub("@moment", disk.name)] = "verification failed" not in told.stdout
    return found


class Reference(t.NamedTuple):
    """What a run leads to that nobody kills, and how long it takes."""

    seconds: float
    things: list[str]
    precious: dict[str, bool]


def reference(scenario: Scenario) -> Reference:
    begin(scenario)
    before = {name for name, has_data in precious().items() if has_data}
    started = time.monotonic()
    result = Child(scenario.resource, scenario.params).finish()[1]
    seconds = time.monotonic() - started
    assert result is not None and "msg" not in result, result and result["msg"]
    assert not is_changed(run_again(scenario))
    left = precious()
    if scenario.snapshot is not None:
        # What was written since the snapshot is in what the revert keeps.
        before = {name.replace(".rootfs/later", f".rootfs@{KEPT}/later") for name in before}
        assert not left[f"{CONTAINER}.rootfs/later"]
    if scenario.params is VM_QUARANTINE:
        before = {name.replace(VM, f"{VM}@moment", 1) for name in before}
    assert all(left.get(name) for name in before), "the run loses data by itself"
    return Reference(seconds, things(), left)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_run_that_is_killed_anywhere_loses_and_leaves_nothing(scenario: Scenario) -> None:
    known = reference(scenario)
    count = -(-KILLS // len(SCENARIOS))
    draw = random.Random(f"{SEED} {scenario}")
    for number in range(count):
        moment = (number + draw.random()) / count * known.seconds
        takes_all = draw.random() < 0.5
        who = "the run and all that it started" if takes_all else "the run"
        when = (
            f"{scenario}, kill {number + 1} of {count}: {who} after {moment:.3f} of {known.seconds:.2f} s (seed {SEED})"
        )
        print(when)
        begin(scenario)
        child = Child(scenario.resource, scenario.params)
        time.sleep(moment)
        child.kill_all() if takes_all else child.kill()
        child.finish()
        try:
            run(scenario)
            again = run_again(scenario)
            assert not is_changed(again), again.result()["plan"]
            now = things()
            gone, new = (
                [each for each in one if each not in other] for one, other in ((known.things, now), (now, known.things))
            )
            assert not gone and not new, f"lost: {gone}, left over: {new}"
            assert precious() == known.precious
        except AssertionError as exc:
            raise AssertionError(f"{when}: {exc}") from exc
