# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode shows the whole plan of each service role on a fresh guest, and does nothing of it. All roles share one guest."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services.scenario import Variables, roles, scenarios_of

# What a role is given where it does nothing without, or where its scenario would build what no plan reads.
VARIABLES: t.Mapping[str, Variables] = {
    "compose_app": {
        "compose_app_apps": [
            {"name": "vault", "preset": "vaultwarden", "images": {"vaultwarden": f"vault@sha256:{'0' * 64}"}}
        ]
    },
    "home_assistant": {},
    "immich": {},
    "node_red": {},
    "reverse_proxy": {"reverse_proxy_sites": [{"name": "films.test", "upstreams": ["http://10.93.64.20:8096"]}]},
    # The adapter of its scenario is made in the guest.
    "zigbee2mqtt": {"zigbee2mqtt_serial_port": "tcp://10.93.64.20:6638", "zigbee2mqtt_adapter": "zstack"},
    "unbound": {"unbound_records": [{"name": "nas", "addresses": ["10.93.64.20"]}]},
}


@pytest.fixture(scope="module")
def fresh() -> t.Iterator[None]:
    """A guest that may be what each of the roles recommends, in which nothing happens by itself."""
    try:
        guest.set_up("plans.img", features={"docker": True})
        guest.inside("sh", "-c", "systemctl stop '*.timer'")
        yield
    finally:
        guest.tear_down()


# The other ways of what may be installed in several.
OTHERS: t.Mapping[str, tuple[Variables, ...]] = {"home_assistant": ({"home_assistant_method": "venv"},)}


def variables(role: str, releases: guest.Releases) -> Variables:
    scenario = None if role in VARIABLES else next(iter(scenarios_of(role)), None)
    return {**scenario.variables, **scenario.upstream.first(releases)} if scenario else dict(VARIABLES.get(role, {}))


PLANS = [(role, more) for role in roles() for more in ({}, *OTHERS.get(role, ()))]


@pytest.mark.parametrize(("role", "more"), PLANS, ids=["-".join([role, *more.values()]) for role, more in PLANS])
@pytest.mark.usefixtures("fresh")
def test_the_plan_of_a_role_is_whole_and_does_nothing(role: str, more: Variables, tmp_path: Path) -> None:
    releases = guest.Releases(tmp_path / "releases")
    try:
        lab = guest.Lab(tmp_path, role, {**variables(role, releases), **more})
        before = guest.fingerprint()
        checked = lab.entry("main", "--check").succeeded()
        assert checked.changed, checked.printed[-4000:]
        assert before ^ guest.fingerprint() == set(), "nothing is done"
    finally:
        releases.close()


@pytest.mark.parametrize("method", ["container", "venv"])
@pytest.mark.usefixtures("fresh")
def test_home_assistant_refuses_data_of_a_newer_version(method: str, tmp_path: Path) -> None:
    """Upstream has no way down: what was taken away with another method may have been newer."""
    lab = guest.Lab(tmp_path, "home_assistant", {"home_assistant_method": method})
    try:
        guest.inside("sh", "-euc", "mkdir /var/lib/home_assistant; echo 2027.1.0 > /var/lib/home_assistant/.HA_VERSION")
        said = lab.entry("main", "--check").failed().said
    finally:
        guest.inside("rm", "-rf", "/var/lib/home_assistant")
    assert f"what is in /var/lib/home_assistant of {guest.NAME} is of version 2027.1.0" in said
