# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are whole or not there, and what a killed run leaves is known as its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import atomic


def test_what_a_killed_run_left_of_a_file_is_found_and_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*names: str) -> None:
        raise Killed

    path = tmp_path / "web.seed.iso"
    monkeypatch.setattr(atomic.os, "replace", kill)
    monkeypatch.setattr(atomic, "remove_file", lambda path: False)
    for name in ("web.seed.iso", "web.seed.iso.seed.iso", "other.seed.iso"):
        with pytest.raises(Killed):
            atomic.write_file(str(tmp_path / name), "secret")
    (tmp_path / ".web.seed.iso.old.new").touch()
    (left,) = atomic.half_written(str(path))
    assert Path(left).name.startswith(".web.seed.iso.") and Path(left).read_text() == "secret"
    assert not path.exists()


def test_there_is_nothing_half_written_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    assert list(atomic.half_written(str(tmp_path / "none" / "file"))) == []
