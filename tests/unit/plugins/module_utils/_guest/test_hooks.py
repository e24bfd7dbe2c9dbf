# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._guest.capture import Hooks
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.hooks import HookError, Said, Written, after, before


class Inside:
    """A guest in which commands end as they are told; *services* is what its services say."""

    def __init__(self, services: str = "", **ends: int) -> None:
        self.services = services
        self.ends = ends
        self.ran: list[str] = []

    def __call__(self, line: str, *words: str) -> Said:
        self.ran.append(words[1] if words else line)
        if words:
            return Said(0, self.services, "no space\n")
        return Said(self.ends.get(line, 0), "", "first\nwhy\n")


def test_services_write_down_after_their_owner_and_undo_it_before() -> None:
    guest = Inside("ran web\n")
    assert before("a", Hooks(("one", "two")), guest) == Written(("web",), (), True)
    after("a", ("three",), guest)
    assert guest.ran == ["one", "two", "before", "after", "three"]


def test_nothing_follows_one_that_failed_before_and_everything_after() -> None:
    guest = Inside(one=3)
    with pytest.raises(HookError, match=r"^backup: 'one' ended with 3 inside a: why$"):
        before("a", Hooks(("one", "two")), guest)
    assert guest.ran == ["one"]
    guest = Inside("ran web\nfailed web\n", three=1)
    with pytest.raises(HookError, match=r"backup.d/web after failed inside a: no space"):
        after("a", ("three", "four"), guest)
    assert guest.ran == ["after", "three", "four"]
    with pytest.raises(HookError, match=r"backup.d/web before failed inside a: no space"):
        before("a", Hooks(), Inside("ran web\nfailed web\n"))


@pytest.mark.parametrize(
    ("lines", "services", "is_whole"),
    [
        ((), "", False),
        (("one",), "", True),
        ((), "ran web\n", True),
        ((), "ran web\nbare db\n", False),
        (("one",), "bare db\n", False),
        ((), "some noise\n", False),
    ],
)
def test_all_that_is_known_has_to_be_asked(lines: tuple[str, ...], services: str, is_whole: bool) -> None:
    assert before("a", Hooks(lines), Inside(services)).is_whole is is_whole


def test_a_guest_without_a_shell_has_no_services() -> None:
    assert before("a", Hooks(), lambda *words: Said(127, "", "no such file")) == Written()
    after("a", (), lambda *words: Said(127, "", "no such file"))
