# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order the record, the source, the folder and libvirt's definition of a pool are written."""

from __future__ import annotations

import contextlib
import types
import typing as t
from pathlib import Path

import pytest
from unit.plugins.module_utils._guest.fake import File

from ansible_collections.homelab.hybrid.plugins.module_utils._core import libraries
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, How, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._storage import apply
from ansible_collections.homelab.hybrid.plugins.module_utils._storage import source as sources
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.state import Source, State

SOURCE = "/dev/sdb"
NEW = State(is_registered=False, is_defined=False, found=Source(SOURCE))
NOTED = ("building", "formatting", "owns_folder", "owns_file_system", "mount", "warn_free", "path")


class Handle:
    """A pool of libvirt that notes what it is told."""

    def __init__(self, told: list[str], *, is_active: bool) -> None:
        self.told = told
        self.is_active = is_active
        self.isActive = lambda: self.is_active
        self.setAutostart = lambda value: told.append(f"autostart {value}")
        self.undefine = lambda: told.append("undefine")

    def create(self, flags: int) -> None:
        self.told.append("start")
        self.is_active = True

    def destroy(self) -> None:
        self.told.append("stop")
        self.is_active = False


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Callable[..., tuple[list[str], dict[str, t.Any]]]:
    """Carry out a wish: what was done, in order, with each change that came to stand, and the record at the end."""

    def carry_out(
        wish: dict[str, t.Any],
        state: State,
        *changes: tuple[str, t.Any],
        data: dict[str, t.Any] | None = None,
        standing: Handle | bool = False,
    ) -> tuple[list[str], dict[str, t.Any]]:
        told: list[str] = []
        file = File("pools", "main", data)
        save, remove = file.save, file.remove

        def note_saved(**given: t.Any) -> None:
            before = dict(file.data)
            save(**given)
            differing = {key: file.data.get(key) for key in NOTED if before.get(key) != file.data.get(key)}
            told.append(f"record {differing}")

        def note_removed() -> None:
            remove()
            told.append("record removed")

        file.save = note_saved  # type: ignore[method-assign]  # of this test
        file.remove = note_removed  # type: ignore[method-assign]  # likewise
        driver = types.SimpleNamespace(
            make_pool=lambda is_new=False: told.append(f"make pool{' new' * is_new}"),
            remove_pool=lambda: told.append("remove pool"),
        )
        names = {
            "make_file_system": "format",
            "mount": "mount",
            "unmount": "unmount",
            "forget": "forget",
            "wipe": "wipe",
        }
        for name, word in names.items():
            monkeypatch.setattr(apply.sources, name, lambda *given, word=word, **how: told.append(word))
        monkeypatch.setattr(
            libraries, "libvirt", lambda: types.SimpleNamespace(libvirtError=OSError, VIR_STORAGE_POOL_CREATE_NORMAL=0)
        )
        monkeypatch.setattr(apply, "driver_of", lambda *given: driver)
        monkeypatch.setattr(apply, "mount_of", lambda path: types.SimpleNamespace(point="/mnt"))
        pool = Handle(told, is_active=bool(standing))

        def define(xml: str, flags: int) -> Handle:
            assert "<name>main</name>" in xml and f"<path>{wish['path']}</path>" in xml
            told.append("define")
            return pool

        connection = types.SimpleNamespace(storagePoolDefineXML=define)
        pools = {"main": types.SimpleNamespace(handle=pool)} if standing or state.is_registered else {}
        host = types.SimpleNamespace(record=lambda kind, name: file, pools=pools, connection=connection)
        work = types.SimpleNamespace(host=host, held=types.SimpleNamespace(fds=()))
        plan = Plan([Change(path, "x", after, How.LIVE) for path, after in changes])
        for step in apply.apply_pool(parse({"name": "main", **wish}), state, plan, t.cast(t.Any, work)):
            if isinstance(step, Change):
                told.append(f"stands {step.path}")
        return told, file.data

    return carry_out


Written = t.Callable[..., tuple[list[str], dict[str, t.Any]]]


def test_a_new_pool_is_recorded_before_it_is_made_and_whole_before_it_is_told(written: Written, tmp_path: Path) -> None:
    path = str(tmp_path / "pool")
    told, data = written({"path": path, "warn_free": "10%"}, NEW, ("state", "started"), ("path", path))
    assert told == [
        f"record {{'building': True, 'owns_folder': True, 'warn_free': '10%', 'path': '{path}'}}",
        "make pool",
        "record {'mount': '/mnt'}",
        "define",
        "autostart 1",
        "start",
        "record {'building': None}",
        "stands state",
        "stands path",
    ]
    assert data["type"] == "dir"


