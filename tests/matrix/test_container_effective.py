# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers made by hand as LXC reads them: what they include, what they share, cards of every type. Proven with lxc-info and ip."""

from __future__ import annotations

import json
import os
import shutil
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container.facts import guest_facts
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host import lxc
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

OTHER = f"{ct.PREFIX}-b"
MAC = "00:16:3e:aa:bb:01"

pytestmark = pytest.mark.usefixtures("container_host", "no_container")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    os.chmod(tmp_path, 0o755)
    tiny_root.fill(tmp_path / "root")
    return tmp_path / "root"


def by_hand(root: Path, text: str = "", name: str = ct.NAME) -> Path:
    """A privileged container of *root*. Returns its configuration."""
    config = ct.LXC / name / "config"
    config.parent.mkdir()
    config.write_text(f"lxc.apparmor.profile = unconfined\nlxc.rootfs.path = dir:{root}\n{text}")
    return config


def start() -> None:
    ct.run("lxc-start", "-n", ct.NAME, "-d")


def stop() -> None:
    """Kill it, and wait until the kernel has taken its cards away: LXC does not start it beside one of that name."""
    ct.run("lxc-stop", "-n", ct.NAME, "-k", check=False)
    deadline = time.monotonic() + 20
    while list(Path("/sys/class/net").glob(f"{ct.NAME}.*")) and time.monotonic() < deadline:
        time.sleep(0.05)


def said(key: str, name: str = ct.NAME) -> list[str]:
    """What liblxc itself makes of *key*."""
    told = ct.run("lxc-info", "-n", name, "-c", key).partition("=")[2]
    return [line.strip() for line in told.splitlines() if line.strip()]


SHARED = f"""\
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.net.0.type = veth
lxc.net.0.link = hlctbr0
lxc.net.0.flags = up
lxc.net.0.hwaddr = {MAC}
lxc.net.0.ipv4.address = 10.91.7.33/24
lxc.start.auto = 1
lxc.cgroup.memory.limit_in_bytes = 67108864
lxc.cgroup2.memory.max = 67108864
"""


@pytest.fixture(params=["file", "folder"])
def included(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Path:
    """A container whose ids, card, autostart and memory stand in a file that it includes. Returns that file."""
    (tmp_path / "shared.d").mkdir()
    (tmp_path / "shared.d/not-this.txt").write_text("lxc.start.auto = 0\n")
    path = tmp_path / "shared.d/shared.conf"
    path.write_text(SHARED)
    by_hand(root, f"lxc.include = {path if request.param == 'file' else path.parent}\nlxc.uts.name = byhand\n")
    return path


def test_what_is_included_counts(included):
    before = ct.config()
    unchanged(ct.CONTAINER, {"name": ct.NAME, "memory": "64M", "autostart": True, "unprivileged": True})
    facts = guest_facts(ct.NAME, Host())
    assert facts["unprivileged"] and facts["autostart"] and facts["memory_kib"] == 65536
    assert [(net["bridge"], net["mac"], net["addresses"]) for net in facts["networks"]] == [
        ("hlctbr0", MAC, ["10.91.7.33/24"])
    ]
    assert ct.config() == before


def test_ids_and_a_mac_that_are_included_are_nobody_elses(included):
    outcome = converge_now(ct.CONTAINER, {**ct.BASE, "name": OTHER, "state": "stopped"})
    assert outcome.error is None
    assert said("lxc.idmap", OTHER)[0].split()[2] != "100000"
    card = {"name": "lan", "bridge": "hlctbr0", "ip": "none", "mac": MAC}
    refuse(ct.CONTAINER, {"name": OTHER, "networks": [card]}, f"{MAC} belongs to the guest")
    assert lxc.read_containers()[ct.NAME].bridges == {"hlctbr0"}


def test_what_is_included_can_be_changed_without_its_file(included):
    text = included.read_text()
    wanted: dict[str, t.Any] = {"name": ct.NAME, "autostart": False}
    check_run_again(ct.CONTAINER, wanted, ["autostart"])
    assert said("lxc.start.auto") == ["0"]
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "memory": "32M"}, ["memory"])
    assert said("lxc.cgroup.memory.limit_in_bytes")[-1] == str(32 << 20)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "unset": ["memory"]}, ["memory"])
    assert said("lxc.cgroup.memory.limit_in_bytes") == []
    card = {"name": "net0", "ip": "10.91.7.34/24", "bridge": "hlctbr1"}
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": [card]}, ["networks[net0].ip", "networks[net0].bridge"])
    assert (said("lxc.net.0.ipv4.address"), said("lxc.net.0.link")) == (["10.91.7.34/24"], ["hlctbr1"])
    more = {"name": "dmz", "bridge": "hlctbr1", "ip": "none"}
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": [more]}, ["networks[dmz]"])
    assert said("lxc.net.1.name") == ["eth1"] and said("lxc.net.0.hwaddr") == [MAC]
    check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net0", "state": "absent"}]}, ["networks[net0]"]
    )
    assert said("lxc.net") == ["veth"] and said("lxc.net.1.name") == ["eth1"]
    assert included.read_text() == text


