# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is killed at whatever moment of a switch, control node or host: the host is reached, as it was or as it is declared."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.switch.state import OPEN
from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import wired_host
from ansible_collections.homelab.hybrid.tests.harness.wired_host import (
    CONTROL,
    KINDS,
    NAME,
    WiredHost,
    command,
    inside,
)

# Of each who keeps the network of a host.
KILLS = int(os.environ.get("KILLS", "25"))
SEED = int(os.environ.get("HARNESS_SEED", "20261127"))
BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports", "confirm_timeout": 10}
LONGER, SHORTER = {"unset": ["mtu"]}, {"mtu": 1400}
LOOKS = 12
# Nobody can confirm this one.
ALONE = {"address": "10.77.0.1/24", "unset": ["gateway"]}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WiredHost]:
    with wired_host.bridged_host(tmp_path_factory.mktemp("control"), request.param) as built:
        yield built


def kill(victim: str, running: t.Any) -> None:
    if victim == "control":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    elif victim == "power":
        command("lxc-stop", "-n", NAME, "-k")
        command("lxc-start", "-n", NAME)
    else:
        inside("systemctl", "kill", "--signal=KILL", f"homelab-hybrid-switch-{victim}.service", check=False)


def wait_until_quiet() -> None:
    """A module whose control node is gone may be on its way to begin. Nothing else on this host is in Python."""
    quiet = 0

    def is_quiet() -> bool:
        nonlocal quiet
        quiet = 0 if inside("pgrep", "python3", check=False) else quiet + 1
        return quiet > LOOKS

    wait_until("no module to run", is_quiet, timeout_seconds=90, every_seconds=0.25)


def test_a_host_is_reached_whatever_is_killed(host: WiredHost) -> None:
    chance = random.Random(SEED)
    for wanted in (SHORTER, LONGER):
        assert not host.task({**BRIDGE, **wanted, "verify": [CONTROL]})["failed"]
    states = {"long": wired_host.network()}
    assert not host.task({**BRIDGE, **SHORTER})["failed"]
    states["short"] = wired_host.network()
    now, ended = "short", {"confirmed": 0, "rolled_back": 0, "not begun": 0}
    for number in range(KILLS):
        victim = chance.choice(("control", "control", "apply", "rollback", "power"))
        other = "long" if now == "short" else "short"
        is_good = chance.random() < 0.6
        wanted = ALONE if not is_good else LONGER if other == "long" else SHORTER
        after = chance.uniform(0.3, 4.0 if is_good else 12.0)
        told = f"kill {number} of {victim} after {after:.2f} s of {wanted}, seed {SEED}"
        before = host.state().get("id")
        running = host.start_task({**BRIDGE, **wanted})
        time.sleep(after)
        kill(victim, running)
        running.communicate()
        if victim == "power":
            host.wait_until_up()
        wait_until_quiet()
        wait_until("the switch to end", lambda: host.state().get("state") not in OPEN, timeout_seconds=60)
        state = host.state() if host.state().get("id") != before else {"state": "not begun"}
        ended[state["state"]] += 1
        if state["state"] == "confirmed":
            now = other
        wait_until(
            f"the host to be as it is to be ({told})",
            lambda here=states[now]: wired_host.network() == here,
            timeout_seconds=30,
        )
        assert host.is_reached(), told
        assert wired_host.leftovers() == [], told
    assert ended["confirmed"] and ended["rolled_back"], ended
    print(f"kills: {KILLS}, ended: {ended}")
