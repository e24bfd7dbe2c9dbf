# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent when guests are replicated, and how it is called."""

from __future__ import annotations

import io
import json
import struct

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.config import load, replication_of
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.replication import naming
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.replication.stream import parts
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.replication.target import Target
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.units import texts
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError, SpecError
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume

WRITE, CHMOD, END = 15, 18, 21
WRITTEN = {"name": "spare", "host": "pve2", "pool": "far", "schedule": "hourly"}


def stream(*commands: tuple[int, bytes]) -> bytes:
    said = b"".join(struct.pack("<IHI", len(text), command, 0) + text for command, text in commands)
    return struct.pack("<13sI", b"btrfs-stream\0", 1) + said


WHOLE = stream((WRITE, b"a" * 100), (CHMOD, b"b" * 20), (WRITE, b"c" * 50), (END, b""))


def test_what_is_new_is_the_content_alone() -> None:
    found = list(parts(io.BytesIO(WHOLE)))
    assert b"".join(part.text for part in found) == WHOLE
    assert sum(part.data for part in found) == 150 and found[-1].is_last


@pytest.mark.parametrize("length", [0, 5, 17, 20, 127, 127 + 30, len(WHOLE) - 10, len(WHOLE) - 1])
def test_a_stream_that_breaks_off_is_never_whole(length: int) -> None:
    found = list(parts(io.BytesIO(WHOLE[:length])))
    assert not any(part.is_last for part in found)
    assert b"".join(part.text for part in found) == WHOLE[:length]


def test_another_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="no stream of btrfs"):
        list(parts(io.BytesIO(b"x" * 100)))


def test_a_kept_snapshot_says_of_what_it_is() -> None:
    moment = naming.moment_of(1764288000.1239)
    assert moment == "20251128T000000123Z" and naming.MOMENT.fullmatch(moment)
    kept = naming.read_kept(Volume("main", "web.d.rootfs", "filesystem").snapshot(naming.kept_name("spare", moment)))
    assert kept is not None and naming.PART in kept.volume.name
    assert (kept.origin, kept.job, kept.moment, naming.guest_of(kept)) == ("web.d.rootfs", "spare", moment, "web.d")
    assert naming.read_kept(Volume("main", "web.rootfs@before", "filesystem")) is None


def test_a_job_is_of_the_guests_that_a_backup_would_be_of() -> None:
    declared = {"spare": {**WRITTEN, "tags": ["a"], "exclude": ["db"], "keep": 3}}
    job = load(json.dumps({"schema": 1, "repositories": {}, "jobs": {}, "replications": declared})).replications[
        "spare"
    ]
    assert job.wants("web", ["a"]) and not job.wants("web", []) and not job.wants("db", ["a"])
    assert (job.host, job.port, job.user, job.pool, job.keep) == ("pve2", 22, "root", "far", 3)
    assert not load(None).replications and not load('{"schema": 1, "repositories": {}, "jobs": {}}').replications
    with pytest.raises(ObserveError, match="has schema 99"):
        load('{"schema": 99}')


def test_another_user_than_root_becomes_root_there() -> None:
    for user, expected in (("root", "ls /a"), ("mover", "sudo -n ls /a")):
        argv = Target(replication_of("spare", {**WRITTEN, "user": user}), "pve1")._argv("ls", "/a")
        assert argv[0] == "ssh" and argv[-3:] == ["22", f"{user}@pve2", expected]


@pytest.mark.parametrize("key", ["host", "pool", "schedule"])
def test_what_a_job_cannot_be_without_is_asked_for(key: str) -> None:
    with pytest.raises(SpecError, match=rf"replications\[spare\]\.{key}: is needed"):
        parse({"replications": [{name: value for name, value in WRITTEN.items() if name != key}]})


def test_a_job_has_a_service_that_tidies_up_and_a_timer() -> None:
    service, timer = texts("replications", "spare", WRITTEN, {}).values()
    assert "replicate spare\n" in service and "ExecStopPost=" in service and "IOSchedulingClass=idle" in service
    assert "OnCalendar=hourly" in timer and "Persistent=true" in timer