OLD = {
    "LXC 1": "lxc.utsname = byhand\nlxc.network.type = veth\nlxc.network.link = hlctbr0\nlxc.rootfs = {root}\n",
    "LXC 2": "lxc.uts.name = byhand\nlxc.network.0.type = veth\nlxc.network.0.link = hlctbr0\nlxc.rootfs.path = dir:{root}\n",
}


@pytest.mark.parametrize("text", OLD.values(), ids=OLD)
def test_keys_of_lxc_1_and_2_are_in_use_and_are_not_written_to(text):
    pool = ct.FOLDER / "old"
    root = pool / "root"
    assert converge_now(StoragePool(), {"name": f"{ct.PREFIX}-old", "type": "dir", "path": str(pool)}).error is None
    tiny_root.fill(root)
    config = ct.LXC / ct.NAME / "config"
    config.parent.mkdir()
    config.write_text(text.format(root=root))
    try:
        refuse(StoragePool(), {"name": f"{ct.PREFIX}-old", "state": "absent", "allow": ["delete_data"]}, ct.NAME)
        refuse(ct.CONTAINER, {"name": ct.NAME, "autostart": True}, f"Run lxc-update-config -c {config}")
        unchanged(ct.CONTAINER, {"name": ct.NAME})
        assert lxc.read_containers()[ct.NAME].bridges == {"hlctbr0"}
        assert config.read_text() == text.format(root=root)
    finally:
        ct.clean()
        converge_now(StoragePool(), {"name": f"{ct.PREFIX}-old", "state": "absent", "allow": ["delete_data"]})


@pytest.mark.parametrize("form", ["absolute", "fstab"])
def test_a_mount_in_any_form_is_the_same_mount(form, root, tmp_path):
    (tmp_path / "data").mkdir()
    line = f"{tmp_path}/data {root}/data none bind,create=dir 0 0"
    if form == "fstab":
        (tmp_path / "fstab").write_text(f"# by hand\n{tmp_path}/data data none bind,create=dir 0 0\n")
        by_hand(root, f"lxc.mount.fstab = {tmp_path}/fstab\n")
    else:
        by_hand(root, f"lxc.mount.entry = {line}\n")
    start()
    same = {"name": "files", "source": f"{tmp_path}/data", "path": "/data"}
    unchanged(ct.CONTAINER, {"name": ct.NAME, "mounts": [same]})
    assert Path(f"/proc/{ct.pid()}/mounts").read_text().count(" /data ") == 1
    if form == "fstab":
        refuse(
            ct.CONTAINER,
            {"name": ct.NAME, "mounts": [{**same, "readonly": True}]},
            f"its line stands in {tmp_path}/fstab",
        )
        refuse(
            ct.CONTAINER,
            {"name": ct.NAME, "mounts": [{"name": "files", "path": "/data", "state": "absent"}]},
            "Take it away there",
        )
    else:
        check_run_again(
            ct.CONTAINER, {"name": ct.NAME, "mounts": [{**same, "readonly": True}]}, ["mounts[files].readonly"]
        )


def test_containers_lie_where_lxc_has_them():
    conf, folder = Path("/etc/lxc/lxc.conf"), ct.FOLDER / "lxc"
    before = conf.read_text() if conf.exists() else None
    folder.mkdir(mode=0o755)
    conf.write_text(f"lxc.lxcpath = {folder}\n")
    try:
        check_run_again(ct.CONTAINER, {**ct.BASE, "networks": [ct.LAN]})
        assert ct.run("lxc-ls", "-1", "--running").split() == [ct.NAME]
        assert (folder / ct.NAME / "config").exists() and not (ct.LXC / ct.NAME).exists()
        check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]})
        assert not (folder / ct.NAME).exists()
    finally:
        stop()
        if before is None:
            conf.unlink()
        else:
            conf.write_text(before)
        shutil.rmtree(folder)


