# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.declared import check_name
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._storage import volume as volumes
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import BLOCK, FILESYSTEM, Volume

ROOT = volumes.of_guest("main", "web", volumes.ROOT, FILESYSTEM)


def test_a_plan_shows_the_pool_and_the_name() -> None:
    assert str(ROOT) == "main/web.rootfs"


@pytest.mark.parametrize("volume", [ROOT, Volume("fast", "db.data", BLOCK)])
def test_a_record_gives_back_the_volume_that_went_in(volume: Volume) -> None:
    assert volumes.from_record(json.loads(json.dumps(volumes.to_record(volume)))) == volume


@pytest.mark.parametrize("volume", [volumes.of_image("main", "web", FILESYSTEM), ROOT.snapshot("before")])
def test_no_guest_can_have_a_volume_that_is_an_image_or_a_snapshot(volume: Volume) -> None:
    with pytest.raises(SpecError):
        check_name("name", volume.name)
