# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of a container, changed while it is stopped and while it runs. Proven with LXC's own tools and inside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import port
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills

KEY, OTHER_KEY, FOREIGN_KEY = (f"ssh-ed25519 AAAAC3NzaC1lZDI1{letter} {letter}@there" for letter in "abc")
CPUS = sorted(os.sched_getaffinity(0))
needs_two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
has_v1 = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists(),
    reason="control groups of version 1 are not mounted",
)

pytestmark = pytest.mark.usefixtures("container_host")


@pytest.fixture(scope="module", params=["stopped", "started"])
def power(request: pytest.FixtureRequest, container_host: None) -> t.Iterator[str]:
    """One container for all changes of one power state: each test leaves it as it found it."""
    ct.clean()
    ct.make(state=request.param)
    yield request.param
    ct.clean()
    assert ct.left_behind() == []


@pytest.fixture
def stands(no_container: None) -> None:
    """A running container for one test alone."""
    ct.make(networks=[ct.LAN])


def change(paths: t.Collection[str], **params: t.Any) -> t.Any:
    return check_run_again(ct.CONTAINER, {"name": ct.NAME, **params}, paths)


def hows(outcome: t.Any) -> set[str]:
    return {each.how.value for each in outcome.plan.changes}


LIMITS = [
    ({"memory": "64M"}, {"memory": "96M"}, "memory", "memory.limit_in_bytes", "67108864", "memory.max", "67108864"),
    ({"pids": 40}, {"pids": 50}, "pids", "pids.max", "40", "pids.max", "40"),
    (
        {"cpu": {"limit": 0.5}},
        {"cpu": {"limit": 1.5}},
        "cpu.limit",
        "cpu.cfs_quota_us",
        "50000",
        "cpu.max",
        "50000 100000",
    ),
    ({"cpu": {"weight": 50}}, {"cpu": {"weight": 400}}, "cpu.weight", "cpu.shares", "512", "cpu.weight", "50"),
    (
        {"cpu": {"pin": str(CPUS[0])}},
        {"cpu": {"pin": str(CPUS[-1])}},
        "cpu.pin",
        "cpuset.cpus",
        str(CPUS[0]),
        "cpuset.cpus",
        str(CPUS[0]),
    ),
]


@has_v1
@pytest.mark.parametrize(
    ("first", "second", "path", "v1", "value1", "v2", "value2"), LIMITS, ids=[row[2] for row in LIMITS]
)
def test_a_limit_is_set_changed_and_taken_off(power, first, second, path, v1, value1, v2, value2):
    unlimited = ct.cgroup(v1) if power == "started" else None
    outcome = change([path], **first)
    assert hows(outcome) == {"live" if power == "started" else "offline"}
    assert ct.values(f"lxc.cgroup.{v1}") == [value1] and ct.values(f"lxc.cgroup2.{v2}") == [value2]
    if power == "started":
        assert ct.cgroup(v1) == value1
    change([path], **second)
    assert ct.values(f"lxc.cgroup.{v1}") != [value1]
    change([path], unset=[path])
    if path != "cpu.weight":
        assert ct.values(f"lxc.cgroup.{v1}") == ct.values(f"lxc.cgroup2.{v2}") == []
    if power == "started":
        assert ct.cgroup(v1) == unlimited


@has_v1
def test_swap_counts_on_top_of_memory(power):
    change(["memory", "swap"], memory="64M", swap="32M")
    assert ct.values("lxc.cgroup.memory.memsw.limit_in_bytes") == [str(96 << 20)]
    assert ct.values("lxc.cgroup2.memory.swap.max") == [str(32 << 20)]
    change(["memory"], memory="256M")
    assert ct.values("lxc.cgroup.memory.memsw.limit_in_bytes") == [str(288 << 20)]
    change(["memory", "swap"], memory="80M", swap="0")
    if power == "started":
        assert ct.cgroup("memory.memsw.limit_in_bytes") == ct.cgroup("memory.limit_in_bytes") == str(80 << 20)
    refuse(ct.CONTAINER, {"name": ct.NAME, "unset": ["memory"]}, "there is no limit of that")
    change(["memory", "swap"], unset=["memory", "swap"])
    refuse(ct.CONTAINER, {"name": ct.NAME, "swap": "32M"}, "there is no limit of that")


@needs_two_cpus
@has_v1
@pytest.mark.parametrize("word", ["vcpus", "cpu.cores"])
def test_cores_are_the_least_claimed_cpus(power, word):
    wanted = {"vcpus": 1} if word == "vcpus" else {"cpu": {"cores": 1}}
    other = f"{ct.PREFIX}-b"
    ct.make(name=other, state="stopped", cpu={"pin": str(CPUS[0])})
    change([word], **wanted)
    assert ct.values("lxc.cgroup.cpuset.cpus") == [str(CPUS[1])]
    if power == "started":
        assert ct.inside("nproc") == "1"
    change([word], **({"vcpus": 2} if word == "vcpus" else {"cpu": {"cores": 2}}))
    change(["cpu.cores"], unset=["cpu.cores"])
    assert ct.values("lxc.cgroup.cpuset.cpus") == []
    converge_now(ct.CONTAINER, {"name": other, "state": "absent", "delete": ["rootfs"]})


