# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices of the host inside: nodes of the guest's own, in a group as the guest numbers it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills

# All cells see one /dev, so what lies there is called after the cell.
CELL = os.stat("/proc/self/ns/mnt").st_ino
NAME = f"{ct.PREFIX}-{CELL}"
FOLDER = Path(f"/dev/hlct-{CELL}")
GPU, OTHER = FOLDER / "dri/renderD128", FOLDER / "dri/renderD129"
NODES = Path("/dev/homelab_hybrid") / NAME
BASE = {"name": NAME, "image": ct.IMAGE, "rootfs": {"pool": ct.POOL}}
RENDER = 104

pytestmark = pytest.mark.usefixtures("container_host")


ZERO, FULL, TUN = (1, 5), (1, 7), (10, 200)


def make_node(path: Path, numbers: tuple[int, int], mode: int = 0o660) -> None:
    """A character device; every container may use that of zeros, and a privileged one no tun unless it is told to be let through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mknod(path, stat.S_IFCHR | mode, os.makedev(*numbers))
    path.chmod(mode)


@pytest.fixture(autouse=True)
def _stand_ins() -> t.Iterator[None]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    make_node(GPU, ZERO)
    make_node(OTHER, TUN)
    yield
    shutil.rmtree(FOLDER)


@pytest.fixture
def _nothing_stands(container_host: None) -> t.Iterator[None]:
    ct.clean()
    yield
    ct.clean()
    shutil.rmtree(NODES, ignore_errors=True)


@pytest.fixture(scope="module", params=["unprivileged", "privileged"])
def is_unprivileged(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "unprivileged")


@pytest.fixture(scope="module", params=["stopped", "started"])
def power(request: pytest.FixtureRequest, is_unprivileged: bool, container_host: None) -> t.Iterator[str]:
    ct.clean()
    ct.make(**BASE, state=request.param, unprivileged=is_unprivileged)
    yield request.param
    ct.clean()
    shutil.rmtree(NODES, ignore_errors=True)
    assert ct.left_behind() == []


def change(paths: t.Collection[str], **params: t.Any) -> t.Any:
    return check_run_again(ct.CONTAINER, {"name": NAME, **params}, paths)


def inside(*argv: str) -> str:
    return ct.inside(*argv, name=NAME, check=False)


def node(path: Path = GPU) -> str:
    """Numbers, mode and owners as the guest sees them."""
    return inside("stat", "-c", "%t:%T %a %u:%g", str(path))


def reads(path: Path = GPU) -> bool:
    """Whether the guest gets the zero that only the device gives."""
    return inside("sh", "-c", f"dd if={path} bs=4 count=1 2>/dev/null | busybox od -An -tx1") == "00 00 00 00"


def opens(path: Path) -> bool:
    return "rror" not in inside("sh", "-c", f"dd if={path} count=0 2>/dev/null || echo error")


def let_through() -> list[str]:
    """What the control group was told of tun."""
    return [line for line in ct.cgroup("devices.list", NAME).splitlines() if line.startswith("c 10:200 ")]


def test_devices_come_change_and_go(power, is_unprivileged):
    gpu = {"name": "gpu", "path": str(GPU)}
    change(["devices[gpu]"], devices=[{**gpu, "gid": "render"}])
    if power == "started":
        assert node() == f"1:5 660 0:{RENDER}" and reads()
    change(["devices[gpu].mode", "devices[gpu].gid"], devices=[{"name": "gpu", "mode": "0640", "gid": 0}])
    if power == "started":
        assert node() == "1:5 640 0:0"
    change(["devices[gpu].path"], devices=[{"name": "gpu", "path": str(OTHER)}])
    if power == "started":
        assert node(OTHER) == "a:c8 640 0:0" and opens(OTHER) and node() == ""
        assert bool(let_through()) is not is_unprivileged
    assert ("lxc.cgroup2.devices.allow = c 10:200 rwm" in ct.config(NAME)) is not is_unprivileged
    change(["devices[gpu].optional"], devices=[{"name": "gpu", "optional": True}])
    change(["devices[gpu].optional"], unset=["devices[gpu].optional"])
    outcome = unchanged(ct.CONTAINER, {"name": NAME, "devices": [], "mounts": [], "exact": ["mounts"]})
    assert outcome.plan.unmanaged == ["devices[gpu]"]
    change(["devices[gpu]"], devices=[], exact=["devices"])
    assert "devices" not in ct.config(NAME) and "make-device" not in ct.config(NAME)
    if power == "started":
        assert node(OTHER) == "" and not (NODES / "gpu").exists() and not let_through()


def test_what_is_missing_is_refused_or_survived_and_said(power):
    missing = {"name": "stick", "path": str(FOLDER / "ttyUSB0")}
    refuse(ct.CONTAINER, {"name": NAME, "devices": [missing]}, f"there is no {missing['path']} on this host")
    outcome = change(["devices[stick]"], devices=[{**missing, "optional": True, "gid": "render"}])
    assert any("goes without it" in warning for warning in outcome.plan.warnings)
    make_node(FOLDER / "ttyUSB0", ZERO)
    if power == "started":
        change(["devices[stick]"], devices=[missing])
        assert node(FOLDER / "ttyUSB0") == f"1:5 660 0:{RENDER}"
    change(["devices[stick]"], devices=[{"name": "stick", "state": "absent"}])


def test_a_start_without_what_is_needed_is_refused_also_where_nothing_of_it_is_written(power):
    missing = {"name": "stick", "path": str(FOLDER / "ttyUSB0")}
    make_node(FOLDER / "ttyUSB0", ZERO)
    change(["devices[stick]"], devices=[missing])
    (FOLDER / "ttyUSB0").unlink()
    due = {"name": NAME, "state": "started" if power == "stopped" else "restarted"}
    refuse(ct.CONTAINER, due, f"there is no {missing['path']} on this host, and {NAME} does not start without it")
    change(["devices[stick]"], devices=[{"name": "stick", "state": "absent"}])


def test_a_device_is_roots_until_the_guest_has_the_group(power):
    """A package that makes the group may come later."""
    gpu = {"name": "gpu", "path": str(GPU), "gid": "later"}
    outcome = change(["devices[gpu]"], devices=[gpu])
    assert any(f"there is no group later in the /etc/group of {NAME} yet" in said for said in outcome.plan.warnings)
    path = ct.rootfs(NAME) / "etc/group"
    before = path.read_text()
    path.write_text(before + "later:x:77:\n")
    change(["devices[gpu].gid"], devices=[gpu])
    if power == "started":
        assert node() == "1:5 660 0:77"
    path.write_text(before)
    unchanged(ct.CONTAINER, {"name": NAME, "devices": [gpu]})
    change(["devices[gpu]"], devices=[{"name": "gpu", "state": "absent"}])


@pytest.fixture
def stick() -> t.Iterator[Path]:
    """A serial port by its id, as udev would name it."""
    link = Path(f"/dev/serial/by-id/usb-hlct_{CELL}-if00")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    make_node(FOLDER / "ttyACM0", ZERO)
    make_node(FOLDER / "ttyACM1", TUN)
    link.symlink_to(FOLDER / "ttyACM0")
    yield link
    link.unlink()
    for folder in (link.parent, link.parent.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def test_a_serial_port_is_known_by_its_id(power, stick):
    port = {"name": "zigbee", "type": "serial", "id": stick.name, "gid": "render"}
    change(["devices[zigbee]"], devices=[port])
    if power == "started":
        assert node(stick) == f"1:5 660 0:{RENDER}" and reads(stick)
    # It was pulled out and plugged in again.
    stick.unlink()
    refuse(ct.CONTAINER, {"name": NAME, "devices": [port]}, f"there is no {stick} on this host")
    stick.symlink_to(FOLDER / "ttyACM1")
    if power == "started":
        change(["devices[zigbee].id"], devices=[port])
        assert node(stick) == f"a:c8 660 0:{RENDER}" and opens(stick)
    change(
        ["devices[zigbee].type", "devices[zigbee].path"], devices=[{"name": "zigbee", "type": "node", "path": str(GPU)}]
    )
    if power == "started":
        assert node() == f"1:5 660 0:{RENDER}" and node(stick) == ""
    change(["devices[zigbee]"], devices=[{"name": "zigbee", "state": "absent"}])


BUS = f"{CELL % 900 + 100}"


class Bus:
    """USB devices, as the kernel tells of them in /sys."""

    def __init__(self) -> None:
        self.nodes: list[Path] = []

    def plug_in(self, name: str, number: int, numbers: tuple[int, int], serial: str) -> Path:
        folder = Path("/sys/bus/usb/devices") / name
        folder.mkdir(parents=True)
        values = {"idVendor": "10c4", "idProduct": "ea60", "busnum": BUS, "devnum": str(number), "serial": serial}
        for key, value in values.items():
            (folder / key).write_text(value + "\n")
        self.nodes.append(Path(f"/dev/bus/usb/{BUS}/{number:03}"))
        make_node(self.nodes[-1], numbers)
        return self.nodes[-1]

    def pull_out(self, name: str) -> None:
        shutil.rmtree(Path("/sys/bus/usb/devices") / name)


@pytest.fixture
def usb() -> t.Iterator[Bus]:
    ct.run("mount", "-t", "tmpfs", "hlct-usb", "/sys/bus")
    bus = Bus()
    yield bus
    ct.run("umount", "/sys/bus")
    shutil.rmtree(f"/dev/bus/usb/{BUS}", ignore_errors=True)
    for folder in (Path("/dev/bus/usb"), Path("/dev/bus")):
        with contextlib.suppress(OSError):
            folder.rmdir()


def test_a_usb_device_is_found_wherever_it_is_plugged_in(power, usb):
    first = usb.plug_in("1-1", 4, ZERO, "one")
    both = [{"name": name, "type": "usb", "id": f"10c4:ea60:{name}"} for name in ("one", "two")]
    change(["devices[one]"], devices=both[:1])
    refuse(ct.CONTAINER, {"name": NAME, "devices": both}, "there is no USB device 10c4:ea60:two on this host")
    second = usb.plug_in("1-2", 5, TUN, "two")
    refuse(
        ct.CONTAINER,
        {"name": NAME, "devices": [{"name": "any", "type": "usb", "id": "10c4:ea60"}]},
        "2 USB devices 10c4:ea60 are plugged in. Write 10c4:ea60:SERIAL",
    )
    change(["devices[two]"], devices=both)
    if power == "started":
        assert node(first) == "1:5 660 0:0" and node(second) == "a:c8 660 0:0"
        assert opens(first) and opens(second)
        usb.pull_out("1-2")
        third = usb.plug_in("1-3", 6, FULL, "two")
        change(["devices[two].id"], devices=both)
        assert node(third) == "1:7 660 0:0" and node(second) == ""
    change(["devices[one]"], devices=[{"name": "one", "state": "absent"}])
    if power == "started":
        assert node(first) == "" and node(third) == "1:7 660 0:0"
    change(["devices[two]"], devices=[], exact=["devices"])
    assert "usb" not in ct.config(NAME)


def test_a_machine_and_a_container_of_a_layout_do_not_get_one_device(power, usb):
    usb.plug_in("1-1", 4, ZERO, "one")
    stick = {"name": "one", "type": "usb"}
    machine = {"name": f"{ct.PREFIX}-vm-{CELL}", "memory": "64", "devices": [{**stick, "id": "10c4:ea60"}]}
    container = {"name": NAME, "devices": [{**stick, "id": "10c4:ea60:one"}]}
    outcome = converge_layout({"vms": [machine], "containers": [container]}, dry_run=True)
    assert outcome.error is not None and "have both the device 10c4:ea60" in outcome.error.message
    change(["devices[one]"], devices=container["devices"])
    if power == "started":
        refuse(KvmVm(), machine, f"{NAME} runs with it")
    change(["devices[one]"], devices=[{"name": "one", "state": "absent"}])


def nests() -> bool:
    """Whether a container inside could have a /proc of its own."""
    own = "mkdir -p /tmp/proc && busybox mount -t proc proc /tmp/proc && busybox ls /tmp/proc/self"
    return "status" in inside("busybox", "unshare", "-U", "-r", "-m", "-p", "-f", "sh", "-c", own)


def test_a_guest_may_run_containers_of_its_own_from_its_next_start_on(power, is_unprivileged):
    before = ct.config(NAME)
    if power == "started" and is_unprivileged:
        assert not nests()
    outcome = change(["features.nesting"], features={"nesting": True})
    if power == "started":
        assert outcome.plan.restart_required == ["features.nesting"]
        converge_now(ct.CONTAINER, {"name": NAME, "state": "restarted", "shutdown_timeout": 1, "force_stop": True})
        assert nests()
        unchanged(ct.CONTAINER, {"name": NAME, "features": {"nesting": True, "docker": True}})
    change(["features.nesting"], features={"nesting": False})
    assert ct.config(NAME) == before
    if power == "started":
        converge_now(ct.CONTAINER, {"name": NAME, "state": "restarted", "shutdown_timeout": 1, "force_stop": True})


def test_features_that_are_devices_are_open_to_all(power):
    change(["devices[fuse]", "devices[tun]"], features={"fuse": True, "tun": True, "keyctl": True})
    if power == "started":
        assert node(Path("/dev/fuse")) == "a:e5 666 0:0" and opens(Path("/dev/fuse"))
        assert node(Path("/dev/net/tun")) == "a:c8 666 0:0" and opens(Path("/dev/net/tun"))
    change(["devices[fuse]", "devices[tun]"], features={"fuse": False, "tun": False})
    refuse(ct.CONTAINER, {"name": NAME, "features": {"mknod": True}}, "Write those that it needs in devices")


def test_the_file_that_a_node_lay_on_goes_also_when_a_killed_run_had_unmounted_it(power):
    change(["devices[gpu]"], devices=[{"name": "gpu", "path": str(GPU)}])
    if power == "started":
        ct.run("nsenter", "-t", str(ct.pid(NAME)), "-m", "umount", str(GPU))
        assert node() == "0:0 644 0:0"
    change(["devices[gpu]"], devices=[{"name": "gpu", "state": "absent"}])
    if power == "started":
        assert node() == ""


def test_what_another_hand_wrote_is_left_alone(power):
    lines = "lxc.hook.pre-start = /bin/true gpu\nlxc.cgroup.devices.allow = c 1:5 rwm\nlxc.cgroup2.devices.allow = c 1:5 rwm\n"
    path = ct.LXC / NAME / "config"
    path.write_text(path.read_text() + lines)
    change(["devices[gpu]"], devices=[{"name": "gpu", "path": str(GPU)}])
    if power == "started":
        assert reads()
    change(["devices[gpu]"], devices=[{"name": "gpu", "state": "absent"}])
    assert all(line in ct.config(NAME) for line in lines.splitlines())
    for line in lines.splitlines():
        path.write_text(path.read_text().replace(line + "\n", ""))


@pytest.mark.usefixtures("_nothing_stands")
def test_a_device_of_a_new_guest_is_there_after_its_own_reboot_and_after_the_hosts(is_unprivileged):
    """All of /dev is made anew when a host starts, with the folder of our nodes."""
    wanted = {
        **BASE,
        "state": "started",
        "unprivileged": is_unprivileged,
        "devices": [{"name": "gpu", "path": str(GPU), "gid": "render", "mode": "0660"}],
    }
    check_run_again(ct.CONTAINER, wanted)
    assert node() == f"1:5 660 0:{RENDER}" and reads()
    before = ct.pid(NAME)
    (NODES / "gpu").unlink()
    inside("busybox", "reboot", "-f")
    wait_until(
        "the guest to be up again",
        lambda: ct.state(NAME) == "RUNNING" and ct.pid(NAME) != before,
        timeout_seconds=30,
    )
    assert node() == f"1:5 660 0:{RENDER}" and reads()
    unchanged(ct.CONTAINER, wanted)
    ct.run("lxc-stop", "-n", NAME, "-k")
    shutil.rmtree(NODES)
    # The host calls the same device otherwise after its start.
    make_node(GPU, ZERO, 0o600)
    ct.run("lxc-start", "-n", NAME)
    assert node() == f"1:5 660 0:{RENDER}" and reads()
    unchanged(ct.CONTAINER, wanted)


@pytest.mark.usefixtures("_nothing_stands")
def test_devices_of_a_running_guest_survive_every_kill():
    port = str(FOLDER / "ttyACM0")
    ct.make(**BASE, state="started", unprivileged=False)

    def begin() -> None:
        make_node(FOLDER / "ttyACM0", ZERO)
        moves = {"name": "moves", "path": str(GPU), "mode": "0660", "gid": 0}
        before = [moves, {"name": "goes", "path": str(OTHER)}]
        converge_now(ct.CONTAINER, {"name": NAME, "devices": before, "exact": ["devices"]})
        assert opens(OTHER)

    def verify(outcome: t.Any) -> None:
        assert node(Path(port)) == f"1:5 600 0:{RENDER}" and node(Path("/dev/net/tun")) == "a:c8 666 0:0"
        assert node() == "" and node(OTHER) == ""
        assert sorted(path.name for path in NODES.iterdir()) == ["moves", "tun"]
        assert ct.values("lxc.cgroup2.devices.allow", NAME) == ["c 10:200 rwm"]

    wanted = {
        "name": NAME,
        "devices": [{"name": "moves", "path": port, "gid": "render", "mode": "0600"}],
        "exact": ["devices"],
        "features": {"tun": True},
    }
    survive_kills(ct.CONTAINER, wanted, begin=begin, verify=verify, moments=2)
