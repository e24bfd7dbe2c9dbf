# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import Reference
from ansible_collections.homelab.hybrid.plugins.module_utils._host import libvirt
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import POOL, Host
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.choice import drivers_of, pool_of


@pytest.fixture
def host(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "STATE", str(tmp_path))
    there = Host()
    there.__dict__["pools"] = {}
    return there


def stands(host, name, path, type="dir"):
    host.pools[name] = libvirt.Pool(name, type, path, True, True, None)


def places(host):
    return {name: (type(driver).__name__, driver.path) for name, driver in drivers_of(host).items()}


def test_a_pool_is_what_its_record_says_where_libvirt_sees_a_folder(host):
    stands(host, "main", "/srv/main")
    stands(host, "fast", "/srv/fast")
    Record("pools", "fast").save(path="/srv/fast", type="btrfs")
    assert places(host) == {"main": ("Dir", "/srv/main"), "fast": ("Btrfs", "/srv/fast")}


def test_the_record_of_another_pool_of_the_same_name_says_nothing(host):
    stands(host, "main", "/srv/main")
    Record("pools", "main").save(path="/srv/old", type="btrfs")
    assert places(host) == {"main": ("Dir", "/srv/main")}


def test_a_pool_that_libvirt_forgot_is_found_by_its_record(host):
    Record("pools", "main").save(path="/srv/main", type="btrfs")
    assert places(host) == {"main": ("Btrfs", "/srv/main")}


def test_a_pool_that_a_layout_makes_lies_where_it_will_and_one_that_is_there_where_it_is(host):
    stands(host, "main", "/srv/main")
    Record("pools", "kept").save(path="/srv/kept", type="dir")
    drivers_of(host)
    promised = {"type": "btrfs"}
    host.expected.update(
        {Reference(POOL, name): {**promised, "path": f"/new/{name}"} for name in ("main", "fast", "kept")}
    )
    host.expected[Reference(POOL, "nowhere")] = {}
    assert places(host) == {
        "main": ("Dir", "/srv/main"),
        "fast": ("Btrfs", "/new/fast"),
        "kept": ("Btrfs", "/new/kept"),
    }


def test_a_pool_that_is_no_folder_has_no_driver(host):
    stands(host, "vg", "/dev/vg", "logical")
    stands(host, "san", None, "iscsi")
    assert places(host) == {}


def test_a_path_lies_in_the_innermost_pool(host):
    stands(host, "main", "/srv")
    stands(host, "inner", "/srv/inner")
    assert pool_of("/srv/inner/a.qcow2", drivers_of(host)) == "inner"
    assert pool_of("/srv/inner2/a.qcow2", drivers_of(host)) == "main"
    assert pool_of("/elsewhere/a.qcow2", drivers_of(host)) is None
