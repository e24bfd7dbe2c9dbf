# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges of ids, sets of CPUs, control group values, and what is shifted on disk."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.homelab.hybrid.plugins.module_utils._container import cgroup, cpuset, idmap, rootfs
from ansible_collections.homelab.hybrid.plugins.module_utils._container.idmap import Range

ranges = st.builds(Range, st.integers(0, 2_000_000), st.integers(1, 300_000))


@given(st.lists(ranges, max_size=6), st.lists(ranges, max_size=6), st.lists(ranges, max_size=8))
def test_an_allocated_range_is_roots_and_nobody_elses(uids, gids, taken):
    found = idmap.allocate(uids, gids, taken)
    if found is None:
        return
    assert any(area.holds(found) for area in uids) and any(area.holds(found) for area in gids)
    assert not any(found.overlaps(other) for other in taken)


@given(st.integers(1, 12))
def test_ranges_are_given_out_until_none_is_left(count):
    area = [Range(100000, count * idmap.COUNT + 17)]
    taken: list[Range] = []
    while (found := idmap.allocate(area, area, taken)) is not None:
        taken.append(found)
    assert [each.start for each in taken] == [100000 + number * idmap.COUNT for number in range(count)]


def test_a_hole_is_used_again():
    area = [Range(100000, 10 * idmap.COUNT)]
    taken = [Range(100000), Range(100000 + 2 * idmap.COUNT)]
    assert idmap.allocate(area, area, taken) == Range(100000 + idmap.COUNT)


def test_uids_and_gids_need_not_be_the_same():
    assert idmap.allocate([Range(100000, 200000)], [Range(150000, 200000)], []) == Range(150000)
    assert idmap.allocate([Range(0, 1000)], [Range(0, 1000)], []) is None


def test_the_files_of_root_are_read():
    text = "# x\nsomebody:1:5\nroot:100000:65536\n0:300000:10\nroot:broken:1\nroot:1:0\n"
    assert idmap.parse_subids(text) == [Range(100000, 65536), Range(300000, 10)]


def test_maps_are_read():
    values = ["u 0 100000 65536", "g 0 200000 65536", "u 1000 1000 1", "nonsense"]
    assert idmap.parse_idmap(values) == [Range(1000, 1), Range(100000), Range(200000)]
    assert idmap.root_of(values) == (100000, 200000)
    assert idmap.root_of(["u 1000 1000 1"]) is None and idmap.root_of([]) is None
    assert idmap.root_of(idmap.lines(Range(7))) == (7, 7)


@given(st.sets(st.integers(0, 200)))
def test_a_set_of_cpus_is_written_and_read_alike(cpus):
    assert cpuset.parse(cpuset.show(cpus)) == tuple(sorted(cpus))


@pytest.mark.parametrize(
    ("count", "claims", "chosen"),
    [
        (1, [], (0,)),
        (1, [(0,)], (1,)),
        (2, [(0,), (0, 1)], (2, 3)),
        (4, [(0,)], (0, 1, 2, 3)),
        (1, [(0, 1, 2, 3)], (0,)),
    ],
)
def test_the_least_claimed_cpus_are_chosen(count, claims, chosen):
    assert cpuset.least_claimed(count, (0, 1, 2, 3), claims) == chosen


@given(st.integers(1, 1 << 30), st.integers(-1, 1 << 30))
def test_memory_and_swap_are_read_as_written(memory, swap):
    for items in cgroup.memory_items(memory, swap):
        written = {key: value for key, value in items.items() if value}
        assert (cgroup.read_memory(written), cgroup.read_swap(written)) == (memory, swap)


@given(st.integers(1, 10000))
def test_a_weight_is_read_as_declared(weight):
    first, second = cgroup.weight_items(weight)
    assert cgroup.read_weight(first, weight) == cgroup.read_weight(second, None) == weight


@pytest.mark.parametrize("limit", [0.01, 0.5, 1.0, 1.5, 64.25])
def test_a_quota_is_read_as_written(limit):
    assert [cgroup.read_limit(items) for items in cgroup.limit_items(limit)] == [limit, limit]


def test_no_limit_is_none():
    assert cgroup.read_memory({"memory.limit_in_bytes": "9223372036854771712"}) == 0
    assert cgroup.read_memory({"memory.max": "max"}) == 0 == cgroup.read_pids({"pids.max": "max"})
    assert cgroup.read_limit({"cpu.max": "max 100000"}) == 0 == cgroup.read_limit({"cpu.cfs_quota_us": "-1"})
    assert cgroup.read_swap({"memory.swap.max": "max"}) == -1 == cgroup.read_swap({})
    assert cgroup.read_memory({"memory.limit_in_bytes": "64M"}) == 65536


def test_an_acl_is_shifted_where_it_names_somebody():
    value = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry) for entry in ((1, 7, 0xFFFFFFFF), (2, 5, 1000), (8, 5, 4), (16, 5, 0xFFFFFFFF))
    )
    shifted = rootfs.shift_acl(value, rootfs.Shift(100000, 200000))
    entries = [struct.unpack_from("<HHI", shifted, offset) for offset in range(4, len(shifted), 8)]
    assert entries == [(1, 7, 0xFFFFFFFF), (2, 5, 101000), (8, 5, 200004), (16, 5, 0xFFFFFFFF)]


@pytest.mark.parametrize("magic", [0x02000000, 0x02000001, 0x03000001])
def test_a_capability_counts_for_root_inside(magic):
    value = struct.pack("<5I", magic, 0x2000, 0, 0, 0) + (struct.pack("<I", 5) if magic >> 24 == 3 else b"")
    shifted = rootfs.shift_capability(value, rootfs.Shift(100000, 100000))
    assert struct.unpack("<6I", shifted) == (0x03000000 | (magic & 1), 0x2000, 0, 0, 0, 100000)


def test_what_a_clone_has_of_another_container_is_shifted_and_what_is_nobody_s_there_stays():
    by = rootfs.Shift(-65536, -65536, (165536, 65536))
    assert [by.user(uid) for uid in (0, 165535, 165536, 166536, 231072)] == [0, 165535, 100000, 101000, 231072]
    value = struct.pack("<6I", 0x03000001, 0x2000, 0, 0, 0, 165536)
    assert struct.unpack("<6I", rootfs.shift_capability(value, by)) == (0x03000001, 0x2000, 0, 0, 0, 100000)
    of_the_host = struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0)
    assert rootfs.shift_capability(of_the_host, by) == of_the_host