NO_OWN_NETWORK = {
    "none": "lxc.net.0.type = none\n",
    "keep": "lxc.namespace.keep = net\n",
    "share": "lxc.namespace.share.net = {pid}\n",
    "clone": "lxc.namespace.clone = mnt pid uts ipc\n",
}


@pytest.mark.parametrize("text", NO_OWN_NETWORK.values(), ids=NO_OWN_NETWORK)
@pytest.mark.parametrize("power", ["stopped", "started"])
def test_a_container_on_the_network_of_the_host_never_gets_cards(text, power, root):
    by_hand(root, text.format(pid=os.getpid()))
    # LXC 5.0.2 does not start one that keeps namespaces on this host.
    if power == "started" and "keep" not in text:
        start()
    for card in (
        {"name": "lan", "bridge": "hlctbr0", "ip": "10.91.7.9/24", "gateway": "10.91.7.1"},
        {"name": "net0", "mtu": 1400},
    ):
        card = {"bridge": "hlctbr0", **card}
        refuse(ct.CONTAINER, {"name": ct.NAME, "networks": [card]}, "has no network of its own")
    facts = guest_facts(ct.NAME, Host())
    assert facts["addresses"] == [] and all(net["addresses"] == [] for net in facts["networks"])
    unchanged(ct.CONTAINER, {"name": ct.NAME})


@pytest.mark.parametrize("line", ["keep = uts", "clone = mnt pid net ipc"])
def test_a_container_with_the_name_of_the_host_does_not_rename_it(line, root):
    by_hand(root, f"lxc.namespace.{line}\n")
    if "clone" in line:
        start()
    refuse(ct.CONTAINER, {"name": ct.NAME, "hostname": "other"}, "has no host name of its own")
    assert os.uname().nodename != "other"


# ---- cards -----------------------------------------------------------------------------------------------------------------------

LONE = "lxc.net.3.type = veth\nlxc.net.3.link = hlctbr0\nlxc.net.3.flags = up\n"


@pytest.mark.parametrize("power", ["stopped", "started"])
def test_a_card_beside_one_without_a_name_gets_the_next_number_and_name(power, root):
    by_hand(root, LONE)
    if power == "started":
        start()
    card = {"name": "dmz", "bridge": "hlctbr1", "ip": "10.91.8.5/24"}
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": [card]}, ["networks[dmz]"])
    assert said("lxc.net.4.name") == ["eth1"]
    stop()
    start()
    told = {link["ifname"]: link for link in json.loads(ct.network("-j", "address"))}
    assert "10.91.8.5" in json.dumps(told["eth1"]) and "eth0" in told
    unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [card]})


