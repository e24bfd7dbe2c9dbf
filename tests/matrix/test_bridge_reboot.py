# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges with ports on hosts of their own: Debian containers with systemd, whose network networkd or ifupdown keeps, rebooted."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import debian_images
from ansible_collections.homelab.hybrid.tests.harness.machines import command

NAME = "hlbq"
FOLDER = Path("/var/lib/lxc") / NAME
COLLECTION = Path(__file__).resolve().parents[2]
PACKAGES = ("bridge-utils", "dnsmasq-base", "ifupdown", "isc-dhcp-client")
HOME = "opt/ansible_collections/homelab/hybrid"
PORT, PEER = "port1", "peer1"
# The other end of the port is in a network of its own, where a DHCP server answers.
FAR_END = f"""\
[Unit]
DefaultDependencies=no
Before=network-pre.target networking.service systemd-networkd.service
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip netns add far && ip link add {PORT} type veth peer name {PEER} netns far'
ExecStart=/bin/sh -c 'ip -n far address add 10.215.0.254/24 dev {PEER} && ip -n far link set {PEER} up'
ExecStart=/bin/sh -c 'ip netns exec far dnsmasq -C /dev/null -p 0 -i {PEER} --dhcp-range=10.215.0.100,10.215.0.109 --no-ping -l /run/l'

[Install]
WantedBy=sysinit.target
"""
CONFIG = f"""\
lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:{FOLDER}/rootfs
lxc.uts.name = {NAME}
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.apparmor.profile = unconfined
lxc.cap.drop = sys_rawio
lxc.init.cmd = /sbin/init systemd.unified_cgroup_hierarchy=1
"""
FIXED: dict[str, t.Any] = {
    "name": "vmbr0",
    "mode": "ports",
    "ports": [{"name": PORT}],
    "address": "10.215.0.1/24",
    "gateway": "10.215.0.254",
    "address6": "fd00:215::1/64",
    "mac": "52:54:00:21:50:01",
    "mtu": 1400,
}


@pytest.fixture(params=["bookworm", "trixie"])
def suite(request: pytest.FixtureRequest) -> t.Iterator[str]:
    remove()
    root = FOLDER / "rootfs"
    root.mkdir(parents=True)
    archive = debian_images.container_root(request.param, PACKAGES)
    command("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", str(archive), "-C", str(root))
    (FOLDER / "config").write_text(CONFIG)
    shutil.copytree(COLLECTION / "plugins" / "module_utils", root / HOME / "plugins" / "module_utils")
    (root / HOME / "tests" / "harness").mkdir(parents=True)
    shutil.copy(COLLECTION / "tests" / "harness" / "child.py", root / HOME / "tests" / "harness")
    unit = root / "etc/systemd/system/far-end.service"
    unit.write_text(FAR_END)
    link(unit, "sysinit.target.wants")
    yield str(request.param)
    remove()


def remove() -> None:
    if FOLDER.exists():
        command("lxc-stop", "-n", NAME, "-k", check=False)
        shutil.rmtree(FOLDER)


def link(unit: Path, target: str) -> None:
    wants = FOLDER / "rootfs/etc/systemd/system" / target / unit.name
    wants.parent.mkdir(exist_ok=True)
    if not wants.is_symlink():
        wants.symlink_to(f"/{unit.relative_to(FOLDER / 'rootfs')}")


def use(backend: str) -> None:
    root = FOLDER / "rootfs"
    interfaces = root / "etc/network/interfaces"
    wanted = root / "etc/systemd/system/multi-user.target.wants/networking.service"
    if backend == "networkd":
        interfaces.unlink(missing_ok=True)
        for path in root.glob("etc/systemd/system/*/networking.service"):
            path.unlink()
        link(root / "lib/systemd/system/systemd-networkd.service", "multi-user.target.wants")
        return
    interfaces.write_text(
        "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n\n# the card\niface port1 inet manual\n"
    )
    assert wanted.is_symlink()
    for path in root.glob("etc/systemd/system/*/systemd-networkd*"):
        path.unlink()


def start() -> None:
    command("lxc-start", "-n", NAME)
    wait_until_up()


def wait_until_up() -> None:
    for dummy in range(900):
        if inside("systemctl", "is-system-running", check=False) in ("running", "degraded"):
            return
        time.sleep(0.1)
    raise AssertionError(inside("systemctl", "list-jobs", check=False))


