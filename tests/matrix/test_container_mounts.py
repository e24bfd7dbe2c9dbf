# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of the host inside: whose files they are there, and what is mounted below them. Seen from inside, also after the guest's own restart."""

from __future__ import annotations

import os
import stat
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, refuse, unchanged

SOURCES = ct.FOLDER / "media"
TOP, INNER, OVER = SOURCES / "top", SOURCES / "top/inner", SOURCES / "top/over"
# Nobody's on the host and inside.
OWNER = 41234
# A group of the tiny image.
RENDER = 104

pytestmark = pytest.mark.usefixtures("container_host")


@pytest.fixture(autouse=True)
def _sources(no_container: None) -> t.Iterator[None]:
    """A folder of ``OWNER`` with a file system below it that takes mapped owners, and one that does not."""
    for folder in (INNER, OVER, *(SOURCES / name for name in ("low", "up", "work"))):
        folder.mkdir(parents=True)
    ct.run("mount", "-t", "tmpfs", "x", str(INNER))
    options = f"lowerdir={SOURCES}/low,upperdir={SOURCES}/up,workdir={SOURCES}/work"
    ct.run("mount", "-t", "overlay", "x", str(OVER), "-o", options)
    for folder in (TOP, INNER, OVER):
        (folder / "file").write_text("text")
        ct.run("chown", f"{OWNER}:{OWNER}", str(folder), str(folder / "file"))
    yield
    ct.clean()
    for point in (OVER, INNER):
        if point.is_mount():
            ct.run("umount", str(point))
    ct.run("rm", "-rf", str(SOURCES))


@pytest.fixture(params=["stopped", "started"])
def power(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def media(**keys: t.Any) -> dict[str, t.Any]:
    return {"name": ct.NAME, "mounts": [{"name": "media", "source": str(TOP), "path": "/srv/my media", **keys}]}


def add(power: str, *, unprivileged: bool = True, **keys: t.Any) -> list[str]:
    """The warnings of a run that adds the mount to a container that stands."""
    ct.make(state=power, unprivileged=unprivileged)
    return check_run_again(ct.CONTAINER, media(**keys), ["mounts[media]"]).plan.warnings


def owner(path: str) -> tuple[int, int]:
    user, group = ct.inside("stat", "-c", "%u %g", f"/srv/my media/{path}").split()
    return int(user), int(group)


def starts() -> t.Iterator[str]:
    """As it is now where it runs, after a start from the host, and after the guest restarted itself."""
    if ct.state() == "RUNNING":
        yield "live"
    assert converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "restarted"}).error is None
    yield "restarted"
    before = ct.pid()
    ct.inside("/bin/busybox", "reboot", "-f", check=False)
    for dummy in range(200):
        now = ct.run("lxc-info", "-n", ct.NAME, "-p", "-H", check=False).strip()
        if now not in ("", str(before)) and ct.inside("cat", "/proc/1/comm", check=False) not in ("", "lxc-start"):
            break
        time.sleep(0.05)
    assert ct.pid() != before
    yield "its own restart"


def is_writable(path: str) -> bool:
    text = ct.run("sh", "-c", f"lxc-attach -n {ct.NAME} --clear-env -- touch '/srv/my media/{path}/new' 2>&1 || true")
    assert not text or "Read-only" in text
    return not text


@pytest.mark.parametrize(("power", "readonly"), [("stopped", True), ("started", False)])
def test_what_is_mounted_below_comes_along(power, readonly):
    """One mount below takes no mapped owners: that alone stays without."""
    warnings = add(power, readonly=readonly)
    first = int(ct.values("lxc.idmap")[0].split()[2])
    assert [
        f"{OVER} takes no mapped owners" in each and f"those of {first + OWNER} are" in each for each in warnings
    ] == [True]
    for start in starts():
        assert owner("file") == owner("inner/file") == (OWNER, OWNER), start
        assert owner("over/file") == (65534, 65534), start
        assert [is_writable(path) for path in (".", "inner")] == [not readonly] * 2, start
    assert not [*SOURCES.glob("*/new")] or not readonly
    unchanged(ct.CONTAINER, media(readonly=readonly))
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "mounts": [], "exact": ["mounts"]}, ["mounts[media]"])
    assert "/srv/my" not in ct.inside("cat", "/proc/mounts") and "homelab_hybrid" not in ct.config()


