# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be read of one guest concerns that guest: all others go on, and a broken one can still be stopped and taken away."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container.resource import LxcContainer
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

OTHER = f"{ct.PREFIX}-b"
PROGRAM = Path(__file__).parents[2] / "roles/hypervisor/files/host_guests.py"
Break = t.Callable[[Path], None]

pytestmark = pytest.mark.usefixtures("no_container")


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    ct.set_up()
    Path(paths.record_folder("guests")).mkdir(parents=True, exist_ok=True)
    yield
    ct.tear_down()


def by_hand(tmp_path: Path, text: str = "", name: str = ct.NAME) -> Path:
    """A container whose root somebody filled. Returns its configuration."""
    os.chmod(tmp_path, 0o755)
    if not (tmp_path / "root").exists():
        tiny_root.fill(tmp_path / "root")
    config = ct.LXC / name / "config"
    config.parent.mkdir()
    config.write_text(f"lxc.rootfs.path = dir:{tmp_path}/root\nlxc.apparmor.profile = unconfined\n{text}")
    return config


def told(name: str = ct.NAME) -> dict[str, t.Any]:
    """What guest_info says of one guest while it tells of all."""
    return next(guest for guest in read_guests({}, Host())["guests"] if guest["name"] == name)


def as_folder(config: Path) -> None:
    config.unlink()
    config.mkdir()


def as_loop(config: Path) -> None:
    config.unlink()
    config.symlink_to(config)


def as_pipe(config: Path) -> None:
    config.unlink()
    os.mkfifo(config)


def as_own_include(config: Path) -> None:
    config.write_text(f"lxc.include = {config}\n")


def as_included_pipe(config: Path) -> None:
    os.mkfifo(config.parent / "pipe")
    config.write_text(f"lxc.include = {config.parent}/pipe\n")


def as_missing_include(config: Path) -> None:
    config.write_text(config.read_text() + "lxc.include = /nowhere\n")


def as_unknown_key(config: Path) -> None:
    config.write_text(config.read_text() + "lxc.bogus = 1\n")


SEEN = [as_folder, as_loop, as_pipe, as_own_include, as_included_pipe, as_missing_include]


@pytest.mark.parametrize("spoil", [*SEEN, as_unknown_key], ids=lambda spoil: spoil.__name__[3:])
def test_a_configuration_that_cannot_be_read_concerns_its_container_alone(tmp_path, spoil: Break):
    spoil(by_hand(tmp_path))
    assert converge_now(ct.CONTAINER, {**ct.BASE, "name": OTHER, "networks": [ct.LAN]}).error is None
    assert told(OTHER)["state"] == "started" and told(OTHER)["problem"] is None
    if spoil in SEEN:
        assert "LXC cannot load its configuration: " in told()["problem"]
    refuse(ct.CONTAINER, {"name": ct.NAME, "memory": "64M"}, f"LXC cannot load the configuration of {ct.NAME}")
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "started"}, f"LXC cannot load the configuration of {ct.NAME}")
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, ["state"])
    assert not (ct.LXC / ct.NAME / "config").exists() and (tmp_path / "root/bin/busybox").exists()


def test_a_folder_in_the_place_of_a_configuration_keeps_what_is_in_it(tmp_path):
    config = by_hand(tmp_path)
    as_folder(config)
    (config / "mine").write_text("mine")
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, "is a folder, and not empty")
    assert (config / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "spoil", [as_folder, as_loop, as_pipe, as_unknown_key, as_missing_include], ids=lambda spoil: spoil.__name__[3:]
)
@pytest.mark.parametrize("end", ["stopped", "absent"])
def test_a_configuration_that_breaks_while_the_container_runs_lets_it_be_stopped_and_taken_away(
    tmp_path, spoil: Break, end
):
    config = by_hand(tmp_path)
    ct.run("lxc-start", "-n", ct.NAME, "-d")
    pid = ct.pid()
    spoil(config)
    assert told()["state"] == "started" and "cannot load" in told()["problem"]
    assert converge_now(ct.CONTAINER, {**ct.BASE, "name": OTHER, "state": "stopped"}).error is None
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": end}, ["state"])
    assert not Path(f"/proc/{pid}").exists()
    assert (ct.LXC / ct.NAME).exists() == (end == "stopped")


def test_what_a_guest_makes_of_its_own_files_ends_nothing(tmp_path):
    assert converge_now(ct.CONTAINER, {**ct.BASE, "networks": [ct.LAN]}).error is None
    inner = ct.rootfs() / "etc/hostname"
    inner.unlink()
    inner.mkdir()
    ct.inside("mkdir", "-p", "/a\fb")
    ct.inside("mount", "-t", "tmpfs", "x", "/a\fb")
    ct.inside("rm", "-rf", "/etc/resolv.conf")
    os.mkfifo(ct.rootfs() / "etc/resolv.conf")
    assert told()["state"] == "started"
    unchanged(ct.CONTAINER, {"name": ct.NAME, "networks": [ct.LAN]})
    refuse(ct.CONTAINER, {"name": ct.NAME, "hostname": "two"}, "/etc/hostname is a folder inside")
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "stopped"}, ["state"])
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]})


