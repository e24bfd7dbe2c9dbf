# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on the real host: made, started, stopped, taken away. Proven with LXC's own tools and the file system."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import struct
import subprocess
import typing as t
from pathlib import Path

import libvirt
import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import lock, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness import tiny_root
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import Child, at_once, survive_kills

PATHS_OF_CREATION = ["state", "image", "rootfs.pool", "unprivileged", "hostname", "autostart"]

pytestmark = pytest.mark.usefixtures("container_host", "no_container")


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def test_a_new_container_runs_with_ids_of_its_own():
    check_run_again(ct.CONTAINER, {**ct.BASE, "networks": [ct.LAN]}, [*PATHS_OF_CREATION, "networks[lan]"])
    assert ct.state() == "RUNNING"
    start = ct.record()["idmap"]["start"]
    assert Path(f"/proc/{ct.pid()}/uid_map").read_text().split() == ["0", str(start), "65536"]
    assert ct.inside("id", "-u") == "0"
    assert "10.91.7.10/24" in ct.inside("ip", "address")
    assert "via 10.91.7.1" in ct.inside("ip", "route")
    assert ct.inside("hostname") == ct.NAME
    assert ct.links()[f"{ct.NAME}.lan"]["master"] == "hlctbr0"
    assert not Path(paths.record_path("guests", ct.NAME)).stat().st_mode & 0o077
    assert "building" not in ct.record()


def test_an_image_with_owners_beyond_those_of_a_container_is_refused(tmp_path):
    name, root, archive = f"{ct.PREFIX}-owners", tmp_path / "root", tmp_path / "root.tar.zst"
    tiny_root.fill(root)
    os.chown(root / "home", 70000, 0)
    ct.run("tar", "--numeric-owner", "-I", "zstd -1", "-C", str(root), "-cf", str(archive), ".")
    image = {"name": name, "kind": "container", "path": str(archive)}
    assert converge_now(Image(), image).error is None
    try:
        sentence = f"image: {name} has owners up to the id 70000, and an unprivileged container has the ids 0 to 65535"
        refuse(ct.CONTAINER, {**ct.BASE, "image": name}, sentence)
        check_run_again(ct.CONTAINER, {**ct.BASE, "image": name, "unprivileged": False, "state": "stopped"})
        assert owner(ct.rootfs() / "home") == (70000, 0)
    finally:
        ct.clean()
        assert converge_now(Image(), {"name": name, "state": "absent"}).error is None


def test_the_owners_are_shifted_with_setuid_bits_and_capabilities():
    ct.make(state="stopped")
    root, start = ct.rootfs(), ct.record()["idmap"]["start"]
    assert owner(root) == owner(root / "bin/busybox") == (start, start)
    assert owner(root / "home/user") == (start + 1000, start + 1000)
    assert owner(root / "bin/setuid") == owner(root / "bin/setuid-again") == (start, start + 1000)
    assert stat.S_IMODE((root / "bin/setuid").stat().st_mode) == 0o6755
    magic, *dummy, rootid = struct.unpack("<6I", os.getxattr(root / "bin/capable", "security.capability"))
    assert (magic, rootid) == (0x03000001, start)
    assert (root / "etc/hostname").read_text() == f"{ct.NAME}\n"
    assert owner(root / "etc/hostname") == (start, start)
    assert f"127.0.1.1 {ct.NAME}" in (root / "etc/hosts").read_text()


def test_a_privileged_container_keeps_the_owners():
    check_run_again(ct.CONTAINER, {**ct.BASE, "unprivileged": False})
    assert owner(ct.rootfs() / "home/user") == (1000, 1000)
    assert Path(f"/proc/{ct.pid()}/uid_map").read_text().split() == ["0", "0", "4294967295"]
    refuse(ct.CONTAINER, {"name": ct.NAME, "unprivileged": True}, "was made privileged, and stays it")


def test_a_container_whose_root_is_gone_is_refused_and_left_alone():
    ct.make(state="stopped")
    root = ct.rootfs()
    root.rename(root.with_name("away"))
    for change in ({"state": "started"}, {"hostname": "other"}, {"memory": "64MiB"}):
        refuse(ct.CONTAINER, {"name": ct.NAME, **change}, f"rootfs: {root} is gone")
    root.with_name("away").rename(root)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "started"}, ["state"])
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "stopped"}, ["state"])
    root.rename(root.with_name("away"))
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, ["state"])


