# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a TrueNAS is told: what was written and is not so, and nothing that could cost data."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import RefusedError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._truenas.compare import (
    dataset_calls,
    difference,
    pool_calls,
    service_calls,
    share_calls,
    user_calls,
)

TANK = {"name": "tank", "topology": {"data": [{"type": "MIRROR", "disks": ["A", "B"]}], "spares": ["C"]}}


def disks(*more: dict[str, t.Any], **every: t.Any) -> list[dict[str, t.Any]]:
    plain = [{"name": f"vd{letter}", "serial": letter.upper(), "partitions": [], **every} for letter in "abc"]
    return [*plain, *more]


def test_a_pool_is_made_of_the_disks_that_have_the_serials() -> None:
    (call,) = pool_calls([TANK], [], disks())
    assert (call.method, call.is_job) == ("pool.create", True)
    assert call.params[0]["topology"] == {"data": [{"type": "MIRROR", "disks": ["vda", "vdb"]}], "spares": ["vdc"]}
    assert call.says == "pool tank: made of vda (A), vdb (B), vdc (C)"


def test_a_pool_that_is_there_is_left() -> None:
    there = [{"name": "tank"}]
    assert not pool_calls([TANK], there, disks(imported_zpool="tank"))
    assert not pool_calls([{"name": "tank"}], there, disks())
    with pytest.raises(RefusedError, match="with the disks A, B, C, D, and not with A, B, C"):
        pool_calls(
            [TANK], there, [*disks(imported_zpool="tank"), {"name": "vdd", "serial": "D", "imported_zpool": "tank"}]
        )


def test_a_pool_that_lies_on_its_disks_is_imported() -> None:
    (call,) = pool_calls([TANK], [], disks(exported_zpool="tank"))
    assert call.method == "pool.import_pool"
    with pytest.raises(RefusedError, match="and not with"):
        pool_calls(
            [TANK], [], [*disks(exported_zpool="tank"), {"name": "vdd", "serial": "D", "exported_zpool": "tank"}]
        )


@pytest.mark.parametrize(
    ("found", "saying"),
    [
        (disks(exported_zpool="other"), "has the pool other"),
        (disks(imported_zpool="other"), "is in the pool other"),
        (disks(partitions=[{"name": "vda1"}]), r"vda \(serial A\) has partitions"),
        (disks({"name": "vdd", "serial": "A"}), "several disks have the serial A: vda, vdd"),
        (disks()[1:], "no disk has the serial A. There are: B, C"),
    ],
)
def test_no_disk_is_overwritten_and_none_is_guessed(found: t.Any, saying: str) -> None:
    with pytest.raises(RefusedError, match=saying):
        pool_calls([TANK], [], found)


def test_what_makes_no_pool_is_refused() -> None:
    with pytest.raises(SpecError, match="topology: is needed"):
        pool_calls([{"name": "tank"}], [], disks())
    twice = {"name": "tank", "topology": {"data": [{"type": "STRIPE", "disks": ["A", "A"]}]}}
    with pytest.raises(SpecError, match="A is written twice"):
        pool_calls([twice], [], disks())


def entry(name: str, **properties: t.Any) -> dict[str, t.Any]:
    told = {
        key: {"value": None if value is None else str(value), "parsed": value, "source": source}
        for key, (value, source) in properties.items()
    }
    return {"id": name, **told}


def test_only_the_written_fields_of_a_dataset_are_compared() -> None:
    there = [
        entry(
            "tank/a",
            compression=("LZ4", "DEFAULT"),
            quota=(2 << 30, "LOCAL"),
            atime=("OFF", "LOCAL"),
            comments=("hello", "LOCAL"),
        )
    ]
    same = {
        "name": "tank/a",
        "quota": "2GiB",
        "atime": False,
        "comments": "hello",
        "compression": "INHERIT",
        "share_type": "SMB",
    }
    assert not dataset_calls([same], there)
    (call,) = dataset_calls([{**same, "quota": 0, "atime": "INHERIT"}], there)
    assert (call.method, call.params) == ("pool.dataset.update", ("tank/a", {"quota": 0, "atime": "INHERIT"}))
    assert not dataset_calls([{"name": "tank/a", "quota": 0}], [entry("tank/a", quota=(None, "LOCAL"))])


