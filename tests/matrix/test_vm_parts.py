# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The screen, the small devices, and what suits the system inside: QEMU's command line, its monitor and a viewer tell of them."""

from __future__ import annotations

import json
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import accelerator
from ansible_collections.homelab.hybrid.plugins.module_utils._host.capabilities import Capabilities
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import obstacles
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.xml.variant import HYPERV
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.hand_made import make
from ansible_collections.homelab.hybrid.tests.harness.machines import (
    BRIDGES,
    POOL,
    attribute,
    definition,
    device,
    qemu_words,
    running,
    virsh,
)

VM = KvmVm()
NAME = f"{machines.PREFIX}-parts"
PLAIN: dict[str, t.Any] = {"name": NAME, "shutdown_timeout": 1, "force_stop": True}
NEW: dict[str, t.Any] = {**PLAIN, "memory": "64"}
STARTED: dict[str, t.Any] = {**NEW, "state": "started"}


def word_after(option: str) -> str:
    words = qemu_words(NAME)
    return words[words.index(option) + 1]


def has_device(kind: str) -> bool:
    """Whether QEMU itself says that it has it."""
    told = virsh("qemu-monitor-command", NAME, "--hmp", "info qtree")
    return f"dev: {kind}," in told


# ---- the screen --------------------------------------------------------------------------------------------------------------


