# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._run import progress

JOB = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "PROGRESS", str(tmp_path / "progress"))
    return tmp_path / "progress"


def test_messages_come_in_their_order(folder: Path):
    with pytest.raises(KeyError), progress.telling({progress.VARIABLE: JOB}) as tell:
        assert tell is not None
        tell({"item": "a"})
        raise KeyError
    file = folder / f"{JOB}.jsonl"
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"item": "a"}]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("job", [None, "", "../../etc/passwd", JOB.upper(), JOB + "0"])
def test_nothing_is_told_to_what_is_no_job(folder: Path, job: str | None):
    with progress.telling({} if job is None else {progress.VARIABLE: job}) as tell:
        assert tell is None
    assert not folder.exists()


def test_a_file_that_is_there_already_is_not_written_to(folder: Path):
    folder.mkdir()
    (folder / f"{JOB}.jsonl").write_text("mine")
    with progress.telling({progress.VARIABLE: JOB}) as tell:
        assert tell is None
    assert (folder / f"{JOB}.jsonl").read_text() == "mine"


def test_what_nobody_fetched_for_a_day_is_removed(folder: Path):
    folder.mkdir()
    old, young = folder / "aaaaaaaaaaaaaaaa.jsonl", folder / "bbbbbbbbbbbbbbbb.jsonl"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    with progress.telling({progress.VARIABLE: JOB}):
        assert not old.exists() and young.exists()