def test_hostname(power):
    change(["hostname"], hostname="other.home.arpa")
    assert ct.values("lxc.uts.name") == ["other.home.arpa"]
    assert (ct.rootfs() / "etc/hostname").read_text() == "other.home.arpa\n"
    assert "127.0.1.1 other.home.arpa other\n" in (ct.rootfs() / "etc/hosts").read_text()
    if power == "started":
        assert ct.inside("hostname") == "other.home.arpa"
    change(["hostname"], hostname=ct.NAME)


def test_dns(power):
    path = ct.rootfs() / "etc/resolv.conf"
    before = path.read_text()
    path.write_text("options edns0\n" + before)
    change(["dns.servers", "dns.search"], dns={"servers": ["192.0.2.1", "2001:db8::1"], "search": ["home.arpa", "lan"]})
    assert path.read_text() == "options edns0\nsearch home.arpa lan\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"
    change(["dns.search"], unset=["dns.search"])
    change(["dns.servers"], dns={"servers": ["192.0.2.2"]})
    assert path.read_text() == "options edns0\nnameserver 192.0.2.2\n"
    change(["dns.servers"], unset=["dns.servers"])


def test_ssh_keys_of_others_stay(power):
    path = ct.rootfs() / "root/.ssh/authorized_keys"
    change(["ssh_keys"], ssh_keys=[KEY])
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_uid == ct.record()["idmap"]["start"]
    path.write_text(f"# by hand\n{FOREIGN_KEY}\n{KEY}\n")
    unchanged(ct.CONTAINER, {"name": ct.NAME, "ssh_keys": [KEY]})
    change(["ssh_keys"], ssh_keys=[OTHER_KEY])
    assert path.read_text() == f"# by hand\n{FOREIGN_KEY}\n{OTHER_KEY}\n"
    change(["ssh_keys"], unset=["ssh_keys"])
    assert path.read_text() == f"# by hand\n{FOREIGN_KEY}\n"


@pytest.mark.parametrize(
    ("wanted", "back", "path"),
    [
        ({"autostart": True}, {"autostart": False}, "autostart"),
        ({"description": 'What\nit is: "for"'}, {"unset": ["description"]}, "description"),
        ({"tags": ["web", "dns"]}, {"unset": ["tags"]}, "tags"),
        ({"protection": True}, {"protection": False}, "protection"),
    ],
)
def test_what_is_only_written_down(power, wanted, back, path):
    outcome = change([path], **wanted)
    if path == "autostart":
        assert ct.values("lxc.start.auto") == ["1"]
    else:
        assert outcome.facts["guest"].get(path, True) == (sorted(wanted[path]) if path == "tags" else wanted[path])
    change([path], **back)
    assert ct.values("lxc.start.auto") == []


def test_startup(power):
    before = (ct.LXC / ct.NAME / "config").read_text()
    kept = {"order": 2, "up_delay": 5, "down_delay": 7}
    outcome = change([f"startup.{key}" for key in kept], startup=kept)
    assert ct.record()["startup"] == outcome.facts["guest"]["startup"] == kept
    (guest,) = read_guests({"name": [ct.NAME]}, Host())["guests"]
    assert guest["startup"] == kept
    change(["startup.order", "startup.up_delay"], startup={"order": 0}, unset=["startup.up_delay"])
    assert ct.record()["startup"] == {"order": 0, "down_delay": 7}
    unchanged(ct.CONTAINER, {"name": ct.NAME, "startup": {"order": 0, "up_delay": 0}})
    change(["startup.order", "startup.down_delay"], unset=["startup"])
    assert "startup" not in ct.record()
    assert (ct.LXC / ct.NAME / "config").read_text() == before


def test_what_a_backup_asks(power):
    before = (ct.LXC / ct.NAME / "config").read_text()
    hooks = {"before": ["sync", "echo '$HOME' >/run/x"], "after": ["rm /run/x"]}
    kept = {"hooks": hooks, "exclude": ["/var/cache", "/tmp"], "data_paths": ["/srv"], "health": ["tcp:80"]}
    paths = ["backup.hooks.before", "backup.hooks.after", "backup.exclude", "backup.data_paths", "backup.health"]
    change(paths, backup=kept)
    assert ct.record()["backup"] == {**kept, "exclude": ["/tmp", "/var/cache"]}
    change(["backup.hooks.before"], backup={"hooks": {"before": ["sync"]}})
    change(["backup.exclude"], unset=["backup.exclude"])
    assert ct.record()["backup"] == {
        "hooks": {**hooks, "before": ["sync"]},
        "data_paths": ["/srv"],
        "health": ["tcp:80"],
    }
    refuse(ct.CONTAINER, {"name": ct.NAME, "backup": {"health": ["udp:53"]}}, "tcp:PORT")
    refuse(ct.CONTAINER, {"name": ct.NAME, "backup": {"exclude": ["/srv/*"]}}, "without patterns")
    contrary = {"exclude": ["/srv"], "data_paths": ["/srv/data"]}
    refuse(ct.CONTAINER, {"name": ct.NAME, "backup": contrary}, "would leave /srv/data out")
    change([paths[0], paths[1], *paths[3:]], unset=["backup"])
    assert "backup" not in ct.record()
    assert (ct.LXC / ct.NAME / "config").read_text() == before


