# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of an OPNsense, on the loopback: what is ours is compared and changed, nobody else gets the key, and a run that is cut off is finished."""

from __future__ import annotations

import json
import stat
import threading
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense import api, appliance
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.appliance import Outcome, converge_opnsense
from ansible_collections.homelab.hybrid.plugins.plugin_utils._opnsense import made
from ansible_collections.homelab.hybrid.tests.harness import opnsense_image
from ansible_collections.homelab.hybrid.tests.harness.opnsense_api import Appliance, server

NAME = "hlopn-gate"
RECORD = Path(paths.record_path("appliances", NAME))
SECRETS = Path(appliance._SECRETS) / f"{NAME}.json"
WANTED: dict[str, t.Any] = {
    "name": NAME,
    "networks": ["wan", "lan"],
    "secret": "a long secret of a vault",
    "hostname": "gate",
    "domain": "lab.home.arpa",
    "timezone": "Etc/UTC",
    "timeservers": [],
    "dns_servers": [],
    "root_password": "",
    "ssh_keys": [],
    "interfaces": [
        {"name": "wan", "network": "wan", "address": "dhcp"},
        {"name": "lan", "network": "lan", "address": "10.1.0.1/24"},
    ],
    "vlans": [{"name": "things", "network": "lan", "tag": 20}],
    "dhcp_ranges": [{"name": "house", "interface": "lan", "start": "10.1.0.100", "end": "10.1.0.199"}],
    "dhcp_hosts": [{"name": "nas", "mac": "52:54:00:aa:bb:cc", "address": "10.1.0.5"}],
    "dns_hosts": [{"name": "nas", "address": "10.1.0.5"}],
    "rules": [{"name": "LAN to any", "interface": "lan", "source": "lan"}],
}


class Gate:
    """An appliance on the loopback, that has imported its first configuration."""

    def __init__(self, folder: Path) -> None:
        self.config, self.folder = folder / "config.xml", folder
        self.config.write_text(made(WANTED)["config"])
        self.appliance = Appliance(str(self.config))
        self.start("web")

    def start(self, certificate: str) -> None:
        path = self.folder / f"{certificate}.pem"
        opnsense_image.certificate(path)
        self.web = server(self.appliance, ("127.0.0.1", 0), str(path))
        threading.Thread(target=self.web.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.web.shutdown()
        self.web.server_close()

    def run(self, *, dry_run: bool = False, ask: str = "items", wanted: t.Any = None, **more: t.Any) -> Outcome:
        its = made({**WANTED, **(wanted or {})})
        params = {key: row.get("default") for key, row in appliance.ARGUMENTS.items()}
        known = {"key": its["secrets"]["key"], "secret": its["secrets"]["secret"], "items": its["items"]}
        known["password"] = its["secrets"]["password"]
        params.update(name=NAME, ask=ask, address="127.0.0.1", port=self.web.server_address[1], wait=5, **known)
        return converge_opnsense({**params, **more}, dry_run=dry_run)

    def has(self, path: str) -> list[str | None]:
        """What the configuration of the appliance says itself."""
        return [node.text for node in ElementTree.parse(self.config).iterfind(path)]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Gate]:
    for module in (api, appliance):
        monkeypatch.setattr(module, "_EVERY_SECONDS", 0.05)
    its = Gate(tmp_path)
    yield its
    its.stop()
    for path in (RECORD, SECRETS):
        path.unlink(missing_ok=True)


def same_in_check_and_for_real(gate: Gate, wanted: t.Any) -> Outcome:
    """Changed as the check said it, and then nothing any more."""
    before = gate.config.read_bytes()
    check = gate.run(dry_run=True, wanted=wanted)
    assert check.error is None, check.error
    assert gate.config.read_bytes() == before and not gate.appliance.calls
    real = gate.run(wanted=wanted)
    assert real.error is None, real.error
    again = gate.run(wanted=wanted)
    assert again.error is None and not again.changed
    assert (check.changed, check.result()["plan"]) == (real.changed, real.result()["plan"])
    return real


def test_what_it_starts_with_lacks_the_names_alone(gate: Gate) -> None:
    real = same_in_check_and_for_real(gate, None)
    assert real.result()["plan"] == ["what opens it is kept on its hypervisor", "dns_hosts[nas] is made"]
    assert json.loads(SECRETS.read_text()) == made(WANTED)["secrets"] and stat.S_IMODE(SECRETS.stat().st_mode) == 0o600
    assert gate.appliance.calls == ["unbound/settings/add_host_override", "unbound/service/reconfigure"]
    assert gate.has("OPNsense/unboundplus/hosts/host/server") == ["10.1.0.5"]


