# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role pihole writes into Pi-hole's own settings: hashes as FTL has them, records beside those of others."""

from __future__ import annotations

import pytest
from set_pihole import balloon, encoded, is_hash_of, with_cnames, with_hosts


def test_a_hash_is_that_of_the_balloon_of_others() -> None:
    # Of RustCrypto's balloon-hash, whose authors took it from the reference.
    known = "716043dff777b44aa7b88dcbab12c078abecfac9d289c5b5195967aa63440dfb"
    assert balloon("hunter42", b"examplesalt", 1024, 3).hex() == known


def test_a_hash_of_the_password_is_left_alone() -> None:
    found = encoded("secret", bytes(range(16)))
    assert is_hash_of("secret", found)
    assert not is_hash_of("other", found)


@pytest.mark.parametrize("found", ["", "secret", "$BALLOON-SHA256$v=1$s=1024,t=32$odd!!$x", "$6$salt$hash"])
def test_what_is_no_hash_is_not_one_of_the_password(found: str) -> None:
    assert not is_hash_of("secret", found)


@pytest.mark.parametrize(
    ("there", "pairs", "then"),
    [
        ([], [["10.0.0.2", "nas.lab"]], ["10.0.0.2 nas.lab"]),
        (["10.0.0.2 nas.lab"], [["10.0.0.2", "nas.lab"]], ["10.0.0.2 nas.lab"]),
        (["10.0.0.9 nas.lab"], [["10.0.0.2", "nas.lab"]], ["10.0.0.2 nas.lab"]),
        (["10.0.0.9 NAS.lab by.hand"], [["10.0.0.2", "nas.lab"]], ["10.0.0.9 by.hand", "10.0.0.2 nas.lab"]),
        (["10.0.0.7  by.hand"], [["10.0.0.2", "nas.lab"]], ["10.0.0.7  by.hand", "10.0.0.2 nas.lab"]),
        (
            ["10.0.0.2 nas.lab", "10.0.0.3 nas.lab"],
            [["10.0.0.3", "nas.lab"], ["10.0.0.4", "nas.lab"]],
            ["10.0.0.3 nas.lab", "10.0.0.4 nas.lab"],
        ),
    ],
)
def test_a_declared_name_has_its_addresses_alone_and_others_stay(
    there: list[str], pairs: list[list[str]], then: list[str]
) -> None:
    assert with_hosts(there, pairs) == then
    assert with_hosts(then, pairs) == then, "and the same again"


@pytest.mark.parametrize(
    ("there", "pairs", "then"),
    [
        ([], [["share.lab", "nas.lab"]], ["share.lab,nas.lab"]),
        (["share.lab,nas.lab,60"], [["share.lab", "nas.lab"]], ["share.lab,nas.lab,60"]),
        (
            ["share.lab,old.lab", "by.hand,nas.lab"],
            [["share.lab", "nas.lab"]],
            ["by.hand,nas.lab", "share.lab,nas.lab"],
        ),
        (["Share.lab,old.lab"], [["share.lab", "nas.lab"]], ["share.lab,nas.lab"]),
        (["a.lab,share.lab,old.lab,60"], [], ["a.lab,share.lab,old.lab,60"]),
        (["a.lab,share.lab,old.lab,60"], [["share.lab", "nas.lab"]], ["a.lab,old.lab,60", "share.lab,nas.lab"]),
    ],
)
def test_a_declared_name_has_its_target_and_others_stay(
    there: list[str], pairs: list[list[str]], then: list[str]
) -> None:
    assert with_cnames(there, pairs) == then
    assert with_cnames(then, pairs) == then, "and the same again"
