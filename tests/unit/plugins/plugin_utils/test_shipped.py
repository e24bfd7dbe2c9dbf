# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a hypervisor runs there without the collection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils import _shipped

FILES = {
    "_core/words.py": "WORD = 'shipped'\n",
    "_core/unused.py": "raise RuntimeError\n",
    "_area/deep/leaf.py": "LEAF = 'leaf'\n",
    "_area/entry.py": """\
import sys
from .._core.words import WORD
from .._core import words
def main():
    from .deep import leaf
    print(WORD, words.__name__, leaf.LEAF, sys.argv[1:], sys.stdin.read())
""",
}


@pytest.fixture(autouse=True)
def _shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(_shipped, "SHARED", str(tmp_path))
    _shipped.archive.cache_clear()
    yield
    _shipped.archive.cache_clear()


def test_what_is_imported_goes_along() -> None:
    assert _shipped.needed("_area/entry.py") == {"_area/entry.py", "_area/deep/leaf.py", "_core/words.py"}


# A user that is not root would be asked to be root.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@as_root
def test_a_program_in_a_command_line() -> None:
    argv = _shipped.by_argument("_area.entry", ["a b", "c"], sys.executable)
    done = subprocess.run(argv, input="rest", capture_output=True, text=True, check=False)
    assert done.stdout == "shipped homelab_hybrid._core.words leaf ['a b', 'c'] rest\n", done.stderr


@as_root
def test_a_program_that_is_read_leaves_the_rest_of_the_input() -> None:
    argv, data = _shipped.by_input("_area.entry", ["a b"], sys.executable)
    done = subprocess.run(argv, input=data + b"rest", capture_output=True, check=False)
    assert done.stdout == b"shipped homelab_hybrid._core.words leaf ['a b'] rest\n", done.stderr


def test_a_program_that_no_command_line_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shipped, "LONGEST_ARGUMENT", 100)
    with pytest.raises(ValueError, match="too large"):
        _shipped.by_argument("_area.entry", [])