def test_whether_it_is_in_backups_is_written_down_and_the_mount_is_left_alone(power):
    """``mounts[].backup`` counts with the next backup."""
    ct.run("umount", str(OVER))
    add(power)
    config, pid = ct.config(), ct.run("lxc-info", "-n", ct.NAME, "-p", "-H")
    assert "backed_up" not in ct.record()
    check_run_again(ct.CONTAINER, media(backup=True), ["mounts[media].backup"])
    assert ct.record()["backed_up"] == ["media"] and (ct.config(), ct.run("lxc-info", "-n", ct.NAME, "-p", "-H")) == (
        config,
        pid,
    )
    unchanged(ct.CONTAINER, media())
    check_run_again(ct.CONTAINER, media(readonly=True), ["mounts[media].readonly"])
    assert ct.record()["backed_up"] == ["media"]
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "unset": ["mounts[media].backup"]}, ["mounts[media].backup"])
    assert "backed_up" not in ct.record()
    check_run_again(ct.CONTAINER, media(backup=True), ["mounts[media].backup"])
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "mounts": [], "exact": ["mounts"]}, ["mounts[media]"])
    assert "backed_up" not in ct.record()


@pytest.mark.parametrize("unprivileged", [True, False])
def test_the_folder_in_which_lxc_mounts_roots_comes_without_them(unprivileged):
    """LXC mounts the root of a container below /usr before it looks what is mounted there."""
    mount = {"name": "usr", "source": "/usr", "path": "/srv/usr", "readonly": True}
    check_run_again(ct.CONTAINER, {**ct.BASE, "unprivileged": unprivileged, "mounts": [mount]})
    assert ct.inside("stat", "-c", "%u", "/srv/usr/bin/env").strip() == "0"
    assert "/srv/usr/lib" not in ct.inside("cat", "/proc/mounts")
    unchanged(ct.CONTAINER, {"name": ct.NAME, "mounts": [mount]})


@pytest.mark.parametrize(("power", "unprivileged"), [("started", True), ("stopped", True), ("started", False)])
def test_who_owns_the_folder_is_the_user_of_the_service(power, unprivileged):
    """The user of the host has another number inside; root and all others stay who they are."""
    ct.make(state=power, unprivileged=unprivileged)
    ct.run("chown", "root:root", str(INNER / "file"))
    ct.run("umount", str(OVER))
    wanted = media(map_ids=[f"uid {OWNER} 105", f"gid {OWNER} service"])
    refuse(ct.CONTAINER, wanted, "map_ids: the container has no group service (yet). Write the number that it gets")
    with (ct.rootfs() / "etc/group").open("a") as stream:
        stream.write("service:x:106:\n")
    check_run_again(ct.CONTAINER, wanted, ["mounts[media]"])
    for start in starts():
        assert owner("file") == (105, 106) and owner("inner") == (105, 106), start
        assert owner("inner/file") == (0, 0), start
        ct.inside("/bin/busybox", "chown", "105:106", "/srv/my media/inner/file")
        assert (INNER / "file").stat().st_uid == (INNER / "file").stat().st_gid == OWNER
        ct.run("chown", "root:root", str(INNER / "file"))
    unchanged(ct.CONTAINER, wanted)
    if unprivileged:
        refuse(ct.CONTAINER, media(mapped=False), "Unset map_ids too")
    check_run_again(ct.CONTAINER, media(map_ids=[f"both {OWNER} 107"]), ["mounts[media].map_ids"])
    assert owner("file") == (107, 107)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "unset": ["mounts[media].map_ids"]}, ["mounts[media].map_ids"])
    assert owner("file") == (OWNER, OWNER)
    assert converge_now(ct.CONTAINER, {"name": ct.NAME, "state": "restarted"}).error is None
    assert owner("file") == owner("inner/../file") == (OWNER, OWNER)


def test_owners_are_mapped_or_not_as_declared(power):
    """Also where the mount stands already, and while it runs."""
    ct.run("umount", str(OVER))
    assert add(power, mapped=False) == []
    assert "idmap" not in ct.values("lxc.mount.entry")[-1]
    if power == "started":
        assert owner("file") == owner("inner/file") == (65534, 65534)
    check_run_again(ct.CONTAINER, media(mapped=True), ["mounts[media].mapped"])
    if power == "started":
        assert owner("file") == owner("inner/file") == (OWNER, OWNER)
    check_run_again(ct.CONTAINER, {**media(mapped=True), "state": "restarted"})
    assert owner("file") == owner("inner/file") == (OWNER, OWNER)
    check_run_again(ct.CONTAINER, media(mapped=False), ["mounts[media].mapped"])
    assert owner("file") == (65534, 65534)


