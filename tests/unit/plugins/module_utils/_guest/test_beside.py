# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that a snapshot has beside its volumes: whole or not there, and nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from unit.descriptors import open_files

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import beside


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Who was given what, by name: only root can give files away."""
    given: dict[str, tuple[int, int]] = {}

    def chown(path: str, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        given[os.path.basename(path)] = (uid, gid)

    monkeypatch.setattr(os, "chown", chown)
    return given


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_of_a_snapshot_is_made_anew_for_root_alone_and_goes_with_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SNAPSHOTS", str(tmp_path / "snapshots"))
    folder = Path(paths.snapshot_folder("web", "a"))
    mask = os.umask(0)
    try:
        beside.make_folder("web", "a")
    finally:
        os.umask(mask)
    assert mode(folder) == mode(tmp_path / "snapshots") == 0o700
    (folder / "memory").touch()
    beside.make_folder("web", "a")
    assert os.listdir(folder) == []
    beside.make_folder("web", "b")
    beside.remove("web", "a")
    assert not folder.exists() and folder.parent.is_dir()
    beside.remove("web", "b")
    assert not folder.parent.exists()


def test_a_file_is_put_whole_with_its_owner_over_what_a_run_that_was_killed_left(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    source, target = tmp_path / "nvram", tmp_path / "kept" / "nvram"
    target.parent.mkdir()
    source.write_text("variables")
    (target.parent / ".nvram.new").mkdir()
    (target.parent / ".nvram.new" / "left").touch()
    target.write_text("old")
    before = open_files()
    beside.put(str(source), str(target))
    assert target.read_text() == "variables" and os.listdir(target.parent) == ["nvram"]
    assert owners == {".nvram.new": (source.stat().st_uid, source.stat().st_gid)} and open_files() <= before


def test_a_link_in_the_place_of_what_is_put_leads_nowhere(tmp_path: Path, owners: dict[str, tuple[int, int]]) -> None:
    source, target, other = (tmp_path / name for name in ("nvram", "kept", "other"))
    source.write_text("variables")
    other.write_text("theirs")
    (tmp_path / ".kept.new").symlink_to(other)
    beside.put(str(source), str(target))
    assert (target.read_text(), other.read_text(), target.is_symlink()) == ("variables", "theirs", False)


def test_a_folder_is_put_in_the_place_of_another_without_its_lock(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    source, target = tmp_path / "tpm", tmp_path / "kept" / "tpm"
    for path in (source / "inner", target / "old"):
        path.mkdir(parents=True)
    for name in (".lock", "inner/state"):
        (source / name).write_text("x")
    (source / "link").symlink_to("/etc")
    beside.put(str(source), str(target))
    assert sorted(os.listdir(target)) == ["inner", "link"] and os.listdir(target / "inner") == ["state"]
    assert (target / "link").is_symlink() and owners.keys() == {".tpm.new", "inner", "link", "state"}


def test_what_is_kept_already_stays_and_what_is_not_there_is_not_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "nvram", tmp_path / "kept"
    beside.keep(str(source), str(target))
    assert not target.exists()
    source.write_text("first")
    beside.keep(str(source), str(target))
    source.write_text("second")
    beside.keep(str(source), str(target))
    assert target.read_text() == "first"