def test_networks_come_change_and_go(power):
    is_running = power == "started"
    add = {"name": "dmz", "bridge": "hlctbr1", "ip": "10.91.8.20/24", "gateway": "10.91.8.1", "mtu": 1400}
    change(["networks[dmz]"], networks=[add])
    mac, pair = ct.record()["macs"]["dmz"], ct.values("lxc.net.0.veth.pair")[0]
    assert ct.values("lxc.net.0.hwaddr") == [mac] and mac.startswith("00:16:3e:")
    assert ct.values("lxc.net.0.ipv4.address") == ["10.91.8.20/24"]
    if is_running:
        assert ct.links()[pair]["master"] == "hlctbr1" and "10.91.8.20/24" in ct.network("address")
        assert mac in ct.network("link") and "mtu 1400" in ct.network("link", "show", "eth0")
        assert "state UP" in ct.network("link", "show", "eth0") and ct.links()[pair]["operstate"] == "UP"
        assert "default via 10.91.8.1" in ct.network("route")
    change(
        ["networks[dmz].bridge", "networks[dmz].ip", "networks[dmz].gateway"],
        networks=[{"name": "dmz", "bridge": "hlctbr0", "ip": "10.91.7.20/24", "gateway": "10.91.7.1"}],
    )
    assert ct.record()["macs"]["dmz"] == mac
    if is_running:
        assert ct.links()[pair]["master"] == "hlctbr0"
        assert "10.91.7.20/24" in ct.network("address") and "10.91.8.20" not in ct.network("address")
        assert ct.network("route", "show", "default").startswith("default via 10.91.7.1")
    change(["networks[dmz].mtu"], unset=["networks[dmz].mtu"])
    if is_running:
        assert "mtu 1500" in ct.network("link", "show", "eth0") and ct.links()[pair]["mtu"] == 1500
    change(["networks[dmz].link"], networks=[{"name": "dmz", "link": "down"}])
    assert ct.values("lxc.net.0.link") == []
    if is_running:
        assert "master" not in ct.links()[pair]
    change(["networks[dmz].bridge"], networks=[{"name": "dmz", "bridge": "hlctbr1"}])
    change(["networks[dmz].link"], networks=[{"name": "dmz", "link": "up"}])
    assert ct.values("lxc.net.0.link") == ["hlctbr1"]
    if is_running:
        assert ct.links()[pair]["master"] == "hlctbr1"
    change(["networks[dmz].gateway"], unset=["networks[dmz].gateway"])
    if is_running:
        assert ct.network("route", "show", "default") == ""
    change(["networks[dmz]"], networks=[{"name": "dmz", "state": "absent"}])
    assert "lxc.net" not in ct.config() and "dmz" not in ct.record().get("macs", {})
    assert pair not in ct.links()


def seconds_to_move(size: int, *, to_guest: bool) -> float:
    """How long *size* bytes take over TCP between the bridge's address and the container."""
    server = "import socket,sys;s=socket.create_server(('10.91.7.20',9000));c=s.accept()[0]\n"
    moves = {True: "while c.recv(65536):pass", False: f"c.sendall(b'x'*{size});c.close()"}
    argv = ["nsenter", "-t", str(ct.pid()), "-n", sys.executable, "-c", server + moves[to_guest]]
    with subprocess.Popen(argv) as process:
        try:
            connection = wait_until("the server", _connected, timeout_seconds=20)
            with connection:
                begin = time.monotonic()
                if to_guest:
                    connection.sendall(b"x" * size)
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
                process.wait(60)
                return time.monotonic() - begin
        finally:
            process.kill()


def _connected() -> socket.socket | None:
    try:
        return socket.create_connection(("10.91.7.20", 9000), timeout=60)
    except OSError:
        return None


