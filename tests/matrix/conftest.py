# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.homelab.hybrid.tests.harness.kill import SEED


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed of random values and moments: {SEED} (HARNESS_SEED={SEED} draws them again)"


@pytest.fixture(scope="session", autouse=True)
def _as_root() -> None:
    if os.geteuid() != 0:
        pytest.exit("the matrix works on the real host: run it as root", returncode=2)
