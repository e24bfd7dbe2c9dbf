# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from ansible_collections.homelab.hybrid.tests.harness import containers, machines, two_pools
from ansible_collections.homelab.hybrid.tests.harness.kill import SEED

# The tests of these files need neither an order nor each other's company, and take longest: any worker takes one, and first.
INDEPENDENT = ("test_bridge_reboot.py", "test_image.py", "test_kept_code.py", "test_site.py")
# The other long ones come next, so that none is left over at the end.
LONG = (
    "test_bridge_ports.py",
    "test_bridge.py",
    "test_backup_container.py",
    "test_container_change.py",
    "test_backup_vm.py",
    "test_drill_vm.py",
    "test_replication.py",
    "test_examples.py",
    "test_restore_container.py",
    "test_vm_addresses.py",
    "test_vm_install.py",
    "test_vm_guest.py",
)


class Shares(LoadScopeScheduling):
    """The tests of a file run one after the other in one worker, as many tell a story of one guest."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.endswith(INDEPENDENT) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: t.Any) -> Shares:
    config.option.loadscopereorder = False
    return Shares(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (item.path.name not in INDEPENDENT, item.path.name not in LONG))


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed of random values and moments: {SEED} (HARNESS_SEED={SEED} draws them again)"


@pytest.fixture(scope="session", autouse=True)
def _as_root() -> None:
    if os.geteuid() != 0:
        pytest.exit("the matrix works on the real host: run it as root", returncode=2)


@pytest.fixture(scope="module")
def container_host() -> t.Iterator[None]:
    """A pool, an image and bridges for containers."""
    containers.set_up()
    yield
    containers.tear_down()


@pytest.fixture
def no_container() -> t.Iterator[None]:
    """None stands before the test, and nothing of one is left after it."""
    containers.clean()
    yield
    containers.clean()
    assert containers.left_behind() == []


@pytest.fixture(scope="module")
def machine_host() -> t.Iterator[Path]:
    """A pool, an image and bridges for virtual machines: the folder of the pool."""
    with machines.surroundings() as pool:
        yield pool


@pytest.fixture
def folder(machine_host: Path) -> t.Iterator[Path]:
    """The folder of the pool for virtual machines, of which none stands before or after the test."""
    machines.remove_machines()
    yield machine_host
    machines.remove_machines()


@pytest.fixture(scope="module")
def pool_folders() -> t.Iterator[dict[str, Path]]:
    """A pool on btrfs and one in a plain folder: their folders by name."""
    with two_pools.surroundings() as folders:
        yield folders


@pytest.fixture(params=list(two_pools.FORMATS))
def pool(request: pytest.FixtureRequest, pool_folders: dict[str, Path]) -> t.Iterator[str]:
    """The name of each of them. No machine stands before or after the test."""
    two_pools.clean(pool_folders)
    yield request.param
    two_pools.clean(pool_folders)


@pytest.fixture
def pool_folder(pool: str, pool_folders: dict[str, Path]) -> Path:
    return pool_folders[pool]
