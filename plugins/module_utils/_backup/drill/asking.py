# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Asks what is tried how it is, from inside its network, until it is well or the time is over."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import time
import typing as t

from ..._container.child import in_child
from ..._container.mapping import checked, libc
from ..._core.errors import HybridError, ObserveError
from ..._vm.agent import AgentSilent
from .health import COMMAND, HTTPS, TCP, Answer, Check, wanted_of
from .isolated import neighbour
from .network import Network, segment
from .plan import Place

_ASK_AGAIN_SECONDS, _ANSWER_SECONDS = 1.0, 5.0


class Patient(t.Protocol):
    """What is asked of a guest that is tried, of either kind. *services* is what its services say of themselves, the text of the file of each by
    name, *missing* what of its data came back.
    """

    def is_running(self) -> bool: ...

    def init(self) -> Answer: ...

    def run(self, line: str) -> tuple[bool, str]: ...

    def services(self) -> dict[str, str]: ...

    def missing(self, data_paths: t.Mapping[str, bool]) -> list[Answer]: ...

    def places(self) -> list[Place]: ...

    def inner_network(self) -> str | None:
        """The file of the network namespace of the guest itself; ``None`` where nobody can enter that."""


class Seen(t.NamedTuple):
    """What was seen in a guest: its *checks*, and what came back of its *data*."""

    checks: tuple[Check, ...]
    data: tuple[Answer, ...] = ()


def look_into(patient: Patient, record: t.Mapping[str, t.Any]) -> Seen:
    """What *patient*, of which its record says *record*, has to answer for.

    :raises HybridError:
    """
    wanted = wanted_of(record, patient.services())
    return Seen(wanted.checks, tuple(patient.missing(wanted.data_paths)))


def ask_until_well(
    patient: Patient, record: t.Mapping[str, t.Any], seen: Seen | None, network: Network, timeout_seconds: float
) -> tuple[Answer, ...]:
    """The answers of *patient*: the first that are all well, or the last before the time was over. What was not *seen* in it before is looked at
    as soon as it has booted.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        init = patient.init()
        try:
            if seen is None and init.is_well:
                seen = look_into(patient, record)
        except AgentSilent as exc:
            init = Answer("init", False, exc.message)
        checks = wanted_of(record, {}).checks if seen is None else seen.checks
        data, answers = () if seen is None else seen.data, _ask(patient, init, checks, network)
        if all(its.is_well for its in answers) or time.monotonic() >= deadline:
            return (*data, *answers)
        if not patient.is_running():
            return (*data, Answer("init", False, "it ended by itself"))
        time.sleep(_ASK_AGAIN_SECONDS)


def _ask(patient: Patient, init: Answer, checks: t.Sequence[Check], network: Network) -> tuple[Answer, ...]:
    if not init.is_well:
        return (init, *(Answer(str(check), False, "it was not asked yet") for check in checks))
    places = patient.places() if any(check.kind != COMMAND for check in checks) else []
    places.sort(key=_is_of_link)
    for place in places:
        _be_there_for(place, network)
    return (init, *(_asked(check, patient, places, network) for check in checks))


def _is_of_link(place: Place) -> bool:
    return ipaddress.ip_address(place.address).is_link_local


def _be_there_for(place: Place, network: Network) -> None:
    """Whom the guest expects in its network is there: its gateway, or somebody else."""
    if _is_of_link(place):
        return
    address = f"{place.address}/{place.prefix}"
    for other in {neighbour(address, gateway) for gateway in place.gateways or ("",)}:
        if other is not None:
            network.give(other, place.segment)


def _asked(check: Check, patient: Patient, places: t.Sequence[Place], network: Network) -> Answer:
    if check.kind == COMMAND:
        is_well, said = patient.run(check.command)
        return Answer(str(check), is_well, said)
    inner = patient.inner_network() if check.is_inner else None
    if check.is_inner and inner is None:
        return Answer(str(check), True, "it was not asked, as only who is inside reaches it")
    answers = []
    for place in [Place("127.0.0.1", 8, 0)] if inner else places:
        is_well, said = _asked_at(check, place, inner or network.file)
        if is_well:
            return Answer(str(check), True, said)
        answers.append(said)
    return Answer(str(check), False, next(iter(answers), "it has no address"))


def _asked_at(check: Check, place: Place, file: str) -> tuple[bool, str]:
    """Whether *check* is well at one address of the guest, and what answered there."""
    try:
        answer = in_child(lambda: _enter_and_ask(check, place, file), "an answer", error=ObserveError)
    except HybridError as exc:
        return False, f"{place.address}: {exc.message}"
    return bool(answer[0]), f"{place.address}: {answer[1]}"


def _enter_and_ask(check: Check, place: Place, file: str) -> tuple[bool, str]:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    checked(libc.setns(descriptor, 0), "enter the network of the drill")
    # Of an address of a link alone one has to say which.
    is_local = _is_of_link(place) and ":" in place.address
    where = f"{place.address}%{segment(place.segment)}" if is_local else place.address
    try:
        if check.kind == TCP:
            with socket.create_connection((where, check.port), timeout=_ANSWER_SECONDS):
                return True, "it takes connections"
        return _served(where, check)
    except (OSError, http.client.HTTPException) as exc:
        return False, str(exc) or type(exc).__name__


def _served(where: str, check: Check) -> tuple[bool, str]:
    connection = _connection(where, check)
    try:
        connection.request("GET", check.path, headers={"Host": check.host} if check.host and not check.is_inner else {})
        answer = connection.getresponse()
        answer.read(1)
        return check.is_served(answer.status), f"it answers {answer.status} {answer.reason}"
    finally:
        connection.close()


def _connection(where: str, check: Check) -> http.client.HTTPConnection:
    if check.kind != HTTPS:
        return http.client.HTTPConnection(where, check.port, timeout=_ANSWER_SECONDS)
    # Nobody else answers in there, and a certificate is of the name that the guest has elsewhere.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(where, check.port, timeout=_ANSWER_SECONDS, context=context)
