# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of an OPNsense, on the loopback: what is ours is compared and changed, nobody else gets the key, and a run that is cut off is finished."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import threading
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import aioopnsense
import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense import api, appliance
from ansible_collections.homelab.hybrid.plugins.module_utils._opnsense.appliance import Outcome
from ansible_collections.homelab.hybrid.plugins.plugin_utils._opnsense import made
from ansible_collections.homelab.hybrid.tests.harness import opnsense_image, opnsense_wanted
from ansible_collections.homelab.hybrid.tests.harness.labs import ROOT
from ansible_collections.homelab.hybrid.tests.harness.opnsense_api import Appliance, server

NAME = "hlopn-gate"
RECORD = Path(paths.record_path("appliances", NAME))
SECRETS = Path(appliance._SECRETS) / f"{NAME}.json"
WANTED = opnsense_wanted.wanted(
    NAME,
    "10.1.0",
    vlans=[{"name": "things", "network": "lan", "tag": 20}],
    dhcp_hosts=[{"name": "nas", "mac": "52:54:00:aa:bb:cc", "address": "10.1.0.5"}],
)
KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43} somebody" for letter in "ABC"]


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

    def run(self, *, ask: str = "items", wanted: t.Any = None, **more: t.Any) -> Outcome:
        its, port = {**WANTED, **(wanted or {})}, self.web.server_address[1]
        return opnsense_wanted.run(its, **{"address": "127.0.0.1", "ask": ask, "port": port, "wait": 5, **more})

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


def user(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, **more}


