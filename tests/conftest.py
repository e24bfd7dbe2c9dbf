# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # A worker in a cell has a /tmp of its own, without the folder that the first pytest made for its workers.
    if hasattr(config, "workerinput"):
        Path(config.option.basetemp).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
