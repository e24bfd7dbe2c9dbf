# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each service role on a real Debian 13: made, made again, healed, refused, brought back, and taken away. The rows are modules beside this."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario, roles, scenarios_of

SCENARIOS: tuple[Scenario, ...] = tuple(found for role in roles() for found in scenarios_of(role))


# How often the new version is asked until it answers: a guest at home may be slow, and what is silent here stays so.
# The old version, on the way back, has the time that a busy machine takes.
PATIENCE = ("-e", '{"__service_door_attempts": 3}')


@pytest.fixture(params=SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def scenario(request: pytest.FixtureRequest) -> t.Iterator[Scenario]:
    found: Scenario = request.param
    try:
        guest.set_up(
            f"{found.name}.img", features=dict.fromkeys(found.features, True), unprivileged=not found.is_privileged
        )
        if found.prepare:
            found.prepare()
        yield found
    finally:
        guest.tear_down()


@pytest.fixture
def releases(scenario: Scenario, tmp_path: Path) -> t.Iterator[guest.Releases]:
    """A server of releases at the bridge of *scenario*."""
    served = guest.Releases(tmp_path / "releases")
    yield served
    served.close()


def listeners(scenario: Scenario) -> set[str]:
    """What the guest listens on. containerd has a port of its own at its loopback, another one in each run."""
    return {each for each in guest.listeners() if "docker" not in scenario.features or " 127.0.0.1:" not in each}


def installed() -> str:
    """What tells whether anything was installed or changed: packages, programs, and the settings of services."""
    files = "find /opt /usr/local /etc/systemd/system /var/lib/homelab_hybrid -type f -printf '%p %s %T@\\n' | sort"
    return guest.inside("dpkg-query", "--show") + guest.inside("sh", "-c", files)


def row(scenario: Scenario) -> bool:
    return scenario.row in guest.inside(*scenario.read, check=False)


def check_backup(scenario: Scenario) -> None:
    """A backup asks the guest to write down what is in its memory, while it goes on; and the guest knows what it is to ask."""
    hook = f"/etc/homelab_hybrid/backup.d/{scenario.role}"
    if scenario.dump:
        assert scenario.row not in guest.inside(*scenario.dump, check=False)
    began = guest.inside("systemctl", "show", "--property=ActiveEnterTimestamp", scenario.unit, *scenario.units)
    for word in ("before", "after", "before", "after"):
        guest.inside(hook, word)
    assert guest.inside("systemctl", "show", "--property=ActiveEnterTimestamp", scenario.unit, *scenario.units) == began
    assert not scenario.dump or scenario.row in guest.inside(*scenario.dump)
    record = json.loads(guest.inside("cat", f"/var/lib/homelab_hybrid/services/{scenario.role}.json"))
    ports = {f"{each.get('protocol', 'tcp')} {each['port']}" for each in record["told"]["listens"]}
    assert ports <= {f"{each.split()[0]} {each.rpartition(':')[2]}" for each in scenario.listens}
    assert all(guest.status("test", "-e", path) == 0 for path in record["told"]["data"])
    assert row(scenario)


def outside(scenario: Scenario) -> bool:
    """Whether each port of TCP answers the hypervisor, as it would another guest."""
    ports = [each.rpartition(":")[2] for each in scenario.listens if each.startswith("tcp 0.0.0.0")]
    probe = "import socket, sys\nfor port in sys.argv[2:]:\n    socket.create_connection((sys.argv[1], int(port)), 5)\n"
    return all(guest.run("python3", "-c", probe, guest.ADDRESS, port, check=False) == "" for port in ports)


def test_a_service_has_a_way_back(scenario: Scenario, releases: guest.Releases, tmp_path: Path) -> None:
    before, fresh = listeners(scenario), installed()
    lab = guest.Lab(tmp_path, scenario.role, {**scenario.variables, **scenario.upstream.first(releases)})

    checked = lab.entry("main", "--check").succeeded()
    assert checked.changed and installed() == fresh, "the whole plan is shown, and nothing is done"
    lab.entry("main").succeeded()
    lab.entry("main").unchanged()
    lab.entry("main", "--check").unchanged()
    for variables, sentence in scenario.refusals:
        assert sentence in lab.entry("main", "--check", **variables).failed().said

    assert listeners(scenario) - before == scenario.listens
    for login in scenario.logins:
        assert guest.status(*login) != 0, f"{login} logs in"
    if scenario.judge:
        scenario.judge(guest.ADDRESS)
    guest.inside(*scenario.write)
    assert row(scenario)
    check_backup(scenario)

    for unit in (scenario.unit, *scenario.units):
        guest.inside("systemctl", "stop", unit)
    assert lab.entry("main").succeeded().changed, "what was stopped is healed, and told"
    for unit in (scenario.unit, *scenario.units):
        assert guest.status("systemctl", "is-active", unit) == 0, unit
    assert row(scenario)

    stood = installed()
    refused = lab.entry(scenario.upstream.entry, **scenario.upstream.turned(releases)).failed()
    assert scenario.refusal in refused.said, refused.printed[-4000:]
    assert installed() == stood and row(scenario), "refused before anything is installed"

    silent = scenario.upstream.silent(releases)
    failed = lab.entry(scenario.upstream.entry, *PATIENCE, **silent).failed()
    assert "went back" in failed.said, failed.printed[-4000:]
    assert row(scenario), "the old version answers, with what was written before"
    assert outside(scenario), "and answers everybody"
    again = lab.entry(scenario.upstream.entry, **silent).succeeded()
    assert again.changed == 0 and "failed before" in again.said, "a version that failed is not tried again"

    lab.entry("remove").succeeded()
    assert listeners(scenario) == before | scenario.stays
    for unit in (scenario.unit, *scenario.units):
        assert guest.status("systemctl", "cat", unit) != 0, unit
    for path in (*scenario.gone, f"/etc/homelab_hybrid/backup.d/{scenario.role}"):
        assert guest.status("test", "-e", path) != 0, path
