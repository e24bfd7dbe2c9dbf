# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.homelab.hybrid.plugins.module_utils._run import journal

CHANGE = {"path": "memory", "before": "1GiB", "after": "2GiB", "how": "live", "done": True}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(paths, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(paths, "LOCKS", str(tmp_path / "locks"))
    return tmp_path / "journal"


def test_a_change_is_one_line_that_root_alone_reads(folder):
    assert journal.note("kvm_vm", "web", {"plan": [CHANGE], "restart_required": ["cpu.cores"]}) == []
    (line,) = (folder / "journal.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["module"], entry["name"], entry["plan"], entry["result"]) == ("kvm_vm", "web", [CHANGE], "ok")
    assert entry["restart_required"] == ["cpu.cores"]
    assert entry["uid"] == os.getuid()
    assert entry["time"].endswith("+00:00")
    assert stat.S_IMODE((folder / "journal.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_change_that_failed_says_why(folder):
    journal.note("image", "debian", {"plan": [CHANGE], "msg": "tar ended with 2"})
    (entry,) = journal.read(9)
    assert (entry["result"], entry["msg"]) == ("failed", "tar ended with 2")


def test_secrets_are_masked_as_in_plans(folder):
    plan = Plan([Change("cloud_init.user_data", "hunter22", "hunter23", secret=True)])
    journal.note("kvm_vm", "web", plan.result())
    assert "hunter" not in (folder / "journal.jsonl").read_text()


def test_the_last_entries_come_in_their_order(folder):
    for number in range(5):
        journal.note("bridge", f"br{number}", {})
    assert [entry["name"] for entry in journal.read(3)] == ["br2", "br3", "br4"]
    assert len(journal.read(99)) == 5


def test_it_is_rotated_by_size_and_old_files_go(folder, monkeypatch):
    monkeypatch.setattr(journal, "MOST_BYTES", 600)
    for number in range(40):
        journal.note("bridge", f"br{number}", {"plan": [CHANGE]})
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["journal.jsonl", *(f"journal.jsonl.{number}" for number in range(1, journal.OLD_FILES + 1))]
    assert all(path.stat().st_size <= 600 for path in folder.iterdir())
    names = [entry["name"] for entry in journal.read(99)]
    assert names == [f"br{number}" for number in range(40 - len(names), 40)]
    assert len(names) > 3


def test_entries_that_are_rotated_while_they_are_read_are_told_once(folder, monkeypatch):
    for number in range(3):
        journal.note("bridge", f"br{number}", {})
    (folder / "journal.jsonl.1").write_text('{"name": "old"}\n')

    def files():
        yield str(folder / "journal.jsonl")
        os.replace(folder / "journal.jsonl.1", folder / "journal.jsonl.2")
        os.replace(folder / "journal.jsonl", folder / "journal.jsonl.1")
        yield from (str(folder / f"journal.jsonl.{number}") for number in (1, 2, 3))

    monkeypatch.setattr(journal, "_files", files)
    assert [entry["name"] for entry in journal.read(99)] == ["old", "br0", "br1", "br2"]


def test_what_is_no_entry_is_passed_over(folder):
    journal.note("bridge", "br0", {})
    with open(folder / "journal.jsonl", "ab") as stream:
        stream.write(b"[" * 100_000 + b'\n[1]\n"x"\n\xff\n\n{"name": "\xff"}\n')
    journal.note("bridge", "br1", {})
    names = [entry["name"] for entry in journal.read(9)]
    assert names == ["br0", "\ufffd", "br1"]


def test_a_line_that_a_power_cut_broke_harms_no_other(folder):
    journal.note("bridge", "br0", {})
    with open(folder / "journal.jsonl", "a") as stream:
        stream.write('{"time": "2026')
    journal.note("bridge", "br1", {})
    assert [entry["name"] for entry in journal.read(9)] == ["br0", "br1"]


def test_a_journal_that_cannot_be_written_is_a_warning(folder):
    folder.write_text("in the way")
    (warning,) = journal.note("bridge", "br0", {})
    assert "could not be written" in warning
    assert journal.read(9) == []


def test_who_it_was_is_as_much_as_is_known():
    known = journal.who({"SUDO_USER": "anna", "SSH_CLIENT": "192.0.2.7 50000 22"})
    assert (known["sudo_user"], known["from"]) == ("anna", "192.0.2.7")
    assert not {"sudo_user", "from"} & set(journal.who({}))