OTHER_TYPES = {
    "macvlan": "lxc.net.0.type = macvlan\nlxc.net.0.macvlan.mode = bridge\nlxc.net.0.link = hlctbr0\nlxc.net.0.flags = up\n",
    "vlan": "lxc.net.0.type = vlan\nlxc.net.0.vlan.id = 7\nlxc.net.0.link = hlctbr0\nlxc.net.0.flags = up\n",
    "ipvlan": "lxc.net.0.type = ipvlan\nlxc.net.0.link = hlctbr0\nlxc.net.0.flags = up\n",
    "phys": "lxc.net.0.type = phys\nlxc.net.0.link = hlctdum0\nlxc.net.0.flags = up\n",
    "empty": "lxc.net.0.type = empty\nlxc.net.0.flags = up\n",
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_card_of_another_type_stays_what_it_is(kind, root):
    by_hand(root, OTHER_TYPES[kind])
    card: dict[str, t.Any]
    for card in (
        {"bridge": "hlctbr1"},
        {"vlan": 5},
        {"link": "down"} if kind != "empty" else {"link": "up"},
        {"rate_limit": {"in": "10Mbit"}},
    ):
        refuse(ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net0", **card}]}, f"is of the type {kind}")
    lines = set(ct.config().splitlines())
    wanted = {"name": ct.NAME, "networks": [{"name": "net0", "mtu": 1400}]}
    if kind == "empty":
        refuse(ct.CONTAINER, wanted, "is of the type empty")
    else:
        check_run_again(ct.CONTAINER, wanted, ["networks[net0].mtu"])
        assert set(ct.config().splitlines()) - lines == {"lxc.net.0.mtu = 1400"} and said("lxc.net.0.type") == [kind]


def test_a_running_macvlan_card_waits_for_the_next_start(root):
    by_hand(root, OTHER_TYPES["macvlan"])
    start()
    outcome = check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net0", "mtu": 1400, "ip": "10.91.7.8/24"}]}
    )
    assert sorted(outcome.plan.restart_required) == ["networks[net0].ip", "networks[net0].mtu"]
    stop()
    start()
    assert "mtu 1400" in ct.network("link") and "10.91.7.8/24" in ct.network("address")


TWO = f"""\
lxc.net.0.type = veth
lxc.net.0.link = hlctbr0
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.hwaddr = {MAC}
lxc.net.0.ipv4.address = 10.91.7.20/24
lxc.net.0.ipv4.address = 10.91.7.21/24
lxc.net.0.ipv6.address = fd00:91::20/64
lxc.net.0.ipv4.gateway = 10.91.7.1
lxc.net.0.ipv6.gateway = fd00:91::1
"""


@pytest.mark.parametrize("power", ["stopped", "started"])
def test_the_other_addresses_of_a_card_stay(power, root):
    by_hand(root, TWO)
    if power == "started":
        start()
    before = ct.config().splitlines()
    check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net0", "mtu": 1400}]}, ["networks[net0].mtu"]
    )
    assert [line for line in ct.config().splitlines() if "mtu" not in line] == before
    check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net0", "ip": "10.91.7.22/24"}]}, ["networks[net0].ip"]
    )
    assert said("lxc.net.0.ipv4.address") == ["10.91.7.22/24", "10.91.7.21/24"]
    assert said("lxc.net.0.ipv6.address") == ["fd00:91::20/64"] and said("lxc.net.0.ipv6.gateway") == ["fd00:91::1"]
    if power == "started":
        told = ct.network("address")
        assert all(f" {address} " in told for address in ("10.91.7.22/24", "10.91.7.21/24", "fd00:91::20/64"))
        assert "10.91.7.20/24" not in told
        stop()
    start()
    assert "10.91.7.22/24" in ct.network("address") and ct.network("route", "show", "default") != ""


def test_a_container_has_one_way_out_of_a_family(root):
    by_hand(root, TWO + "lxc.net.1.type = veth\nlxc.net.1.link = hlctbr1\nlxc.net.1.name = eth1\n")
    card = {"name": "net1", "ip": "10.91.8.9/24", "gateway": "10.91.8.1"}
    refuse(ct.CONTAINER, {"name": ct.NAME, "networks": [card]}, "has a way out already, over net0")
    new = {"name": "dmz", "bridge": "hlctbr1", "ip": "10.91.8.9/24", "gateway": "10.91.8.1"}
    refuse(ct.CONTAINER, {"name": ct.NAME, "networks": [new]}, "has a way out already, over net0")
    refuse(
        ct.CONTAINER, {"name": ct.NAME, "networks": [new, {**new, "name": "x", "ip": "10.91.8.8/24"}]}, "one way out"
    )
    moved = {"name": ct.NAME, "networks": [card], "unset": ["networks[net0].gateway"]}
    check_run_again(ct.CONTAINER, moved, ["networks[net1].ip", "networks[net1].gateway", "networks[net0].gateway"])


MACS = [f"00:16:3e:aa:bb:0{number}" for number in range(3)]


def test_a_declared_mac_says_which_card_is_meant():
    cards = [
        {"name": name, "bridge": "hlctbr0", "ip": "none", "mac": mac}
        for name, mac in zip(("lan", "wan"), MACS, strict=False)
    ]
    assert converge_now(ct.CONTAINER, {**ct.BASE, "state": "stopped", "networks": cards}).error is None
    same = {"name": "lan", "mac": MACS[0], "bridge": "hlctbr0"}
    unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [same]})
    unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [{**same, "name": "other"}]})
    stolen = [{"name": "lan", "mac": MACS[1]}, {"name": "wan", "state": "absent"}]
    refuse(ct.CONTAINER, {"name": ct.NAME, "networks": stolen}, f"{MACS[1]} is the MAC of wan")
    both = [same, {**same, "name": "other"}]
    refuse(ct.CONTAINER, {"name": ct.NAME, "networks": both}, "a mac is there twice")
    refuse(
        ct.CONTAINER,
        {"name": ct.NAME, "networks": [{"name": "lan"}, {"name": "x", "mac": MACS[0]}]},
        "is the MAC of lan",
    )
    more = {"name": "lan", "mac": MACS[2], "bridge": "hlctbr1"}
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": [more]}, ["networks[lan].mac", "networks[lan].bridge"])


