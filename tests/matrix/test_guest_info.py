# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of guests on the real host, proven with virsh, lxc-info and /proc."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource import Bridge
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.fingerprint import differences, fingerprint

PREFIX = "hlbg"
BRIDGE = f"{PREFIX}0"
DOMAIN, CONTAINER = f"{PREFIX}-vm", f"{PREFIX}-ct"
# QEMU's user cannot pass through the folders of pytest.
DISK = Path("/var/tmp") / f"{PREFIX}.qcow2"
FOLDER = Path("/var/lib/lxc") / CONTAINER
SHARED_KEYS = {
    *("name", "kind", "state", "description", "tags", "autostart", "startup", "vcpus", "memory_kib", "memory"),
    *("networks", "disks", "addresses", "uptime_seconds", "pid", "image", "managed"),
}


@pytest.fixture(scope="module", autouse=True)
def lab() -> t.Iterator[None]:
    clean()
    made = converge_now(Bridge(), {"name": BRIDGE, "address": "10.213.40.1/24"})
    assert made.error is None, made.error
    run("qemu-img", "create", "-q", "-f", "qcow2", str(DISK), "64M")
    define_domain(DISK)
    define_container()
    yield
    clean()
    converge_now(Bridge(), {"name": BRIDGE, "state": "absent"})


@pytest.fixture
def running() -> t.Iterator[None]:
    virsh("start", DOMAIN)
    run("lxc-start", "-n", CONTAINER)
    run("lxc-wait", "-n", CONTAINER, "-s", "RUNNING", "-t", "20")
    yield
    virsh("destroy", DOMAIN)
    run("lxc-stop", "-k", "-n", CONTAINER)


def clean() -> None:
    connection = libvirt.open("qemu:///system")
    for domain in connection.listAllDomains():
        if domain.name().startswith(PREFIX):
            if domain.isActive():
                domain.destroy()
            domain.undefine()
    connection.close()
    DISK.unlink(missing_ok=True)
    if FOLDER.is_dir():
        subprocess.run(["lxc-stop", "-k", "-n", CONTAINER], capture_output=True, check=False)
        shutil.rmtree(FOLDER)


def define_domain(disk: Path) -> None:
    connection = libvirt.open("qemu:///system")
    connection.defineXML(
        f"""<domain type='qemu'><name>{DOMAIN}</name><description>by hand</description><memory unit='MiB'>32</memory><vcpu>2</vcpu>
        <os><type arch='x86_64'>hvm</type></os><devices>
        <disk type='file'><driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
        <interface type='bridge'><source bridge='{BRIDGE}'/><mac address='52:54:00:13:40:01'/><model type='virtio'/></interface>
        </devices></domain>"""
    )
    connection.close()


def define_container() -> None:
    """A root of one program, which is its init."""
    for name in ("bin", "dev", "proc", "sys", "etc"):
        (FOLDER / "rootfs" / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", FOLDER / "rootfs" / "bin" / "busybox")
    FOLDER.chmod(0o711)
    (FOLDER / "config").write_text(
        f"lxc.uts.name = {CONTAINER}\nlxc.rootfs.path = dir:{FOLDER}/rootfs\nlxc.init.cmd = /bin/busybox sleep 100000\n"
        f"lxc.net.0.type = veth\nlxc.net.0.link = {BRIDGE}\nlxc.net.0.hwaddr = 52:54:00:13:40:02\nlxc.net.0.flags = up\n"
        "lxc.net.0.ipv4.address = 10.213.40.9/24\nlxc.start.auto = 1\nlxc.apparmor.profile = unconfined\n"
    )


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def virsh(*argv: str) -> str:
    return run("virsh", "-q", "-c", "qemu:///system", *argv)


def guests(**params: t.Any) -> dict[str, dict[str, t.Any]]:
    before = fingerprint()
    found = read_guests(params, Host())["guests"]
    assert not differences(before, fingerprint()), "reading changed the host"
    assert json.loads(json.dumps(found)) == found
    assert [guest["name"] for guest in found] == sorted(guest["name"] for guest in found)
    return {guest["name"]: guest for guest in found}


def test_both_kinds_have_one_shape():
    found = guests(name=[DOMAIN, CONTAINER, "nobody-is-called-this"])
    assert {name: guest["kind"] for name, guest in found.items()} == {DOMAIN: "vm", CONTAINER: "container"}
    for guest in found.values():
        assert set(guest) >= SHARED_KEYS
        assert (guest["state"], guest["managed"], guest["pid"], guest["uptime_seconds"]) == (
            "stopped",
            False,
            None,
            None,
        )
        assert {"name", "bridge", "vlan", "mac", "addresses", "link"} <= set(guest["networks"][0])
        assert {"name", "pool", "path", "size_bytes", "size"} <= set(guest["disks"][0])


def test_a_filter_by_kind():
    machines, containers = set(guests(kind="vm")), set(guests(kind="container"))
    assert DOMAIN in machines and CONTAINER in containers
    assert not machines & containers


def test_what_libvirt_says_of_a_running_machine(running):
    guest = guests(name=[DOMAIN])[DOMAIN]
    assert (guest["state"], guest["description"]) == (
        {"running": "started"}[virsh("domstate", DOMAIN).strip()],
        virsh("desc", DOMAIN).strip(),
    )
    assert guest["pid"] == int(run("cat", f"/run/libvirt/qemu/{DOMAIN}.pid"))
    assert DOMAIN in Path(f"/proc/{guest['pid']}/cmdline").read_text()
    info = {
        key.strip(): value.split()[0]
        for key, dummy, value in (it.partition(":") for it in virsh("dominfo", DOMAIN).splitlines())
    }
    assert (guest["vcpus"], guest["memory_kib"], guest["memory"]) == (
        int(info["CPU(s)"]),
        int(info["Used memory"]),
        "32MiB",
    )
    assert (guest["networks"][0]["bridge"], guest["networks"][0]["mac"]) == (BRIDGE, "52:54:00:13:40:01")
    assert guest["disks"][0]["path"] in virsh("domblklist", DOMAIN)
    assert guest["disks"][0]["size_bytes"] == 64 * 2**20
    assert 0 <= guest["uptime_seconds"] < 120


def test_what_lxc_says_of_a_running_container(running):
    guest = guests(name=[CONTAINER])[CONTAINER]
    info = run("lxc-info", "-n", CONTAINER)
    assert guest["state"] == "started" and "RUNNING" in info
    assert guest["pid"] == int(run("lxc-info", "-n", CONTAINER, "-p", "-H"))
    assert guest["addresses"] == run("lxc-info", "-n", CONTAINER, "-i", "-H").split() == ["10.213.40.9"]
    assert (guest["networks"][0]["bridge"], guest["networks"][0]["mac"]) == (BRIDGE, "52:54:00:13:40:02")
    assert guest["disks"][0]["path"] == f"{FOLDER}/rootfs"
    assert guest["autostart"] is True
    assert 0 <= guest["uptime_seconds"] < 120


def test_a_paused_guest_is_told_so(running):
    virsh("suspend", DOMAIN)
    run("lxc-freeze", "-n", CONTAINER)
    try:
        assert {guest["state"] for guest in guests(name=[DOMAIN, CONTAINER]).values()} == {"paused"}
    finally:
        run("lxc-unfreeze", "-n", CONTAINER)
        virsh("resume", DOMAIN)
