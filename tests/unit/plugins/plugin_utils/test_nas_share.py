# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a NAS is declared to be goes together, and passwords are compared as Samba keeps them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._nas_share import md4, nt_hash, outdated, wrong

USERS = ({"name": "alice", "groups": ["family"]}, {"name": "bob", "state": "absent"})


def share(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "films", "path": "/srv/nas/films", "has_versions": False, "versions": {}, **more}


def export(**more: t.Any) -> dict[str, t.Any]:
    return {"path": "/srv/nas/films", "pseudo": "/films", "clients": ["10.0.0.0/24"], **more}


def said(
    *shares: dict[str, t.Any], users: t.Any = USERS, exports: t.Any = (), serves_nfs: bool = True, groups: t.Any = ()
) -> list[str]:
    return wrong(users, groups, shares, exports, serves_nfs, "nas")


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_is_that_of_rfc_1320(message: str, digest: str) -> None:
    assert md4(message.encode()).hex() == digest


def test_a_password_is_compared_as_samba_keeps_it() -> None:
    listing = (
        f"alice:3001:{'X' * 32}:8846F7EAEE8FB117AD06BDD830B7586C:[U          ]:LCT-6B0ABF28:\n"
        f"bob:3002:{'X' * 32}:{nt_hash('grün')}:[U          ]:LCT-6B0ABF28:\n"
    )
    assert outdated({"alice": "password", "bob": "grün"}, listing) == []
    assert outdated({"alice": "Password", "bob": "grün", "carol": "x"}, listing) == ["alice", "carol"]
    assert outdated({"alice": "password"}, "") == ["alice"]


def test_what_goes_together_is_let_through() -> None:
    kept = share(users=["@family", "alice"], readers=["@nas"], has_versions=True, versions={"folder": "/srv/v"})
    others = share(name="b", has_versions=True, versions={"folder": "/srv/v", "format": "%Y"}, time_machine=True)
    both = [export(), export(pseudo="/again")]
    assert said(kept, {**others, "time_machine_size": "1T"}, exports=both, groups=[{"name": "x", "gid": 1}]) == []


@pytest.mark.parametrize(
    ("shares", "more", "sentence"),
    [
        ([share(users=["bob"])], {}, "nas_share_shares[films].users: there is no user bob in nas_share_users"),
        (
            [share(readers=["@kids"])],
            {},
            "nas_share_shares[films].readers: there is no group kids in nas_share_groups or nas_share_users",
        ),
        ([share(name="Global")], {}, "nas_share_shares[Global]: this is no name of a share"),
        ([share(name="a/b")], {}, "nas_share_shares[a/b]: this is no name of a share"),
        ([share(), share(name="FILMS")], {}, "nas_share_shares: films is there twice"),
        (
            [share(versions={"format": "%Y"}, has_versions=True)],
            {},
            "nas_share_shares[films].versions: format needs the folder in which others make these snapshots",
        ),
        (
            [
                share(has_versions=True, versions={"folder": "/v"}),
                share(name="b", has_versions=True, versions={"folder": "/v"}),
            ],
            {},
            "versions.folder of nas_share_shares: /v is there twice",
        ),
        ([share(time_machine_size="1T")], {}, "nas_share_shares[films].time_machine_size: needs time_machine"),
        (
            [],
            {"users": [{"name": "Alice B"}]},
            "nas_share_users: 'Alice B' is no name of a user (small letters, digits, '.', '_' and '-')",
        ),
        ([], {"users": [{"name": "root"}]}, "nas_share_users: root cannot be a user of shares"),
        ([], {"users": [{"name": "a"}, {"name": "a"}]}, "nas_share_users: a is there twice"),
        (
            [],
            {"exports": [export()], "serves_nfs": False},
            "nas_share_exports are served with nas_share_nfs: true alone",
        ),
        (
            [],
            {"exports": [export(pseudo="films")]},
            "nas_share_exports[/srv/nas/films].pseudo: must be a path such as /media",
        ),
        ([], {"exports": [export(clients=[])]}, "nas_share_exports[/srv/nas/films].clients: nobody could mount it"),
        ([], {"exports": [export(), export(path="/other")]}, "pseudo of nas_share_exports: /films is there twice"),
    ],
)
def test_what_does_not_go_together_is_told(
    shares: list[dict[str, t.Any]], more: dict[str, t.Any], sentence: str
) -> None:
    assert said(*shares, **more) == [sentence]
