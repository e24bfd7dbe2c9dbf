# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that come into a running container and go out of it, and what a clone is not to have of its origin."""

from __future__ import annotations

import os
import types
import typing as t
from pathlib import Path

import pytest
from unit.descriptors import open_files

from ansible_collections.homelab.hybrid.plugins.module_utils._container import identity, inside, plugging, running
from ansible_collections.homelab.hybrid.plugins.module_utils._container.device import Device
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError

IDS = ["u 0 100000 65536"]


def device(
    name: str = "gpu", type: str = "node", ref: str = "/dev/dri/renderD128", rule: str = "c 226:128 rwm"
) -> Device:
    return Device("one", name, type, ref, mode="0660", gid=44, optional=False, uid=100000, host_gid=100044, rule=rule)


class Container:
    """liblxc's handle: what the control groups were told, and whether the kernel takes it."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.told: list[tuple[str, str]] = []

    def set_cgroup_item(self, key: str, value: str) -> bool:
        self.told.append((key, value))
        return self.takes


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in order; the nodes lie in the folder of the test, and what is mounted inside is in ``mounted`` there."""
    told: list[str] = []
    mounted: dict[str, t.Any] = {}
    monkeypatch.setattr(paths, "DEVICES", str(tmp_path / "devices"))
    monkeypatch.setattr(plugging, "PROGRAM", str(tmp_path / "make-device"))

    def run(argv: list[str], **options: t.Any) -> None:
        told.append(" ".join(argv[1:]))
        Path(device().folder).mkdir(parents=True, exist_ok=True)
        Path(device().folder, argv[1]).touch()

    def in_namespaces(pid: int, names: tuple[str, ...], do: t.Callable[[], None]) -> None:
        told.append(f"as root in {','.join(names)}")
        do()

    monkeypatch.setattr(plugging.command, "run", run)
    monkeypatch.setattr(plugging, "in_namespaces", in_namespaces)
    monkeypatch.setattr(plugging.live, "mounts_of", lambda path: mounted)
    monkeypatch.setattr(plugging.live, "place_of", lambda source, mounts: "its place")
    monkeypatch.setattr(plugging.mounting, "mount", lambda pid, source, path, how: told.append(f"mount {path} {how}"))
    monkeypatch.setattr(plugging.mounting, "unmount", lambda pid, path: told.append(f"unmount {path}"))
    monkeypatch.setattr(os, "setgid", lambda gid: told.append(f"gid {gid}"))
    monkeypatch.setattr(os, "setuid", lambda uid: told.append(f"uid {uid}"))
    monkeypatch.setattr(plugging, "mounted", mounted, raising=False)
    return told


def at(tmp_path: Path, **more: t.Any) -> Device:
    """A device whose path inside lies in the folder of the test."""
    return device(ref=str(tmp_path / "root/dev/dri/renderD128"), **more)


def test_a_device_is_let_through_and_mounted_where_root_inside_made_a_place(tmp_path: Path, host: list[str]) -> None:
    its, container, before = at(tmp_path), Container(), open_files()
    plugging.plug(7, container, its, IDS)
    how = ("bind",)
    assert host == [" ".join((*its.words, "one")), "as root in user,mnt", "gid 0", "uid 0", f"mount {its.path} {how}"]
    assert container.told == [("devices.allow", "c 226:128 rwm")] and os.path.isfile(its.path)
    assert os.access(plugging.PROGRAM, os.X_OK) and paths.DEVICES in Path(plugging.PROGRAM).read_text()
    assert open_files() <= before
    with pytest.raises(ApplyError, match="refused to let"):
        plugging.plug(7, Container(takes=False), its, IDS)


def test_one_that_is_there_stays_and_another_in_its_place_goes_first(tmp_path: Path, host: list[str]) -> None:
    its = at(tmp_path)
    plugging.mounted[its.path] = types.SimpleNamespace(place="its place")  # type: ignore[attr-defined]  # of the fixture
    plugging.plug(7, Container(), its, [])
    assert len(host) == 1
    plugging.mounted[its.path] = types.SimpleNamespace(place="another")  # type: ignore[attr-defined]  # of the fixture
    plugging.plug(7, Container(), its, [])
    assert host[2:4] == [f"unmount {its.path}", "as root in mnt"]


def test_one_that_the_host_does_not_have_is_not_mounted(host: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugging.command, "run", lambda argv: host.append("run"))
    plugging.plug(7, Container(), device(), IDS)
    assert host == ["run"]


@pytest.mark.parametrize(("is_last", "is_denied"), [(True, True), (False, False)])
def test_a_device_that_goes_leaves_no_node_on_the_host_and_no_file_that_looks_like_one_inside(
    tmp_path: Path, host: list[str], is_last: bool, is_denied: bool
) -> None:
    its, container = at(tmp_path, type="node"), Container()
    Path(its.folder).mkdir(parents=True)
    (tmp_path / "node of usb").touch()
    os.symlink(tmp_path / "node of usb", its.node)
    Path(its.path).parent.mkdir(parents=True)
    Path(its.path).touch()
    plugging.mounted[its.path] = "mounted"  # type: ignore[attr-defined]  # of the fixture
    plugging.unplug(7, container, its, IDS, is_last=is_last, is_denied=is_denied)
    assert not os.path.lexists(its.node) and not (tmp_path / "node of usb").exists()
    assert host == ([f"unmount {its.path}", "as root in user,mnt", "gid 0", "uid 0"] if is_last else [])
    assert container.told == ([("devices.deny", "c 226:128 rwm")] if is_denied else [])
    assert os.path.exists(its.path) is not is_last
    plugging.unplug(7, container, its, IDS, is_last=False, is_denied=False)
    with pytest.raises(ApplyError, match="refused to take"):
        plugging.unplug(7, Container(takes=False), its, IDS, is_last=False, is_denied=True)


