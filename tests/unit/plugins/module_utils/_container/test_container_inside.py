# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in the root of a container, and whose they are."""

from __future__ import annotations

import os
import stat
import struct
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import inside, rootfs
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change

ROOT = (100000, 100001)


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Who was given what, by name."""
    given: dict[str, tuple[int, int]] = {}

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        given[os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))] = (uid, gid)

    def chown(path: str, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        assert not follow_symlinks
        given[os.path.basename(path)] = (uid, gid)

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(inside.secrets, "token_hex", lambda count: "token")
    return given


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_and_the_folders_on_its_way_are_those_of_root_inside(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    inside.WritableTree(str(tmp_path), ROOT).write("/root/.ssh/keys", "key\n", mode=0o640, folder_mode=0o700)
    assert (tmp_path / "root/.ssh/keys").read_text() == "key\n"
    assert [mode(tmp_path / path) for path in ("root/.ssh", "root/.ssh/keys")] == [0o700, 0o640]
    assert owners == dict.fromkeys(("root", ".ssh", ".token.new"), ROOT)


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(ApplyError, match="place cannot be written"):
        inside.WritableTree(str(tmp_path)).write("/place", "x")
    assert os.listdir(tmp_path) == ["place"]


def test_a_link_is_made_where_nothing_is_and_a_file_that_is_not_there_is_none_to_remove(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    tree = inside.WritableTree(str(tmp_path), ROOT)
    tree.link("/wants/unit", "/lib/unit")
    assert os.readlink(tmp_path / "wants/unit") == "/lib/unit" and owners == dict.fromkeys(("wants", "unit"), ROOT)
    tree.link("/wants/unit", "/lib/other")
    assert os.readlink(tmp_path / "wants/unit") == "/lib/unit"
    for dummy in range(2):
        tree.remove("/wants/unit")
        assert os.listdir(tmp_path / "wants") == []


def wanted(*, exists: bool = True, cards: t.Any = None, unset: tuple[str, ...] = (), **values: t.Any) -> t.Any:
    keyed = {key.replace("__", "."): value for key, value in values.items()}
    return types.SimpleNamespace(
        value=keyed.get,
        spec=types.SimpleNamespace(get=keyed.get, unset=unset),
        state=types.SimpleNamespace(
            exists=exists,
            source=None,
            host=types.SimpleNamespace(servers=("192.0.2.53",), search=("lab.example",)),
            record=types.SimpleNamespace(ssh_keys=("ssh-ed25519 ours",)),
        ),
        cards=cards or {},
    )


def written(tmp_path: Path, what: t.Any, *paths: str) -> None:
    changes = [Change(path, None, "x") for path in paths]
    inside.write_files(inside.WritableTree(str(tmp_path), (os.getuid(), os.getgid())), what, changes)


def text(tmp_path: Path, path: str) -> str:
    return (tmp_path / path).read_text()


def test_each_option_has_its_file(tmp_path: Path) -> None:
    for folder in ("etc", "root/.ssh"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 old\n")
    (tmp_path / "etc/resolv.conf").write_text("nameserver 192.0.2.1\nsearch kept.example\n")
    (tmp_path / "root/.ssh/authorized_keys").write_text("ssh-ed25519 ours\nssh-ed25519 theirs\n")
    what = wanted(hostname="two", dns__servers=("192.0.2.9",), ssh_keys=("ssh-ed25519 new",))
    written(tmp_path, what, "hostname", "dns.servers", "ssh_keys", "memory")
    assert text(tmp_path, "etc/hostname") == "two\n" and "127.0.1.1" in text(tmp_path, "etc/hosts")
    assert "two" in text(tmp_path, "etc/hosts") and "old" not in text(tmp_path, "etc/hosts")
    resolver = text(tmp_path, "etc/resolv.conf")
    assert "nameserver 192.0.2.9" in resolver and "192.0.2.1\n" not in resolver and "search kept.example" in resolver
    assert text(tmp_path, "root/.ssh/authorized_keys").split("\n")[:2] == ["ssh-ed25519 theirs", "ssh-ed25519 new"]
    assert mode(tmp_path / "root/.ssh/authorized_keys") == 0o600


def test_a_new_container_asks_the_servers_of_the_host_where_nobody_names_others(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    written(tmp_path, wanted(exists=False))
    assert "nameserver 192.0.2.53" in text(tmp_path, "etc/resolv.conf")
    assert "search lab.example" in text(tmp_path, "etc/resolv.conf")
    (tmp_path / "etc/resolv.conf").unlink()
    written(tmp_path, wanted(exists=False, dns__search=("declared.example",)), "dns.search")
    assert "nameserver 192.0.2.53" in text(tmp_path, "etc/resolv.conf")
    assert "search declared.example" in text(tmp_path, "etc/resolv.conf")
    (tmp_path / "etc/resolv.conf").unlink()
    written(tmp_path, wanted(exists=True))
    assert os.listdir(tmp_path / "etc") == []


class Card(dict[str, t.Any]):
    device = "eth0"

    def __missing__(self, key: str) -> str:
        return ""


def test_a_card_has_a_file_of_networkd_and_networkd_is_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "network_manager", lambda tree: "networkd")
    (tmp_path / "etc").mkdir()
    file = tmp_path / inside.guest_files.networkd_path("lan").lstrip("/")
    written(tmp_path, wanted(cards={"lan": Card(ip="192.0.2.5/24", gateway="192.0.2.1")}), "networks[lan].ip")
    assert "192.0.2.5/24" in file.read_text()
    links = [tmp_path / link.lstrip("/") for link, dummy in inside.guest_files.NETWORKD_LINKS]
    assert links and all(link.is_symlink() for link in links)
    both = Card(ip="dhcp", ip6="2001:db8::5/64", gateway6="2001:db8::1")
    written(tmp_path, wanted(cards={"lan": both}), "networks[lan].ip6")
    assert {"DHCP=yes", "Address=2001:db8::5/64", "Gateway=2001:db8::1"} <= {*file.read_text().splitlines()}
    written(tmp_path, wanted(cards={"lan": Card(ip="none", gateway="")}), "networks[lan].ip")
    assert not file.exists()
    file.write_text("left")
    written(tmp_path, wanted(), "networks[lan]")
    assert not file.exists()


def test_a_card_has_a_file_of_ifupdown_and_none_of_the_image_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "network_manager", lambda tree: "ifupdown")
    (tmp_path / "etc/network").mkdir(parents=True)
    main = tmp_path / "etc/network/interfaces"
    main.write_text("auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n")
    file = tmp_path / inside.guest_files.ifupdown_path("lan").lstrip("/")
    card = Card(ip="192.0.2.5/24", gateway="192.0.2.1")
    written(tmp_path, wanted(cards={"lan": card}), "networks[lan].ip")
    assert "192.0.2.5/24" in file.read_text()
    assert "interfaces.d" in main.read_text() and "eth0 inet dhcp" in main.read_text()
    written(tmp_path, wanted(exists=False, cards={"lan": card}), "networks[lan].ip")
    assert [line for line in main.read_text().splitlines() if "eth0" in line and not line.startswith("#")] == []
    written(tmp_path, wanted(), "networks[lan]")
    assert not file.exists()


def test_a_guest_without_a_client_cannot_ask_for_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "network_manager", lambda tree: None)
    with pytest.raises(ApplyError, match="dhcp needs systemd-networkd or ifupdown"):
        written(tmp_path, wanted(cards={"lan": Card(ip="dhcp", gateway="")}), "networks[lan]")


# ---- owners that are shifted -------------------------------------------------------------------------------------------------


def test_every_owner_is_shifted_once_and_what_the_kernel_drops_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("")
    (tmp_path / "a/b/setuid").write_text("")
    (tmp_path / "a/b/setuid").chmod(0o4755)
    os.link(tmp_path / "a/b/file", tmp_path / "a/b/same")
    os.symlink("/etc", tmp_path / "a/link")
    shifted: list[str] = []

    def lchown(path: str, uid: int, gid: int) -> None:
        assert (uid, gid) == (os.lstat(path).st_uid + 5, os.lstat(path).st_gid + 6)
        shifted.append(os.path.relpath(path, tmp_path))
        if path.endswith("setuid"):
            os.chmod(path, 0o755)

    capability = struct.pack("<5I", 0x02000001, 1, 2, 3, 4)
    acl = (
        struct.pack("<I", 2)
        + struct.pack("<HHI", 0x02, 7, 10)
        + struct.pack("<HHI", 0x08, 7, 20)
        + struct.pack("<HHI", 0x20, 5, 30)
    )
    known = {"security.capability": capability, "system.posix_acl_access": acl, "user.other": b"x"}
    put: dict[str, bytes] = {}
    monkeypatch.setattr(os, "lchown", lchown)
    monkeypatch.setattr(os, "listxattr", lambda path, follow_symlinks: list(known) if path.endswith("setuid") else [])
    monkeypatch.setattr(os, "getxattr", lambda path, name, follow_symlinks: known[name])
    monkeypatch.setattr(os, "setxattr", lambda path, name, value: put.update({name: value}))
    rootfs.shift(str(tmp_path), rootfs.Shift(5, 6))
    one_of_two = {"a/b/file", "a/b/same"} & set(shifted)
    assert sorted(shifted) == sorted([".", "a", "a/b", "a/b/setuid", "a/link", *one_of_two]) and len(one_of_two) == 1
    assert mode(tmp_path / "a/b/setuid") == 0o4755
    assert put == {
        "security.capability": struct.pack("<6I", 0x03000001, 1, 2, 3, 4, 5),
        "system.posix_acl_access": struct.pack("<I", 2)
        + struct.pack("<HHI", 0x02, 7, 15)
        + struct.pack("<HHI", 0x08, 7, 26)
        + struct.pack("<HHI", 0x20, 5, 30),
    }