def cards() -> dict[str, set[str]]:
    """The MACs on each bridge by the file."""
    found: dict[str, set[str]] = {}
    for number in range(2):
        (link,), (mac,) = ct.values(f"lxc.net.{number}.link"), ct.values(f"lxc.net.{number}.hwaddr")
        found.setdefault(link, set()).add(mac)
    return found


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_two_cards_exchange_their_macs_in_one_run(state: str):
    both = [
        {"name": name, "bridge": f"hlctbr{number}", "ip": "none", "mac": MACS[number]}
        for number, name in enumerate(("lan", "wan"))
    ]
    assert converge_now(ct.CONTAINER, {**ct.BASE, "state": state, "networks": both}).error is None
    swapped = {"name": ct.NAME, "networks": [{"name": "lan", "mac": MACS[1]}, {"name": "wan", "mac": MACS[0]}]}
    check_run_again(ct.CONTAINER, swapped, ["networks[lan].mac", "networks[wan].mac"])
    assert cards() == {"hlctbr0": {MACS[1]}, "hlctbr1": {MACS[0]}}
    # As a run leaves it that is killed before it completes the record: each card is known by its name.
    record = {**ct.record(), "macs": {"lan": MACS[0], "wan": MACS[1]}}
    Path(paths.record_path("guests", ct.NAME)).write_text(json.dumps(record))
    unchanged(ct.CONTAINER, swapped)
    # While the container runs as before, each is known by its name too.
    moved = {
        "name": ct.NAME,
        "networks": [{"name": "lan", "mac": MACS[0]}, {"name": "wan", "mac": MACS[2], "bridge": "hlctbr0"}],
    }
    check_run_again(ct.CONTAINER, moved, ["networks[lan].mac", "networks[wan].mac", "networks[wan].bridge"])
    assert cards() == {"hlctbr0": {MACS[0], MACS[2]}}
    assert converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "restarted"}).error is None
    assert {ct.inside("cat", f"/sys/class/net/eth{number}/address") for number in range(2)} == {MACS[0], MACS[2]}


def test_a_place_name_is_not_used_up(root, tmp_path):
    text = "".join(f"lxc.mount.entry = {tmp_path}/{name} {name} none bind,create=dir 0 0\n" for name in ("a", "b", "c"))
    for name in "abc":
        (tmp_path / name).mkdir()
    by_hand(root, text)
    wanted = {"name": ct.NAME, "mounts": [{"name": "mount1", "state": "absent"}]}
    check_run_again(ct.CONTAINER, wanted, ["mounts[mount1]"])
    assert [line.split()[1] for line in said("lxc.mount.entry")] == ["a", "c"]
    check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "mounts": [{"name": "mount0", "state": "absent"}]}, ["mounts[mount0]"]
    )
    assert [line.split()[1] for line in said("lxc.mount.entry")] == ["c"]


def test_of_two_cards_with_one_mac_the_named_one_goes(root):
    card = (
        "lxc.net.{0}.type = veth\nlxc.net.{0}.link = hlctbr0\nlxc.net.{0}.name = eth{0}\nlxc.net.{0}.hwaddr = "
        + MAC
        + "\n"
    )
    by_hand(root, card.format(0) + card.format(1) + card.format(2))
    start()
    check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net1", "state": "absent"}]}, ["networks[net1]"]
    )
    told = {link["ifname"] for link in json.loads(ct.network("-j", "link"))}
    assert {"eth0", "eth2"} < told and "eth1" not in told and said("lxc.net.2.name") == ["eth2"]
    check_run_again(
        ct.CONTAINER, {"name": ct.NAME, "networks": [{"name": "net2", "mtu": 1300}]}, ["networks[net2].mtu"]
    )
    assert [link["mtu"] for link in json.loads(ct.network("-j", "link")) if link["ifname"] in ("eth0", "eth2")] == [
        1500,
        1300,
    ]
