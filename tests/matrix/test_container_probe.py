# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot stand is refused before it is written, in check mode alike: each container of these tests starts again as it is."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

SOURCES = ct.FOLDER / "sources"

pytestmark = pytest.mark.usefixtures("container_host")


@pytest.fixture(autouse=True)
def _sources(no_container: None) -> t.Iterator[None]:
    SOURCES.mkdir(mode=0o755)
    yield
    ct.clean()
    for point in reversed([line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]):
        if point.startswith(f"{SOURCES}/"):
            ct.run("umount", point)
    ct.run("rm", "-rf", str(SOURCES))


@pytest.fixture(params=["stopped", "started"])
def power(request: pytest.FixtureRequest) -> str:
    outcome = converge_now(ct.CONTAINER, {**ct.BASE, "state": request.param})
    assert outcome.error is None, outcome.error
    return str(request.param)


def starts_again() -> None:
    ct.run("lxc-stop", "-n", ct.NAME, "-k", check=False)
    ct.run("lxc-start", "-n", ct.NAME, "-d")
    assert ct.state() == "RUNNING"


def mounted(**keys: t.Any) -> dict[str, t.Any]:
    return {"name": ct.NAME, "mounts": [{"name": "data", "path": "/data", **keys}]}


def test_a_source_without_mapped_owners_is_bound_without_them(power):
    for name in ("low", "up", "work", "over"):
        (SOURCES / name).mkdir()
    (SOURCES / "low/file").write_text("text")
    options = f"lowerdir={SOURCES}/low,upperdir={SOURCES}/up,workdir={SOURCES}/work"
    ct.run("mount", "-t", "overlay", "x", f"{SOURCES}/over", "-o", options)
    outcome = check_run_again(ct.CONTAINER, mounted(source=f"{SOURCES}/over"), ["mounts[data]"])
    assert ["takes no mapped owners" in warning for warning in outcome.plan.warnings] == [True]
    assert "idmap" not in ct.config().split("lxc.mount.entry")[-1]
    if power == "started":
        assert ct.inside("cat", "/data/file") == "text"
    starts_again()
    assert ct.inside("stat", "-c", "%u", "/data/file") == "65534" and ct.inside("cat", "/data/file") == "text"
    unchanged(ct.CONTAINER, mounted(source=f"{SOURCES}/over"))


def test_a_folder_of_fuse_is_bound_without_mapped_owners(power):
    wanted = mounted(source="/var/lib/lxcfs/proc", readonly=True)
    outcome = check_run_again(ct.CONTAINER, wanted, ["mounts[data]"])
    assert ["takes no mapped owners" in warning for warning in outcome.plan.warnings] == [True]
    starts_again()
    assert ct.inside("cat", "/data/uptime")
    unchanged(ct.CONTAINER, wanted)


def test_a_device_of_the_host_is_bound(power):
    wanted = mounted(source="/dev/zero", path="/data0")
    check_run_again(ct.CONTAINER, wanted, ["mounts[data]"])
    starts_again()
    unchanged(ct.CONTAINER, wanted)


def test_what_lxc_could_not_mount_is_refused(power):
    (SOURCES / "closed/data").mkdir(parents=True)
    (SOURCES / "closed").chmod(0o700)
    (SOURCES / "file").write_text("x")
    refuse(ct.CONTAINER, mounted(source=f"{SOURCES}/closed/data"), f"may not pass through {SOURCES}/closed")
    (SOURCES / "closed").chmod(0o711)
    root = ct.rootfs()
    (root / "run/inner").mkdir(parents=True)
    (root / "var/run").symlink_to("/run")
    (root / "etc/there").write_text("x")
    refuse(ct.CONTAINER, mounted(source=f"{SOURCES}/closed/data", path="/var/run/inner"), "/var/run is a link inside")
    refuse(ct.CONTAINER, mounted(source=f"{SOURCES}/closed/data", path="/etc/there"), "/etc/there is no folder inside")
    refuse(ct.CONTAINER, mounted(source=f"{SOURCES}/file", path="/etc"), "/etc is a folder inside")
    refuse(ct.CONTAINER, mounted(source=f"{SOURCES}/file", path="/etc/there/x"), "/etc/there is no folder inside")
    check_run_again(ct.CONTAINER, mounted(source=f"{SOURCES}/closed/data", path="/run/inner"), ["mounts[data]"])
    starts_again()