def test_a_card_is_limited_changed_and_freed(power):
    is_running = power == "started"
    limits = {"in": "4Mbit", "out": "8Mbit"}
    change(
        ["networks[dmz]"], networks=[{"name": "dmz", "bridge": "hlctbr0", "ip": "10.91.7.20/24", "rate_limit": limits}]
    )
    pair = ct.values("lxc.net.0.veth.pair")[0]
    assert ct.values("lxc.net.0.script.up")[0].endswith("/limit-rate 4000000 8000000")
    if is_running:
        assert ct.rates(pair) == (4_000_000, 8_000_000)
    paths = ["networks[dmz].rate_limit.in"]
    assert hows(change(paths, networks=[{"name": "dmz", "rate_limit": {"in": "8Mbit"}}])) == (
        {"live"} if is_running else {"offline"}
    )
    if is_running:
        assert ct.rates(pair) == (8_000_000, 8_000_000)
        # 2 MB at 1 MB a second; what the link lets through at once is 20 KB.
        assert seconds_to_move(2_000_000, to_guest=True) > 1.5
        assert seconds_to_move(2_000_000, to_guest=False) > 1.5
        ct.run("tc", "qdisc", "delete", "dev", pair, "root")
        drift = change(["networks[dmz].rate_limit.in"], networks=[{"name": "dmz", "rate_limit": {"in": "8Mbit"}}])
        assert hows(drift) == {"live"} and ct.rates(pair) == (8_000_000, 8_000_000)
    change(["networks[dmz].rate_limit.in", "networks[dmz].rate_limit.out"], unset=["networks[dmz].rate_limit"])
    assert "script" not in ct.config()
    if is_running:
        assert ct.rates(pair) == (0, 0)
        assert seconds_to_move(2_000_000, to_guest=True) < 1.5
    change(["networks[dmz].rate_limit.out"], networks=[{"name": "dmz", "rate_limit": {"out": "1Gbit"}}])
    change(["networks[dmz]"], networks=[{"name": "dmz", "state": "absent"}])
    assert not [name for name in ct.links() if name.startswith("rl")]


def test_limits_of_a_card_hold_after_a_restart_and_go_with_it(stands):
    limits = {"name": "lan", "rate_limit": {"in": "50Mbit", "out": "20Mbit"}}
    change(["networks[lan].rate_limit.in", "networks[lan].rate_limit.out"], networks=[limits])
    pair = ct.values("lxc.net.0.veth.pair")[0]
    restarted = converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "restarted"})
    assert restarted.error is None and ct.rates(pair) == (50_000_000, 20_000_000)
    unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [limits]})
    assert [name for name in ct.links() if name.startswith("rl")] == [f"rl{ct.links()[pair]['ifindex']}"]
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "stopped", "force_stop": True, "shutdown_timeout": 5})
    assert not [name for name in ct.links() if name.startswith("rl")]


def test_a_program_of_somebody_else_for_a_card_is_not_replaced(power):
    change(["networks[dmz]"], networks=[{"name": "dmz", "bridge": "hlctbr0"}])
    path = ct.LXC / ct.NAME / "config"
    path.write_text(path.read_text() + "lxc.net.0.script.up = /bin/true\n")
    params = {"name": ct.NAME, "networks": [{"name": "dmz", "rate_limit": {"in": "8Mbit"}}]}
    refuse(ct.CONTAINER, params, "has a program of its own already: /bin/true")
    change(["networks[dmz]"], networks=[{"name": "dmz", "state": "absent"}])


def test_a_vlan_is_refused_where_the_kernel_or_the_bridge_knows_none(power):
    probe = ["unshare", "--net", "ip", "link", "add", "x0", "type", "bridge", "vlan_filtering", "1"]
    kernel_knows = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    why = "the bridge hlctbr0 knows no VLANs" if kernel_knows else "the kernel of this host has no VLAN filtering"
    saying = f"networks[lan].vlan: 10 is refused, as {why}"
    refuse(ct.CONTAINER, {"name": ct.NAME, "memory": 64, "networks": [{**ct.LAN, "vlan": 10}]}, saying)
    change(["networks[lan]"], networks=[ct.LAN])
    refuse(ct.CONTAINER, {"name": ct.NAME, "memory": 64, "networks": [{"name": "lan", "vlan": 10}]}, saying)
    new = {**ct.BASE, "name": f"{ct.PREFIX}-b", "networks": [{**ct.LAN, "vlan": 10}]}
    refuse(ct.CONTAINER, new, saying)
    change(["networks[lan]"], networks=[{"name": "lan", "state": "absent"}])


def test_a_vlan_is_written_and_the_port_is_brought_into_it(power, monkeypatch):
    """What the port is asked for, also where the kernel has no VLANs."""
    ports: dict[str, int] = {}
    monkeypatch.setattr(Host, "vlan_obstacle", lambda host, bridge: None)
    monkeypatch.setattr(port, "put_into_vlan", ports.__setitem__)

    def is_asked_for(vlan: int) -> bool:
        (pair,) = ct.values("lxc.net.0.veth.pair")
        return ports.pop(pair, None) == (vlan if power == "started" else None)

    change(["networks[lan]"], networks=[{**ct.LAN, "vlan": 10}])
    assert (ct.values("lxc.net.0.veth.mode"), ct.values("lxc.net.0.veth.vlan.id")) == (["bridge"], ["10"])
    assert is_asked_for(10)
    change(["networks[lan].vlan"], networks=[{"name": "lan", "vlan": 4094}])
    assert ct.values("lxc.net.0.veth.vlan.id") == ["4094"] and is_asked_for(4094)
    change(["networks[lan].bridge"], networks=[{"name": "lan", "bridge": "hlctbr1"}])
    assert ct.values("lxc.net.0.veth.vlan.id") == ["4094"] and is_asked_for(4094)
    change(["networks[lan].vlan"], unset=["networks[lan].vlan"])
    assert ct.values("lxc.net.0.veth.vlan.id") == [] and is_asked_for(0)
    change(["networks[lan]"], networks=[{"name": "lan", "state": "absent"}])