def test_a_dataset_is_made_and_the_one_of_a_pool_is_changed() -> None:
    calls = dataset_calls(
        [{"name": "tank", "atime": "OFF"}, {"name": "tank/a", "quota": "1GiB", "casesensitivity": "INSENSITIVE"}], []
    )
    assert [(call.method, call.params) for call in calls] == [
        ("pool.dataset.update", ("tank", {"atime": "OFF"})),
        ("pool.dataset.create", ({"name": "tank/a", "quota": 1 << 30, "casesensitivity": "INSENSITIVE"},)),
    ]
    with pytest.raises(SpecError, match="quota"):
        dataset_calls([{"name": "tank/a", "quota": "1GB"}], [])


def test_shares_are_known_by_their_names_and_their_paths() -> None:
    smb = [
        {
            "id": 7,
            "name": "media",
            "path": "/mnt/tank/a",
            "purpose": "DEFAULT_SHARE",
            "options": {"aapl_name_mangling": False, "x": 1},
        }
    ]
    assert not share_calls("smb", [{"name": "media", "options": {"x": 1}}], smb)
    (call,) = share_calls("smb", [{"name": "media", "options": {"aapl_name_mangling": True}}], smb)
    assert call.params == (7, {"options": {"aapl_name_mangling": True, "x": 1}, "purpose": "DEFAULT_SHARE"})
    nfs = [{"id": 3, "path": "/mnt/tank/a", "networks": ["10.0.0.0/8", "192.0.2.0/24"]}]
    assert not share_calls("nfs", [{"path": "/mnt/tank/a", "networks": ["192.0.2.0/24", "10.0.0.0/8"]}], nfs)
    made, changed = share_calls("nfs", [{"path": "/mnt/tank/b"}, {"path": "/mnt/tank/a", "networks": []}], nfs)
    assert (made.method, changed.params) == ("sharing.nfs.create", (3, {"networks": []}))


def test_a_password_is_told_once_and_never_shown() -> None:
    groups = [{"id": 40, "name": "wheel"}]
    alice = {"username": "alice", "password": "pressed-cider", "groups": ["wheel"]}
    (made,) = user_calls([alice], [], groups, lambda *told: False)
    assert made.params[0]["group_create"] is True and made.params[0]["groups"] == [40]
    there = [{"id": 9, "username": "alice", "groups": [40], "group": {"id": 9}}]
    assert not user_calls([alice], there, groups, lambda *told: True)
    (changed,) = user_calls([alice], there, groups, lambda *told: False)
    assert changed.params == (9, {"password": "pressed-cider"})
    for call in (made, changed):
        assert "pressed-cider" not in str(difference([call])) and "pressed-cider" not in call.says
    with pytest.raises(RefusedError, match=r"users\[alice\]\.groups: there is no group staff"):
        user_calls([{**alice, "groups": ["staff"]}], there, groups, lambda *told: True)


def test_a_service_runs_now_and_with_the_system() -> None:
    there = [
        {"service": "cifs", "enable": False, "state": "STOPPED"},
        {"service": "nfs", "enable": True, "state": "RUNNING"},
    ]
    assert not service_calls({"nfs": True}, there) and not service_calls({"cifs": False}, there)
    calls = service_calls({"cifs": True, "nfs": False}, there)
    assert [call.params for call in calls] == [
        ("cifs", {"enable": True}), ("START", "cifs", {}), ("nfs", {"enable": False}), ("STOP", "nfs", {})
    ]  # fmt: skip
    with pytest.raises(RefusedError, match=r"services\.afp: there is no such service"):
        service_calls({"afp": True}, there)
