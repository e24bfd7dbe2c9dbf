# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs on paper has no secret on it, unless it is asked for."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.sheet import sheet_of

JOBS = {
    "nightly": {"repository": "disk", "schedule": "daily"},
    "nas": {"repository": "other", "schedule": "daily", "guests": ("web",)},
}
ALL_SECRETS = {"password": "correct horse", "login_password": "battery staple", "secret_key": "one more word"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"type": "local", "path": "/mnt/disk/restic"}, ["Repository  /mnt/disk/restic"]),
        (
            {"type": "sftp", "path": "/srv/r", "host": "nas", "user": "backup"},
            ["sftp://backup@nas//srv/r", "ssh to nas"],
        ),
        (
            {"type": "rest", "url": "https://nas:8000/lab", "username": "alpha"},
            ["rest:https://nas:8000/lab\n", "as alpha, login_password of disk"],
        ),
        ({"type": "s3", "url": "https://s3/b", "access_key": "AKIA"}, ["s3:https://s3/b\n", "the key AKIA"]),
    ],
)
def test_a_sheet_says_what_helps_and_no_secret(values: dict[str, t.Any], words: list[str]) -> None:
    text = sheet_of("alpha", "disk", {**values, **ALL_SECRETS}, JOBS)
    for word in (*words, "rebuild --limit alpha", "all guests (job nightly", "disk.password", "--tag guest=NAME"):
        assert word in text
    assert "(job nas" not in text and not any(secret in text for secret in ALL_SECRETS.values())
    assert max(map(len, text.splitlines())) <= 120
    whole = sheet_of("alpha", "disk", {**values, **ALL_SECRETS}, JOBS, "correct horse")
    assert "Password    correct horse\n" in whole and "battery staple" not in whole
