# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said to the installer of TrueNAS, by a server of aiohttp, as its own is: once, by one run, whoever was killed before."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from unit.json_rpc import Rpc, serving

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError
from ansible_collections.homelab.hybrid.plugins.module_utils._vm import asked, truenas

NAME, PASSWORD = "nas", "pressed-cider"
LOGIN = {"authentication": {"username": "truenas_admin", "password": PASSWORD}}
SIZE = 16 << 30


class Installer(Rpc):
    """As truenas_installer/server has it."""

    def __init__(self) -> None:
        super().__init__()
        self.key: str | None = None
        self.disks: list[dict[str, t.Any]] = [{"name": "vda", "size": SIZE, "model": "Unknown Model"}]
        self.state: dict[str, t.Any] = {"installation_running": False, "installation_completed": False}
        self.installed: list[dict[str, t.Any]] = []
        self.ends: list[str] = []
        self.refuses = ""

    async def answer(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
        if self.key and not session.get("known") and method not in ("is_adopted", "authenticate"):
            raise self.error("You must authenticate before making this call")
        if method == "is_adopted":
            return self.key is not None
        if method == "adopt":
            self.key, session["known"] = "k", True
            return self.key
        if method == "authenticate":
            session["known"] = params[0] == self.key
            if not session["known"]:
                raise self.error("Invalid access key")
            return True
        if method == "system_info":
            told = dict(self.state)
            if told["installation_running"]:
                self.state.update(installation_running=False, installation_completed=True)
            return told
        if method == "list_disks":
            return self.disks
        if method == "install":
            if self.refuses:
                raise self.error(self.refuses)
            await self.tell(session, "installation_progress", [{"progress": 0.5, "message": "Extracting"}])
            self.installed.append(params[0])
            return None
        assert method == "shutdown"
        self.ends.append(method)
        return None


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Installer]:
    its = Installer()
    folder = tmp_path / NAME
    folder.mkdir()
    monkeypatch.setattr(paths, "installer_folder", lambda name: str(tmp_path / name))
    monkeypatch.setattr(truenas.time, "sleep", lambda seconds: None)
    prepare(folder, LOGIN)
    with serving(its) as port:
        monkeypatch.setattr(asked, "PORT", port)
        its.folder = folder
        yield its


def prepare(folder: Path, answer: dict[str, t.Any]) -> None:
    (folder / asked.ANSWER).write_text(asked.prepared("/p/nas.root", json.dumps(answer)))
    (folder / asked.ANSWER).chmod(0o600)


def lead(resets: list[str] | None = None) -> None:
    resets = [] if resets is None else resets
    machine = asked.Machine(NAME, SIZE, lambda: resets.append("reset"))
    truenas.lead(machine, "127.0.0.1", lambda: True)


def test_it_is_adopted_told_what_to_install_and_let_go_off(installer: Installer) -> None:
    lead()
    assert installer.installed == [{"set_pmbr": False, "disks": ["vda"], **LOGIN}] and installer.ends == ["shutdown"]
    assert asked.is_installed(NAME) and asked.progress(NAME) == "50% Extracting"
    assert {path.stat().st_mode & 0o777 for path in installer.folder.iterdir() if path.name != "lock"} == {0o600}
    # It is still there: it is told again to go off, and nothing else.
    lead()
    assert len(installer.installed) == 1 and installer.ends == ["shutdown"] * 2


def test_a_run_goes_on_where_one_was_killed(installer: Installer) -> None:
    installer.key = "k"
    (installer.folder / "key").write_text("k")
    installer.state["installation_running"] = True
    lead()
    assert not installer.installed and installer.ends == ["shutdown"] and asked.is_installed(NAME)


def test_an_older_one_that_does_not_say_how_it_ended_begins_again(installer: Installer) -> None:
    installer.state = {"installation_running": False}
    lead()
    assert len(installer.installed) == 1


@pytest.mark.parametrize("kept", [None, "another"])
def test_one_that_belongs_to_somebody_else_is_started_anew(installer: Installer, kept: str | None) -> None:
    installer.key = "k"
    if kept:
        (installer.folder / "key").write_text(kept)
    resets: list[str] = []
    lead(resets)
    assert resets == ["reset"] and not installer.installed and not asked.is_installed(NAME)


def test_nothing_is_installed_where_the_disk_cannot_be_told(installer: Installer) -> None:
    installer.disks.append({"name": "vdb", "size": SIZE})
    with pytest.raises(ApplyError, match=r"sees several disks of .*: vda \(\d+ bytes\), vdb"):
        lead()
    installer.disks = [{"name": "sda", "size": 9 << 30}]
    with pytest.raises(ApplyError, match="sees no disk of"):
        lead()
    assert not installer.installed and not installer.ends


def test_one_of_several_can_be_named(installer: Installer) -> None:
    installer.disks.append({"name": "vdb", "size": SIZE})
    prepare(installer.folder, {**LOGIN, "disks": ["vdb"]})
    lead()
    assert installer.installed[0]["disks"] == ["vdb"]


def test_what_it_refuses_is_told_without_the_password(installer: Installer) -> None:
    installer.refuses = f"{PASSWORD!r} is too short\n\nOn instance: {PASSWORD}"
    with pytest.raises(ApplyError, match=r"refused: '.secret.' is too short$"):
        lead()
    assert not asked.is_installed(NAME) and not installer.ends


def test_only_one_run_speaks_with_it(installer: Installer) -> None:
    with truenas._alone(NAME) as is_alone:
        assert is_alone
        lead()
    assert not installer.installed


def test_where_nothing_answers_nothing_happens(installer: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "PORT", 1)
    lead()
    assert not installer.ends


def test_where_it_answers_is_nothing_that_it_is_told(installer: Installer) -> None:
    prepare(installer.folder, {**LOGIN, "address": "192.0.2.1"})
    assert (asked.address_of(NAME), asked.disk_of(NAME)) == ("192.0.2.1", "/p/nas.root")
    lead()
    assert "address" not in installer.installed[0]
