# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup a guest comes back from that its host has lost."""

from __future__ import annotations

import platform
import types
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.restore import lost
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.stored import Stored
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host

HERE = platform.node()


def stored(number: int, guest: str, kind: str = "container", host: str = HERE) -> Stored:
    return Stored(f"{number}" * 64, float(number), guest, kind, "nightly", "crash", host, f"/run/{guest}")


HELD = {
    "disk": [stored(5, "web"), stored(3, "web"), stored(4, "old", host="before"), stored(2, "vm", "vm")],
    "offsite": [stored(6, "web"), stored(9, "web", host="other"), stored(8, "there")],
}


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which only the guest *there* is."""
    monkeypatch.setattr(lost, "load", lambda name: types.SimpleNamespace(list=lambda: HELD[name]))
    monkeypatch.setattr(lost, "_is_lost", lambda guest, host: guest != "there")


def ask(*names: str, **params: t.Any) -> dict[str, t.Any]:
    whole = {"containers": list(names), "vms": [], "repositories": [*HELD], **params}
    return lost.read_lost(whole, Host())


def test_the_newest_of_all_repositories_counts_and_only_of_this_host() -> None:
    (its,) = ask("web", "there")["found"]
    assert (its["guest"], its["repository"], its["id"][0]) == ("web", "offsite", "6")
    (its,) = ask("web", host="other")["found"]
    assert its["id"][0] == "9"
    (its,) = ask("web", repositories=["disk"])["found"]
    assert (its["repository"], its["id"][0]) == ("disk", "5")
    (its,) = ask("web", at="1970-01-01T00:00:04Z")["found"]
    assert its["id"][0] == "3"


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"containers": ["new"]}, "new has no backup"),
        ({"containers": ["old"]}, f"old has no backup of the host {HERE}, and was backed up on before"),
        ({"containers": ["web"], "at": "1970-01-01T00:00:01Z"}, "web has no backup that was made until then"),
        ({"containers": ["vm"]}, "vm was a virtual machine when it was backed up, and is a container now"),
    ],
)
def test_a_guest_without_a_backup_says_why(params: dict[str, t.Any], why: str) -> None:
    told = ask(**params)
    reason = ", ".join(told["without"].values())
    assert reason.startswith(why) and told["found"] == []


def test_nobody_is_asked_where_no_guest_is_lost_and_no_moment_is_guessed() -> None:
    assert ask("there", repositories=["away"]) == {"found": [], "without": {}}
    with pytest.raises(SpecError, match="yesterday"):
        ask("web", at="yesterday")