@pytest.mark.parametrize("option", ["hostname", "ssh_keys", "dns"])
def test_a_large_file_of_the_guest_is_kept_whole(option):
    assert converge_now(ct.CONTAINER, {**ct.BASE, "state": "stopped"}).error is None
    name = {"hostname": "etc/hosts", "ssh_keys": "root/.ssh/authorized_keys", "dns": "etc/resolv.conf"}[option]
    value = {"hostname": "two", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1 me"], "dns": {"servers": ["192.0.2.1"]}}[option]
    path = ct.rootfs() / name
    path.parent.mkdir(exist_ok=True)
    lines = "".join(f"# line {number} that somebody wrote\n" for number in range(80_000))
    path.write_text(lines)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, option: value})
    assert lines in path.read_text() and path.read_text() != lines
    with path.open("a") as stream:
        stream.truncate(1 << 40)
    other = {"hostname": "three", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC2 you"], "dns": {"servers": ["192.0.2.2"]}}[
        option
    ]
    refuse(ct.CONTAINER, {"name": ct.NAME, option: other}, "is larger than 16 MiB inside")
    path.unlink()


BROKEN = {
    "no JSON": "{",
    "ids": json.dumps({"schema": 1, "kind": "container", "idmap": "x"}),
    "a list": "[]",
    "macs": json.dumps({"schema": 1, "kind": "vm", "macs": ["x"]}),
    "volumes": json.dumps({"schema": 1, "kind": "vm", "volumes": {"root": 5}}),
    "run": json.dumps({"schema": 1, "kind": "vm", "run": {"pid": "x"}}),
    "depth": "[" * 10_000,
    "startup": json.dumps({"schema": 1, "kind": "container", "startup": 5}),
    "options": json.dumps({"schema": 1, "kind": "container", "tags": 5, "description": ["x"]}),
    "newer": json.dumps({"schema": 99}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_concerns_its_guest_alone(tmp_path, text):
    by_hand(tmp_path)
    path = Path(paths.record_path("guests", ct.NAME))
    path.write_text(text)
    wanted = {**ct.BASE, "name": OTHER, "state": "stopped", "networks": [{**ct.LAN, "mac": "00:16:3e:00:00:77"}]}
    check_run_again(ct.CONTAINER, wanted)
    assert told(OTHER)["managed"] is True
    assert told()["state"] == "unknown" and "is no ownership record" in told()["problem"]
    for resource in (LxcContainer(), KvmVm()):
        refuse(resource, {"name": ct.NAME, "memory": "64M"}, str(path))
    other = converge_now(
        KvmVm(),
        {"name": f"{ct.PREFIX}-vm", "memory": "64M", "networks": [{"name": "lan", "bridge": "hlctbr0"}]},
        dry_run=True,
    )
    assert other.error is None, other.error
    assert path.read_text() == text


def test_a_record_that_is_a_pipe_is_waited_for_by_nobody(tmp_path):
    by_hand(tmp_path)
    path = Path(paths.record_path("guests", ct.NAME))
    os.mkfifo(path)
    assert converge_now(ct.CONTAINER, {**ct.BASE, "name": OTHER, "networks": [ct.LAN]}).error is None
    assert told()["state"] == "unknown" and str(path) in told()["problem"]
    done = subprocess.run(
        ["/usr/bin/python3", str(PROGRAM), "start"], capture_output=True, text=True, timeout=60, check=False
    )
    assert f"{path} cannot be read, so its guest has no order: it is no file" in done.stdout


def test_an_image_is_kept_while_a_record_cannot_say_what_stands_on_it():
    path = Path(paths.record_path("guests", ct.NAME))
    path.write_text("{")
    refuse(Image(), {"name": ct.IMAGE, "state": "absent"}, f"{ct.NAME} (its record cannot be read")


@pytest.mark.parametrize("spoil", [as_pipe, as_own_include, as_unknown_key], ids=lambda spoil: spoil.__name__[3:])
def test_a_broken_container_keeps_no_other_from_starting_with_the_host(tmp_path, spoil: Break):
    spoil(by_hand(tmp_path))
    Path(paths.record_path("guests", ct.NAME)).write_text(
        json.dumps({"schema": 1, "kind": "container", "startup": {"order": 1}})
    )
    wanted = {**ct.BASE, "name": OTHER, "state": "stopped", "autostart": True, "startup": {"order": 2}}
    assert converge_now(ct.CONTAINER, wanted).error is None
    done = subprocess.run(
        ["/usr/bin/python3", str(PROGRAM), "start"], capture_output=True, text=True, timeout=120, check=False
    )
    assert f"container {OTHER}: started, order 2" in done.stdout
    assert f"container {ct.NAME}: did not start: " in done.stdout and done.returncode == 1
    assert ct.state(OTHER) == "RUNNING"