def test_a_vlan_that_somebody_wrote_is_told_and_taken_off(power):
    change(["networks[lan]"], networks=[ct.LAN])
    path = ct.LXC / ct.NAME / "config"
    path.write_text(ct.config() + "lxc.net.0.veth.vlan.id = 10\n")
    (guest,) = read_guests({"name": [ct.NAME]}, Host())["guests"]
    assert [net["vlan"] for net in guest["networks"]] == [10]
    change(["networks[lan].vlan"], unset=["networks[lan].vlan"])
    assert ct.values("lxc.net.0.veth.vlan.id") == [] and ct.values("lxc.net.0.link") == ["hlctbr0"]
    change(["networks[lan]"], networks=[{"name": "lan", "state": "absent"}])


def test_an_address_can_be_asked_for(power):
    change(["networks[lan]"], networks=[{"name": "lan", "bridge": "hlctbr0"}])
    stanza = ct.rootfs() / "etc/network/interfaces.d/homelab-lan"
    assert "iface eth0 inet dhcp\n" in stanza.read_text()
    change(["networks[lan].ip"], networks=[{"name": "lan", "ip": "2001:db8::5/64"}])
    assert ct.values("lxc.net.0.ipv6.address") == ["2001:db8::5/64"] and ct.values("lxc.net.0.ipv4.address") == []
    assert "address 2001:db8::5/64\n" in stanza.read_text()
    if power == "started":
        assert "2001:db8::5/64" in ct.network("-6", "address")
    change(["networks[lan].ip"], networks=[{"name": "lan", "ip": "dhcp"}])
    change(["networks[lan].ip"], networks=[{"name": "lan", "ip": "none"}])
    assert not stanza.exists()
    change(["networks[lan].ip"], networks=[{"name": "lan", "ip": "dhcp"}])
    change(["networks[lan]"], networks=[], exact=["networks"])
    assert not stanza.exists()


def test_an_address_of_ipv6_stands_beside_one_of_ipv4(power):
    change(["networks[lan]"], networks=[ct.LAN])
    stanza = ct.rootfs() / "etc/network/interfaces.d/homelab-lan"
    six = {"name": "lan", "ip6": "fd00:91::10/64", "gateway6": "fd00:91::1"}
    change(["networks[lan].ip6", "networks[lan].gateway6"], networks=[six])
    assert ct.values("lxc.net.0.ipv6.address") == ["fd00:91::10/64"]
    assert ct.values("lxc.net.0.ipv4.address") == ["10.91.7.10/24"]
    assert "iface eth0 inet6 static\n    address fd00:91::10/64\n    gateway fd00:91::1\n" in stanza.read_text()
    if power == "started":
        assert all(it in ct.network("address") for it in ("10.91.7.10/24", "fd00:91::10/64"))
        assert "default via fd00:91::1 dev eth0" in ct.network("-6", "route")
        assert "default via 10.91.7.1 dev eth0" in ct.network("route")
    change(["networks[lan].ip6"], networks=[{"name": "lan", "ip6": "fd00:91::11/64"}])
    change(["networks[lan].ip", "networks[lan].gateway"], networks=[{"name": "lan", "ip": "dhcp"}])
    assert "iface eth0 inet dhcp\niface eth0 inet6 static\n" in stanza.read_text()
    change([], networks=[{"name": "lan", "ip": "dhcp", "ip6": "fd00:91::11/64", "gateway6": "fd00:91::1"}])
    refuse(
        ct.CONTAINER,
        {"name": ct.NAME, "networks": [{"name": "lan", "gateway6": "fd00:92::1"}]},
        "is not in the network",
    )
    (guest,) = read_guests({"name": [ct.NAME]}, Host())["guests"]
    assert "fd00:91::11" in guest["addresses"]
    if power == "started":
        assert "fd00:91::11/64" in ct.network("-6", "address") and "fd00:91::10/64" not in ct.network("-6", "address")
    # What stood beside IPv4 can be the only address as well.
    change(
        ["networks[lan].ip6", "networks[lan].gateway6", "networks[lan].ip"],
        networks=[{"name": "lan", "ip": "fd00:91::11/64"}],
    )
    change(["networks[lan].ip"], networks=[{"name": "lan", "ip": "10.91.7.10/24"}])
    change(["networks[lan].ip6"], networks=[{"name": "lan", "ip6": "fd00:91::11/64"}])
    change(["networks[lan].ip6"], networks=[{"name": "lan", "ip6": "slaac"}])
    assert ct.values("lxc.net.0.ipv6.address") == []
    if power == "started":
        assert "fd00:91::11/64" not in ct.network("-6", "address")
    change(["networks[lan]"], networks=[{"name": "lan", "state": "absent"}])
    both = {**ct.LAN, "ip6": "fd00:91::12/64"}
    change(["networks[lan]"], networks=[both])
    if power == "started":
        assert "fd00:91::12/64" in ct.network("-6", "address")
    change(["networks[lan].ip6"], unset=["networks[lan].ip6"])
    change(["networks[lan]"], networks=[{"name": "lan", "state": "absent"}])


