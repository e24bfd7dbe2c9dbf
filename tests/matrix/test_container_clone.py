# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones of containers and templates on btrfs and on a plain folder. Proven with btrfs, the files, and LXC itself."""

from __future__ import annotations

import os
import stat
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.read import read_guests
from ansible_collections.homelab.hybrid.plugins.module_utils._snapshot.resource import GuestSnapshot
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.resource import StoragePool
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged
from ansible_collections.homelab.hybrid.tests.harness.kill import survive_kills

CLONE = f"{ct.PREFIX}-b"
FROM: dict[str, t.Any] = {"name": CLONE, "state": "stopped", "clone_from": {"guest": ct.NAME}}
LINKED: dict[str, t.Any] = {**FROM, "clone_from": {"guest": ct.NAME, "mode": "linked"}}
TEMPLATE: dict[str, t.Any] = {"name": ct.NAME, "template": True}
KEEP: dict[str, t.Any] = {"guest": ct.NAME, "name": "before"}
PATHS = ["state", "clone_from", "rootfs.pool", "unprivileged", "hostname", "autostart"]
# A file capability for root of the user namespace in whose root it was given: cap_net_raw, effective.
_CAPABILITY = struct.pack("<IIIIII", 0x03000001, 1 << 13, 0, 0, 0, 0)

pytestmark = pytest.mark.usefixtures("no_container")


pool = ct.pools("clones.img")


@pytest.fixture(autouse=True)
def _pool(pool: str) -> None:
    """Every test is of both types."""


def put(path: str, text: str, *, name: str = ct.NAME, mode: int = 0o644) -> Path:
    """A file of root inside."""
    place, owner = ct.rootfs(name) / path.lstrip("/"), ct.rootfs(name).stat()
    for folder in (*reversed(place.relative_to(ct.rootfs(name)).parents[:-1]), None):
        if folder is not None and not (ct.rootfs(name) / folder).exists():
            (ct.rootfs(name) / folder).mkdir()
            os.chown(ct.rootfs(name) / folder, owner.st_uid, owner.st_gid)
    place.write_text(text, encoding="utf-8")
    os.chown(place, owner.st_uid, owner.st_gid)
    place.chmod(mode)
    return place


def read(path: str, name: str = CLONE) -> str:
    return (ct.rootfs(name) / path.lstrip("/")).read_text(encoding="utf-8")


def make_identity() -> None:
    """What a machine that has run for a while is known by."""
    put("/etc/machine-id", "0" * 31 + "1\n")
    put("/var/lib/dbus/machine-id", "0" * 31 + "1\n")
    put("/var/lib/systemd/random-seed", "seed")
    put("/var/lib/cloud/data/instance-id", "old\n")
    put("/var/lib/cloud/instances/old/sem/config_ssh", "")
    put("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: old\n")
    put("/etc/ssh/sshd_config", "Port 22\n")
    put("/etc/ssh/ssh_host_ed25519_key", "of the origin\n", mode=0o600)
    put("/etc/ssh/ssh_host_ed25519_key.pub", "of the origin\n")
    put("/etc/network/interfaces.d/homelab-old", "auto eth0\n")


def told(name: str) -> dict[str, t.Any]:
    guests: list[dict[str, t.Any]] = read_guests({"name": [name]}, Host())["guests"]
    return guests[0]


def clone_change(outcome: Outcome) -> str:
    return str(next(change.after for change in outcome.plan.changes if change.path == "clone_from"))


