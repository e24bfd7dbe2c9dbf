# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that is another has another number."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.plugin_utils._shared_code import digest


def test_every_change_gives_another_number(tmp_path: Path) -> None:
    found = [digest(tmp_path)]
    (tmp_path / "_core").mkdir()
    for path, text in (("a.py", "x"), ("a.py", "y"), ("_core/b.py", "y")):
        (tmp_path / path).write_text(text)
        found.append(digest(tmp_path))
    (tmp_path / "_core/b.py").rename(tmp_path / "_core/c.py")
    found.append(digest(tmp_path))
    assert len(set(found)) == 5


def test_what_is_no_source_does_not_count(tmp_path: Path) -> None:
    before = digest(tmp_path)
    (tmp_path / "a.pyc").write_text("")
    assert digest(tmp_path) == before
