# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A run that dies in the middle says of each change of a bridge that libvirt carries whether it was made."""

from __future__ import annotations

import types

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import apply, network_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.plan import plan_network
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.settings import NetworkSettings
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.state import NetworkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core import libraries
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Work
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._host.libvirt import Network

BEFORE = NetworkSettings(mode="nat", address="10.20.0.1/24", ranges=(("10.20.0.100", "10.20.0.199"),))
WISH = {
    "name": "lab0",
    "address": "10.20.0.1/24",
    "dhcp": {
        "start": "10.20.0.50",
        "end": "10.20.0.199",
        "hosts": [{"name": "a", "mac": "52:54:00:00:00:01", "ip": "10.20.0.9"}],
    },
    "dns": {"hosts": [{"name": "nas", "ip": "10.20.0.2"}]},
    "autostart": True,
}
NAMES = ("DELETE", "ADD_LAST"), ("IP_DHCP_RANGE", "IP_DHCP_HOST", "DNS_HOST")


class LibvirtError(Exception):
    def get_error_message(self):
        return "no"

    def get_error_code(self):
        return 1


class Library:
    """libvirt, of which the call number *fails_at* fails."""

    VIR_NETWORK_UPDATE_AFFECT_LIVE = 1

    def __init__(self, fails_at):
        self.calls = 0
        self.fails_at = fails_at
        for call in ("networkDefineXML", "setAutostart", "update", "create", "destroy"):
            setattr(self, call, self.count)
        answers = {
            "libvirtError": LibvirtError,
            "isActive": lambda: False,
            "XMLDesc": lambda flags: network_xml.new("lab0", BEFORE),
        }
        vars(self).update(answers)
        for name in NAMES[0]:
            setattr(self, f"VIR_NETWORK_UPDATE_COMMAND_{name}", name)
        for name in NAMES[1]:
            setattr(self, f"VIR_NETWORK_SECTION_{name}", name)

    def count(self, *args):
        self.calls += 1
        if self.calls == self.fails_at:
            raise LibvirtError
        return self


@pytest.fixture
def carry_out(monkeypatch):
    def carry_out(fails_at, wish, state):
        library = Library(fails_at)
        monkeypatch.setattr(libraries, "libvirt", lambda: library)
        monkeypatch.setattr(Record, "save", lambda own, **changes: own.data.update(changes))
        monkeypatch.setattr(apply.forwarding, "is_on", lambda version: True)
        monkeypatch.setattr(apply.replug, "remember", lambda name: [])
        xml = network_xml.new("lab0", BEFORE)
        networks = {
            "lab0": Network(
                name="lab0", bridge="lab0", xml=xml, live_xml=xml, is_active=True, autostart=False, handle=library
            )
        }
        host = types.SimpleNamespace(record=Record, networks=networks if state.network else {}, connection=library)
        spec = parse(wish)
        plan = plan_network(spec, state)
        stood = []
        try:
            for step in apply.apply_network(spec, state, plan, Work(host, None)):
                if isinstance(step, Change):
                    stood.append(step.path)
        except HybridError:
            pass
        else:
            assert sorted(stood) == sorted(change.path for change in plan.changes)
        return sorted(stood)

    return carry_out


RUNNING = NetworkState(network="lab0", is_defined=True, is_active=True, persistent=BEFORE, live=BEFORE)
RANGE, HOST, DNS = ["dhcp.start"], ["dhcp.hosts[a]"], ["dns.hosts[nas]"]


@pytest.mark.parametrize(
    ("fails_at", "expected"),
    [
        (1, []),  # the definition
        (2, []),  # autostart
        (3, ["autostart"]),  # the range that goes
        (4, ["autostart"]),  # the range that comes
        (5, ["autostart", *RANGE]),  # the host
        (6, ["autostart", *RANGE, *HOST]),  # the name
        (7, ["autostart", *RANGE, *HOST, *DNS]),
    ],
)
def test_what_stands_of_a_change_that_fails(carry_out, fails_at, expected):
    assert carry_out(fails_at, WISH, RUNNING) == sorted(expected)


ALL = ["address", "autostart", "dhcp.end", "dhcp.hosts[a]", "dhcp.start", "dns.hosts[nas]", "mode"]


@pytest.mark.parametrize(("fails_at", "expected"), [(1, []), (2, []), (3, []), (4, [*ALL, "state"])])
def test_what_stands_of_a_creation_that_fails(carry_out, fails_at, expected):
    assert carry_out(fails_at, WISH, NetworkState()) == sorted(expected)


def test_a_restart_that_fails_brings_nothing_in(carry_out):
    wish = {"name": "lab0", "mtu": 1400, "autostart": True}
    assert carry_out(3, wish, RUNNING) == ["autostart"]
    assert carry_out(9, wish, RUNNING) == ["autostart", "mtu"]
