# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a storage pool lays claim to."""

from __future__ import annotations

import os

from ansible_collections.homelab.hybrid.plugins.module_utils._storage.choice import driver_of
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.claims import claims_of, room_of
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.state import State

STATE = State(is_registered=True, is_defined=True, users={"web": True})


def room_in(folder):
    return room_of(driver_of("main", "dir", str(folder)))


def test_it_claims_the_folder_that_is_declared_and_offers_the_room_of_its_file_system(tmp_path):
    claims = claims_of(parse({"name": "main", "path": str(tmp_path / "new")}), STATE)
    (tmp_path / "link").symlink_to(tmp_path)
    assert (
        claims_of(parse({"name": "other", "path": str(tmp_path / "link/new")}), State(False, False)).folders
        == claims.folders
    )
    assert claims.folders == {str(tmp_path / "new")} and claims.room.place == room_in(tmp_path).place
    there = claims_of(parse({"name": "main"}), STATE._replace(path=str(tmp_path)))
    assert there.folders == frozenset() and there.room.place == claims.room.place
    gone = claims_of(parse({"name": "main", "state": "absent"}), STATE)
    assert (gone.users, gone.room) == ({"web"}, None)


def test_nobody_knows_the_room_of_a_source_that_is_not_mounted(tmp_path):
    spec = parse({"name": "main", "type": "btrfs", "path": str(tmp_path), "source": "/dev/sdb"})
    assert claims_of(spec, STATE).room is None
    assert claims_of(spec, STATE._replace(is_mounted=True)).room is not None


def test_a_pool_behind_a_link_lies_where_the_link_leads(tmp_path):
    (tmp_path / "pool").symlink_to("/dev/shm")
    room = room_in(tmp_path / "pool" / "new")
    assert room.place == room_in("/dev/shm").place != room_in("/proc").place
    free = os.statvfs("/dev/shm")
    assert abs(room.free_bytes - free.f_bavail * free.f_frsize) < 2**26
