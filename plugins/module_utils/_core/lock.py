# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Kernel locks on what a resource provides (exclusive) and requires (shared). They vanish with their last holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from . import paths
from .errors import LockTimeout
from .reference import Reference, in_lock_order

if t.TYPE_CHECKING:
    from .claims import Address  # only a layout compares claims

WAIT_SECONDS = 300.0
# A leaf lock is free again within milliseconds, that of a resource within seconds.
_FIRST_STEP_SECONDS, _LONGEST_STEP_SECONDS = 0.001, 0.05


class Held:
    """The locks of one run. *fds* go to the children that write."""

    def __init__(self) -> None:
        self.fds: tuple[int, ...] = ()

    def add(self, descriptor: int) -> None:
        self.fds += (descriptor,)


@contextlib.contextmanager
def hold(
    provides: t.Iterable[Reference], requires: t.Iterable[Reference], *, wait_seconds: float = WAIT_SECONDS
) -> t.Iterator[Held]:
    """Hold all locks at once, taken in the fixed order.

    :raises LockTimeout: when another process holds one for longer than *wait_seconds*; it names that process.
    """
    exclusive = set(provides)
    deadline = time.monotonic() + wait_seconds
    held = Held()
    with contextlib.ExitStack() as stack:
        for reference in in_lock_order([*exclusive, *requires]):
            operation = fcntl.LOCK_EX if reference in exclusive else fcntl.LOCK_SH
            held.add(stack.enter_context(_locked(_path(reference), operation, deadline, wait_seconds, str(reference))))
        yield held


@contextlib.contextmanager
def hold_still(
    provides: t.Iterable[Reference], requires: t.Iterable[Reference], *, wait_seconds: float = WAIT_SECONDS
) -> t.Iterator[None]:
    """As ``hold``, for who changes nothing: all of it shared, and no file is made, as nobody holds a lock that is not there.

    :raises LockTimeout:
    """
    deadline = time.monotonic() + wait_seconds
    with contextlib.ExitStack() as stack:
        for reference in in_lock_order([*provides, *requires]):
            if os.access(path := _path(reference), os.R_OK | os.W_OK):
                stack.enter_context(_locked(path, fcntl.LOCK_SH, deadline, wait_seconds, str(reference)))
        yield


def _path(reference: Reference) -> str:
    return os.path.join(paths.LOCKS, reference.kind.word, reference.name + ".lock")


@contextlib.contextmanager
def allocations(*, wait_seconds: float = 30.0) -> t.Iterator[None]:
    """The one leaf lock under which id ranges, ports and MACs are claimed: re-read the claims, write the record, release."""
    path = os.path.join(paths.LOCKS, "allocations.lock")
    with _locked(path, fcntl.LOCK_EX, time.monotonic() + wait_seconds, wait_seconds, "the list of allocations"):
        yield


@contextlib.contextmanager
def addresses(claimed: t.Iterable[Address], *, wait_seconds: float = WAIT_SECONDS) -> t.Iterator[dict[Address, int]]:
    """Hold all fixed addresses that a layout brings, from its plan until the last guest that gets one is made.

    Taken before the locks of resources, in one order. Yields the descriptor of each, for the workers that write it.

    :raises LockTimeout: when another layout brings one of them for longer than *wait_seconds*.
    """
    deadline = time.monotonic() + wait_seconds
    held = {}
    with contextlib.ExitStack() as stack:
        for segment, address in sorted(claimed):
            path = _address_path((segment, address))
            what = f"the address {address} on {segment}"
            held[segment, address] = stack.enter_context(_locked(path, fcntl.LOCK_EX, deadline, wait_seconds, what))
        yield held


