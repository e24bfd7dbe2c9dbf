# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of recovery stand on what those of the matrix do."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.tests.harness import backups
from ansible_collections.homelab.hybrid.tests.harness import containers as ct
from ansible_collections.homelab.hybrid.tests.matrix.conftest import (
    _as_root,
    machine_host,
    no_container,
    pool_folders,
    pytest_report_header,
)

__all__ = [
    "_as_root",
    "machine_host",
    "no_container",
    "pool_folders",
    "pytest_report_header",
]


pool = ct.pools("recovery.img")


@pytest.fixture
def _repository(pool: str) -> t.Iterator[None]:
    """An empty repository and a job of the container of the tests."""
    backups.set_up(ct.REPOSITORY, guests=[ct.NAME])
    yield
    backups.tear_down(ct.REPOSITORY)