def test_ranges_do_not_overlap_and_are_free_again():
    first = ct.make(name=f"{ct.PREFIX}-1", state="stopped")
    ct.make(name=f"{ct.PREFIX}-2", state="stopped")
    one, two = (ct.record(f"{ct.PREFIX}-{number}")["idmap"]["start"] for number in (1, 2))
    assert abs(one - two) >= 65536
    check_run_again(ct.CONTAINER, {**first, "state": "absent", "delete": ["rootfs"]}, ["state", "rootfs"])
    ct.make(name=f"{ct.PREFIX}-3", state="stopped")
    assert ct.record(f"{ct.PREFIX}-3")["idmap"]["start"] == one


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ("started", "stopped", "STOPPED"),
        ("started", "paused", "FROZEN"),
        ("started", "restarted", "RUNNING"),
        ("stopped", "started", "RUNNING"),
        ("stopped", "paused", "FROZEN"),
        ("stopped", "restarted", "RUNNING"),
        ("paused", "started", "RUNNING"),
        ("paused", "stopped", "STOPPED"),
        ("paused", "restarted", "RUNNING"),
    ],
)
def test_power(before, wanted, after):
    ct.make(state=before)
    run = ct.pid() if before != "stopped" else None
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": wanted}, ["state"])
    assert ct.state() == after
    if after == "RUNNING" and wanted == "restarted":
        assert ct.pid() != run
    unchanged(ct.CONTAINER, {"name": ct.NAME})


@pytest.mark.parametrize(("word", "meaning"), [("running", "started"), ("shutdown", "stopped"), ("frozen", "paused")])
def test_words_of_others_mean_the_same(word, meaning):
    ct.make(state=meaning)
    unchanged(ct.CONTAINER, {"name": ct.NAME, "state": word})


def test_a_container_that_does_not_shut_down_is_ended_only_when_that_is_allowed():
    ct.make()
    # An init that is stopped does not see the signal.
    os.kill(ct.pid(), 19)
    outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "stopped", "shutdown_timeout": 1})
    assert outcome.error is not None and "did not shut down within 1 s" in outcome.error.message
    assert ct.state() == "RUNNING"
    outcome = converge_now(
        ct.CONTAINER, {"name": ct.NAME, "state": "stopped", "shutdown_timeout": 1, "force_stop": True}
    )
    assert outcome.error is None and ct.state() == "STOPPED"


def test_absent_keeps_the_root_and_says_so():
    ct.make()
    outcome = check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, ["state"])
    assert outcome.plan.kept == [str(ct.rootfs())]
    assert not (ct.LXC / ct.NAME).exists() and ct.rootfs().is_dir()
    assert set(ct.record()) == {"kind", "image", "volumes", "idmap", "schema"}


def test_a_kept_root_is_deleted_later_or_used_again():
    wanted = ct.make(networks=[ct.LAN])
    mac, start = ct.record()["macs"]["lan"], ct.record()["idmap"]["start"]
    (ct.rootfs() / "precious").write_text("data")
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent"})
    refuse(ct.CONTAINER, wanted, "Permit it with allow: [adopt]")
    # Of a run that was killed.
    left_over = ct.rootfs().with_name(f".{ct.rootfs().name}+{'0' * 16}.new")
    left_over.mkdir()
    check_run_again(ct.CONTAINER, {**wanted, "allow": ["adopt"]})
    assert ct.inside("cat", "/precious") == "data" and not left_over.exists()
    assert (ct.record()["macs"]["lan"], ct.record()["idmap"]["start"]) == (mac, start)
    converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent"})
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["volumes"]}, ["rootfs"])
    assert not ct.rootfs().exists() and ct.record() == {}


def test_a_folder_that_is_nobodys_is_not_touched():
    ct.rootfs().mkdir()
    refuse(ct.CONTAINER, {**ct.BASE, "allow": ["adopt"]}, "no record says what it is")


def test_nothing_is_deleted_that_is_mounted_in_the_root():
    ct.make(state="stopped")
    (ct.rootfs() / "mnt").mkdir()
    ct.run("mount", "-t", "tmpfs", "tmpfs", str(ct.rootfs() / "mnt"))
    try:
        refuse(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, "is mounted in it")
    finally:
        ct.run("umount", str(ct.rootfs() / "mnt"))


def test_a_protected_container_stays():
    ct.make(protection=True)
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, "is protected")
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "protection": False}, ["state"])


