# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import labs
from ansible_collections.homelab.hybrid.tests.harness.labs import Lab


@pytest.fixture(scope="module")
def lab_host() -> t.Iterator[None]:
    """This host with a bridge, a pool, an image and three guests, for the tests of one file."""
    try:
        labs.set_up()
        yield
    finally:
        labs.tear_down()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)
