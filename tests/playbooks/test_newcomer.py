# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook says to somebody who writes an inventory for the first time, on real guests of this host."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t

import pytest

from ansible_collections.homelab.hybrid.tests.harness import labs
from ansible_collections.homelab.hybrid.tests.harness.labs import FIRST, MACHINE, SECOND, Lab, power

pytestmark = pytest.mark.usefixtures("lab_host")
RUNNING = {FIRST: "running", SECOND: "running", MACHINE: "running"}


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All that was printed, each run of white space as one space: long lines are wrapped on the screen."""
    return " ".join((done.stdout + done.stderr).split())


def failed(done: subprocess.CompletedProcess[str]) -> set[str]:
    recap = done.stdout.partition("PLAY RECAP")[2]
    return {line.split()[0] for line in recap.splitlines() if re.search(r"failed=[1-9]", line)}


def memory(name: str) -> int:
    return int(labs.run("lxc-cgroup", "-n", name, "memory.limit_in_bytes")) // 2**20


@pytest.mark.parametrize("variable", ["guest_allow", "guest_delete"])
def test_a_permission_in_the_inventory_is_refused_and_nothing_is_lost(lab: Lab, variable: str) -> None:
    lab.hosts[SECOND][variable] = ["rootfs"]
    lab.spec(SECOND)["state"] = "absent"
    lab.spec(FIRST)["memory"] = "40MiB"
    done = lab.play("site")
    assert failed(done) == {SECOND}, done.stdout + done.stderr
    assert f'Give it as -e \'{{"{variable}": ["rootfs"]}}\'' in said(done).replace('\\"', '"')
    assert (power(), memory(FIRST)) == (RUNNING, 40)
    assert (labs.FOLDER / "pool" / f"{SECOND}.rootfs").exists()
    done = lab.play("decommission", "--limit", SECOND)
    assert done.returncode != 0 and power() == RUNNING
    lab.hosts[SECOND].pop(variable)
    lab.spec(SECOND).pop("state")
    lab.spec(FIRST).pop("memory")
    assert lab.play("site").returncode == 0


def test_pruning_takes_no_permission_of_the_inventory(lab: Lab) -> None:
    path = lab.folder / "more.yml"
    path.write_text(json.dumps({"all": {"vars": {"guest_delete": ["rootfs"]}}}))
    lab.hosts.pop(SECOND)
    done = lab.play("site", "-i", str(path), guest_prune=True)
    assert done.returncode != 0
    assert "permission is given for a run and not kept in inventory" in said(done)
    assert power() == RUNNING


def test_a_pool_is_emptied_by_permission_of_a_run_alone(lab: Lab) -> None:
    pool = {"name": f"{labs.PREFIX}-spare", "path": str(labs.FOLDER / "spare")}
    data = labs.FOLDER / "spare" / "data"
    variables = lab.folder / "host_vars" / "alpha.yml"
    variables.parent.mkdir()

    def play(pool: dict[str, t.Any], **extra: t.Any) -> subprocess.CompletedProcess[str]:
        pools = [*labs.HOST["hypervisor_storage_pools"], pool]
        variables.write_text(json.dumps({"hypervisor_storage_pools": pools}))
        return lab.play("site", "--limit", "alpha", **extra)

    labs.converge(storage_pools=[pool])
    try:
        data.touch()
        done = play({**pool, "state": "absent", "allow": ["delete_data"]})
        assert failed(done) == {"alpha"}, done.stdout + done.stderr
        assert f"hypervisor_storage_pools[{pool['name']}] of alpha: allow: permission is given for a run" in said(done)
        assert '-e \'{"hypervisor_allow": ["delete_data"]}\'' in said(done).replace('\\"', '"')
        assert data.exists()
        report = lab.report()
        assert "permission is given for a run" in json.dumps(report), "the report says it too"
        assert play({**pool, "state": "absent"}, hypervisor_allow=["delete_data"]).returncode == 0
        assert not data.parent.exists()
    finally:
        labs.converge(storage_pools=[{**pool, "state": "absent", "allow": ["delete_data"]}])


WRONG: list[tuple[str, dict[str, t.Any], str]] = [
    (
        FIRST,
        {"guest_spec": {"memmory": "40MiB"}},
        f"guest_spec of {FIRST}: there is no option memmory. Is memory meant?",
    ),
    (FIRST, {"guest_profiles": ["tinny"]}, f"guest_profiles of {FIRST}: there is no profile 'tinny'"),
    (
        MACHINE,
        {"guest_spec": {"networks": [{"name": "lan", "brigde": "x"}]}},
        "no option networks.brigde. Is bridge meant?",
    ),
    (SECOND, {"guest_spec": {"state": "runing"}}, "value of state must be one of"),
    (SECOND, {"guest_spec": {"memory": "{{ no_such_variable }}"}}, "no_such_variable"),
]


@pytest.mark.parametrize("limit", [(), ("--limit", "guests")])
@pytest.mark.parametrize(("name", "variables", "sentence"), WRONG)
def test_a_wrong_word_fails_that_guest_alone_by_name(
    lab: Lab, name: str, variables: dict[str, t.Any], sentence: str, limit: tuple[str, ...]
) -> None:
    lab.hosts[name].update(variables)
    done = lab.play("site", "--check", *limit)
    assert failed(done) == {name}, done.stdout + done.stderr
    assert sentence in said(done)
    assert lab.play("site", "--check", *limit, guest_prune=True).returncode != 0, "it would be pruned"
    report = lab.report(*limit)
    (found,) = [each for each in report["hosts"]["alpha"]["resources"] if each["name"] == name]
    assert found["status"] == "failed" and sentence in " ".join(found["error"].split())
    assert report["drifted"] is True


def test_what_only_a_restart_brings_into_force_is_said_last(lab: Lab) -> None:
    lab.spec(MACHINE)["cpu"] = {"cores": 2}
    done = lab.play("site")
    assert done.returncode == 0, done.stdout + done.stderr
    sentence = f"{MACHINE} runs without cpu.cores 2 until it is restarted"
    assert sentence in said(done)
    assert done.stdout.index(f"{MACHINE} runs without") > done.stdout.rindex("TASK [")
    again = lab.play("site", "--limit", MACHINE)
    assert f"{MACHINE} runs without cpu.cores" in said(again)
    lab.spec(MACHINE)["state"] = "restarted"
    assert lab.play("site").returncode == 0
    lab.spec(MACHINE).pop("state")
    assert "runs without" not in said(lab.play("site"))


def test_a_refusal_says_what_to_write_for_a_run(lab: Lab) -> None:
    new = f"{labs.PREFIX}-new"
    disk = labs.FOLDER / "pool" / f"{new}.root.qcow2"
    labs.run("qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M")
    lab.hosts[new] = {**lab.hosts[MACHINE], "guest_spec": {}}
    try:
        done = lab.play("site", "--check")
        alone = lab.play("hypervisors", "--check")
    finally:
        disk.unlink()
    assert failed(done) == {new, "alpha"}, done.stdout
    assert failed(alone) == {"alpha"}, alone.stdout
    for each in (done, alone):
        text = said(each).replace('\\"', '"').replace("''", "'")
        assert f"{disk} is there already" in text
        assert 'Permit it for one run with -e \'{"guest_allow": ["adopt"]}\'' in text, text
        assert "allow: [" not in text, text.partition("allow: [")[0][-300:] + text.partition("allow: [")[2][:100]


def test_a_host_that_is_promised_too_much_is_told_with_the_variable_of_the_inventory(lab: Lab) -> None:
    lab.spec(MACHINE)["memory"] = "2TiB"
    done = lab.play("site", "--check")
    assert done.returncode != 0
    assert "hypervisor_overcommit.memory" in said(done), done.stdout


@pytest.mark.parametrize("playbook", ["site", "report"])
def test_a_file_that_is_no_yaml_is_named(lab: Lab, playbook: str) -> None:
    (lab.folder / "host_vars").mkdir()
    broken = lab.folder / "host_vars" / f"{SECOND}.yml"
    broken.write_text("guest_spec:\n  memory: 1GiB\n bad: [\n")
    done = lab.play(playbook, "--check")
    assert done.returncode != 0
    assert f"the variables of {SECOND} cannot be read ({broken}, line 3)" in said(done), done.stdout + done.stderr


def test_a_lab_with_guests_without_agent_or_address_is_shown(lab: Lab) -> None:
    done = lab.play("show")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"{MACHINE} +vm +started +-", done.stdout), done.stdout
    assert "The lab is answering: 3 guests" in said(done)
    lab.spec(MACHINE)["wait_for"] = ["agent"]
    done = lab.play("show")
    assert done.returncode == 2 and "agent failed" in said(done), done.stdout


def test_what_drifted_is_handed_on_to_the_next_job(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    assert "lab_drifted: false" in said(lab.play("report"))
    lab.spec(FIRST)["memory"] = "48MiB"
    done = lab.play("report")
    assert "lab_drifted: true" in said(done) and "- alpha" in said(done).partition("lab_drifted_hosts:")[2], done.stdout


def test_a_firewall_that_drops_what_guests_send_is_named(lab: Lab) -> None:
    table = "add table ip hlpb; add chain ip hlpb stop { type filter hook forward priority 5; policy drop; }"
    labs.run("nft", table)
    try:
        assert "the chain ip hlpb stop drops what is forwarded" in said(lab.play("report"))
        assert "in the way of guests: the chain ip hlpb stop" in said(lab.play("site", "--check"))
        # A machine without an operating system gets no address.
        lab.spec(MACHINE).update(wait_for=["ip"], wait_timeout=1)
        done = lab.play("site")
        assert failed(done) == {MACHINE, "alpha"}, done.stdout
        assert "A firewall of the host may be why: the chain ip hlpb stop" in said(done), done.stdout
    finally:
        labs.run("nft", "delete", "table", "ip", "hlpb")


BY_HAND = "<domain type='qemu'><name>hlpb-hand</name><memory unit='MiB'>64</memory><os><type machine='q35'>hvm</type></os></domain>"


def test_guests_that_no_inventory_names_are_told_also_those_made_by_hand(lab: Lab) -> None:
    path = lab.folder / "domain.xml"
    path.write_text(BY_HAND)
    virsh = ("virsh", "-q", "-c", "qemu:///system")
    labs.run(*virsh, "define", str(path))
    try:
        lab.hosts.pop(SECOND)
        done = lab.play("site", "--check")
        assert f"{SECOND}: made by this collection, and in no inventory" in said(done), done.stdout
        assert "hlpb-hand: made by hand, and in no inventory" in said(done)
        done = lab.play("site", "--check", guest_prune=True)
        assert done.returncode == 0 and "hlpb-hand: made by hand" in said(done), done.stdout + done.stderr
    finally:
        labs.run(*virsh, "undefine", "hlpb-hand")


def test_a_slip_is_warned_of(lab: Lab) -> None:
    lab.hosts[FIRST]["guest_specs"] = {"memory": "1GiB"}
    lab.spec(SECOND)["networks"] = [{"name": "lan", "ip": "10.93.61.11/24"}]
    done = lab.play("site", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"guest_specs of {FIRST} is read by nobody. Is guest_spec meant?" in said(done)
    assert f"networks[lan] of {SECOND} has an address and no gateway" in said(done)