def opens(port: int, password: str) -> bool:
    """Whether a viewer gets in with *password*: the handshake of RFB 3.8, with the DES of openssl."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as viewer:
        stream = viewer.makefile("rwb")
        assert stream.read(12) == b"RFB 003.008\n"
        stream.write(b"RFB 003.008\n")
        stream.flush()
        kinds = stream.read(stream.read(1)[0])
        if kinds == b"\x01":
            return not password
        stream.write(b"\x02")
        stream.flush()
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0")[:8])
        argv = ["openssl", "enc", "-des-ecb", "-provider", "legacy", "-provider", "default", "-nopad", "-K", key.hex()]
        stream.write(subprocess.run(argv, input=stream.read(16), capture_output=True, check=True).stdout)
        stream.flush()
        return stream.read(4) == b"\0\0\0\0"


def test_a_screen_listens_where_it_is_told_and_asks_for_its_password(folder: Path) -> None:
    screen = {"type": "vnc", "port": 5987, "password": "eight888"}
    run = check_run_again(VM, {**STARTED, "graphics": screen})
    assert not run.plan.warnings or not any("graphics" in warning for warning in run.plan.warnings)
    assert word_after("-vnc").startswith("127.0.0.1:87,") and has_device("virtio-vga") and has_device("usb-tablet")
    assert opens(5987, "eight888") and not opens(5987, "888eight")
    run = check_run_again(VM, {**PLAIN, "graphics": {"password": "another8"}}, ["graphics.password"])
    (change,) = run.plan.changes
    assert change.how.value == "live" and (change.report()["before"], change.report()["after"]) == (
        "(secret)",
        "(secret, changed)",
    )
    assert opens(5987, "another8") and not opens(5987, "eight888")
    unchanged(VM, {**PLAIN, "graphics": {"password": "another8"}})
    run = check_run_again(VM, {**PLAIN, "unset": ["graphics.password"]}, ["graphics.password"])
    assert run.plan.restart_required == ["graphics.password"] and opens(5987, "another8")
    check_run_again(VM, {**PLAIN, "unset": ["graphics.password"], "restart_policy": "if_needed"})
    assert opens(5987, "")
    assert check_run_again(VM, {**PLAIN, "graphics": {"password": "another8"}}).plan.restart_required


def test_a_screen_of_everybody_is_told_and_one_that_vnc_does_not_know_refused(folder: Path) -> None:
    refuse(VM, {**NEW, "graphics": {"type": "vnc", "password": "ninechars"}}, "VNC knows only 8 characters")
    refuse(VM, {**NEW, "graphics": {"listen": "0.0.0.0"}}, "has no screen")
    refuse(VM, {**NEW, "video": "vga"}, "has no screen")
    refuse(VM, {**NEW, "graphics": {"type": "vnc", "listen": "everywhere"}}, "an IPv4 or IPv6 address")
    run = check_run_again(VM, {**NEW, "graphics": {"type": "vnc", "listen": "0.0.0.0"}})
    assert any("everybody who reaches 0.0.0.0 can use the screen" in warning for warning in run.plan.warnings)
    check_run_again(VM, {**PLAIN, "graphics": {"password": "eight888"}}, ["graphics.password"])
    refuse(VM, {**PLAIN, "graphics": {"password": "ninechars"}}, "VNC knows only 8 characters")


ELSEWHERE = "192.0.2.77"


def test_a_screen_listens_where_the_host_can(folder: Path) -> None:
    wish = {"graphics": {"type": "vnc", "port": 5985, "listen": ELSEWHERE, "password": "eight888"}}
    refuse(VM, {**STARTED, **wish}, f"{ELSEWHERE} is no address of this host, and {NAME} would not start")
    run = check_run_again(VM, {**NEW, **wish})
    assert [its for its in run.plan.warnings if "is no address of this host" in its]
    refuse(VM, {**STARTED, **wish}, "is no address of this host")
    check_run_again(VM, {**STARTED, "graphics": {"listen": "127.0.0.1"}})
    refuse(VM, {**PLAIN, **wish}, "is no address of this host")
    machines.command("ip", "address", "add", f"{ELSEWHERE}/32", "dev", BRIDGES[0])
    check_run_again(VM, {**PLAIN, **wish, "restart_policy": "if_needed"}, ["graphics.listen"])
    assert word_after("-vnc").startswith(f"{ELSEWHERE}:85")
    # Where it runs it stays, whatever becomes of the address.
    machines.command("ip", "address", "del", f"{ELSEWHERE}/32", "dev", BRIDGES[0])
    unchanged(VM, {**PLAIN, **wish})


def test_a_screen_may_listen_where_a_bridge_of_its_layout_has_its_address(folder: Path) -> None:
    screen = {"type": "vnc", "listen": ELSEWHERE, "password": "eight888"}
    bridge = {"name": f"{machines.PREFIX}br9", "mode": "nat", "address": f"{ELSEWHERE}/29"}
    outcome = converge_layout({"bridges": [bridge], "vms": [{**STARTED, "graphics": screen}]}, dry_run=True)
    assert outcome.error is None


def test_a_screen_becomes_spice_with_all_that_its_viewer_asks_for(folder: Path) -> None:
    check_run_again(VM, {**STARTED, "graphics": {"type": "vnc", "port": 5986, "password": "eight888"}, "video": "qxl"})
    run = check_run_again(VM, {**PLAIN, "graphics": {"type": "spice", "password": "correct horse"}})
    assert run.plan.restart_required == ["graphics.type", "graphics.password"]
    check_run_again(VM, {**PLAIN, "graphics": {"type": "spice"}, "restart_policy": "if_needed"}, ["graphics.type"])
    assert "port=5986,addr=127.0.0.1" in word_after("-spice") and has_device("qxl-vga")
    channel = "devices/channel[@type='spicevmc']"
    assert attribute(definition(NAME), f"{channel}/target", "name") == "com.redhat.spice.0"
    refuse(VM, {**PLAIN, "graphics": {"type": "vnc"}}, "VNC knows only 8 characters")
    check_run_again(VM, {**PLAIN, "graphics": {"type": "vnc", "password": "eight888"}, "restart_policy": "if_needed"})
    assert opens(5986, "eight888") and definition(NAME).find(channel) is None
    check_run_again(VM, {**PLAIN, "unset": ["graphics"], "restart_policy": "if_needed"})
    assert running(NAME).find("devices/graphics") is None and running(NAME).find("devices/video") is None


def test_what_qemu_of_the_host_does_not_show_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"type": ("vnc",), "modelType": ("vga", "virtio")}
    monkeypatch.setattr(Capabilities, "offered", lambda self, path, enum: told.get(enum))
    said = refuse(VM, {**NEW, "graphics": {"type": "spice"}}, "graphics.type: spice is refused, as QEMU of this host")
    assert "qemu-system-modules-spice" in said
    refuse(VM, {**NEW, "graphics": {"type": "vnc"}, "video": "bochs"}, "QEMU of this host has no bochs")
    check_run_again(VM, {**NEW, "graphics": {"type": "vnc"}, "video": "vga"})


def test_a_tablet_needs_usb(folder: Path) -> None:
    make(NAME, "<controller type='usb' model='none'/>", rest="<features><acpi/></features>")
    refuse(VM, {**PLAIN, "tablet": True}, "has no USB")


# ---- small devices -----------------------------------------------------------------------------------------------------------


def test_randomness_is_plugged_in_while_it_runs(folder: Path) -> None:
    check_run_again(VM, {**STARTED, "rng": False})
    assert not has_device("virtio-rng-pci")
    run = check_run_again(VM, {**PLAIN, "rng": True}, ["rng"])
    assert run.plan.changes[0].how.value == "live" and has_device("virtio-rng-pci")


def test_a_watchdog_does_what_it_is_told(folder: Path) -> None:
    refuse(VM, {**NEW, "watchdog": {"action": "pause"}}, "has no watchdog")
    check_run_again(VM, {**STARTED, "watchdog": {"model": "i6300esb", "action": "pause"}})
    assert has_device("i6300esb") and "pause" in " ".join(qemu_words(NAME))
    run = check_run_again(VM, {**PLAIN, "watchdog": {"action": "poweroff"}}, ["watchdog.action"])
    assert run.plan.restart_required == ["watchdog.action"]
    check_run_again(VM, {**PLAIN, "unset": ["watchdog"], "restart_policy": "if_needed"})
    assert not has_device("i6300esb")


def test_a_watchdog_of_the_machine_itself_is_no_other_one(folder: Path) -> None:
    """libvirt 9.1 and newer write that of a q35 into its definition; here it is one for ISA."""
    make(NAME, "<watchdog model='ib700' action='dump'/>")
    unchanged(VM, {**PLAIN, "watchdog": {"action": "dump"}})
    check_run_again(VM, {**PLAIN, "watchdog": {"model": "i6300esb"}}, ["watchdog.model"])
    (node,) = definition(NAME).iterfind("devices/watchdog")
    assert (node.get("model"), node.get("action")) == ("i6300esb", "dump")


def test_a_socket_to_the_host_needs_its_device_and_a_number_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(obstacles.VSOCK_DEVICE).exists():
        refuse(VM, {**NEW, "vsock": "auto"}, "vsock: auto is refused, as there is no /dev/vhost-vsock")
        monkeypatch.setattr(obstacles, "VSOCK_DEVICE", "/dev/null")
    for wrong in ("2", "some", "-1", str(1 << 32)):
        refuse(VM, {**NEW, "vsock": wrong}, "auto, or a number from 3 to 4294967294")
    check_run_again(VM, {**NEW, "vsock": "auto"})
    assert attribute(definition(NAME), "devices/vsock/cid", "auto") == "yes"
    check_run_again(VM, {**PLAIN, "vsock": "77"}, ["vsock"])
    assert attribute(definition(NAME), "devices/vsock/cid", "address") == "77"
    refuse(VM, {**NEW, "name": f"{NAME}-2", "vsock": "77"}, f"it is the number of {NAME}")
    check_run_again(VM, {**PLAIN, "unset": ["vsock"]}, ["vsock"])
    assert definition(NAME).find("devices/vsock") is None


# ---- the system inside -------------------------------------------------------------------------------------------------------

WITH_PARTS: dict[str, t.Any] = {
    **NEW,
    "disks": [{"name": "root", "pool": POOL, "size": "1M"}],
    "networks": [{"name": "lan", "bridge": BRIDGES[0]}],
}


@pytest.mark.parametrize(
    ("variant", "bus", "model", "video", "clock"),
    [
        ("linux", "virtio", "virtio", None, "utc"),
        ("freebsd", "virtio", "virtio", None, "utc"),
        ("windows", "sata", "e1000e", "vga", "localtime"),
        ("other", "sata", "e1000", "vga", "utc"),
    ],
)
def test_a_new_machine_suits_the_system_inside(
    folder: Path, variant: str, bus: str, model: str, video: str | None, clock: str
) -> None:
    check_run_again(VM, {**WITH_PARTS, "os_variant": variant, "state": "started"})
    root = definition(NAME)
    assert attribute(device(root, "disk", "root"), "target", "bus") == bus
    assert attribute(device(root, "interface", "lan"), "model", "type") == model
    assert attribute(root, "devices/video/model", "type") == video
    assert (root.find("devices/rng") is not None) == (variant in ("linux", "freebsd"))
    assert word_after("-rtc").startswith(f"base={clock}")
    unchanged(VM, {**PLAIN, "os_variant": variant})
    more = {
        "disks": [{"name": "more", "pool": POOL, "size": "1M"}],
        "networks": [{"name": "two", "bridge": BRIDGES[0]}],
    }
    check_run_again(VM, {**PLAIN, **more}, ["disks[more]", "networks[two]"])
    assert attribute(device(definition(NAME), "disk", "more"), "target", "bus") == bus
    assert attribute(device(definition(NAME), "interface", "two"), "model", "type") == model


def test_what_is_written_is_stronger_than_what_suits(folder: Path) -> None:
    own = {
        "disks": [{"name": "root", "pool": POOL, "size": "1M", "bus": "virtio"}],
        "networks": [{"name": "lan", "bridge": BRIDGES[0], "model": "virtio"}],
        "graphics": {"type": "none"},
        "rng": True,
    }
    check_run_again(VM, {**NEW, "os_variant": "windows", **own})
    root = definition(NAME)
    assert attribute(device(root, "disk", "root"), "target", "bus") == "virtio"
    assert attribute(device(root, "interface", "lan"), "model", "type") == "virtio"
    assert root.find("devices/graphics") is None and root.find("devices/rng") is not None


def test_windows_finds_hyper_v_where_kvm_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defined, and not started: KVM may not work here."""
    monkeypatch.setattr(accelerator, "probe", lambda: accelerator.Accelerator("kvm", "for the test"))
    monkeypatch.setattr(
        Capabilities, "offered", lambda self, path, enum: (*HYPERV, "evmcs") if enum == "features" else None
    )
    check_run_again(VM, {**NEW, "os_variant": "windows"})
    root = definition(NAME)
    features = {node.tag: node.get("state") for node in root.find("features/hyperv") or ()}
    assert features == dict.fromkeys(HYPERV, "on")
    assert attribute(root, "features/hyperv/spinlocks", "retries") == "8191"
    assert attribute(root, "clock/timer[@name='hypervclock']", "present") == "yes"
    check_run_again(VM, {**PLAIN, "os_variant": "linux"}, ["os_variant"])
    root = definition(NAME)
    assert root.find("features/hyperv") is None and root.find("clock/timer[@name='hypervclock']") is None
    assert attribute(root, "clock", "offset") == "utc"