def opens(password: str, hashed: str | None) -> bool:
    """Whether perl's crypt finds the password behind what the appliance keeps."""
    return (
        bool(hashed)
        and opnsense_image.run("perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, str(hashed)) == hashed
    )


async def asked(gate: Gate, path: str) -> t.Any:
    """What a client of others is told."""
    known = made(WANTED)["secrets"]
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{gate.web.server_address[1]}/api"
        return await aioopnsense.OPNsenseClient(url, known["key"], known["secret"], session)._get(path)


def test_users_are_made_changed_and_taken_away(gate: Gate) -> None:
    gate.run()
    gate.appliance.calls.clear()
    told = {"full_name": "Ada", "password": "analytical engine", "ssh_keys": KEYS[:1], "admin": True}
    real = same_in_check_and_for_real(gate, {"users": [user("ada", **told), user("guest")]})
    assert real.result()["plan"] == ["users[ada] is made", "users[guest] is made"]
    assert (
        "analytical engine" not in json.dumps(real.result()) and "password: (secret)" in real.result()["diff"]["after"]
    )
    rows = {row["name"]: row for row in asyncio.run(asked(gate, "auth/user/search"))["rows"]}
    assert (rows["ada"]["%group_memberships"], rows["ada"]["%authorizedkeys"]) == ("admins", KEYS[0])
    assert (rows["ada"]["shell"], rows["guest"]["shell"], rows["guest"]["is_admin"]) == ("/bin/sh", "", "0")
    hashes = gate.has("system/user/password")
    assert opens("analytical engine", hashes[1]) and not opens("", hashes[2])

    gate.appliance.calls.clear()
    told.update(password="difference engine", ssh_keys=KEYS[1:], admin=False)
    real = same_in_check_and_for_real(gate, {"users": [user("ada", **told)]})
    assert real.result()["plan"] == [
        "users[guest] goes", "users[ada]: authorizedkeys, group_memberships, password"
    ]  # fmt: skip
    assert "password: (secret, changed)" in real.result()["diff"]["after"]
    rows = {row["name"]: row for row in asyncio.run(asked(gate, "auth/user/search"))["rows"]}
    assert list(rows) == ["root", "ada"] and rows["ada"]["group_memberships"] == ""
    assert rows["ada"]["%authorizedkeys"].splitlines() == KEYS[1:]
    assert opens("difference engine", gate.has("system/user/password")[1])
    assert gate.has("system/group/member") == ["0"]


def test_roots_password_and_keys_are_those_that_are_declared(gate: Gate) -> None:
    gate.run()
    gate.appliance.calls.clear()
    wanted = {"root_password": "correct horse", "ssh_keys": KEYS[:2]}
    real = same_in_check_and_for_real(gate, wanted)
    assert real.result()["plan"][-1] == "users[root]: authorizedkeys, password"
    assert opens("correct horse", gate.has("system/user/password")[0])
    assert json.loads(SECRETS.read_text())["password"] == "correct horse"
    gate.appliance.calls.clear()
    gone = same_in_check_and_for_real(gate, {"root_password": "correct horse"})
    assert gone.result()["plan"] == ["users[root]: authorizedkeys"] and gate.has("system/user/authorizedkeys") == [None]


def test_what_somebody_gave_root_on_its_pages_is_left_alone(gate: Gate) -> None:
    gate.run()
    uuid = ElementTree.parse(gate.config).find("system/user").get("uuid")
    own = {"name": "root", "password": "mine alone", "authorizedkeys": KEYS[2]}
    assert gate.appliance.answer("POST", f"auth/user/set/{uuid}", {"user": own})[1] == {"result": "saved"}
    assert not gate.run().changed and opens("mine alone", gate.has("system/user/password")[0])


def test_a_user_that_somebody_made_is_neither_taken_over_nor_taken_away(gate: Gate) -> None:
    gate.run()
    own = {"name": "bob", "descr": "mine", "scrambled_password": "1"}
    assert gate.appliance.answer("POST", "auth/user/add", {"user": own})[1]["result"] == "saved"
    assert not gate.run().changed
    before = gate.config.read_bytes()
    refused = gate.run(wanted={"users": [user("bob")], "rules": []})
    assert refused.error is not None and "a user bob that this role did not make" in refused.error.message
    assert gate.config.read_bytes() == before


def test_what_is_for_its_own_pages_is_told_on_every_run_and_never_changed(gate: Gate) -> None:
    gate.run()
    assert gate.run().facts["differs"] == []
    wanted = {
        "hostname": "door",
        "ssh_keys": [],
        "interfaces": [
            {"name": "wan", "network": "wan", "address": "10.9.0.2/24", "gateway": "10.9.0.1", "block_private": True},
            {"name": "lan", "network": "lan", "address": "10.1.0.1/16"},
            {"name": "iot", "vlan": "things", "address": "10.1.20.1/24"},
        ],
        "rules": [*WANTED["rules"], {"name": "no mail", "interface": "iot", "action": "block"}],
        "dhcp_ranges": WANTED["dhcp_ranges"],
    }
    before = gate.config.read_bytes()
    for dry_run in (True, False, False):
        told = gate.run(wanted=wanted, dry_run=dry_run)
        assert told.error is None and not told.changed, (told.error, told.result())
        found = {each["path"]: (each["declared"], each["stands"], each["page"]) for each in told.facts["differs"]}
        assert found == {
            "hostname": ("door", "gate", "System: Settings: General"),
            "interfaces[wan].address": ("10.9.0.2/24", "none", "Interfaces: [WAN]"),
            "interfaces[wan].gateway": ("10.9.0.1", "", "System: Gateways: Configuration"),
            "interfaces[wan].block_private": ("yes", "no", "Interfaces: [WAN]"),
            "interfaces[lan].address": ("10.1.0.1/16", "10.1.0.1/24", "Interfaces: [LAN]"),
            "interfaces[iot]": ("10.1.20.1/24 at vlan01", "", "Interfaces: Assignments"),
        }
        assert len(told.warnings) == len(found) + 1
        assert "rules of iot wait for that interface" in told.warnings[0]
        assert (
            "door is declared, and gate stands" in told.warnings[1] and "System: Settings: General" in told.warnings[1]
        )
    assert gate.config.read_bytes() == before
    # What a person did there counts.
    root = gate.appliance.root
    root.find("system/hostname").text = "door"
    assert "hostname" not in {each["path"] for each in gate.run(wanted=wanted).facts["differs"]}


def test_another_address_of_its_lan_is_told_where_it_still_answers(gate: Gate) -> None:
    assert gate.run().error is None
    later = gate.run(address="127.0.0.9", wanted={"dns_hosts": []})
    assert later.error is None and later.result()["plan"] == ["dns_hosts[nas] goes"]
    assert json.loads(RECORD.read_text())["address"] == "127.0.0.1"


def test_without_a_configuration_that_it_kept_the_rest_is_done_and_that_is_said(gate: Gate) -> None:
    gate.appliance.has_kept = False
    told = gate.run(wanted={"users": [user("ada")]})
    assert told.error is None and "dns_hosts[nas] is made" in told.result()["plan"]
    assert "it has kept no configuration yet" in told.warnings[0] and "differs" not in told.facts
    gate.appliance.has_kept = True
    assert gate.run(wanted={"users": [user("ada")]}).result()["plan"] == ["users[ada] is made"]


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


CHECK = """\
- hosts: gate
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: homelab.hybrid.opnsense, tasks_from: check}
    - ansible.builtin.debug: {msg: "{{ service_checks.opnsense }}"}
"""


@pytest.mark.parametrize("is_broken", [False, True], ids=["well", "not well"])
def test_its_health_is_one_of_the_answers_of_the_lab(gate: Gate, is_broken: bool) -> None:
    """Asked from its hypervisor; one that does not answer fails the sum, and not its question."""
    where, gate.appliance.is_broken = "127.0.0.5", is_broken
    (gate.folder / "check.yml").write_text(CHECK)
    host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    its = {"guest_hypervisor": "alpha", "opnsense_secret": WANTED["secret"], "opnsense_address": where}
    networks = {"guest_spec": {"networks": [{"name": "wan"}, {"name": "lan"}]}}
    hosts = {"alpha": host, NAME: {"ansible_host": "192.0.2.1", **its, **networks}}
    inventory = {"all": {"hosts": hosts, "children": {"gate": {"hosts": {NAME: {}}}}}}
    (gate.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    web = server(gate.appliance, (where, 443), str(gate.folder / "web.pem"))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        argv = (str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", "hosts.yml", "check.yml")
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=gate.folder, env=environment)
    finally:
        web.shutdown()
        web.server_close()
    said = "waited 10 s for OPNsense at 127.0.0.5" if is_broken else '"answer": "OK, No pending messages"'
    assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr
    assert f'"ok": {str(not is_broken).lower()}' in done.stdout and "changed=0" in done.stdout