@pytest.mark.parametrize("unprivileged", [True, False], ids=["unprivileged", "privileged"])
@pytest.mark.parametrize("power", ["stopped", "started"])
def test_a_clone_has_what_its_origin_holds_and_an_identity_of_its_own(
    pool: str, power: str, unprivileged: bool
) -> None:
    ct.make(state="stopped", unprivileged=unprivileged, networks=[ct.LAN])
    make_identity()
    busybox = ct.rootfs() / "bin" / "busybox"
    put("/srv/note", "kept")
    os.setxattr(ct.rootfs() / "srv" / "note", "security.capability", _capability_of(ct.rootfs().stat().st_uid))
    if power == "started":
        ct.run("lxc-start", "-n", ct.NAME)
    mac = ct.values("lxc.net.0.hwaddr")
    outcome = check_run_again(ct.CONTAINER, {**FROM, "networks": [{**ct.LAN, "ip": "10.91.7.11/24"}]})
    assert ("shares its blocks" if pool == "btrfs" else "a copy of at most") in clone_change(outcome)
    assert ct.state() == ("STOPPED" if power == "stopped" else "RUNNING")
    root, base = ct.rootfs(CLONE).stat(), ct.rootfs().stat()
    assert (root.st_uid == base.st_uid) == (not unprivileged)
    its = (ct.rootfs(CLONE) / "bin" / "busybox").stat()
    assert (its.st_uid - root.st_uid, its.st_mode) == (busybox.stat().st_uid - base.st_uid, busybox.stat().st_mode)
    if unprivileged:  # the kernel shows one for its own root in an older form
        assert os.getxattr(ct.rootfs(CLONE) / "srv" / "note", "security.capability") == _capability_of(root.st_uid)
    assert read("/srv/note") == "kept"
    assert ct.values("lxc.net.0.hwaddr", CLONE) not in ([], mac)
    assert (read("/etc/hostname"), read("/etc/machine-id")) == (f"{CLONE}\n", "")
    key = ct.rootfs(CLONE) / "etc/ssh/ssh_host_ed25519_key"
    assert ct.run("ssh-keygen", "-l", "-f", str(key)).strip().endswith("(ED25519)")
    assert (key.stat().st_uid, stat.S_IMODE(key.stat().st_mode)) == (root.st_uid, 0o600)
    assert ct.run("ssh-keygen", "-y", "-f", str(key)).split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
    gone = (
        *(
            "/var/lib/dbus/machine-id",
            "/var/lib/systemd/random-seed",
            "/var/lib/cloud/data",
            "/var/lib/cloud/instances",
        ),
        "/etc/network/interfaces.d/homelab-old",
    )
    assert [path for path in gone if (ct.rootfs(CLONE) / path.lstrip("/")).exists()] == []
    assert read("/var/lib/cloud/seed/nocloud/meta-data") == "instance-id: old\n"
    assert read("/etc/ssh/ssh_host_ed25519_key", ct.NAME) == "of the origin\n"
    assert (told(CLONE)["clone_from"], told(ct.NAME)["clones"]) == (
        {"guest": ct.NAME, "snapshot": None, "linked": False},
        [],
    )
    if power == "stopped":
        check_run_again(ct.CONTAINER, {"name": CLONE, "state": "started"}, ["state"])
        assert ct.inside("hostname", name=CLONE) == CLONE


def _capability_of(root_uid: int) -> bytes:
    return _CAPABILITY[:20] + struct.pack("<I", root_uid)


def test_a_clone_outlives_its_origin_and_is_made_once() -> None:
    ct.make(state="stopped")
    check_run_again(ct.CONTAINER, FROM, PATHS)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, ["state", "rootfs"])
    unchanged(ct.CONTAINER, FROM)
    check_run_again(ct.CONTAINER, {**FROM, "memory": 64}, ["memory"])
    assert "there is no guest" in _failure({**FROM, "name": f"{ct.PREFIX}-c"})
    assert not ct.record(f"{ct.PREFIX}-c")


def _failure(params: dict[str, t.Any]) -> str:
    check, run = (converge_now(ct.CONTAINER, params, dry_run=dry_run) for dry_run in (True, False))
    assert check.error is None and f"guest {ct.NAME}" in check.plan.assumed
    assert run.error is not None and not run.changed
    return run.error.message


def test_a_clone_of_a_snapshot_has_what_was_there_then() -> None:
    ct.make(state="stopped")
    put("/srv/note", "then")
    check_run_again(GuestSnapshot(), KEEP)
    put("/srv/note", "now")
    check_run_again(ct.CONTAINER, {**FROM, "clone_from": {"guest": ct.NAME, "snapshot": "before"}})
    assert read("/srv/note") == "then"
    put("/srv/note", "mine", name=CLONE)
    assert told(CLONE)["clone_from"] == {"guest": ct.NAME, "snapshot": "before", "linked": False}
    wrong = {**FROM, "name": f"{ct.PREFIX}-c", "clone_from": {"guest": ct.NAME, "snapshot": "never"}}
    assert "It has: before" in refuse(ct.CONTAINER, wrong, "has no snapshot never")