def test_what_fails_while_it_runs_takes_its_lines_back():
    """Only the running guest knows what it has put over its own folder."""
    assert converge_now(ct.CONTAINER, {**ct.BASE, "networks": [ct.LAN]}).error is None
    (SOURCES / "data").mkdir()
    ct.inside("mount", "-t", "tmpfs", "x", "/home")
    ct.inside("touch", "/home/data")
    before = ct.config()
    outcome = converge_now(ct.CONTAINER, {**mounted(source=f"{SOURCES}/data", path="/home/data"), "memory": "64M"})
    assert outcome.error is not None and "/home/data is no folder" in outcome.error.message and outcome.changed
    assert "lxc.mount.entry" not in ct.config() and "67108864" in ct.config() and before != ct.config()
    starts_again()
    check_run_again(ct.CONTAINER, mounted(source=f"{SOURCES}/data", path="/home/data"), ["mounts[data]"])


def test_what_only_the_image_tells_leaves_nothing_behind():
    (SOURCES / "data").mkdir()
    wanted = {**ct.BASE, **mounted(source=f"{SOURCES}/data", path="/bin/ls/x")}
    outcome = converge_now(ct.CONTAINER, wanted)
    assert outcome.error is not None and "/bin/ls is a link inside" in outcome.error.message
    assert not ct.rootfs().exists() and not (ct.LXC / ct.NAME).exists()
    assert converge_now(ct.CONTAINER, {**wanted, "mounts": []}).error is None


ROOTS = {
    "overlay": "lxc.rootfs.path = overlay:{folder}/low:{folder}/up\n",
    "no root": "",
}


@pytest.mark.parametrize("text", ROOTS.values(), ids=ROOTS)
def test_files_of_a_root_that_is_no_folder_are_refused(text):
    config = ct.LXC / ct.NAME / "config"
    config.parent.mkdir()
    config.write_text("lxc.uts.name = byhand\n" + text.format(folder=SOURCES))
    before = config.read_text()
    for key, value in {
        "hostname": "two",
        "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1 me"],
        "dns": {"servers": ["192.0.2.1"]},
    }.items():
        refuse(ct.CONTAINER, {"name": ct.NAME, key: value}, f"the files of {ct.NAME} cannot be written, as its ")
    lan = {"name": "lan", "bridge": "hlctbr0"}
    refuse(ct.CONTAINER, {"name": ct.NAME, "networks": [lan]}, "cannot ask for an address")
    assert config.read_text() == before
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": [{**lan, "ip": "10.91.7.9/24"}]}, ["networks[lan]"])
    unchanged(ct.CONTAINER, {"name": ct.NAME, "hostname": "byhand"})


def test_a_guest_that_cannot_ask_for_an_address_is_not_let(power):
    (ct.rootfs() / "usr/sbin/ifup").unlink()
    lan = {"name": "lan", "bridge": "hlctbr0"}
    refuse(ct.CONTAINER, {"name": ct.NAME, "networks": [lan]}, "neither systemd-networkd nor ifupdown is in its root")
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "networks": [{**lan, "ip": "none"}]}, ["networks[lan]"])
    refuse(
        ct.CONTAINER,
        {"name": ct.NAME, "networks": [{"name": "lan", "ip": "dhcp"}]},
        "neither systemd-networkd nor ifupdown",
    )


INTERFACES = "# of the image\nauto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n    hostname x\n\niface eth7 inet manual\n"


def test_the_declared_address_is_the_only_one_of_a_new_guest(tmp_path):
    tiny_root.fill(tmp_path / "root")
    (tmp_path / "root/etc/network").mkdir()
    (tmp_path / "root/etc/network/interfaces").write_text(INTERFACES)
    archive = ct.FOLDER / "dhcp.tar.zst"
    ct.run(
        "tar", "--numeric-owner", "--xattrs", "-I", "zstd -1", "-cf", str(archive), "-C", str(tmp_path / "root"), "."
    )
    tiny_root.store(f"{ct.PREFIX}-dhcp", archive)
    wanted = {**ct.BASE, "image": f"{ct.PREFIX}-dhcp", "state": "stopped", "networks": [ct.LAN]}
    check_run_again(ct.CONTAINER, wanted)
    lines = (ct.rootfs() / "etc/network/interfaces").read_text().splitlines()
    counting = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert counting[:3] == ["auto lo", "iface lo inet loopback", "iface eth7 inet manual"]
    (ct.rootfs() / "etc/network/interfaces").write_text(INTERFACES)
    refuse(
        ct.CONTAINER,
        {"name": ct.NAME, "networks": [{"name": "lan", "ip": "10.91.7.11/24"}]},
        "/etc/network/interfaces inside lets eth0 ask",
    )