@pytest.mark.parametrize(
    ("params", "saying"),
    [
        ({"image": None}, "image: is needed to make the container"),
        ({"rootfs": None}, "rootfs.pool: is needed to make the container"),
        ({"image": "hlct-none"}, "there is no image hlct-none"),
        ({"rootfs": {"pool": "hlct-none"}}, "there is no storage pool hlct-none"),
        ({"rootfs": {"pool": ct.POOL, "size": "8G"}}, f"rootfs.size: the storage pool {ct.POOL} of type dir lies on"),
        ({"networks": [{"name": "lan", "bridge": "hlctnone"}]}, "there is no bridge hlctnone"),
        ({"networks": [{"name": "lan"}]}, "networks[lan].bridge: is needed"),
        ({"mounts": [{"name": "data", "path": "/data"}]}, "mounts[data].source: is needed"),
        ({"vcpus": 700}, "vcpus: this host has"),
        ({"cpu": {"pin": "4000"}}, "is not all online"),
        ({"swap": "64M"}, "there is no limit of that. Write memory too"),
    ],
)
def test_what_a_new_container_cannot_be(params, saying):
    before = converge_now(ct.CONTAINER, {**ct.BASE, **params})
    assert before.error is not None and saying in before.error.message
    assert not before.changed and ct.record() == {} and ct.left_behind() == []


def test_what_does_not_exist_yet_is_assumed_by_a_check():
    wanted = {**ct.BASE, "image": "hlct-none", "networks": [{**ct.LAN, "bridge": "hlctnone"}]}
    check = converge_now(
        ct.CONTAINER, {**wanted, "mounts": [{"name": "x", "source": "/srv/hlct/none", "path": "/x"}]}, dry_run=True
    )
    assert check.error is None and check.changed
    assert {"image hlct-none", "bridge hlctnone", "path /srv/hlct/none"} <= set(check.plan.assumed)


def test_a_folder_that_others_may_not_pass_through_is_named():
    os.chmod(ct.FOLDER, 0o700)
    try:
        refuse(ct.CONTAINER, ct.BASE, "may not pass through /srv/hlct")
    finally:
        os.chmod(ct.FOLDER, 0o755)


def test_a_name_is_a_virtual_machine_or_a_container_not_both():
    connection = libvirt.open("qemu:///system")
    domain = connection.defineXML(
        f"<domain type='qemu'><name>{ct.NAME}</name><memory unit='MiB'>16</memory><os><type arch='x86_64'>hvm</type></os></domain>"
    )
    try:
        refuse(ct.CONTAINER, ct.BASE, "is the name of a virtual machine on this host")
        unchanged(ct.CONTAINER, {"name": ct.NAME, "state": "absent"})
        assert ct.NAME in [each.name() for each in connection.listAllDomains()]
    finally:
        domain.undefine()
        connection.close()


def test_the_running_container_holds_none_of_our_locks():
    ct.make()
    for path in Path(paths.LOCKS).rglob(f"{ct.PREFIX}*.lock"):
        with path.open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert lock.holders(stream.fileno()) in ([os.getpid()], [])


def test_an_error_of_liblxc_is_told():
    ct.make(state="stopped")
    with (ct.LXC / ct.NAME / "config").open("a") as stream:
        stream.write("lxc.init.cmd = /nowhere\n")
    outcome = converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "started"})
    assert outcome.error is not None and "did not start: " in outcome.error.message
    assert "/nowhere" in outcome.error.message or "No such file" in outcome.error.message


def test_facts_say_what_is_there():
    outcome = converge_now(
        ct.CONTAINER,
        {
            **ct.BASE,
            "networks": [ct.LAN],
            "memory": 64,
            "tags": ["b", "a"],
            "description": "x",
            "startup": {"order": 3},
        },
    )
    guest = outcome.facts["guest"]
    assert guest["state"] == "started" and guest["pid"] == ct.pid() and guest["uptime_seconds"] >= 0
    assert guest["addresses"] == ["10.91.7.10"] and guest["networks"][0]["bridge"] == "hlctbr0"
    assert (guest["memory_kib"], guest["memory"], guest["tags"], guest["image"]) == (
        65536,
        "64MiB",
        ["a", "b"],
        ct.IMAGE,
    )
    assert guest["disks"] == [
        {"name": "rootfs", "pool": ct.POOL, "path": str(ct.rootfs()), "size_bytes": None, "size": None}
    ]
    assert guest["startup"] == {"order": 3, "up_delay": 0, "down_delay": 0} and ct.record()["startup"] == {"order": 3}
    absent = converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}).facts["guest"]
    assert absent.keys() == guest.keys() and absent["state"] == "absent" and absent["startup"]["order"] is None


