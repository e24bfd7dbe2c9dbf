# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.module_utils._notify.pending import (
    STALE_SECONDS,
    Pending,
    of_updates,
    pending_of,
)

# As apt of Debian 12 and 13 prints it.
SAID = """\
Fetched 1795860000
Reading package lists...
Inst unzip [6.0-28] (6.0-28+deb12u1 Debian-Security:12/oldstable-security [amd64])
Inst python3-jwt [2.6.0-1] (2.6.0-1+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [all])
Inst python3-xmltodict [0.13.0-1] (0.13.0-1.1~deb12u1 Debian:12.15/oldstable [all])
Inst openssl [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
Inst linux-image-6.12.50-amd64 (6.12.50-1 Debian-Security:13/stable-security [amd64])
Conf unzip (6.0-28+deb12u1 Debian-Security:12/oldstable-security [amd64])
"""


def test_only_what_is_there_and_is_raised_for_security_waits() -> None:
    assert pending_of(SAID) == Pending(("openssl", "python3-jwt", "unzip"), 1795860000)


def test_what_has_no_apt_knows_of_nothing() -> None:
    assert pending_of("") is None
    assert pending_of("Fetched \n") == Pending((), 0)


def test_what_waits_is_one_sentence_of_host_and_guests() -> None:
    found = {"": Pending(tuple("abcdefg"), 100), "dns": Pending(("unbound",), 100), "web": Pending((), 100)}
    (its,) = of_updates(found, 200.0)
    assert (its.key, its.on) == ("updates", "updates")
    assert its.text == "Updates for security wait: the host itself (a, b, c, d, e and 2 more), dns (unbound)"


def test_who_has_not_looked_for_long_is_named() -> None:
    (its,) = of_updates({"": Pending((), 100), "dns": Pending((), 0)}, STALE_SECONDS + 50)
    assert its.text.startswith("Nobody has looked for updates in the last 30 days: dns.")
    assert list(of_updates({"": Pending((), 100)}, 200.0)) == []
