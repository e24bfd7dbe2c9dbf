# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._host import lxc, mounts, place, uses
from ansible_collections.homelab.hybrid.plugins.module_utils._host.libvirt import Definition, Listings, Pool
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (lxc, uses):
        monkeypatch.setattr(module, "lxc_path", lambda: str(tmp_path / "lxc"))
    (tmp_path / "pool").mkdir()
    return tmp_path / "pool"


def host_of(configs: t.Mapping[str, str], machines: t.Mapping[str, str], *pools: Pool) -> Host:
    host = Host()
    none: frozenset[str] = frozenset()
    for name, text in configs.items():
        path = Path(lxc.config_path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    host.__dict__.update(
        containers=lxc.read_containers(),
        domains=dict.fromkeys(machines),
        definitions={name: Definition(f"<domain>{xml}</domain>") for name, xml in machines.items()},
        listings=Listings(none, none, none, none),
        pools={pool.name: pool for pool in pools},
    )
    return host


def pool_at(folder: Path) -> Pool:
    return Pool("main", "dir", str(folder), True, True, None)


def guests_on(host: Host, folder: Path) -> set[str]:
    return {use.who for use in uses.uses(host).below(str(folder)) if use.is_guest}


def qcow2(path: Path, backing: str) -> Path:
    name = backing.encode()
    path.write_bytes(struct.pack(">4sIQI", b"QFI\xfb", 3, 24 if name else 0, len(name)).ljust(24, b"\0") + name)
    return path


@pytest.mark.parametrize(
    "config",
    [
        "lxc.rootfs.path = dir:{0}/web.rootfs",
        "lxc.rootfs.path = {0}/web.rootfs",
        "lxc.rootfs.path = btrfs:{0}/my root",
        "lxc.rootfs.path = 'dir:{0}/my root'",
        "lxc.rootfs.path = overlay:{0}/base:/srv/delta",
        "lxc.rootfs.path = overlay:/srv/base:{0}/delta",
        "lxc.rootfs.path = loop:{0}/root.img",
        "lxc.rootfs = {0}/web.rootfs",
        "lxc.mount.entry = {0}/my\\040music media none bind,create=dir 0 0",
        "lxc.mount.entry = overlay srv overlay lowerdir=/a:{0}/b,upperdir=/c,workdir=/d 0 0",
        "lxc.mount.fstab = {0}/fstab",
        "lxc.include = {0}/common.conf",
        "lxc.hook.pre-start = {0}/hook",
    ],
)  # fmt: skip
def test_a_container_stands_on_what_its_configuration_names(folder: Path, config: str) -> None:
    assert guests_on(host_of({"web": config.format(folder)}, {}), folder) == {"web"}


def test_a_container_stands_on_what_files_of_others_say_of_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fstab").write_text(f"{folder}/data data none bind 0 0\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "root.conf").write_text(f"lxc.rootfs.path = dir:{folder}/web.rootfs\n")
    for line in (
        f"lxc.mount.fstab = {tmp_path}/fstab",
        f"lxc.mount = {tmp_path}/fstab",
        f"lxc.include = {tmp_path}/conf.d",
    ):
        assert guests_on(host_of({"web": line}, {}), folder) == {"web"}, line


@pytest.mark.parametrize("odd", ["{0}/missing", "{0}/itself", "{0}/pipe", "{0}/conf.d"])
def test_a_configuration_that_lxc_cannot_load_is_read_as_far_as_it_goes(folder: Path, tmp_path: Path, odd: str) -> None:
    link, root = "lxc.net.0.link = br7\n", f"lxc.rootfs.path = dir:{folder}/web.rootfs\n"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "itself").write_text(f"lxc.include = {tmp_path}/itself\n{root}")
    (tmp_path / "conf.d").mkdir()
    for number in range(9):  # in every order that would be a million files
        (tmp_path / f"conf.d/{number}.conf").write_text(f"lxc.include = {tmp_path}/conf.d\n{root}")
    (tmp_path / "good").write_text(link + root)
    host = host_of({"web": f"lxc.include = {odd.format(tmp_path)}\nlxc.include = {tmp_path}/good\n"}, {})
    assert host.containers["web"].problem and host.containers["web"].bridges == {"br7"}
    assert guests_on(host, folder) == {"web"}


def test_what_a_container_calls_its_own_is_not_of_the_host(folder: Path) -> None:
    config = f"lxc.environment = DATA={folder}\nlxc.init.cmd = {folder}/init\n# lxc.rootfs.path = dir:{folder}/old\n"
    assert guests_on(host_of({"web": config}, {}), folder) == set()