def test_a_gateway_outside_of_the_network_is_refused(power):
    change(["networks[lan]"], networks=[ct.LAN])
    refuse(
        ct.CONTAINER,
        {"name": ct.NAME, "networks": [{"name": "lan", "ip": "10.91.8.9/24"}]},
        "10.91.7.1 is not in the network of 10.91.8.9/24",
    )
    change(["networks[lan].ip", "networks[lan].gateway"], networks=[{"name": "lan", "ip": "none"}])
    refuse(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "lan", "gateway": "10.91.7.1"}]}, "needs a fixed address"
    )
    change(["networks[lan]"], networks=[{"name": "lan", "state": "absent"}])


def test_mounts_come_change_and_go(power):
    is_running = power == "started"
    one, two = ct.FOLDER / "one folder", ct.FOLDER / "two"
    for folder in (one, two):
        folder.mkdir(exist_ok=True)
        (folder / "name").write_text(folder.name)
    change(["mounts[data]"], mounts=[{"name": "data", "source": str(one), "path": "/mnt/some data"}])
    assert ct.values("lxc.mount.entry") == [
        f"{ct.FOLDER}/one\\040folder mnt/some\\040data none rbind,create=dir,idmap=container 0 0"
    ]
    if is_running:
        assert ct.inside("cat", "/mnt/some data/name") == "one folder"
        assert ct.inside("stat", "-c", "%u", "/mnt/some data/name") == "0"
        ct.inside("touch", "/mnt/some data/made inside")
        assert (one / "made inside").stat().st_uid == 0
    change(["mounts[data].readonly"], mounts=[{"name": "data", "readonly": True}])
    if is_running:
        assert "Read-only" in ct.run("sh", "-c", f"lxc-attach -n {ct.NAME} -- touch '/mnt/some data/x' 2>&1 || true")
    change(
        ["mounts[data].source", "mounts[data].path"], mounts=[{"name": "data", "source": str(two), "path": "/srv/two"}]
    )
    if is_running:
        assert ct.inside("cat", "/srv/two/name") == "two" and "some" not in ct.inside("cat", "/proc/mounts")
    change(["mounts[data].readonly"], unset=["mounts[data].readonly"])
    change(["mounts[data]"], mounts=[{"name": "data", "state": "absent"}])
    assert ct.values("lxc.mount.entry") == [] and "names" not in ct.record()
    if is_running:
        assert "/srv/two" not in ct.inside("cat", "/proc/mounts")
    assert (two / "name").read_text() == "two"


def test_a_file_can_be_mounted(power):
    source = ct.FOLDER / "file"
    source.write_text("content")
    change(["mounts[file]"], mounts=[{"name": "file", "source": str(source), "path": "/etc/file"}])
    if power == "started":
        assert ct.inside("cat", "/etc/file") == "content"
    change(["mounts[file]"], mounts=[], exact=["mounts"])


def test_a_mount_of_nothing_is_refused_before_anything_is_written(power):
    before = ct.config()
    outcome = converge_now(
        ct.CONTAINER,
        {"name": ct.NAME, "hostname": "x", "mounts": [{"name": "x", "source": "/srv/hlct/none", "path": "/x"}]},
    )
    assert outcome.error is not None and "there is no path /srv/hlct/none" in outcome.error.message
    assert not outcome.changed and ct.config() == before


def test_what_is_not_listed_is_left_and_named(power):
    (ct.FOLDER / "one").mkdir(exist_ok=True)
    mount = {"name": "data", "source": str(ct.FOLDER / "one"), "path": "/data"}
    change(["networks[lan]", "mounts[data]"], networks=[ct.LAN], mounts=[mount])
    outcome = unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [], "mounts": []})
    assert outcome.plan.unmanaged == ["networks[lan]", "mounts[data]"]
    change(["networks[lan]", "mounts[data]"], networks=[], mounts=[], exact=["networks", "mounts"])


def test_what_was_set_is_there_after_a_restart(stands):
    (ct.FOLDER / "one").mkdir(exist_ok=True)
    mount = {"name": "data", "source": str(ct.FOLDER / "one"), "path": "/data"}
    wanted = {
        "networks": [
            {"name": "lan", "ip": "10.91.7.30/24"},
            {"name": "dmz", "bridge": "hlctbr1", "ip": "10.91.8.30/24", "link": "down"},
        ]
    }
    wanted |= {"mounts": [mount], "memory": "64M", "hostname": "later", "pids": 60}
    converge_now(ct.CONTAINER, {"name": ct.NAME, **wanted})
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "restarted"})
    unchanged(ct.CONTAINER, {"name": ct.NAME, **wanted})
    assert "10.91.7.30/24" in ct.network("address") and ct.inside("hostname") == "later"
    assert " /data " in ct.inside("cat", "/proc/mounts")


