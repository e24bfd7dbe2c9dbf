# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest on the bridge notices of a change of the host's network: it stays plugged in, and answers again."""

from __future__ import annotations

import re
import signal
import subprocess
import typing as t

import pytest

from ansible_collections.homelab.hybrid.tests.harness import wired_host
from ansible_collections.homelab.hybrid.tests.harness.wired_host import KINDS, WiredHost, inside, plug_in_guest

BRIDGE: dict[str, t.Any] = {"name": "vmbr0", "mode": "ports", "confirm_timeout": 20}
EVERY_SECONDS = 0.02


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WiredHost]:
    with wired_host.bridged_host(tmp_path_factory.mktemp("control"), request.param) as built:
        yield built


@pytest.mark.parametrize(
    ("options", "state"),
    [({"mtu": 1400}, "confirmed"), ({"unset": ["mtu"]}, "confirmed"), ({"gateway": "10.219.0.99"}, "rolled_back")],
    ids=["mtu", "no mtu", "wrong gateway"],
)
def test_a_guest_stays_plugged_in_and_answers(host: WiredHost, options: dict[str, t.Any], state: str) -> None:
    address = plug_in_guest()
    argv = ["busybox", "ping", "-i", str(EVERY_SECONDS), address]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as asking:
        result = host.task({**BRIDGE, **options})
        asking.send_signal(signal.SIGINT)
        told, dummy = asking.communicate()
    assert result["switch"]["state"] == state, result
    found = re.search(r"(\d+) packets transmitted, (\d+) packets received", told)
    assert found, told
    sent, received = int(found[1]), int(found[2])
    print(f"outage of a guest: {(sent - received) * EVERY_SECONDS:.2f} s of {sent * EVERY_SECONDS:.1f} s")
    assert received > sent / 2
    assert "master vmbr0" in inside("ip", "link", "show", "tap0")
    subprocess.run(["busybox", "ping", "-c", "1", "-W", "2", address], check=True, capture_output=True)
