# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprints of keys are those that gpg shows."""

from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._openpgp import fingerprints

# `gpg --quick-gen-key "Test <t@example.org>" ed25519 sign never`, and what `gpg --list-keys --with-colons` says of it.
KEY = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawjTwRYJKwYBBAHaRw8BAQdAAh6z1/oRBgraPdylPCV7vnV/jwk7kIfA0NqV
UOrZ23u0FFRlc3QgPHRAZXhhbXBsZS5vcmc+iJAEExYIADgWIQSkgomIDUqqEa+L
Fh0qVUMvDxw2pQUCawjTwQIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAKCRAq
VUMvDxw2pe1gAP49/UuQh+7neBahbnsauz8tIxG9u1On16KBUESq4V7nwQD/YbEN
xfNQ2Ha8suWeP/r/V274fAIDYYIqjLfIjQZphAc=
=YaBq
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "A48289880D4AAA11AF8B161D2A55432F0F1C36A5"


def test_the_fingerprint_is_the_one_that_gpg_shows() -> None:
    assert fingerprints(KEY) == [FINGERPRINT]


def test_a_second_key_is_seen() -> None:
    assert fingerprints(KEY + KEY) == [FINGERPRINT, FINGERPRINT]


def test_a_text_without_a_key_has_none() -> None:
    assert fingerprints("") == fingerprints("<html>log in here</html>") == []


@pytest.mark.parametrize("broken", [KEY[: len(KEY) // 2], KEY.replace("\n\nm", "\n\n!!", 1)])
def test_a_broken_key_is_refused(broken: str) -> None:
    with pytest.raises(ValueError, match="armor"):
        fingerprints(broken)


def test_an_older_form_of_packets_and_a_foreign_key_are_told_apart() -> None:
    changed = KEY.replace("mDME", "mDMF", 1)
    assert changed != KEY
    with pytest.raises(ValueError, match="version"):
        fingerprints(changed)