def test_a_mac_waits_for_a_restart(stands):
    mac = "00:16:3e:00:00:01"
    outcome = change(["networks[lan].mac"], networks=[{"name": "lan", "mac": mac}])
    assert hows(outcome) == {"next_boot"} and outcome.plan.restart_required == ["networks[lan].mac"]
    again = unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "lan", "mac": mac}]})
    assert again.plan.restart_required == ["networks[lan].mac"]
    assert mac not in ct.network("link")
    outcome = change(["networks[lan].mac"], networks=[{"name": "lan", "mac": mac}], restart_policy="if_needed")
    assert hows(outcome) == {"restart"} and outcome.plan.restart_required == []
    assert mac in ct.network("link") and ct.state() == "RUNNING"


def test_drift_of_the_running_container_is_repaired(stands):
    (ct.FOLDER / "one").mkdir(exist_ok=True)
    wanted = {
        "memory": "64M",
        "pids": 60,
        "hostname": "right",
        "networks": [{"name": "lan", "bridge": "hlctbr0", "ip": "10.91.7.10/24", "gateway": "10.91.7.1"}],
        "mounts": [{"name": "data", "source": str(ct.FOLDER / "one"), "path": "/data"}],
    }
    converge_now(ct.CONTAINER, {"name": ct.NAME, **wanted})
    before = ct.config()
    pair = ct.values("lxc.net.0.veth.pair")[0]
    ct.run("lxc-cgroup", "-n", ct.NAME, "pids.max", "70")
    ct.inside("hostname", "wrong")
    ct.run("ip", "link", "set", pair, "master", "hlctbr1")
    ct.network("address", "del", "10.91.7.10/24", "dev", "eth0")
    ct.inside("umount", "/data")
    paths = ["pids", "hostname", "networks[lan].bridge", "networks[lan].ip", "networks[lan].gateway", "mounts[data]"]
    outcome = change(paths, **wanted)
    assert hows(outcome) == {"live"} and ct.config() == before
    ct.run("ip", "link", "delete", pair)
    change(["networks[lan]"], **wanted)
    assert "10.91.7.10/24" in ct.network("address") and ct.links()[pair]["master"] == "hlctbr0"


def test_a_limit_below_what_is_in_use_is_refused(stands):
    ct.inside("mount", "-t", "tmpfs", "tmpfs", "/tmp")
    ct.inside("dd", "if=/dev/zero", "of=/tmp/full", "bs=1M", "count=40")
    message = refuse(
        ct.CONTAINER, {"name": ct.NAME, "memory": "16M", "hostname": "x"}, "processes of it would be killed"
    )
    assert "uses 4" in message
    change(["memory"], memory="64M")
    outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, "memory": "16M", "state": "stopped"})
    assert outcome.error is None


def test_changes_survive_every_kill(stands):
    (ct.FOLDER / "one").mkdir(exist_ok=True)
    wanted = {
        "name": ct.NAME,
        "memory": "64M",
        "hostname": "killed",
        "ssh_keys": [KEY],
        "networks": [{"name": "lan", "ip": "10.91.7.40/24"}, {"name": "dmz", "bridge": "hlctbr1", "ip": "none"}],
        "mounts": [{"name": "data", "source": str(ct.FOLDER / "one"), "path": "/data"}],
    }
    back = {
        "unset": ["memory", "ssh_keys"],
        "hostname": ct.NAME,
        "networks": [ct.LAN],
        "mounts": [],
        "exact": ["networks", "mounts"],
    }

    def begin() -> None:
        outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, **back})
        assert outcome.error is None, outcome.error

    def verify(outcome: t.Any) -> None:
        assert ct.inside("hostname") == "killed" and ct.network("-o", "link").count("@if") == 2
        assert ct.inside("cat", "/proc/mounts").count(" /data ") == 1
        assert ct.run("ip", "-o", "link", "show", "master", "hlctbr1").count(ct.PREFIX) == 2

    survive_kills(ct.CONTAINER, wanted, begin=begin, verify=verify, moments=3)