CREATION = {**ct.BASE, "networks": [ct.LAN], "memory": "64M", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1 me"]}


def test_creation_survives_every_kill():
    def verify(outcome: t.Any) -> None:
        assert ct.state() == "RUNNING" and ct.inside("hostname") == ct.NAME
        assert "building" not in ct.record() and "new" not in ct.record()["volumes"]["rootfs"]
        assert [path.name for path in (ct.FOLDER / "pool").iterdir()] == [f"{ct.NAME}.rootfs"]
        assert "AAAAC3NzaC1lZDI1" in (ct.rootfs() / "root/.ssh/authorized_keys").read_text()

    survive_kills(ct.CONTAINER, CREATION, begin=ct.clean, verify=verify, moments=3)


@pytest.mark.parametrize(("power", "shown"), [("started", "RUNNING"), ("paused", "FROZEN")])
def test_a_killed_creation_comes_to_its_power_by_a_run_that_leaves_the_power_as_it_is(power: str, shown: str):
    def verify(outcome: t.Any) -> None:
        assert ct.state() == shown and "due_power" not in ct.record()

    then = {key: value for key, value in ct.BASE.items() if key != "state"}
    survive_kills(ct.CONTAINER, {**ct.BASE, "state": power}, begin=ct.clean, verify=verify, moments=0, then=then)


def test_a_start_that_was_due_is_forgotten_with_any_other_word_on_the_power():
    steps = Child(ct.CONTAINER, ct.BASE).finish()[0]
    ct.clean()
    Child(ct.CONTAINER, ct.BASE, kill_at=steps.index("record complete") + 1).finish()
    assert ct.state() == "STOPPED" and ct.record()["due_power"] == "started"
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "stopped"}, [])
    check_run_again(ct.CONTAINER, {"name": ct.NAME}, [])
    assert ct.state() == "STOPPED"


def test_a_restart_that_is_killed_anywhere_leaves_a_container_that_runs():
    def begin() -> None:
        ct.clean()
        ct.make(networks=[ct.LAN])

    def verify(outcome: t.Any) -> None:
        assert ct.state() == "RUNNING" and mac in ct.network("-o", "link") and "due_power" not in ct.record()

    mac = "10:66:6a:00:00:77"
    change = {"name": ct.NAME, "networks": [{"name": "lan", "mac": mac}], "restart_policy": "if_needed"}
    survive_kills(
        ct.CONTAINER, {**change, "shutdown_timeout": 1, "force_stop": True}, begin=begin, verify=verify, moments=0
    )


def test_removal_survives_every_kill():
    def begin() -> None:
        ct.clean()
        ct.make(networks=[ct.LAN])

    def verify(outcome: t.Any) -> None:
        assert ct.record() == {} and ct.left_behind() == [] and not ct.rootfs().exists()

    wanted = {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}
    survive_kills(ct.CONTAINER, wanted, begin=begin, verify=verify, moments=3)


def test_adoption_survives_every_kill():
    def begin() -> None:
        ct.clean()
        ct.make()
        (ct.rootfs() / "precious").write_text("data")
        converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "absent"})

    def verify(outcome: t.Any) -> None:
        assert ct.inside("cat", "/precious") == "data"

    survive_kills(ct.CONTAINER, {**ct.BASE, "allow": ["adopt"]}, begin=begin, verify=verify, moments=2)


def test_two_runs_at_once_make_one_container():
    results = at_once(ct.CONTAINER, ct.BASE, ct.BASE)
    assert sorted(result["changed"] for result in results) == [False, True]
    assert ct.state() == "RUNNING"


def test_two_containers_made_at_once_share_no_ids():
    results = at_once(
        ct.CONTAINER,
        *(
            {**ct.BASE, "name": f"{ct.PREFIX}-{number}", "networks": [{**ct.LAN, "ip": "none", "gateway": None}]}
            for number in (1, 2)
        ),
    )
    assert all("msg" not in result for result in results), results
    one, two = (ct.record(f"{ct.PREFIX}-{number}") for number in (1, 2))
    assert abs(one["idmap"]["start"] - two["idmap"]["start"]) >= 65536 and one["macs"] != two["macs"]


def test_what_an_interrupted_attempt_left_goes():
    attempt = ct.FOLDER / "pool" / f".{ct.NAME}.rootfs+0123456789abcdef.new"
    other = ct.FOLDER / "pool" / f".{ct.NAME}.rootfs.rootfs+0123456789abcdef.new"
    for folder in (attempt, other):
        (folder / "etc").mkdir(parents=True)
    ct.make(state="stopped")
    assert not attempt.exists() and other.exists(), "another container's attempt is not ours"
    other.joinpath("etc").rmdir()
    other.rmdir()


def test_a_running_command_sees_no_variable_of_ours():
    ct.make()
    environment = (
        subprocess.run(["cat", f"/proc/{ct.pid()}/environ"], capture_output=True, check=True)
        .stdout.decode()
        .split("\0")
    )
    assert not [line for line in environment if line.startswith(("SSH_", "ANSIBLE", "VIRTUAL_ENV"))]
    assert json.dumps(environment)
