# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tag of a repository is taken as the commit that is pinned, or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from unit.tree import ROOT

SCRIPT = ROOT / "roles" / "_service" / "files" / "checkout.sh"


def git(folder: Path, *argv: str) -> str:
    who = ["-c", "user.name=upstream", "-c", "user.email=upstream@example.org", "-c", "init.defaultBranch=master"]
    done = subprocess.run(["git", "-C", str(folder), *who, *argv], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(upstream: Path, text: str) -> str:
    (upstream / "file").write_text(text, encoding="utf-8")
    git(upstream, "add", "file")
    git(upstream, "commit", "--quiet", "--message", text)
    return git(upstream, "rev-parse", "HEAD")


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    found = tmp_path / "upstream"
    found.mkdir()
    git(found, "init", "--quiet")
    commit(found, "first")
    git(found, "tag", "--annotate", "--message", "first", "v1")
    commit(found, "second")
    return found


def checkout(upstream: Path, folder: Path, pinned: str) -> subprocess.CompletedProcess[str]:
    argv = ["sh", str(SCRIPT), f"file://{upstream}", "v1", pinned, str(folder)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_tag_is_checked_out_as_a_branch_that_follows_upstream(upstream: Path, tmp_path: Path) -> None:
    done = checkout(upstream, tmp_path / "here", git(upstream, "rev-parse", "v1^{commit}"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "file").read_text(encoding="utf-8") == "first"
    assert git(tmp_path / "here", "describe", "--tags") == "v1"
    git(tmp_path / "here", "pull", "--quiet", "--no-rebase")
    assert (tmp_path / "here" / "file").read_text(encoding="utf-8") == "second", "as upstream's own updater does"


def test_a_tag_that_was_moved_is_refused_with_both_commits(upstream: Path, tmp_path: Path) -> None:
    pinned = git(upstream, "rev-parse", "v1^{commit}")
    moved = git(upstream, "rev-parse", "HEAD")
    git(upstream, "tag", "--force", "v1", moved)
    done = checkout(upstream, tmp_path / "here", pinned)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"is the commit {moved}, and not {pinned}")
    assert not (tmp_path / "here" / "file").exists()


def test_a_version_without_a_commit_is_not_pinned(upstream: Path, tmp_path: Path) -> None:
    done = checkout(upstream, tmp_path / "here", "")
    assert done.returncode == 1 and "and not pinned" in done.stderr


def test_a_turned_bit_is_refused(upstream: Path, tmp_path: Path) -> None:
    pinned = git(upstream, "rev-parse", "v1^{commit}")
    blob = git(upstream, "rev-parse", "v1:file")
    place = upstream / ".git" / "objects" / blob[:2] / blob[2:]
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.chmod(0o644)
    place.write_bytes(content)
    assert checkout(upstream, tmp_path / "here", pinned).returncode != 0
    assert not (tmp_path / "here" / "file").exists()
