# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of a share: which are kept, when there is a new one, and what is in it. Blocks are shared in tests/services alone."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from keep_versions import expired, keep, main

KEEP = {"hourly": 3, "daily": 2, "weekly": 2}


@pytest.fixture(autouse=True)
def without_shared_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies take room where the file system of the test shares no blocks."""
    real = subprocess.run

    def run(argv: list[str], **more: t.Any) -> t.Any:
        return real([each.replace("=always", "=auto") for each in argv], check=more.pop("check", False), **more)

    monkeypatch.setattr(subprocess, "run", run)


def name(year: int, month: int, day: int, hour: int, minute: int = 0) -> str:
    return datetime.datetime(year, month, day, hour, minute).strftime("@GMT-%Y.%m.%d-%H.%M.%S")


def test_the_last_of_each_period_is_kept() -> None:
    names = [
        name(2026, 11, 15, 8),
        name(2026, 11, 16, 8),
        name(2026, 11, 26, 8),
        name(2026, 11, 27, 9),
        name(2026, 11, 28, 7, 10),
        name(2026, 11, 28, 8, 10),
        name(2026, 11, 28, 8, 50),
        name(2026, 11, 28, 9, 10),
    ]
    assert expired(names, KEEP) == [
        name(2026, 11, 15, 8),
        name(2026, 11, 26, 8),
        name(2026, 11, 28, 8, 10),
    ]
    assert expired(names, dict.fromkeys(KEEP, 0)) == names


def versions(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.name.startswith("@"))


def aged(folder: Path) -> None:
    """Two of one second have one name, and file systems tell times in ticks of a few milliseconds."""
    for number, each in enumerate(versions(folder)):
        (folder / each).rename(folder / name(2026, 1, 1, number))
    os.utime(folder / ".begun")
    time.sleep(0.02)


def test_there_is_a_version_where_something_changed(tmp_path: Path) -> None:
    path, folder = tmp_path / "share", tmp_path / ".versions/share"
    (path / "in").mkdir(parents=True)
    (path / "in/note").write_text("one")
    (path / ".recycle").mkdir()
    path.chmod(0o2750)
    keep(path, folder, KEEP)
    (first,) = versions(folder)
    assert (folder / first / "in/note").read_text() == "one" and not (folder / first / ".recycle").exists()
    assert (folder / first).stat().st_mode & 0o7777 == 0o2750
    aged(folder)
    keep(path, folder, KEEP)
    assert len(versions(folder)) == 1, "nothing changed"

    for change in (
        lambda: (path / "in/note").write_text("two"),
        lambda: (path / "in/note").chmod(0o600),
        (path / "in/note").unlink,
    ):
        count = len(versions(folder))
        change()
        keep(path, folder, {**KEEP, "hourly": 9})
        assert len(versions(folder)) == count + 1
        aged(folder)


def test_versions_in_the_share_are_in_no_version(tmp_path: Path) -> None:
    path = tmp_path / "share"
    folder = path / ".versions/deep"
    path.mkdir()
    (path / "note").write_text("one")
    keep(path, folder, KEEP)
    (first,) = versions(folder)
    assert [each.name for each in (folder / first).iterdir()] == ["note"]
    aged(folder)
    keep(path, folder, KEEP)
    assert len(versions(folder)) == 1


def test_what_a_killed_run_left_goes_and_is_no_version(tmp_path: Path) -> None:
    path, folder = tmp_path / "share", tmp_path / "versions"
    path.mkdir()
    (folder / ".@GMT-2026.01.01-00.00.00.new/half").mkdir(parents=True)
    keep(path, folder, KEEP)
    assert len(versions(folder)) == 1 and not list(folder.glob(".*.new"))


def test_a_share_that_is_not_there_is_told_and_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    wanted = [
        {"path": str(tmp_path / path), "folder": str(tmp_path / f"v-{path}"), **KEEP} for path in ("gone", "there")
    ]
    (tmp_path / "file.json").write_text(json.dumps(wanted))
    monkeypatch.setattr(sys, "argv", ["keep_versions.py", str(tmp_path / "file.json")])
    assert main() == 1
    assert f"versions of {tmp_path}/gone: {tmp_path}/gone is not there" in capsys.readouterr().err
    assert len(versions(tmp_path / "v-there")) == 1
