# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""How far an installer has come: what tells its end, and what it wrote to the console."""

from __future__ import annotations

import datetime
import os
import re
import time
import typing as t

from .._core import atomic, libraries, paths
from .._core.errors import ApplyError, WaitTimeout
from .._core.waiting import wait_until
from .._guest.installing import BEGUN, DONE, Installation, Installing
from .._guest.record import GuestRecord
from .._guest.recorded import load_file
from .._host.snapshot import Host
from . import addresses, asked
from .answering import answers, listens
from .xml import domain as domain_xml
from .xml.install import is_installer_run

_LOG_FOLDER = "/var/log/libvirt/qemu"
_ENDED = re.compile(r"(\S+ \S+): shutting down, reason=(\S+)")
_TAIL_BYTES = 65536
# What libvirt keeps of the console in more than one file once it grows beyond some MiB.
_OLDER = (".2", ".1", ".0")
_LINES, _LINE_LENGTH = 15, 200
_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])|[\x00-\x08\x0b-\x1f\x7f]")
_EVERY_SECONDS = 2.0
# What asks for a key waits for some seconds alone.
_ATTENDED_EVERY_SECONDS = 0.5

Attendant = t.Callable[[t.Any, str], None]
Asker = t.Callable[[asked.Machine, str, t.Callable[[], bool]], None]


def look(record: GuestRecord, domain: t.Any, *, live_xml: str | None, host: Host) -> Installing | None:
    """How far the installer of *domain* has come; ``None`` where there is none, or nothing is left of it."""
    its = record.install
    if its is None or its.stage == DONE:
        return None
    name = domain.name()
    if live_xml is not None:
        is_its_run = is_installer_run(domain_xml.parse(live_xml), paths.installer_console(name))
        # Who started it by hand meanwhile has a system.
        is_over = its.stage != BEGUN or not is_its_run or _has_come_true(its, domain, host)
        return Installing(its.source, is_over=is_over, runs=is_its_run)
    if its.stage != BEGUN or (_was_shut_down(domain, its.begun) and _has_told(its, name)):
        return Installing(its.source, is_over=True)
    return Installing(its.source, is_lost=time.time() > its.begun + its.timeout)


def _has_come_true(its: Installation, domain: t.Any, host: Host) -> bool:
    """Whether the guest shows by itself, while it runs, that the installer has ended."""
    if its.done_when == "agent":
        return answers(domain)
    if its.done_when == "port":
        return any(listens(address, its.port or 0) for address in _addresses(domain, host))
    return its.done_when == "serial" and _has_told(its, domain.name())


def _addresses(domain: t.Any, host: Host) -> list[str]:
    model = domain_xml.read(domain_xml.parse(domain.XMLDesc(0)))
    found = addresses.read(host, domain, model.nics, is_agent_connected=model.is_agent_connected)
    return [address for each in found.values() for address in each]


def _has_told(its: Installation, name: str) -> bool:
    """Whether the console has the pattern that belongs to the end, where one does, and one that is asked said that it is through."""
    if its.asked is not None:
        return asked.is_installed(name)
    return its.pattern is None or re.search(its.pattern, console(name)) is not None


def _was_shut_down(domain: t.Any, since: float) -> bool:
    """Whether the guest itself ended its last run: it was no crash, no power cut and nobody who pulled its plug."""
    library = libraries.libvirt()
    reason = domain.state()[1]
    if reason != library.VIR_DOMAIN_SHUTOFF_UNKNOWN:
        return bool(reason == library.VIR_DOMAIN_SHUTOFF_SHUTDOWN)
    # libvirt forgets it when it is started anew; its log does not.
    lines = _tail(os.path.join(_LOG_FOLDER, f"{domain.name()}.log")).splitlines()
    last = next((match for line in reversed(lines) if (match := _ENDED.match(line))), None)
    return last is not None and last[2] == "shutdown" and _seconds(last[1]) > since


def _seconds(stamp: str) -> float:
    return datetime.datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f%z").timestamp()


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def console(name: str) -> str:
    """What the guest has written to its console since the installer was begun, without what only moves the cursor."""
    path = paths.installer_console(name)
    text = "".join(atomic.read_text(path + suffix) or "" for suffix in (*_OLDER, ""))
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def last_lines(name: str) -> str:
    """The last lines of the console, for an error."""
    lines = [line.strip()[:_LINE_LENGTH] for line in console(name).splitlines()]
    lines = [line for line in lines if line][-_LINES:]
    if not lines:
        return "Nothing was written to its serial console"
    return "The last lines of its serial console:\n" + "\n".join(lines)


def load() -> tuple[Attendant, Asker]:
    """The code that answers an installer which asks on its console, and the one that asks one over the network; most need neither."""
    from .importing import attend
    from .truenas import lead

    return attend, lead


def _ask(domain: t.Any, host: Host, *, goes_on: t.Callable[[], bool]) -> None:
    """Say to the installer what it waits for, at the first address at which it answers."""
    name = domain.name()
    known = asked.address_of(name)
    found = [known] if known else _addresses(domain, host)
    for address in found:
        if listens(address, asked.PORT):
            size = domain.blockInfo(asked.disk_of(name))[0]
            load()[1](asked.Machine(name, size, lambda: domain.reset(0)), address, goes_on)
            return


def wait_for_end(name: str, host: Host, *, timeout_seconds: int, is_attended: bool = False) -> None:
    """Wait until the installer has ended. What it asks is answered where it *is_attended*.

    :raises WaitTimeout: with what it wrote last.
    :raises ApplyError: likewise, when it is gone and has not ended well.
    """

    attend = load()[0] if is_attended else None
    deadline = time.monotonic() + timeout_seconds

    def has_ended() -> bool:
        host.drop()
        domain = host.domains.get(name)
        if domain is None:
            return True
        is_active = bool(domain.isActive())
        record = load_file(host.record("guests", name))
        its = look(record, domain, live_xml=domain.XMLDesc(0) if is_active else None, host=host)
        if its is not None and its.is_under_way and record.install is not None and record.install.asked:
            _ask(domain, host, goes_on=lambda: time.monotonic() < deadline and bool(domain.isActive()))
        if its is not None and not its.is_over and not is_active:
            raise ApplyError(
                f"{name} went off, and its installer had not come to its end. The next run begins anew. {last_lines(name)}"
            )
        is_over = its is None or its.is_over
        if attend is not None and not is_over:
            attend(domain, console(name))
        return is_over

    every = _ATTENDED_EVERY_SECONDS if is_attended else _EVERY_SECONDS
    what = f"the installer of {name} to end"
    try:
        wait_until(what, has_ended, timeout_seconds=timeout_seconds, every_seconds=every)
    except WaitTimeout as exc:
        said = asked.progress(name)
        told = f"It said last: {said}. " if said else ""
        message = f"{exc.message}. It goes on, and the next run waits for it again. {told}{last_lines(name)}"
        raise WaitTimeout(message, **exc.facts) from exc