def test_what_linked_clones_stand_on_stays_as_it_is(pool: str) -> None:
    ct.make(state="stopped")
    if pool == "dir":
        refuse(ct.CONTAINER, LINKED, "has no linked roots of containers; one of type btrfs has. Write mode: full")
        return
    check_run_again(GuestSnapshot(), KEEP)
    assert "(linked)" in clone_change(check_run_again(ct.CONTAINER, LINKED, PATHS))
    assert told(ct.NAME)["clones"] == [CLONE]
    saying = f"the linked clone {CLONE} stands on {ct.NAME}"
    for change in ({"state": "started"}, {"hostname": "other"}, {"rootfs": {"pool": ct.POOL, "size": "1G"}}):
        refuse(ct.CONTAINER, {**ct.BASE, "state": "stopped", **change}, saying)
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["rootfs"]}, saying)
    refuse(GuestSnapshot(), {**KEEP, "state": "reverted", "allow": ["revert"]}, saying)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "memory": 64}, ["memory"])
    check_run_again(GuestSnapshot(), {**KEEP, "name": "after"})
    check_run_again(ct.CONTAINER, {"name": CLONE, "state": "absent", "delete": ["rootfs"]}, ["state", "rootfs"])
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "started"}, ["state"])
    refuse(ct.CONTAINER, LINKED, f"{ct.NAME} runs, and what is linked stands on what does not change")


def test_a_clone_can_come_to_another_pool_and_have_a_size_there(pool: str) -> None:
    ct.make(state="stopped")
    put("/srv/note", "kept")
    other = {"name": f"{ct.PREFIX}-other", "type": "dir", "path": str(ct.FOLDER / "other")}
    assert converge_now(StoragePool(), other).error is None
    try:
        params = {**FROM, "rootfs": {"pool": other["name"]}}
        refuse(ct.CONTAINER, {**params, "clone_from": LINKED["clone_from"]}, "rootfs comes to the storage pool")
        assert "a copy of at most" in clone_change(check_run_again(ct.CONTAINER, params))
        place = ct.FOLDER / "other" / f"{CLONE}.rootfs"
        assert (place / "srv" / "note").read_text(encoding="utf-8") == "kept"
        assert place.stat().st_uid == int(ct.values("lxc.idmap", CLONE)[0].split()[2])
        back = {**FROM, "name": f"{ct.PREFIX}-c", "clone_from": {"guest": CLONE}, "rootfs": {"pool": ct.POOL}}
        if pool == "btrfs":
            back["rootfs"]["size"] = "100M"
        check_run_again(ct.CONTAINER, back)
        assert read("/srv/note", back["name"]) == "kept"
        for name in (back["name"], CLONE):
            check_run_again(ct.CONTAINER, {"name": name, "state": "absent", "delete": ["rootfs"]})
    finally:
        outcome = converge_now(StoragePool(), {"name": other["name"], "state": "absent", "allow": ["delete_data"]})
    assert outcome.error is None, outcome.error


@pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
def test_a_clone_has_the_size_and_the_subvolumes_of_its_origin(pool: str) -> None:
    ct.make(state="stopped", rootfs={"pool": ct.POOL, "size": "100M"})
    inner = ct.rootfs() / "srv" / "inner"
    inner.parent.mkdir(exist_ok=True)
    ct.run("btrfs", "subvolume", "create", str(inner))
    (inner / "file").write_text("kept", encoding="utf-8")
    check_run_again(ct.CONTAINER, FROM, [*PATHS, "rootfs.size"])
    assert read("/srv/inner/file") == "kept" and told(CLONE)["disks"][0]["size"] == "100MiB"
    assert (ct.rootfs(CLONE) / "srv/inner").stat().st_ino == 256


@pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
def test_a_snapshot_that_a_linked_clone_stands_on_stays() -> None:
    ct.make(state="started")
    check_run_again(GuestSnapshot(), KEEP)
    check_run_again(
        ct.CONTAINER, {**FROM, "clone_from": {"guest": ct.NAME, "snapshot": "before", "mode": "linked"}}, PATHS
    )
    saying = f"the linked clone {CLONE} stands on it"
    refuse(GuestSnapshot(), {**KEEP, "state": "absent"}, saying)
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "absent", "delete": ["snapshots"]}, saying)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "restarted"}, ["state"])
    check_run_again(ct.CONTAINER, {"name": CLONE, "state": "absent", "delete": ["rootfs"]})
    check_run_again(GuestSnapshot(), {**KEEP, "state": "absent"}, ["state"])