def test_the_declared_address_comes_before_files_of_the_image(tmp_path):
    """networkd takes the first file that matches a link, by the names of the files."""
    tiny_root.fill(tmp_path / "root")
    for folder in ("etc/systemd/network", "usr/lib/systemd/network"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/usr/lib/systemd/systemd-networkd").write_text("")
    for name in ("00-eth0.network", "00-all.network", "01-x.network"):
        (tmp_path / "root/etc/systemd/network" / name).write_text("[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    archive = ct.FOLDER / "networkd.tar.zst"
    ct.run(
        "tar", "--numeric-owner", "--xattrs", "-I", "zstd -1", "-cf", str(archive), "-C", str(tmp_path / "root"), "."
    )
    tiny_root.store(f"{ct.PREFIX}-networkd", archive)
    check_run_again(
        ct.CONTAINER, {**ct.BASE, "image": f"{ct.PREFIX}-networkd", "state": "stopped", "networks": [ct.LAN]}
    )
    first = min((ct.rootfs() / "etc/systemd/network").glob("*.network"), key=lambda path: path.name)
    assert "Address=10.91.7.10/24" in first.read_text() and "DHCP" not in first.read_text()


@pytest.mark.parametrize("option", [
    {"gateway": "fe80::1"}, {"gateway": "10.91.7.255"}, {"gateway": "10.91.7.9"}, {"ip": "10.91.7.0/24"}, {"ip": "10.91.7.255/24"},
    {"mac": "00:00:00:00:00:00"},
], ids=str)  # fmt: skip
def test_an_address_that_no_start_survives_is_refused(option):
    card = {"name": "lan", "bridge": "hlctbr0", "ip": "10.91.7.9/24", **option}
    refuse(ct.CONTAINER, {**ct.BASE, "networks": [card]}, "is not allowed")


@pytest.mark.parametrize("params", [
    {"memory": 2**63}, {"memory": "9" * 5000}, {"swap": "9" * 5000}, {"rootfs": {"pool": ct.POOL, "size": "9" * 5000}},
    {"dns": {"servers": ["fe80::1%eth0\noptions x"]}},
], ids=lambda params: next(iter(params)))  # fmt: skip
def test_a_value_that_is_none_is_refused(params):
    refuse(ct.CONTAINER, {**ct.BASE, **params}, "is not allowed")


def test_ids_of_a_user_of_the_host_are_not_given_to_a_container():
    texts = {path: Path(path).read_text() for path in ("/etc/subuid", "/etc/subgid")}
    try:
        for path, text in texts.items():
            with open(path, "a", encoding="ascii") as stream:
                stream.write("somebody:100000:65536\n")
            assert "root:100000:" in text
        assert converge_now(ct.CONTAINER, {**ct.BASE, "state": "stopped"}).error is None
        assert {line.split()[2] for line in ct.values("lxc.idmap")} == {"165536"}
    finally:
        for path, text in texts.items():
            Path(path).write_text(text)
    assert os.stat(ct.rootfs()).st_uid == 165536


def test_another_guests_mac_is_refused():
    card = {"name": "lan", "bridge": "hlctbr0", "ip": "none", "mac": "00:16:3e:aa:bb:07"}
    assert converge_now(ct.CONTAINER, {**ct.BASE, "state": "stopped", "networks": [card]}).error is None
    other = {**ct.BASE, "name": f"{ct.PREFIX}-b", "state": "stopped"}
    refuse(ct.CONTAINER, {**other, "networks": [card]}, "belongs to the guest")
    assert converge_now(ct.CONTAINER, other).error is None
    refuse(ct.CONTAINER, {"name": other["name"], "networks": [card]}, "belongs to the guest")