def test_a_source_is_formatted_with_a_note_of_it_and_mounted_before_the_folder_of_the_pool_is_made(
    written: Written, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "pool"
    wish = {"path": str(path), "type": "btrfs", "source": SOURCE, "state": "stopped"}
    told, dummy = written(wish, NEW, ("state", "stopped"))
    assert [each for each in told if "record" not in each or "format" in each or "file_system" in each] == [
        f"record {{'building': True, 'formatting': '{SOURCE}', 'owns_folder': True, 'path': '{path}'}}",
        "format",
        "record {'formatting': None, 'owns_file_system': True}",
        "mount",
        "make pool new",
        "define",
        "autostart 1",
        "unmount",
        "stands state",
    ]
    assert path.is_dir()


def test_a_pool_that_was_half_made_goes_before_it_is_made_anew(written: Written, tmp_path: Path) -> None:
    told, dummy = written({"path": str(tmp_path)}, NEW, ("state", "started"), standing=True)
    assert told[1:4] == ["stop", "undefine", "make pool"] and "owns_folder" not in told[0]


@pytest.mark.parametrize(
    ("change", "state", "expected"),
    [
        (("autostart", False), {}, ["autostart 0"]),
        (("warn_free", "5%"), {}, ["record {'warn_free': '5%', 'path': '/pool'}"]),
        (("quota", "enforced"), {}, ["make pool"]),
        (("state", "started"), {}, ["start"]),
        (("state", "started"), {"source": SOURCE, "found": Source(SOURCE)}, ["mount", "start"]),
        (("state", "started"), {"source": SOURCE, "found": Source(SOURCE), "is_mounted": True}, ["start"]),
        (("state", "stopped"), {"is_active": True}, ["stop"]),
        (("state", "stopped"), {"is_active": True, "source": SOURCE, "is_mounted": True}, ["stop", "unmount"]),
    ],
)
def test_each_change_of_a_pool_stands_when_it_was_made(
    written: Written, change: tuple[str, t.Any], state: dict[str, t.Any], expected: list[str]
) -> None:
    there = State(is_registered=True, is_defined=True, path="/pool", **state)
    told, dummy = written({"warn_free": "5%"}, there, change, standing=there.is_active)
    assert told == [*expected, f"stands {change[0]}"]


GONE = {"is_registered": True, "is_defined": True}


def test_a_pool_is_unmounted_before_libvirt_forgets_it_and_its_empty_folder_goes(
    written: Written, tmp_path: Path
) -> None:
    (tmp_path / "pool").mkdir()
    state = State(**GONE, path=str(tmp_path / "pool"), source=SOURCE, owns_folder=True)
    told, dummy = written({"state": "absent"}, state, ("state", None), standing=True)
    assert told == ["stop", "unmount", "forget", "undefine", "record removed", "stands state"]
    assert not (tmp_path / "pool").exists()


def test_the_record_of_content_that_is_kept_stays_and_is_of_no_pool_that_is_being_made(written: Written) -> None:
    state = State(**GONE, path="/pool", owns_folder=True, content=3)
    told, data = written(
        {"state": "absent"},
        state,
        ("state", None),
        data={"building": True, "warn_free": "5%", "path": "/pool"},
        standing=True,
    )
    assert told == ["stop", "undefine", "record {'building': None, 'warn_free': None}", "stands state"]
    assert data["path"] == "/pool"


def test_content_that_may_be_deleted_goes_last_and_a_source_is_noted_as_blank_before(written: Written) -> None:
    state = State(**GONE, path="/pool", owns_folder=True, content=3)
    told, dummy = written(
        {"state": "absent"}, state, ("state", None), ("path", None), data={"path": "/pool"}, standing=True
    )
    assert told[-4:] == ["stands state", "remove pool", "record removed", "stands path"]
    state = state._replace(source=SOURCE, owns_file_system=True)
    told, dummy = written({"state": "absent"}, state, ("state", None), ("source", None), standing=True)
    assert told[0] == f"record {{'formatting': '{SOURCE}'}}"
    assert told[-4:] == ["stands state", "wipe", "record removed", "stands source"]


# ---- sources -----------------------------------------------------------------------------------------------------------------


def test_a_source_is_mounted_now_and_with_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text("# mine\n")
    table.chmod(0o640)
    commands: list[str] = []

    def run(argv: list[str], **options: t.Any) -> str:
        commands.append(" ".join(argv))
        return "1234\n"

    monkeypatch.setattr(sources.fstab, "PATH", str(table))
    monkeypatch.setattr(sources.command, "run", run)
    monkeypatch.setattr(sources.lock, "allocations", contextlib.nullcontext)
    sources.make_file_system(SOURCE, "main", ())
    sources.mount("main", SOURCE, "/pool", (), is_file=False)
    sources.unmount("/pool", ())
    monkeypatch.setattr(sources.os.path, "ismount", lambda path: True)
    sources.mount("main", SOURCE, "/pool", (), is_file=False)
    sources.unmount("/pool", ())
    assert "UUID=1234" in table.read_text() and "/pool" in table.read_text() and table.stat().st_mode & 0o777 == 0o640
    sources.forget("main")
    assert table.read_text() == "# mine\n"
    device = "blkid --probe --match-tag UUID --output value /dev/sdb"
    assert commands == [
        "mkfs.btrfs --quiet --force --label main /dev/sdb",
        device,
        "mount /pool",
        device,
        "umount /pool",
    ]
    table.unlink()
    sources.mount("main", "/image", "/pool", (), is_file=True)
    assert "/image" in table.read_text()
    assert table.stat().st_mode & 0o777 == 0o644


def test_a_source_that_is_wiped_is_blank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(sources.command, "run", lambda argv, **options: commands.append(argv))
    image = tmp_path / "image"
    image.write_bytes(b"x" * (2 << 20))
    sources.wipe(str(image), ())
    assert image.read_bytes() == bytes(1 << 20) + b"x" * (1 << 20)
    assert commands == [["wipefs", "--all", "--quiet", str(image)]]