def test_a_template_is_what_guests_are_cloned_from(pool: str) -> None:
    ct.make(state="started")
    refuse(ct.CONTAINER, TEMPLATE, f"{ct.NAME} runs, and a template does not. Stop it first")
    stop = {**TEMPLATE, "state": "stopped", "force_stop": True, "shutdown_timeout": 1}
    check_run_again(ct.CONTAINER, stop, ["state", "template"])
    if pool == "btrfs":
        assert ct.run("btrfs", "property", "get", "-ts", str(ct.rootfs()), "ro").strip() == "ro=true"
    refuse(ct.CONTAINER, {"name": ct.NAME, "state": "started"}, f"{ct.NAME} is a template")
    refuse(ct.CONTAINER, {"name": ct.NAME, "hostname": "other"}, "write template: false")
    check_run_again(GuestSnapshot(), KEEP)
    refuse(GuestSnapshot(), {**KEEP, "state": "reverted", "allow": ["revert"]}, f"{ct.NAME} is a template")
    outcome = check_run_again(ct.CONTAINER, {**FROM, "state": "started"})
    assert ("(linked)" if pool == "btrfs" else "a copy of at most") in clone_change(outcome)
    assert (told(ct.NAME)["template"], told(CLONE)["template"]) == (True, False)
    if pool == "btrfs":
        refuse(ct.CONTAINER, {**TEMPLATE, "template": False}, f"the linked clone {CLONE} stands on {ct.NAME}")
        ct.run("lxc-stop", "-k", "-n", CLONE)
        check_run_again(ct.CONTAINER, {"name": CLONE, "state": "absent", "delete": ["rootfs"]})
    check_run_again(ct.CONTAINER, {**TEMPLATE, "template": False, "state": "started"}, ["template", "state"])
    assert ct.inside("touch", "/srv-is-writable") == ""


def test_a_template_can_be_made_at_once_and_taken_away_with_its_root() -> None:
    ct.make(state="stopped", template=True)
    unchanged(ct.CONTAINER, TEMPLATE)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "state": "absent"}, ["state"])
    check_run_again(ct.CONTAINER, {**ct.BASE, "allow": ["adopt"]})
    assert ct.inside("touch", "/srv-is-writable") == ""


@pytest.mark.parametrize("pool", ["dir"], indirect=True)
def test_a_clone_of_a_running_container_survives_every_kill() -> None:
    """It is held meanwhile."""

    def begin() -> None:
        ct.clean()
        ct.make(state="started")
        put("/srv/note", "kept")

    def verify(outcome: Outcome) -> None:
        assert (ct.state(), ct.state(CLONE), read("/srv/note")) == ("RUNNING", "STOPPED", "kept")
        assert not list((ct.FOLDER / "pool").glob(".*"))

    survive_kills(ct.CONTAINER, FROM, begin=begin, verify=verify, moments=0)


@pytest.mark.parametrize("pool", ["btrfs"], indirect=True)
def test_a_template_is_made_and_unmade_whenever_a_run_is_killed() -> None:
    def begin() -> None:
        ct.clean()
        ct.make(state="started")

    end = {"state": "stopped", "force_stop": True, "shutdown_timeout": 1}
    is_read_only = ["btrfs", "property", "get", "-ts", str(ct.rootfs()), "ro"]

    def verify(outcome: Outcome) -> None:
        assert ct.run(*is_read_only).strip() == f"ro={str(told(ct.NAME)['template']).lower()}"

    survive_kills(ct.CONTAINER, {**TEMPLATE, **end}, begin=begin, verify=verify, moments=0)

    def begin_as_one() -> None:
        ct.clean()
        ct.make(state="stopped", template=True)

    params = {**TEMPLATE, "template": False}
    survive_kills(ct.CONTAINER, params, begin=begin_as_one, verify=verify, moments=0)


@pytest.mark.parametrize("pool", ["dir"], indirect=True)
def test_what_cannot_be_cloned_is_refused_with_its_reason() -> None:
    ct.make(state="stopped")
    refuse(ct.CONTAINER, {**FROM, "unprivileged": False}, f"unprivileged: {ct.NAME} is unprivileged")
    with_image = {**FROM, "image": ct.IMAGE}
    for params, saying in (
        (with_image, "image is written too"),
        ({**FROM, "clone_from": {"guest": CLONE}}, "cannot be cloned from itself"),
        ({**FROM, "clone_from": {"mode": "full"}}, "clone_from.guest: is needed"),
        ({**TEMPLATE, "state": "started"}, "a template is not started"),
        ({**TEMPLATE, "autostart": True}, "does not start with the host"),
    ):
        outcome = converge_now(ct.CONTAINER, params)
        assert outcome.error is not None and saying in outcome.error.message
