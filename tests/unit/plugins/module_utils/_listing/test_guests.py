# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._listing import read
from ansible_collections.homelab.hybrid.plugins.module_utils._listing.spec import parse


class FakeHost:
    domains = ("zeta", "opnsense")
    containers = ("adguard", "gone")

    def missing(self, reference):
        return None if reference.name != "gone" else "there is no guest gone"


def facts(kind):
    def one(name, host):
        if name == "gone":
            raise ObserveError("it is not there")
        return {"name": name, "kind": kind, "state": "absent" if name == "zeta" else "started"}

    return one


@pytest.fixture(autouse=True)
def _faked(monkeypatch):
    monkeypatch.setattr(read, "vm_facts", facts("vm"))
    monkeypatch.setattr(read, "container_facts", facts("container"))
    monkeypatch.setattr(read, "Host", FakeHost)


def names(**params):
    return [guest["name"] for guest in read.read_guests(params, FakeHost())["guests"]]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["adguard", "opnsense"]),
        ({"name": None, "kind": None}, ["adguard", "opnsense"]),
        ({"kind": "vm"}, ["opnsense"]),
        ({"kind": "container"}, ["adguard"]),
        ({"name": ["adguard", "nobody"]}, ["adguard"]),
        ({"name": ["adguard"], "kind": "vm"}, []),
        ({"name": []}, []),
    ],
)
def test_the_guests_that_are_asked_for(params, expected):
    assert names(**params) == expected


def test_a_guest_that_cannot_be_read_is_told_as_that_beside_all_others(monkeypatch):
    monkeypatch.setattr(FakeHost, "missing", lambda host, reference: None)
    told = {guest["name"]: guest for guest in read.read_guests({}, FakeHost())["guests"]}
    assert {"adguard", "opnsense"} < set(told)
    unknown = [guest for guest in told.values() if guest["state"] == "unknown"]
    assert [guest["problem"] for guest in unknown] == ["it is not there"] * len(unknown) != []


@pytest.mark.parametrize("name", ["", "../etc", "a\nb", "a\0"])
def test_what_no_guest_can_be_called(name):
    with pytest.raises(SpecError, match=r"^name: "):
        parse({"name": [name]})
