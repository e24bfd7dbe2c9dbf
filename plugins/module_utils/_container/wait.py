# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a user waits for: each condition bounded and named."""

from __future__ import annotations

from .._core import command
from .._core.command import CommandError
from .._core.errors import ObserveError, WaitTimeout
from .._core.waiting import wait_until
from .._guest.options import NO_ADDRESS
from .._guest.spec import GuestSpec
from .._host import firewall
from .._host.snapshot import Host
from . import live
from .card import has_its_address
from .observe import observe_guest

# What `systemctl is-system-running` says when the boot is over: a failed unit does not make it go on.
_BOOTED = ("running", "degraded")


def wait_for(spec: GuestSpec, host: Host) -> None:
    """Wait for what *spec* names.

    :raises WaitTimeout: naming what did not come in time.
    """
    if "ip" in spec.wait_for:
        try:
            wait_until(
                f"an address of the container {spec.name}",
                lambda: _has_address(spec.name, host),
                timeout_seconds=spec.wait_timeout,
            )
        except WaitTimeout as exc:
            raise firewall.explained(exc) from exc
    if "systemd" in spec.wait_for:
        wait_until(
            f"systemd of the container {spec.name} to finish its boot",
            lambda: _is_booted(spec.name),
            timeout_seconds=spec.wait_timeout,
        )


def _has_address(name: str, host: Host) -> bool:
    """Whether each interface that is to have an address has one; any interface where the container configures them itself."""
    host.drop()
    try:
        state = observe_guest(name, host)
    except ObserveError:
        return False
    if state.live is None:
        return False
    wanted = [card for card in state.cards.values() if card["ip"] != NO_ADDRESS and card.is_up()]
    if not wanted:
        return any(nic.addresses for nic in state.live.nics)
    nics = ((card, state.nics.get(card.name)) for card in wanted)
    return all(nic is not None and has_its_address(card, nic) for card, nic in nics)


def _is_booted(name: str) -> bool:
    try:
        answer = command.run(live.attach(name, ["systemctl", "is-system-running"]), timeout=30, check=False)
    except CommandError:
        # One that boots on a busy host may take longer to answer than is waited for its answer.
        return False
    return answer.strip() in _BOOTED
