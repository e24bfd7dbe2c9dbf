# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from unit.tree import ROOT

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import Job, Replication, load, read
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError

ROLE = ROOT / "roles" / "hypervisor" / "meta" / "argument_specs.yml"


def text(**areas: t.Any) -> str:
    return json.dumps({"schema": 1, "repositories": {"disk": {}}, "jobs": {}, **areas})


def test_what_is_written_of_a_job_is_what_it_is() -> None:
    values = {"repository": "disk", "schedule": "daily", "guests": ["web"], "keep.daily": 7, "notify": ["phone"]}
    values |= {"verify.schedule": "Sun", "verify.percent": 20, "drill.pick": "random", "drill.guests": ["web"]}
    job = load(text(jobs={"nightly": values})).backups["nightly"]
    assert job == Job(
        *("nightly", "disk", "daily", ("web",)),
        keep={"daily": 7},
        notify=("phone",),
        verify_schedule="Sun",
        verify_percent=20,
        drill_pick="random",
        drill_guests=("web",),
    )
    spare = {"host": "pve2", "pool": "main", "keep": 3, "port": 2222}
    assert load(text(replications={"spare": spare})).replications == {
        "spare": Replication("spare", "pve2", "main", keep=3, port=2222)
    }


@pytest.mark.parametrize(
    ("its", "says"),
    [
        ("no JSON", "cannot be read"),
        (json.dumps({"schema": 2}), "it has schema 2, and this version of homelab.hybrid knows 1"),
        (json.dumps({"schema": 1, "jobs": {}}), "'repositories'"),
        (text(jobs={"nightly": {"schedule": "daily"}}), "'repository'"),
        (text(replications={"spare": []}), "Move it away"),
    ],
)
def test_a_file_that_no_version_writes_is_said_to_be_none(its: str, says: str) -> None:
    with pytest.raises(ObserveError, match=says):
        load(its)


def test_a_host_without_the_file_has_nothing() -> None:
    assert read(None) == {"repositories": {}, "jobs": {}, "replications": {}} and load(None) == ({}, {})


@pytest.mark.parametrize(
    ("variable", "key", "default"),
    [
        ("hypervisor_backup_jobs", "verify.percent", Job._field_defaults["verify_percent"]),
        ("hypervisor_backup_jobs", "drill.pick", Job._field_defaults["drill_pick"]),
        ("hypervisor_backup_jobs", "drill.timeout", Job._field_defaults["drill_timeout"]),
        *(("hypervisor_replication_jobs", key, Replication._field_defaults[key]) for key in ("port", "user", "keep")),
    ],
)
def test_the_role_tells_what_counts_where_nothing_is_written(variable: str, key: str, default: t.Any) -> None:
    option = yaml.safe_load(Path(ROLE).read_text(encoding="utf-8"))["argument_specs"]["main"]["options"][variable]
    for part in key.split("."):
        option = option["options"][part]
    assert f"ithout it V({default})" in option["description"]