def test_every_kind_is_changed_and_put_into_force(gate: Gate) -> None:
    gate.run()
    gate.appliance.calls.clear()
    wanted = {
        "vlans": [{"name": "things", "network": "lan", "tag": 30}],
        "dhcp_ranges": [{"name": "house", "interface": "lan", "start": "10.1.0.50", "end": "10.1.0.60"}],
        "dhcp_hosts": [],
        "dns_hosts": [{"name": "nas", "address": "10.1.0.6"}],
        "rules": [
            {"name": "no mail", "interface": "lan", "action": "block", "protocol": "tcp", "port": "25", "log": True}
        ],
    }
    real = same_in_check_and_for_real(gate, wanted)
    assert real.result()["plan"] == [
        "vlans[things]: tag", "dhcp_ranges[house]: start_addr, end_addr", "dhcp_hosts[nas] goes", "dns_hosts[nas]: server",
        "rules[LAN to any] goes", "rules[no mail] is made",
    ]  # fmt: skip
    applied = [path for path in gate.appliance.calls if path.endswith(("reconfigure", "apply"))]
    assert applied == [
        "interfaces/vlan_settings/reconfigure", "dnsmasq/service/reconfigure", "unbound/service/reconfigure", "firewall/filter/apply"
    ]  # fmt: skip
    assert gate.has("vlans/vlan/tag") == ["30"] and gate.has("dnsmasq/hosts") == []
    assert gate.has("OPNsense/Firewall/Filter/rules/rule/destination_port") == ["25"]


def test_what_somebody_made_on_its_pages_is_left_alone(gate: Gate) -> None:
    gate.run()
    own = {"description": "mine", "interface": "lan", "action": "block"}
    assert gate.appliance.answer("POST", "firewall/filter/add_rule", {"rule": own})[1]["result"] == "saved"
    assert not gate.run().changed
    gate.run(wanted={"rules": []})
    assert gate.has("OPNsense/Firewall/Filter/rules/rule/description") == ["mine"]


def test_what_it_does_not_take_is_told_in_its_own_words(gate: Gate) -> None:
    outcome = gate.run(wanted={"rules": [{"name": "odd", "interface": "lan", "protocol": "carp"}]})
    assert outcome.error is not None and "Option CARP not in list" in outcome.error.message


def test_a_run_that_was_cut_off_before_it_was_in_force_is_finished(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_arguments: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(appliance.OPNsense, "_apply", cut)
        gate.run()
    gate.appliance.calls.clear()
    assert gate.run(dry_run=True).changed
    real = gate.run()
    assert real.changed and gate.appliance.calls == ["unbound/service/reconfigure"]
    assert not gate.run().changed


def test_rules_are_taken_back_by_series_that_can_do_it(gate: Gate) -> None:
    gate.appliance.has_savepoints = True
    gate.run(wanted={"dns_hosts": [], "rules": []})
    assert [path for path in gate.appliance.calls if "del_rule" not in path] == [
        "firewall/filter/savepoint", "firewall/filter/apply/1700000000.1", "firewall/filter/cancelRollback/1700000000.1"
    ]  # fmt: skip


def test_its_certificate_is_that_of_the_first_contact(gate: Gate) -> None:
    assert gate.run(ask="health").facts["health"]["status"] == "OK"
    pin = json.loads(RECORD.read_text())["fingerprint"]
    assert stat.S_IMODE(RECORD.stat().st_mode) == 0o600
    pem = (gate.folder / "web.pem").read_text()
    told = opnsense_image.run(
        "openssl", "x509", "-in", str(gate.folder / "web.pem"), "-noout", "-fingerprint", "-sha256"
    )
    assert told.strip().rpartition("=")[2].replace(":", "").lower() == pin
    gate.stop()
    gate.start("other")
    told_now = gate.run(ask="health")
    assert told_now.error is not None and "another certificate than before" in told_now.error.message
    gate.stop()
    (gate.folder / "other.pem").write_text(pem)
    gate.start("third")
    fingerprint = opnsense_image.run(
        "openssl", "x509", "-in", str(gate.folder / "third.pem"), "-noout", "-fingerprint", "-sha256"
    ).strip()
    assert gate.run(ask="health", fingerprint=fingerprint.rpartition("=")[2]).error is None
    assert gate.run(ask="health").error is None


def test_a_given_authority_counts_instead(gate: Gate) -> None:
    pem = (gate.folder / "web.pem").read_text()
    assert gate.run(ask="health", ca=pem).error is None
    opnsense_image.certificate(gate.folder / "stranger.pem")
    refused = gate.run(ask="health", ca=(gate.folder / "stranger.pem").read_text())
    assert refused.error is not None and "not of the authority" in refused.error.message


def test_a_wrong_secret_is_told_at_once(gate: Gate) -> None:
    outcome = gate.run(ask="health", secret="wrong")
    assert outcome.error is not None and "does not let the key of the API in (401)" in outcome.error.message


def test_who_does_not_answer_is_waited_for_and_named(gate: Gate) -> None:
    gate.appliance.is_broken = True
    outcome = gate.run(ask="health", wait=1)
    assert outcome.error is not None and "waited 1 s for OPNsense at 127.0.0.1" in outcome.error.message


def test_it_brings_itself_to_the_newest_version_of_its_series(gate: Gate) -> None:
    assert not gate.run(ask="update").changed
    gate.appliance.offers = ["26.7.2"]
    check = gate.run(ask="update", dry_run=True)
    assert check.changed and gate.appliance.version == "26.7"
    real = gate.run(ask="update", wait=30)
    assert real.error is None and real.changed and real.facts["version"] == "26.7.2"
    assert not gate.run(ask="update", wait=30).changed


def test_an_update_after_which_it_does_not_answer_fails(gate: Gate) -> None:
    gate.appliance.offers = ["26.7.3-broken"]
    outcome = gate.run(ask="update", wait=2)
    assert outcome.error is not None and outcome.changed and "of OPNsense" in outcome.error.message
