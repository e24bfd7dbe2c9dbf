# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a changed keep lets go of is told where the host knows the repository, and nobody is asked where it does not matter."""

from __future__ import annotations

import platform
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import Job
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.repository import RepositoryError
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule import unkept
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.stored import Stored
from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host

JOB = Job("nightly", "disk", guests=("web",), keep={"last": 1})
MOST = [
    Stored(f"{number:08}", 1e9 - number, "web", "container", "nightly", "crash", platform.node(), "/run/web")
    for number in range(13)
]


class Listed:
    """A repository that says what it has, or why not."""

    def __init__(self, its: list[Stored] | RepositoryError) -> None:
        self.its = its

    def list(self) -> list[Stored]:
        if isinstance(self.its, RepositoryError):
            raise self.its
        return self.its


@pytest.fixture
def used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is there of a repository that was used."""
    monkeypatch.setattr(paths, "BACKUP", str(tmp_path))
    monkeypatch.setattr(Host, "guest_records", {})
    file = Path(paths.repository_file("disk", "id"))
    file.parent.mkdir()
    file.touch()
    return file


def told(monkeypatch: pytest.MonkeyPatch, its: t.Any, job: Job = JOB, **before: int) -> str | None:
    monkeypatch.setattr(unkept, "load", lambda name: Listed(its))
    return unkept.told_of(job, {f"keep.{word}": count for word, count in before.items()}, Host())


def test_what_goes_is_named_and_counted(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, MOST[:2]) == "the next run lets go of web 00000001 of 2001-09-09T01:46:39Z"
    its = told(monkeypatch, MOST)
    assert its is not None and its.count("web") == 10 and its.endswith(" and 2 more")
    assert told(monkeypatch, MOST[:1]) is None


def test_a_repository_that_is_away_leaves_it_open(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = RepositoryError("it is away")
    assert told(monkeypatch, away) == "nobody can tell what the next run lets go of: it is away"
    # Nobody asks it then.
    assert told(monkeypatch, away, last=1) is None
    assert told(monkeypatch, away, JOB._replace(is_append_only=True)) is None
    used.unlink()
    assert told(monkeypatch, away) is None
