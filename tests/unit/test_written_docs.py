# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``make docs`` writes into the documentation of modules follows from the rows and is not stale."""

from __future__ import annotations

import subprocess
import sys

import pytest
from unit.tree import ROOT


@pytest.mark.parametrize("tool", ["option_docs", "layout_docs"])
def test_what_make_docs_writes_is_not_stale(tool):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "tools" / f"{tool}.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