def reboot() -> None:
    before = command("lxc-info", "-n", NAME, "-p", "-H").strip()
    inside("systemctl", "reboot", check=False)
    for dummy in range(300):
        if command("lxc-info", "-n", NAME, "-p", "-H", check=False).strip() not in ("", before):
            break
        time.sleep(0.1)
    wait_until_up()


def inside(*argv: str, check: bool = True, feed: str | None = None) -> str:
    attach = [
        "lxc-attach",
        "-n",
        NAME,
        "--clear-env",
        "-v",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "-v",
        "PYTHONPATH=/opt",
    ]
    done = subprocess.run([*attach, "--", *argv], input=feed, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def converge(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The run of the module, on that host."""
    resource = ["ansible_collections.homelab.hybrid.plugins.module_utils._bridge.resource", "Bridge"]
    told = inside(
        "python3", f"/{HOME}/tests/harness/child.py", feed=json.dumps({"resource": resource, "params": params})
    )
    result = json.loads(told.splitlines()[-1].removeprefix("RESULT "))
    assert "msg" not in result, result["msg"]
    return t.cast("dict[str, t.Any]", result)


def link_of(name: str) -> dict[str, t.Any]:
    (told,) = json.loads(inside("ip", "-j", "-d", "address", "show", "dev", name))
    return t.cast("dict[str, t.Any]", told)


def addresses() -> list[str]:
    return [f"{it['local']}/{it['prefixlen']}" for it in link_of("vmbr0")["addr_info"] if it["scope"] == "global"]


def eventually(read: t.Callable[[], t.Any], wanted: t.Callable[[t.Any], bool]) -> t.Any:
    for dummy in range(300):
        got = read()
        if wanted(got):
            return got
        time.sleep(0.2)
    raise AssertionError(got)


def assert_stands() -> None:
    eventually(addresses, lambda got: sorted(got) == ["10.215.0.1/24", "fd00:215::1/64"])
    bridge = link_of("vmbr0")
    assert (bridge["mtu"], bridge["address"]) == (1400, "52:54:00:21:50:01")
    eventually(lambda: link_of(PORT).get("master"), lambda got: got == "vmbr0")
    assert "via 10.215.0.254" in inside("ip", "route", "show", "default", "dev", "vmbr0")
    assert inside("ip", "-n", "far", "neigh", "flush", "all") == ""
    inside("ip", "netns", "exec", "far", "ping", "-c1", "-W3", "10.215.0.1")


@pytest.mark.parametrize("backend", ["networkd", "ifupdown"])
def test_a_bridge_stands_as_declared_after_a_reboot(suite: str, backend: str) -> None:
    use(backend)
    start()
    assert converge(FIXED)["changed"]
    assert_stands()
    assert not converge(FIXED)["changed"]
    reboot()
    assert_stands()
    result = converge(FIXED)
    assert not result["changed"], result["plan"]
    assert result["bridge"]["backend"] in (backend, f"systemd-{backend}")
    assert inside("systemctl", "--failed", "--plain", "--no-legend") == ""


@pytest.mark.parametrize("backend", ["networkd", "ifupdown"])
def test_an_address_is_leased_kept_over_a_reboot_and_given_up(suite: str, backend: str) -> None:
    use(backend)
    start()
    params = {"name": "vmbr0", "mode": "ports", "ports": [{"name": PORT}]}
    assert converge({**params, "address": "dhcp"})["changed"]
    eventually(addresses, lambda got: any(it.startswith("10.215.0.10") for it in got))
    assert not converge({**params, "address": "dhcp"})["changed"]
    reboot()
    eventually(addresses, lambda got: any(it.startswith("10.215.0.10") for it in got))
    assert not converge({**params, "address": "dhcp"})["changed"]
    inside("ip", "route", "flush", "default")
    assert converge({**params, "address": "10.215.0.7/24"})["changed"]
    eventually(addresses, lambda got: got == ["10.215.0.7/24"])
    assert converge({"name": "vmbr0", "mode": "ports", "state": "absent"})["changed"]
    assert inside("ip", "-br", "link", "show", "vmbr0", check=False) == ""
    assert "vmbr0" not in inside(
        "sh", "-c", "cat /etc/systemd/network/* /etc/network/interfaces /etc/network/interfaces.d/*", check=False
    )