BY_HAND = (
    "<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
    "<libosinfo:os id='http://microsoft.com/win/2k22'/></libosinfo:libosinfo></metadata>"
    "<features><acpi/><hyperv mode='custom'><relaxed state='on'/><vendor_id state='on' value='KVM Hv'/></hyperv></features>"
    "<clock offset='localtime'/>"
)


def test_a_machine_of_virt_manager_is_what_that_says(folder: Path) -> None:
    make(NAME, rest=BY_HAND)
    before = virsh("dumpxml", NAME)
    unchanged(VM, {**PLAIN, "os_variant": "windows"})
    assert virsh("dumpxml", NAME) == before
    check_run_again(VM, {**PLAIN, "os_variant": "other"}, ["os_variant"])
    root = definition(NAME)
    assert [node.tag for node in root.find("features/hyperv") or ()] == ["vendor_id"], "it is somebody else's"
    assert "http://libosinfo.org/unknown" in virsh("dumpxml", NAME)


def test_a_clone_is_of_the_system_of_its_origin(folder: Path) -> None:
    origin = {"os_variant": "windows", "disks": [{"name": "root", "pool": POOL, "size": "1M"}]}
    assert converge_now(VM, {**NEW, **origin}).error is None
    check_run_again(VM, {**NEW, "name": f"{NAME}-clone", "clone_from": {"guest": NAME}})
    assert attribute(definition(f"{NAME}-clone"), "clock", "offset") == "localtime"
    assert json.loads(Path(f"/var/lib/homelab_hybrid/guests/{NAME}-clone.json").read_text())["origin"]["guest"] == NAME
