# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on a mount from elsewhere, and that a server which does not answer is asked once, in a child, for a bounded time."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import command, paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError
from ansible_collections.homelab.hybrid.plugins.module_utils._host import place, remote
from ansible_collections.homelab.hybrid.plugins.module_utils._host.mount_record import MountRecord


class Server:
    """What stands behind the mount at *path*, and how often it was asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.says: str | None = "nfs"
        self.asked = 0

    def run(self, argv: t.Sequence[str], *, timeout: float) -> str:
        assert list(argv) == ["stat", "--file-system", "--format=%T", self.path] and timeout <= 10
        self.asked += 1
        if self.says is None:
            raise HybridError("took longer than 10 s")
        return f"{self.says}\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    its = Server(str(tmp_path / "media"))
    monkeypatch.setattr(paths, "STATE", str(tmp_path))
    monkeypatch.setattr(remote, "_KNOWN", remote._Known())
    monkeypatch.setattr(command, "run", its.run)
    (tmp_path / "mounts").mkdir()
    record = {
        "schema": 1,
        "path": its.path,
        "type": "nfs",
        "source": "nas:/tank",
        "wait_for_guest": "nas",
        "wait_timeout": 6,
    }
    (tmp_path / "mounts/media.json").write_text(json.dumps(record))
    return its


def test_what_lies_on_the_mount_is_known_by_its_name_and_by_links(server: Server, tmp_path: Path) -> None:
    (tmp_path / "films").symlink_to("media/films")
    (tmp_path / "far").symlink_to(tmp_path / "films")
    (tmp_path / "circle").symlink_to("circle")
    for path in ("media", "media/a/b", "films", "films/x", "far/y", "other/../media"):
        its = remote.remote_of(str(tmp_path / path))
        assert its is not None and its.path == server.path, path
    for path in ("media2", "other", "circle/x"):
        assert remote.remote_of(str(tmp_path / path)) is None, path
    assert remote.remote_of("media") is None
    assert server.asked == 0


@pytest.mark.parametrize(("says", "is_away"), [("nfs", False), ("cifs", False), ("ext2/ext3", True), (None, True)])
def test_it_is_asked_once_for_all(server: Server, says: str | None, is_away: bool) -> None:
    server.says = says
    for path in (server.path, f"{server.path}/films", f"{server.path}/music"):
        assert (remote.away(path) is not None) is is_away
    assert server.asked == 1
    # What cannot be asked is known by its name alone.
    assert (place.identity(f"{server.path}/films") == ("path", f"{server.path}/films")) is True
    assert not remote.is_there(f"{server.path}/films")


def test_without_mounts_nobody_is_asked(tmp_path: Path, server: Server) -> None:
    (tmp_path / "mounts/media.json").unlink()
    assert remote.away(server.path) is None and server.asked == 0
    (tmp_path / "mounts").rmdir()
    assert remote.remotes() == ()


def test_a_guest_that_starts_is_waited_for_as_long_as_it_runs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        server.says = "nfs" if clock[0] >= 4 else None

    monkeypatch.setattr(remote.time, "sleep", sleep)
    its = remote.remotes()[0]
    server.says = None
    assert remote.wait_until_it_answers(its, lambda: True) and clock[0] == 4
    assert remote.away(server.path) is None
    server.says, clock[0] = None, -100.0
    assert not remote.wait_until_it_answers(its, lambda: False) and clock[0] == -100
    remote._KNOWN.given_up.clear()
    assert not remote.wait_until_it_answers(its, lambda: clock[0] < -98) and clock[0] >= -98


def test_what_was_waited_for_in_vain_is_not_waited_for_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    server.says = None
    its = remote.remotes()[0]
    assert not remote.wait_until_it_answers(its, lambda: True) and clock[0] == 6
    assert not remote.wait_until_it_answers(its, lambda: True) and clock[0] == 6


@pytest.mark.parametrize(
    ("guest", "is_running", "end"),
    [
        ("", None, "See whether its server runs"),
        ("nas", None, "The guest nas, which serves it, is not on this host (yet)"),
        ("nas", False, "The guest nas, which serves it, does not run. Start it"),
        ("nas", True, "The guest nas, which serves it, runs: see whether its server does"),
    ],
)
def test_what_helps_is_said(guest: str, is_running: bool | None, end: str) -> None:
    its = MountRecord(path="/srv/media", source="nas:/tank", wait_for_guest=guest)
    said = remote.sentence(its, "/srv/media/films", is_running=is_running)
    assert said == f"nas:/tank, which is mounted at /srv/media, does not answer, and /srv/media/films lies there. {end}"
