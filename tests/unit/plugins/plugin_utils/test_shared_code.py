# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that is another has another number."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._shared_code import digest


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    (tmp_path / "modules").mkdir()
    (tmp_path / "module_utils" / "_core").mkdir(parents=True)
    (tmp_path / "modules" / "layout.py").write_text("z")
    return tmp_path


def test_every_change_gives_another_number(plugins: Path) -> None:
    shared = plugins / "module_utils"
    found = [digest("layout", plugins)]
    for path, text in (("a.py", "x"), ("a.py", "y"), ("_core/b.py", "y"), ("../modules/layout.py", "zz")):
        (shared / path).write_text(text)
        found.append(digest("layout", plugins))
    (shared / "_core/b.py").rename(shared / "_core/c.py")
    found.append(digest("layout", plugins))
    # Ansible's own code is sent with it.
    found.append(digest("layout", plugins, ansible="2.99"))
    assert len(set(found)) == 7


def test_what_is_not_sent_does_not_count(plugins: Path) -> None:
    before = digest("layout", plugins)
    (plugins / "module_utils" / "a.pyc").write_text("")
    (plugins / "modules" / "image.py").write_text("")
    assert digest("layout", plugins) == before