def test_removals_and_moves_survive_every_kill(stands):
    for name in ("from", "to"):
        (ct.FOLDER / name).mkdir(exist_ok=True)
        (ct.FOLDER / name / name).touch()
    before = {
        "networks": [
            {"name": "lan", "bridge": "hlctbr0", "link": "down"},
            {"name": "dmz", "bridge": "hlctbr1", "ip": "none"},
        ],
        "mounts": [
            {"name": "data", "source": str(ct.FOLDER / "from"), "path": "/data"},
            {"name": "gone", "source": str(ct.FOLDER / "from"), "path": "/gone"},
        ],
        "ssh_keys": [KEY],
    }
    wanted = {
        "name": ct.NAME,
        "networks": [{"name": "lan", "link": "up"}, {"name": "dmz", "state": "absent"}],
        "mounts": [{"name": "data", "source": str(ct.FOLDER / "to"), "path": "/moved"}],
        "exact": ["mounts"],
        "ssh_keys": [OTHER_KEY],
    }

    def begin() -> None:
        outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, **before})
        assert outcome.error is None, outcome.error

    def verify(outcome: t.Any) -> None:
        assert ct.network("-o", "link").count("@if") == 1 and ct.values("lxc.net.0.link") == ["hlctbr0"]
        assert ct.links()[ct.values("lxc.net.0.veth.pair")[0]]["master"] == "hlctbr0"
        assert len(ct.values("lxc.mount.entry")) == 1 and ct.inside("ls", "/moved") == "to"
        assert not any(point in ct.inside("cat", "/proc/mounts") for point in (" /data ", " /gone "))
        assert (ct.rootfs() / "root/.ssh/authorized_keys").read_text() == f"{OTHER_KEY}\n"
        assert set(ct.record()["macs"]) == {"lan"} and set(ct.record()["names"]["mounts"]) == {"data"}

    survive_kills(ct.CONTAINER, wanted, begin=begin, verify=verify, moments=3)


def test_a_restart_survives_every_kill(stands):
    mac = "00:16:3e:00:00:02"

    def begin() -> None:
        converge_now(
            ct.CONTAINER,
            {
                "name": ct.NAME,
                "state": "started",
                "networks": [{"name": "lan", "mac": "00:16:3e:00:00:01"}],
                "restart_policy": "if_needed",
            },
        )

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "RUNNING" and mac in ct.network("link")

    wanted = {
        "name": ct.NAME,
        "state": "started",
        "networks": [{"name": "lan", "mac": mac}],
        "restart_policy": "if_needed",
    }
    survive_kills(ct.CONTAINER, wanted, begin=begin, verify=verify, moments=2)


def test_a_card_comes_again_that_a_guest_has_lost_by_its_own_restart(stands):
    """LXC starts it with the cards of its first start, and what is left of a later one keeps its name as long as anybody is in there."""
    wanted = {"name": ct.NAME, "networks": [ct.LAN, {"name": "more", "bridge": "hlctbr1", "ip": "10.91.8.51/24"}]}
    change(["networks[more]"], **wanted)
    pid = ct.pid()
    inhabitant = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "sleep", "120"])
    try:
        assert wait_until(
            "who is inside", lambda: os.path.samefile(*inside_nets(pid, inhabitant.pid)), timeout_seconds=10
        )
        restart_inside(pid)
        assert "10.91.8.51/24" not in ct.network("address")
        check_run_again(ct.CONTAINER, wanted, ["networks[more]"])
        assert "10.91.8.51/24" in ct.network("address")
    finally:
        inhabitant.kill()
        inhabitant.wait()


def inside_nets(*pids: int) -> list[str]:
    return [f"/proc/{pid}/ns/net" for pid in pids]


def restart_inside(pid: int) -> None:
    """The guest, whose init is *pid*, restarts by itself."""
    ct.inside("/bin/busybox", "reboot", "-f", check=False)
    for dummy in range(100):
        if ct.run("lxc-info", "-n", ct.NAME, "-p", "-H", check=False).strip() not in ("", str(pid)):
            break
        time.sleep(0.1)


def test_what_an_older_start_holds_is_said_and_goes(stands):
    """LXC makes the container anew of what it was started with when the guest restarts itself."""
    lan = {**ct.LAN, "rate_limit": {"in": "10Mbit", "out": "20Mbit"}}
    changed = {**lan, "bridge": "hlctbr1", "ip": "10.91.8.10/24", "gateway": "10.91.8.1"}
    wanted = {"name": ct.NAME, "networks": [changed], "memory": "32M", "hostname": "two"}
    outcome = check_run_again(ct.CONTAINER, wanted)
    restart_inside(ct.pid())
    outcome = converge_now(ct.CONTAINER, wanted)
    assert outcome.error is None, outcome.error
    said = next(warning for warning in outcome.plan.warnings if "a restart from inside" in warning)
    assert all(
        key in said for key in ("lxc.net.0.link", "lxc.net.0.ipv4.address", "lxc.net.0.script.up", "lxc.uts.name")
    )
    addresses = ct.network("address")
    assert "10.91.8.10/24" in addresses and "10.91.7.10" not in addresses
    assert ct.rates(ct.values("lxc.net.0.veth.pair")[0]) == (10_000_000, 20_000_000)
    assert unchanged(ct.CONTAINER, wanted).plan.warnings == outcome.plan.warnings
    check_run_again(ct.CONTAINER, {**wanted, "state": "restarted"})
    assert unchanged(ct.CONTAINER, wanted).plan.warnings == []
