# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""In which order the record, the definition and the running network of a bridge that libvirt carries are written."""

from __future__ import annotations

import dataclasses
import types

import pytest
from unit.plugins.module_utils._bridge.network.test_network_apply import BEFORE, NAMES, RUNNING, LibvirtError

from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network import apply, network_xml
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.plan import plan_network
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.network.state import NetworkState
from ansible_collections.homelab.hybrid.plugins.module_utils._bridge.spec import parse
from ansible_collections.homelab.hybrid.plugins.module_utils._core import libraries
from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Work
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change
from ansible_collections.homelab.hybrid.plugins.module_utils._core.record import Record
from ansible_collections.homelab.hybrid.plugins.module_utils._host.libvirt import Network

LEFT = [{"link": "veth1", "flags": {}}]
STOPPED = NetworkState(network="lab0", is_defined=True, is_active=False, persistent=BEFORE)


class Libvirt:
    """libvirt with one network, which notes what it is told in *told*; *refused* are the calls that fail."""

    VIR_NETWORK_UPDATE_AFFECT_LIVE = 1
    libvirtError = LibvirtError  # noqa: N815  # libvirt's name

    def __init__(self, told, *, is_active, refused=()):
        self.told = told
        self.is_active = is_active
        self.refused = list(refused)
        for kind, names in zip(("COMMAND", "SECTION"), NAMES, strict=True):
            for name in names:
                setattr(
                    self,
                    f"VIR_NETWORK_UPDATE_{kind}_{name}" if kind == "COMMAND" else f"VIR_NETWORK_{kind}_{name}",
                    name,
                )

    def _tell(self, what):
        self.told.append(what)
        if what in self.refused:
            self.refused.remove(what)
            raise LibvirtError

    def networkDefineXML(self, xml):  # noqa: N802  # libvirt's name
        self._tell("define")
        return self

    def setAutostart(self, value):  # noqa: N802  # libvirt's name
        self._tell("autostart")

    def update(self, *args):
        self._tell("update")

    def isActive(self):  # noqa: N802  # libvirt's name
        return self.is_active

    def isPersistent(self):  # noqa: N802  # libvirt's name
        return True

    def create(self):
        self._tell("create")
        self.is_active = True

    def destroy(self):
        self._tell("destroy")
        self.is_active = False

    def undefine(self):
        self._tell("undefine")

    def XMLDesc(self, flags):  # noqa: N802  # libvirt's name
        return network_xml.new("lab0", BEFORE)


@pytest.fixture
def written(monkeypatch):
    """Carry out a wish and returns what was done, in order: calls of libvirt, changed keys of the record, and what stood."""

    def carry_out(wish, state, *, data=None, refused=(), has_link=True, half_made=False):
        told = []
        library = Libvirt(told, is_active=state.is_active or half_made, refused=refused)

        def save(own, **changes):
            told.extend(
                f"{key}={changes[key]}" for key in ("building", "replug") if own.data.get(key) != changes.get(key)
            )
            own.data.update(changes)

        monkeypatch.setattr(libraries, "libvirt", lambda: library)
        monkeypatch.setattr(Record, "save", save)
        monkeypatch.setattr(Record, "remove", lambda own: told.append("record removed"))
        monkeypatch.setattr(apply.forwarding, "remember", lambda own, has_ipv6: told.append("forwarding remembered"))
        monkeypatch.setattr(apply.forwarding, "give_back", lambda own: told.append("forwarding given back"))
        monkeypatch.setattr(apply.replug, "remember", lambda name: LEFT)
        monkeypatch.setattr(
            apply.replug, "plug_in", lambda name, ports: told.append(f"plugged in {[port['link'] for port in ports]}")
        )
        monkeypatch.setattr(apply.os.path, "isdir", lambda path: has_link)
        xml = network_xml.new("lab0", BEFORE)
        live = xml if state.is_active else None
        there = Network(
            name="lab0",
            bridge="lab0",
            xml=xml,
            live_xml=live,
            is_active=state.is_active,
            autostart=False,
            handle=library,
        )
        networks = {"lab0": there} if state.network or half_made else {}
        record = Record("bridges", "lab0", data)
        host = types.SimpleNamespace(record=lambda kind, name: record, networks=networks, connection=library)
        spec = parse({"name": "lab0", **wish})
        plan = plan_network(spec, state)
        assert plan.changes and not plan.refused
        try:
            for step in apply.apply_network(spec, state, plan, Work(host, None)):
                if isinstance(step, Change):
                    told.append(f"stands {step.path}")
        except HybridError:
            told.append("failed")
        else:
            stands = sorted(each.removeprefix("stands ") for each in told if each.startswith("stands "))
            assert stands == sorted(change.path for change in plan.changes)
        return told

    return carry_out