def is_claimed(address: Address) -> bool:
    """Whether a layout that runs, such as the one that this run is a part of, brings *address* for a guest that may not be made yet."""
    try:
        descriptor = os.open(_address_path(address), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _address_path(address: Address) -> str:
    return os.path.join(paths.LOCKS, "address", f"{address[0]}+{address[1]}.lock")


def copying(image: str, pool: str, *, wait_seconds: float = WAIT_SECONDS) -> t.ContextManager[Held]:
    """The leaf lock under which the copy of an image in a pool is made, by a run that holds the image shared."""
    return _held(
        os.path.join(paths.LOCKS, "copy", f"{image}+{pool}.lock"),
        wait_seconds,
        f"the copy of the image {image} in the pool {pool}",
    )


def holding(guest: str, *, wait_seconds: float = WAIT_SECONDS) -> t.ContextManager[Held]:
    """The leaf lock under which a running guest is held still and copied, by runs that hold it shared: one lets it go for all."""
    return _held(os.path.join(paths.LOCKS, "holding", f"{guest}.lock"), wait_seconds, f"a copy of the guest {guest}")


def backing_up(guest: str, *, wait_seconds: float) -> t.ContextManager[Held]:
    """The lock under which a guest is captured for a backup, from the first thing that is done to it until all is taken back."""
    return _held(os.path.join(paths.LOCKS, "backup", f"{guest}.lock"), wait_seconds, f"a backup of the guest {guest}")


def drilling(guest: str, *, wait_seconds: float) -> t.ContextManager[Held]:
    """The lock under which the backup of a guest is tried, from the first thing that is made for it until all of it is gone."""
    return _held(os.path.join(paths.LOCKS, "drill", f"{guest}.lock"), wait_seconds, f"a drill of the guest {guest}")


def replicating(copies: str, *, wait_seconds: float) -> t.ContextManager[Held]:
    """The leaf lock under which the copies of a guest of another host are worked on."""
    return _held(
        os.path.join(paths.LOCKS, "replica", f"{copies}.lock"),
        wait_seconds,
        f"the copies of {copies.replace('+', ' / ')}",
    )


@contextlib.contextmanager
def making_repository(name: str, *, wait_seconds: float = WAIT_SECONDS) -> t.Iterator[None]:
    """The leaf lock under which a backup repository is looked for and made: two that make it at once would leave one that nobody can read."""
    path = os.path.join(paths.LOCKS, "repository", f"{name}.lock")
    with _locked(path, fcntl.LOCK_EX, time.monotonic() + wait_seconds, wait_seconds, f"the backup repository {name}"):
        yield


@contextlib.contextmanager
def notifying(*, wait_seconds: float = WAIT_SECONDS) -> t.Iterator[None]:
    """The leaf lock under which a host tells what happens: two at once would tell the same twice."""
    path = os.path.join(paths.LOCKS, "notify.lock")
    with _locked(path, fcntl.LOCK_EX, time.monotonic() + wait_seconds, wait_seconds, "who tells what happens"):
        yield


def fetching(download: str, *, wait_seconds: float = WAIT_SECONDS) -> t.ContextManager[Held]:
    """The leaf lock under which a file is fetched or removed, by runs that hold the images made of it."""
    return _held(os.path.join(paths.LOCKS, "download", f"{download}.lock"), wait_seconds, "a download")


@contextlib.contextmanager
def journal(*, wait_seconds: float = 10.0) -> t.Iterator[None]:
    """The leaf lock under which a line is added to the journal."""
    path = os.path.join(paths.LOCKS, "journal.lock")
    with _locked(path, fcntl.LOCK_EX, time.monotonic() + wait_seconds, wait_seconds, "the journal"):
        yield


@contextlib.contextmanager
def _held(path: str, wait_seconds: float, what: str) -> t.Iterator[Held]:
    """A leaf lock of one run alone, whose descriptor is handed on to what works under it."""
    held = Held()
    with _locked(path, fcntl.LOCK_EX, time.monotonic() + wait_seconds, wait_seconds, what) as descriptor:
        held.add(descriptor)
        yield held


@contextlib.contextmanager
def _locked(path: str, operation: int, deadline: float, wait_seconds: float, what: str) -> t.Iterator[int]:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    # A lock file is never removed: who opened it just before would hold a lock that nobody else sees.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    step_seconds = _FIRST_STEP_SECONDS
    try:
        while not _try_lock(descriptor, operation):
            if time.monotonic() >= deadline:
                pids = ", ".join(map(str, holders(descriptor))) or "unknown"
                raise LockTimeout(
                    f"{what} is in use by another run (process {pids}); waited {wait_seconds:g} s for it", holders=pids
                )
            time.sleep(step_seconds)
            step_seconds = min(2 * step_seconds, _LONGEST_STEP_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holders(descriptor: int) -> list[int]:
    """The processes that took a lock on the file of *descriptor*, from /proc/locks."""
    inode = str(os.fstat(descriptor).st_ino)
    found = set()
    with open("/proc/locks", encoding="ascii") as stream:
        for line in stream:
            # "1: FLOCK  ADVISORY  WRITE 1234 fe:00:56789 0 EOF"; one that waits has "->" behind the number
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rsplit(":", 1)[-1] == inode:
                found.add(int(words[4]))
    return sorted(found)
