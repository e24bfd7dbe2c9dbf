# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import command, lock
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import LockTimeout
from ansible_collections.homelab.hybrid.plugins.module_utils._core.reference import (
    Reference,
    ReferenceKind,
    in_lock_order,
)

BRIDGES, POOLS, GUESTS, SERVICES = (
    ReferenceKind(word, rank, lambda dummy, name: None)
    for word, rank in (("bridge", 0), ("pool", 1), ("guest", 2), ("service", None))
)
# Before the tests have locks of their own.
PLACE = Path(lock.paths.LOCKS)
POOL = Reference(POOLS, "main")
GUEST = Reference(GUESTS, "web")


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.paths, "LOCKS", str(tmp_path))


def is_free(reference, *, shared=False):
    try:
        with lock.hold([] if shared else [reference], [reference] if shared else [], wait_seconds=0.0):
            return True
    except LockTimeout:
        return False


def test_locks_lie_where_only_root_writes():
    for folder in PLACE.parents:
        if folder.exists():
            status = folder.stat()
            assert status.st_uid == 0 and not status.st_mode & 0o022, folder


def test_a_lock_is_not_opened_through_a_link(tmp_path):
    target = tmp_path / "elsewhere"
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest" / "web.lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"), lock.hold([GUEST], []):
        pass
    assert not target.exists()


def test_an_address_is_brought_by_one_layout_at_a_time():
    with lock.addresses([("br0", "10.0.0.9"), ("br0", "10.0.0.8")]) as held:
        assert sorted(held) == [("br0", "10.0.0.8"), ("br0", "10.0.0.9")]
        with lock.addresses([("br0", "10.0.0.7"), ("br1", "10.0.0.8")]):
            pass
        with (
            pytest.raises(LockTimeout, match=r"the address 10\.0\.0\.8 on br0"),
            lock.addresses([("br0", "10.0.0.8")], wait_seconds=0.0),
        ):
            pass


def test_locks_are_taken_in_one_order():
    references = [
        GUEST,
        Reference(SERVICES, "libvirt"),
        Reference(BRIDGES, "z"),
        POOL,
        Reference(BRIDGES, "a"),
        POOL,
    ]
    assert [str(item) for item in in_lock_order(references)] == ["bridge a", "bridge z", "pool main", "guest web"]


def test_what_is_provided_is_exclusive_and_what_is_required_is_shared():
    with lock.hold([GUEST], [POOL]):
        assert not is_free(GUEST)
        assert not is_free(GUEST, shared=True)
        assert is_free(POOL, shared=True)
        assert not is_free(POOL)
    assert is_free(POOL)
    assert is_free(GUEST)


def test_a_writing_child_inherits_the_lock_and_a_staying_one_does_not():
    with lock.hold([GUEST], []) as held:
        inherits = command.run(
            [sys.executable, "-c", f"import os; os.fstat({held.fds[0]}); print('has it')"], keep_fds=held.fds
        )
        with pytest.raises(command.CommandError, match="Bad file descriptor"):
            command.run([sys.executable, "-c", f"import os; os.fstat({held.fds[0]})"])
    assert inherits == "has it\n"


def test_the_lock_holds_until_the_last_writer_ended():
    with lock.hold([GUEST], []) as held:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=held.fds)
    assert not is_free(GUEST)
    child.communicate(b"\n")
    assert is_free(GUEST)


def test_allocations_are_one_at_a_time():
    with lock.allocations(), pytest.raises(LockTimeout, match="allocations"), lock.allocations(wait_seconds=0.0):
        pass


def test_a_lock_that_is_free_again_within_milliseconds_is_not_waited_for_longer(monkeypatch):
    pauses = []
    with contextlib.ExitStack() as first:
        first.enter_context(lock.allocations())

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 12:
                first.close()

        monkeypatch.setattr(lock.time, "sleep", sleep)
        with lock.allocations():
            pass
    assert pauses[:2] == [0.001, 0.002] and max(pauses) == pauses[-1] == 0.05


def test_an_address_that_a_layout_brings_is_told_apart_from_a_free_one():
    address = ("br0", "10.0.0.5")
    assert not lock.is_claimed(address) and not Path(lock.paths.LOCKS, "address").exists()
    with lock.addresses([address]):
        assert lock.is_claimed(address) and not lock.is_claimed(("br0 in VLAN 20", "10.0.0.5"))
    assert not lock.is_claimed(address)
