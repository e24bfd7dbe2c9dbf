# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of ``layout`` is made of that of the modules of its items."""

from __future__ import annotations

import subprocess
import sys

from unit.tree import ROOT


def test_the_documentation_of_layout_is_not_stale():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "tools" / "layout_docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