def test_what_cannot_be_mapped_is_refused_where_that_was_asked_for(power):
    ct.make(state=power)
    refuse(ct.CONTAINER, media(mapped=True), f"mounts[media]: mapped: the file system of {OVER} takes no mapped owners")
    refuse(
        ct.CONTAINER,
        media(source=str(OVER), map_ids=["both 0 5"]),
        f"map_ids: the file system of {OVER} takes no mapped",
    )
    refuse(ct.CONTAINER, media(source="/var/lib/lxcfs/proc", mapped=True), "takes no mapped owners")
    ct.run("umount", str(OVER))
    refuse(ct.CONTAINER, media(map_ids=["uid hlct-nobody 5"]), "map_ids: this host has no user hlct-nobody")
    refuse(ct.CONTAINER, media(map_ids=["uid 7 70000"]), "map_ids: the container has no uid 70000")
    refuse(ct.CONTAINER, media(map_ids=["uid 7 1", "uid 7 2"]), "map_ids: the uid 7 of the host is there twice")
    refuse(ct.CONTAINER, media(map_ids=["uid 7 1"], mapped=False), "map_ids maps the owners")
    refuse(ct.CONTAINER, media(map_ids=["uid:7:1"]), "is not allowed")


def test_what_lies_inside_another_mount_is_not_hidden_by_it(power):
    ct.run("umount", str(OVER))
    inner = {"name": "inner", "source": str(SOURCES / "low"), "path": "/srv/my media/over"}
    (SOURCES / "low/seen").write_text("x")
    ct.make(state=power)
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "mounts": [inner]}, ["mounts[inner]"])
    whole = media(map_ids=[f"both {OWNER} 105"])
    refuse(ct.CONTAINER, whole, "it would hide mounts[inner] at /srv/my media/over. Take that away first")
    check_run_again(ct.CONTAINER, {"name": ct.NAME, "mounts": [], "exact": ["mounts"]}, ["mounts[inner]"])
    whole["mounts"].append(inner)
    check_run_again(ct.CONTAINER, whole, ["mounts[media]", "mounts[inner]"])
    for start in starts():
        assert owner("file") == (105, 105) and ct.inside("ls", "/srv/my media/over") == "seen", start
    unchanged(ct.CONTAINER, whole)


def test_a_media_server_has_its_films_and_its_graphics_card_after_each_restart():
    """Jellyfin's case: a new unprivileged guest, a folder that only its owner may read, a node like those in /dev/dri. No line by hand."""
    # All cells see one /dev.
    gpu = Path(f"/dev/hlct-{os.stat('/proc/self/ns/mnt').st_ino}-gpu")
    ct.run("umount", str(OVER))
    for path in (TOP, INNER, TOP / "file", INNER / "file"):
        path.chmod(0o700)
    mount = {**media(readonly=True)["mounts"][0], "map_ids": [f"both {OWNER} 105"]}
    device = {"name": "gpu", "path": str(gpu), "gid": "render", "mode": "0660"}
    os.mknod(gpu, stat.S_IFCHR | 0o660, os.makedev(1, 5))
    try:
        wanted = {**ct.BASE, "mounts": [mount], "devices": [device]}
        check_run_again(ct.CONTAINER, wanted)
        for start in starts():
            text = as_service("cat", "/srv/my media/file", "/srv/my media/inner/file")
            assert text == "texttext" and not is_writable("."), start
            assert ct.inside("stat", "-c", "%t:%T %a %u:%g", str(gpu)) == f"1:5 660 0:{RENDER}", start
            assert as_service("dd", f"if={gpu}", "bs=4", "count=1", group=RENDER) == "\0\0\0\0", start
        unchanged(ct.CONTAINER, wanted)
    finally:
        ct.clean()
        gpu.unlink()


def as_service(*argv: str, group: int = 105) -> str:
    return ct.run("lxc-attach", "-n", ct.NAME, "--clear-env", "-u", "105", "-g", str(group), "--", *argv)