def test_a_file_of_the_guest_in_the_place_of_a_device_stays_and_a_folder_is_made_for_many(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("theirs")
    plugging._remove_target(str(tmp_path / "file"))
    assert (tmp_path / "file").exists()
    plugging._make_target(str(tmp_path / "dev/bus/usb"), is_folder=True)
    plugging._make_target(str(tmp_path / "file"), is_folder=False)
    assert (tmp_path / "dev/bus/usb").is_dir() and (tmp_path / "file").read_text() == "theirs"


def test_the_nodes_of_a_guest_that_is_gone_go(host: list[str]) -> None:
    Path(device().folder).mkdir(parents=True)
    Path(device().node).touch()
    plugging.forget("one")
    plugging.forget("one")
    assert os.listdir(paths.DEVICES) == []


def test_a_device_goes_out_alone_where_another_needs_its_folder_or_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[t.Any] = []
    monkeypatch.setattr(plugging, "plug", lambda pid, handle, its, ids: told.append((pid, handle, its.name, ids)))
    monkeypatch.setattr(plugging, "unplug", lambda pid, handle, its, ids, **how: told.append((its.name, ids, how)))
    one, two, other = (
        device("one", "usb", "10c4:ea60"),
        device("two", "usb", "10c4:ea61", rule="c 189:* rwm"),
        device("other", ref="/dev/x"),
    )
    for there, last, denied in (((one,), True, True), ((one, two), False, True), ((one, other), True, False)):
        state = types.SimpleNamespace(
            devices={its.name: its for its in there}, config=types.SimpleNamespace(values=lambda key: [key])
        )
        wanted = types.SimpleNamespace(state=state, devices={"one": one})
        its = running.Running("handle", t.cast(t.Any, types.SimpleNamespace(pid=7)), t.cast(t.Any, wanted))
        running.unplug_device(its, "one")
        running.unplug_device(its, "unknown")
        assert told.pop() == ("one", ["lxc.idmap"], {"is_last": last, "is_denied": denied}) and told == []
        running.plug_device(its, "one")
        assert told.pop() == (7, "handle", "one", ["lxc.idmap"])


# ---- what identifies a container -----------------------------------------------------------------------------------------------


FILES = (
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/ssh/ssh_host_odd",
    "etc/ssh/sshd_config",
    "var/lib/dhcp/dhclient.leases",
    "var/lib/cloud/instance/obj.pkl",
    "var/lib/cloud/seed/nocloud",
    "etc/other",
)


def root_of_a_clone(tmp_path: Path) -> inside.WritableTree:
    cards = [inside.guest_files.networkd_path("lan").lstrip("/"), inside.guest_files.ifupdown_path("lan").lstrip("/")]
    for path in (*FILES, *cards, "etc/systemd/network/theirs.network"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("of the origin")
    return inside.WritableTree(str(tmp_path), (os.getuid(), os.getgid()))


def left(tmp_path: Path) -> dict[str, str]:
    return {str(path.relative_to(tmp_path)): path.read_text() for path in sorted(tmp_path.rglob("*")) if path.is_file()}


def test_nothing_that_identifies_the_origin_is_left_and_host_keys_of_the_same_kinds_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str]) -> None:
        asked.append(argv)
        Path(argv[-1]).write_text("private")
        Path(f"{argv[-1]}.pub").write_text("public")

    monkeypatch.setattr(identity.command, "run", run)
    monkeypatch.setattr(identity.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert identity.reset(root_of_a_clone(tmp_path), "two") == []
    assert left(tmp_path) == {
        "etc/machine-id": "",
        "etc/other": "of the origin",
        "etc/ssh/ssh_host_ed25519_key": "private",
        "etc/ssh/ssh_host_ed25519_key.pub": "public",
        "etc/ssh/sshd_config": "of the origin",
        "etc/systemd/network/theirs.network": "of the origin",
        "var/lib/cloud/seed/nocloud": "of the origin",
    }
    assert [(path, (tmp_path / path).stat().st_mode & 0o777) for path in ("etc/machine-id", FILES[4])] == [
        ("etc/machine-id", 0o444),
        (FILES[4], 0o600),
    ]
    ((*argv, dummy),) = asked
    assert argv == ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root@two", "-f"]


def test_keys_that_nothing_here_can_make_are_gone_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity.shutil, "which", lambda name: None)
    (told,) = identity.reset(root_of_a_clone(tmp_path), "two")
    assert "Make them inside: ssh-keygen -A" in told and not (tmp_path / FILES[4]).exists()
