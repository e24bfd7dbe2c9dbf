# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.units import (
    GIB,
    KIB,
    MIB,
    parse_rate,
    parse_size,
    show_memory_kib,
    show_rate,
    show_size,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.options import parse_memory


@pytest.mark.parametrize(
    ("value", "unit", "size"),
    [
        (512, MIB, 512 * MIB),
        ("512", MIB, 512 * MIB),
        ("4GiB", MIB, 4 * GIB),
        ("4G", MIB, 4 * GIB),
        ("20G", GIB, 20 * GIB),
        (20, GIB, 20 * GIB),
        ("1.5GiB", GIB, 1536 * MIB),
        ("  2 TiB ", GIB, 2048 * GIB),
        ("64k", GIB, 64 * KIB),
        ("7B", GIB, 7),
    ],
)
def test_a_size_in_bytes(value, unit, size):
    assert parse_size("size", value, unit=unit) == size


@pytest.mark.parametrize(
    "value", ["4GB", "4MB", "1e3", "-1", "0", "", "GiB", "1.0001KiB", True, None, [], "4 G iB", "٣", "4GiB\n4"]
)
def test_what_is_no_size_is_refused_with_its_key(value):
    with pytest.raises(SpecError, match=r"^disks\.size: "):
        parse_size("disks.size", value, unit=GIB)


@given(st.integers(min_value=1, max_value=2**60))
def test_a_size_that_is_shown_can_be_read_again(size):
    shown = show_size(size)
    assert parse_size("size", shown if not str(shown).isdigit() else f"{shown}B", unit=GIB) == size


def test_memory_counts_in_mib_and_is_kept_in_kib():
    assert parse_memory("memory", 512) == 512 * 1024
    assert parse_memory("memory", "2GiB") == 2 * 1024 * 1024
    assert show_memory_kib(2 * 1024 * 1024) == "2GiB"
    with pytest.raises(SpecError, match="whole MiB"):
        parse_memory("memory", "1025KiB")


@pytest.mark.parametrize(
    ("value", "bits", "shown"),
    [
        ("100Mbit", 10**8, "100Mbit"),
        ("8kbit", 8000, "8kbit"),
        ("1000mbit", 10**9, "1Gbit"),
        (" 80000 bit ", 80000, "80kbit"),
    ],
)
def test_a_rate_in_bits_per_second(value, bits, shown):
    assert parse_rate("rate", value) == bits
    assert show_rate(bits) == shown


@pytest.mark.parametrize("value", ["100", "100MiB", "1Mbps", "9kbit", "0Mbit", "101Gbit", "-8kbit", "", None, True])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(SpecError, match="8kbit to 100Gbit"):
        parse_rate("rate", value)


def test_no_limit_is_shown_as_none():
    assert show_rate(0) is show_rate(None) is None