def test_snapshots_and_clones_stand_on_the_root_that_they_were_made_of(folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "lxc" / "base"
    config = f"lxc.rootfs.path = overlay:{folder}/base.rootfs:/srv/delta\n"
    for path in (base / "snaps" / "snap0", tmp_path / "elsewhere" / "clone"):
        path.mkdir(parents=True)
        (path / "config").write_text(config)
    (base / "lxc_snapshots").write_text(f"{tmp_path}/elsewhere\nclone\n")
    assert guests_on(host_of({"base": ""}, {}), folder) == {"base/snap0", "clone"}


@pytest.mark.parametrize(
    "xml",
    [
        "<devices><disk type='file'><source file='{0}/a.qcow2'/></disk></devices>",
        "<devices><disk type='block'><source dev='{0}/b'/></disk></devices>",
        "<devices><disk type='volume'><source pool='main' volume='c.qcow2'/></disk></devices>",
        "<devices><disk><mirror><source file='{0}/copy'/></mirror></disk></devices>",
        "<devices><filesystem type='mount'><source dir='{0}/shared'/></filesystem></devices>",
        "<devices><memory><source><path>{0}/nvdimm</path></source></memory></devices>",
        "<devices><serial type='file'><source path='{0}/log'/></serial></devices>",
        "<os><kernel>{0}/vmlinuz</kernel></os>",
        "<os><initrd>{0}/initrd</initrd></os>",
        "<os><nvram>{0}/vars.fd</nvram></os>",
        "<os><nvram type='file'><source file='{0}/vars.fd'/></nvram></os>",
        "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='file={0}/d,a=b'/></q:commandline>",
    ],
)
def test_a_machine_stands_on_what_its_definition_names(folder: Path, xml: str) -> None:
    assert guests_on(host_of({}, {"nas": xml.format(folder)}, pool_at(folder)), folder) == {"nas"}


def test_what_is_written_about_a_machine_is_nothing_that_it_stands_on(folder: Path) -> None:
    xml = f"<title>{folder}</title><description>{folder}</description><metadata><a b='{folder}'/></metadata>"
    assert guests_on(host_of({}, {"nas": xml}), folder) == set()


def test_a_machine_stands_on_the_backing_files_of_its_disks(folder: Path, tmp_path: Path) -> None:
    base = qcow2(folder / "base", "")
    top = qcow2(tmp_path / "top", str(qcow2(tmp_path / "middle", str(base))))
    host = host_of({}, {"nas": f"<devices><disk><source file='{top}'/></disk></devices>"})
    assert [(use.who, use.top) for use in uses.uses(host).of(str(base))] == [("nas", str(top))]
    assert guests_on(host, folder) == {"nas"}


def test_a_link_leads_to_the_same(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "file").touch()
    os.link(folder / "file", folder / "hard")
    assert place.same(str(link), str(folder)) and place.same(f"{link}/file", str(folder / "hard"))
    assert place.same(f"{link}/new", f"{folder}/new") and not place.same(f"{link}/new", f"{folder}/old")
    lies_in = {
        path: place.identity(str(folder)) in place.above(path, {}) for path in (f"{link}/new/deep", str(tmp_path))
    }
    assert [*lies_in.values()] == [True, False]
    assert guests_on(host_of({"web": f"lxc.rootfs.path = dir:{link}/web"}, {}), folder) == {"web"}
    assert guests_on(host_of({"web": f"lxc.rootfs.path = dir:{folder}/web"}, {}), link) == {"web"}


def test_what_others_stand_on_is_told_and_what_goes_too_is_not(folder: Path) -> None:
    disk, top = qcow2(folder / "disk", ""), folder / "top"
    host = host_of({}, {"nas": f"<devices><disk><source file='{disk}'/></disk></devices>"}, pool_at(folder))
    assert uses.obstacle(host, "nas", str(disk)) is None
    assert uses.obstacle(host, "web", str(disk)) == "nas stands on it"
    qcow2(top, str(disk))
    host.drop()
    host = host_of({}, {"nas": f"<devices><disk><source file='{top}'/></disk></devices>"}, pool_at(folder))
    assert uses.obstacle(host, "web", str(disk)) == f"nas stands on it with {top}"
    assert uses.obstacle(host, "nas", str(disk)) == f"{top} stands on it"
    assert uses.obstacle(host, "nas", str(disk), besides=[str(top)]) is None
    # What an external snapshot without metadata leaves, once nobody knows its machine any more.
    assert uses.obstacle(host_of({}, {}, pool_at(folder)), "nas", str(disk)) == f"{top} stands on it"


def test_the_other_name_of_a_mount_is_found() -> None:
    def mount(point: str, root: str, device: str = "8:1") -> mounts.Mount:
        return mounts.Mount(point, device, "ext4", "/dev/sda1", frozenset(), root)

    known = [mount("/", "/"), mount("/home", "/", "8:2"), mount("/mnt", "/srv/pool"), mount("/data", "/music", "8:2")]
    assert [mounts.bound_from(one, known) for one in known] == [None, None, "/srv/pool", "/home/music"]


def test_a_mount_that_is_not_there_is_known_by_those_that_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    known = [mounts.Mount(point, "8:1", "ext4", "/dev/sda1", frozenset()) for point in ("/", str(tmp_path))]
    monkeypatch.setattr(mounts, "read_mounts", lambda: known)
    assert mounts.missing_mount(f"{tmp_path}/pool", ["/", str(tmp_path), f"{tmp_path}/other"]) is None
    assert mounts.missing_mount(f"{tmp_path}/pool/new", [f"{tmp_path}/pool"]) == f"{tmp_path}/pool"
    monkeypatch.setattr(mounts, "read_mounts", lambda: known[:1])
    assert mounts.missing_mount(f"{tmp_path}/pool", [str(tmp_path)]) == str(tmp_path)
