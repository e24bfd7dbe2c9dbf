# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import json
import os
import stat
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import atomic, declared, record
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.value import Value


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(record.paths, "STATE", str(tmp_path))
    return tmp_path


def test_a_record_is_for_root_alone_and_comes_back_as_it_was(state):
    record.Record("pools", "main").save(building=True, path="/srv")
    loaded = record.load("pools", "main")
    assert (loaded.exists, loaded.is_building, loaded.data["path"]) == (True, True, "/srv")
    assert stat.S_IMODE(os.stat(state / "pools" / "main.json").st_mode) == 0o600


def test_none_takes_a_key_off():
    item = record.Record("pools", "main")
    item.save(building=True, path="/srv")
    item.save(building=None)
    assert not record.load("pools", "main").is_building


def test_a_record_that_does_not_change_is_not_written_again(state):
    item = record.Record("pools", "main")
    item.save(path="/srv")
    before = os.stat(state / "pools" / "main.json").st_mtime_ns
    item.save(path="/srv")
    assert os.stat(state / "pools" / "main.json").st_mtime_ns == before


def test_the_record_of_a_newer_version_is_refused(state):
    (state / "pools").mkdir()
    (state / "pools" / "main.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(ObserveError, match="schema 99"):
        record.load("pools", "main")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"schema": "x"}'])
def test_what_is_no_record_is_named(state, text):
    (state / "pools").mkdir()
    (state / "pools" / "main.json").write_text(text)
    with pytest.raises(ObserveError, match=r"main\.json is no ownership record"):
        record.load("pools", "main")


def test_all_records_of_a_kind():
    for name in ("b", "a"):
        record.Record("guests", name).save(kind="vm")
    assert list(record.load_all("guests")) == ["a", "b"]
    assert record.load_all("bridges") == {}


def test_a_removed_record_is_gone():
    item = record.Record("pools", "main")
    item.save(path="/srv")
    item.remove()
    item.remove()
    assert not record.load("pools", "main").exists


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError):
        atomic.write_file(str(path), 5)  # type: ignore[arg-type]  # fails in the midst of it
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_mode_and_owner_are_set_before_the_file_is_seen(tmp_path):
    path = tmp_path / "new" / "file"
    atomic.write_file(str(path), "text", mode=0o640, owner=(os.getuid(), os.getgid()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("value", ["pa55wd", "{'a': 'a dictionary'}", "with\x07bell-character"])
def test_a_bad_secret_is_refused_without_being_shown(value):
    with pytest.raises(SpecError) as caught:
        declared.check_secret("password", value)
    assert value not in caught.value.message


class Told(Value):
    """What a record could say."""

    __slots__ = ("is_building", "size")

    def __init__(self, is_building: bool = False, size: int | None = None) -> None:
        self.is_building = is_building
        self.size = size

    @classmethod
    def load(cls, data: t.Mapping[str, t.Any]) -> t.Self:
        return cls(bool(data.get("building")), data.get("size"))

    def dump(self) -> dict[str, t.Any]:
        return {"building": self.is_building or None, "size": self.size}


def test_typed_content_is_written_whole_and_read_back() -> None:
    own = record.Owned(record.load("pools", "main"), Told)
    assert not own.exists and own.content == Told()
    own.save(is_building=True, size=3)
    again = record.Owned(record.load("pools", "main"), Told)
    assert again.exists and again.content == Told(True, 3)
    again.save(is_building=False, size=None)
    assert record.load("pools", "main").data == {"schema": record.SCHEMAS["pools"]}
    again.remove()
    assert not again.exists and again.content == Told()
    assert not record.load("pools", "main").exists
