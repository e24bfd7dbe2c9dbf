# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of an OPNsense, compared with those that it should have."""

from __future__ import annotations

import base64
import subprocess
from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.password import opens
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.users import Account, accounts, user_requests

ADA = {"name": "ada", "descr": "Ada (homelab.hybrid)", "authorizedkeys": "key a", "is_admin": True}
STANDS = Account("u1", "Ada (homelab.hybrid)", ["key a"], ["1999", "2001"], "/bin/sh", "$6$x")


def asked(wanted, known, passwords=None, is_right=True):
    return user_requests(wanted, passwords or {}, known, lambda _password, _hashed: is_right)


def test_they_are_read_with_their_groups_and_keys():
    keys = base64.b64encode(b"key a\r\nkey b\n").decode()
    groups = "<group><gid>1999</gid><member>0</member><member>2000</member></group><group><gid>2001</gid><member>7,2000</member></group>"
    ada = f"<name>ada</name><uid>2000</uid><descr>Ada</descr><authorizedkeys>{keys}</authorizedkeys><password>$6$x</password>"
    users = f'<user uuid="own"><name>root</name><uid>0</uid></user><user>{ada}</user><user><name>unfound</name></user>'
    text = f"<opnsense><system>{groups}{users}</system></opnsense>"
    found = accounts(ElementTree.fromstring(text), [{"name": "ada", "uuid": "u1"}])
    assert found["ada"] == Account("u1", "Ada", ["key a", "key b"], ["1999", "2001"], "", "$6$x")
    assert list(found) == ["root", "ada"] and (found["root"].uuid, found["root"].groups) == ("own", ["1999"])


def test_one_that_is_as_declared_is_left_alone():
    assert asked([ADA], {"ada": STANDS}, {"ada": "right"}) == []


def test_only_what_differs_is_sent_and_no_password_is_told():
    known = {"ada": STANDS._replace(keys=[], shell="")}
    (changed,) = asked([{**ADA, "is_admin": False}], known, {"ada": "other words"}, is_right=False)
    fields = {"authorizedkeys": "key a", "shell": "/bin/sh", "group_memberships": "2001", "password": "other words"}
    assert (changed.path, changed.body) == ("auth/user/set/u1", {"user": {"name": "ada", **fields}})
    assert changed.after["password"] == "(secret, changed)" and "other words" not in str((changed.says, changed.after))


def test_a_group_that_somebody_gave_stays():
    (changed,) = asked([ADA], {"ada": STANDS._replace(groups=["2001"])})
    assert changed.body["user"]["group_memberships"] == "2001,1999"


def test_of_root_only_what_is_said_is_compared():
    root = Account("u0", "System Administrator", ["somebody's"], ["1999"], "", "$2y$x")
    assert asked([{"name": "root"}], {"root": root}) == []
    (changed,) = asked([{"name": "root", "authorizedkeys": "key a"}], {"root": root})
    assert changed.body == {"user": {"name": "root", "authorizedkeys": "key a"}}, "root has a shell as it is"


def test_a_new_one_without_a_password_gets_one_that_nobody_knows():
    (made,) = asked([{**ADA, "authorizedkeys": ""}], {})
    assert made.path == "auth/user/add" and made.body["user"]["scrambled_password"] == "1"
    assert made.body["user"]["shell"] == "" and made.after == {"descr": ADA["descr"], "group_memberships": "1999"}


def test_one_that_is_no_longer_declared_goes_and_others_stay():
    others = {"bob": STANDS._replace(description="Bob"), "root": STANDS._replace(description="ours (homelab.hybrid)")}
    (gone,) = asked([], {"ada": STANDS, **others})
    assert (gone.path, gone.says) == ("auth/user/del/u1", "users[ada] goes")
    with pytest.raises(SpecError, match="a user bob that this role did not make"):
        asked([{**ADA, "name": "bob"}], others)


def test_a_password_is_judged_by_its_hash():
    hashed = subprocess.run(
        ("openssl", "passwd", "-6", "-salt", "pepper", "correct horse"), capture_output=True, text=True, check=True
    ).stdout.strip()
    assert opens("correct horse", hashed) and not opens("wrong horse", hashed)
    # What upstream's own first configuration has for the password that everybody knows.
    assert opens("opnsense", "$2y$10$YRVoF4SgskIsrXOvOQjGieB9XqHPRra9R7d80B3BZdbY/j21TwBfS")
    assert not opens("", "") and not opens("x", "*")