def test_a_new_bridge_is_recorded_before_it_is_defined_and_whole_before_it_is_told(written):
    told = written({"address": "10.20.0.1/24", "autostart": True}, NetworkState())
    assert told[:6] == ["building=True", "define", "autostart", "forwarding remembered", "create", "building=None"]
    assert all(each.startswith("stands ") for each in told[6:])


def test_a_bridge_that_was_half_made_goes_before_it_is_made_anew(written):
    told = written({"address": "10.20.0.1/24", "state": "stopped"}, NetworkState(), half_made=True)
    assert told[:6] == ["building=True", "destroy", "undefine", "define", "autostart", "building=None"]


def test_an_isolated_bridge_is_started_without_a_thought_of_forwarding(written, monkeypatch):
    isolated = dataclasses.replace(BEFORE, mode="isolated")
    monkeypatch.setattr(Libvirt, "XMLDesc", lambda self, flags: network_xml.new("lab0", isolated))
    assert written({"state": "started"}, STOPPED)[0] == "create"


def test_a_bridge_that_is_stopped_forgets_what_was_to_be_plugged_in_again(written):
    told = written({"state": "stopped"}, RUNNING, data={"replug": LEFT})
    assert told == ["destroy", "replug=None", "stands state"]


def test_a_bridge_that_is_started_gets_what_was_plugged_into_it_before_a_run_was_killed(written):
    told = written({"state": "started"}, STOPPED, data={"replug": LEFT})
    assert told == ["forwarding remembered", "create", "plugged in ['veth1']", "replug=None", "stands state"]


def test_what_a_stopped_bridge_gets_stands_with_its_definition(written):
    assert written({"mtu": 1400}, STOPPED) == ["define", "stands mtu"]


def test_what_runs_already_as_it_is_declared_stands_with_its_definition(written):
    state = dataclasses.replace(RUNNING, live=dataclasses.replace(BEFORE, mtu=1400))
    assert written({"mtu": 1400}, state) == ["define", "stands mtu"]


def test_a_restart_remembers_what_is_plugged_in_and_plugs_it_in_again(written):
    told = written({"mtu": 1400}, RUNNING)
    remembered = f"replug={LEFT}"
    start = ["forwarding remembered", "create", "plugged in ['veth1']", "replug=None"]
    assert told == ["define", remembered, "destroy", *start, "stands mtu"]


def test_a_bridge_that_does_not_start_with_its_change_is_brought_back_with_what_was_plugged_in(written):
    told = written({"mtu": 1400}, RUNNING, refused=["create"])
    again = ["define", "forwarding remembered", "create", "plugged in ['veth1']", "replug=None", "failed"]
    assert told == ["define", f"replug={LEFT}", "destroy", "forwarding remembered", "create", *again]


def test_a_bridge_whose_link_somebody_took_away_is_started_anew(written):
    told = written({"state": "started"}, STOPPED, has_link=False, half_made=True)
    assert told[:3] == ["destroy", "forwarding remembered", "create"]


def test_a_bridge_is_taken_away_before_its_record(written):
    told = written({"state": "absent"}, RUNNING)
    assert told == ["destroy", "undefine", "forwarding given back", "record removed", "stands state"]
