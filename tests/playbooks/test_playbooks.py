# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""report, shutdown, startup and decommission as a user runs them, on real guests of this host."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._notify.resource import HostNotify
from ansible_collections.homelab.hybrid.tests.harness import backups, labs
from ansible_collections.homelab.hybrid.tests.harness.cases import converge_now
from ansible_collections.homelab.hybrid.tests.harness.labs import FIRST, MACHINE, SECOND, Lab, changed, power
from ansible_collections.homelab.hybrid.tests.harness.listeners import listening

pytestmark = pytest.mark.usefixtures("lab_host")
RUNNING = {FIRST: "running", SECOND: "running", MACHINE: "running"}
STOPPED = {FIRST: "stopped", SECOND: "stopped", MACHINE: "shut off"}


def resources(report: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {each["name"]: each for each in report["hosts"]["alpha"]["resources"]}


def test_a_lab_that_is_as_declared_has_drifted_in_nothing(lab: Lab) -> None:
    done = lab.play("report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed(done) == 0
    report = lab.report()
    assert report["drifted"] is False
    assert {name: each["status"] for name, each in resources(report).items()} == dict.fromkeys(
        (labs.BRIDGE, labs.POOL, labs.IMAGE, *labs.GUESTS), "as declared"
    )
    first = resources(report)[FIRST]
    assert first["declared"]["memory"] == "32MiB"
    assert first["is"]["state"] == "started"


def test_a_guest_that_does_not_say_where_it_lives_lives_on_the_only_hypervisor(lab: Lab) -> None:
    for name in (FIRST, SECOND):
        del lab.hosts[name]["guest_hypervisor"]
    assert set(resources(lab.report())) >= {FIRST, SECOND, MACHINE}
    assert set(resources(lab.report("--limit", FIRST))) == {FIRST}


def test_a_report_tells_what_differs_and_fails(lab: Lab) -> None:
    lab.spec(FIRST)["memory"] = "48MiB"
    lab.hosts[f"{labs.PREFIX}-new"] = {**lab.hosts[SECOND], "guest_spec": {}}
    done = lab.play("report")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "memory: 32MiB -> 48MiB" in done.stdout
    assert "alpha is not as it is declared" in done.stdout
    report = lab.report()
    found = resources(report)
    assert found[FIRST]["status"] == "differs"
    assert [change["path"] for change in found[FIRST]["plan"]] == ["memory"]
    assert found[f"{labs.PREFIX}-new"]["status"] == "missing"
    assert found[SECOND]["status"] == "as declared"
    assert report["drifted"] is True
    assert labs.run("lxc-cgroup", "-n", FIRST, "memory.limit_in_bytes") == str(32 * 2**20), "a report changes nothing"


def test_what_drifted_is_told_by_its_host_and_that_it_is_over(lab: Lab) -> None:
    with listening() as listener:
        lab.host["hypervisor_notify"] = [{"name": f"{labs.PREFIX}-hook", "type": "webhook", "url": listener.url}]
        assert converge_now(HostNotify(), {"targets": lab.host["hypervisor_notify"]}).error is None
        try:
            lab.spec(FIRST)["memory"] = "48MiB"
            lab.report("--limit", FIRST)
            lab.report(report_tells=False)
            assert listener.take() == []
            lab.report()
            (its,) = listener.take()
            assert f"container {FIRST} differs (memory: 32MiB -> 48MiB)" in its.body["text"]
            lab.spec(FIRST)["memory"] = "32MiB"
            lab.report()
            (its,) = listener.take()
            assert [FIRST in text for text in its.body["over"]] == [True]
        finally:
            gone = [{"name": f"{labs.PREFIX}-hook", "state": "absent"}]
            assert converge_now(HostNotify(), {"targets": gone}).error is None
            for path in (paths.DRIFT, paths.TOLD):
                Path(path).unlink(missing_ok=True)


def test_the_startup_of_the_inventory_is_an_option_of_the_guest(lab: Lab) -> None:
    lab.hosts[FIRST]["guest_startup"] = {"order": 3, "up_delay": 1}
    assert [change["path"] for change in resources(lab.report())[FIRST]["plan"]] == ["startup.order"]


def test_a_report_can_be_read_as_ansible_shows_it_by_default(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "json")
    said = lab.play("report", "--limit", FIRST).stdout
    assert re.search(rf'^ *"alpha +container +{FIRST} +as declared +-"', said, re.MULTILINE), said


def test_a_report_is_written_where_it_was_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = lab.folder / "home", lab.folder / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PWD", str(here))
    monkeypatch.chdir(here)
    for name, path in (("lab.json", here / "lab.json"), ("~/lab.json", home / "lab.json")):
        done = lab.play("report", "--limit", FIRST, report_file=name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_hypervisor_tells_is_no_wish(lab: Lab) -> None:
    found = lab.folder / "found.guests.yml"
    found.write_text("plugin: homelab.hybrid.guests\nhypervisors: [{name: alpha, connection: local}]\n")
    lab.spec(FIRST)["startup"] = lab.hosts[FIRST].pop("guest_startup") | {"up_delay": 7}
    plan = resources(lab.report("-i", str(found)))[FIRST]["plan"]
    assert [change["path"] for change in plan] == ["startup.up_delay"]


def test_a_report_of_one_guest_leaves_the_others_out(lab: Lab) -> None:
    lab.spec(SECOND)["memory"] = "48MiB"
    done = lab.play("report", "--limit", FIRST)
    assert done.returncode == 0, done.stdout + done.stderr
    alone = lab.report("--limit", FIRST)
    assert set(resources(alone)) == {FIRST}
    assert not {SECOND, MACHINE} & {guest["name"] for guest in alone["hosts"]["alpha"]["unlisted"]}
    assert set(resources(lab.report("--limit", "alpha"))) >= set(labs.GUESTS)
    assert lab.play("report", "--limit", "alpha").returncode == 2


def test_what_is_refused_is_a_part_of_the_report(lab: Lab) -> None:
    lab.hosts[MACHINE]["guest_spec"] = {"disks": [{"name": "root", "size": "8MiB"}]}
    found = resources(lab.report())[MACHINE]
    assert (found["status"], found["drifted"]) == ("failed", True)
    assert "disks[root].size" in found["error"]


def test_a_host_that_does_not_answer_is_a_part_of_the_report(lab: Lab) -> None:
    path = lab.folder / "more.yml"
    path.write_text(
        "all: {children: {hypervisors: {hosts: {beta: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_connection: ssh}}}}}"
    )
    report = lab.report("-i", str(path))
    assert report["hosts"]["beta"]["error"].startswith("unreachable: ")
    assert report["hosts"]["alpha"]["drifted"] is False
    assert report["drifted"] is True


def test_a_host_that_cannot_be_asked_keeps_no_service_of_another_from_its_work(lab: Lab) -> None:
    path, far = lab.folder / "more.yml", f"{labs.PREFIX}-far"
    through = {"ansible_connection": "homelab.hybrid.lxc", "ansible_hypervisor_transport": "local"}
    broken = {"ansible_connection": "local", "ansible_python_interpreter": "/nonexistent/python"}
    groups = {
        "hypervisors": {"hosts": {"beta": broken}},
        "guests": {
            "hosts": {
                FIRST: {**through, "guest_services": ["unbound"]},
                far: {"guest_hypervisor": "beta", "guest_services": ["unbound"]},
            }
        },
    }
    path.write_text(json.dumps({"all": {"children": groups}}))
    done = lab.play("services", "-i", str(path), "--check")
    assert f"beta cannot be asked whether {far} runs" in done.stdout
    # The guest of busybox has no Python for what follows, but its turn came.
    assert re.search(rf"fatal: \[{FIRST}\].*", done.stdout.partition("homelab.hybrid.unbound : ")[2]), done.stdout


def test_a_bridge_that_does_not_answer_the_names_of_the_lab_is_told_also_where_no_guest_runs(lab: Lab) -> None:
    away = f"{labs.PREFIX}-away"
    lab.hosts[f"{labs.PREFIX}-0"] = {**lab.hosts[FIRST], "guest_spec": {}, "guest_services": ["unbound"]}
    done = lab.play("services", hypervisor_bridges=[{"name": away, "mode": "nat", "address": "10.93.62.1/24"}])
    told = done.stdout + done.stderr
    assert f"{labs.PREFIX}-0 does not run" in told
    assert done.returncode == 2 and re.search(rf"msg: .?{away}: ", told), told


@pytest.mark.parametrize("playbook", ["site", "guests"])
def test_a_guest_that_lives_nowhere_fails_alone_and_the_others_go_on(lab: Lab, playbook: str) -> None:
    nowhere = f"{labs.PREFIX}-lost"
    lab.hosts[nowhere] = {**lab.hosts[SECOND], "guest_hypervisor": "gamma"}
    lab.hosts[FIRST]["guest_hypervisor"] = "delta"
    lab.spec(SECOND)["description"] = "changed"
    done = lab.play(playbook, "--check")
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    assert f"{FIRST}: guest_hypervisor is 'delta', it must be an inventory host" in told
    assert f"{nowhere}: guest_hypervisor is 'gamma', it must be an inventory host" in told
    recap = done.stdout.partition("PLAY RECAP")[2]
    failed = {name: int(number) for name, number in re.findall(r"^(\S+) .*failed=(\d+)", recap, re.MULTILINE)}
    assert {name for name, number in failed.items() if number} == {FIRST, nowhere}, told
    assert re.search(rf"^{SECOND} .*changed=1", recap, re.MULTILINE), told
    assert "made by this collection, and in no inventory" not in told
    pruned = lab.play(playbook, "--check", guest_prune=True)
    assert pruned.returncode == 2 and f"{FIRST}: guest_hypervisor is 'delta'" in pruned.stdout + pruned.stderr
    assert "changed=1" not in pruned.stdout.partition("PLAY RECAP")[2]


def test_a_guest_that_lives_nowhere_is_shown_as_unknown(lab: Lab) -> None:
    lab.hosts[FIRST]["guest_hypervisor"] = "delta"
    done = lab.play("show")
    assert re.search(rf"{FIRST} +container +unknown", done.stdout), done.stdout + done.stderr
    assert re.search(rf"{SECOND} +container +started", done.stdout), done.stdout


def test_a_report_keeps_secrets(lab: Lab) -> None:
    lab.hosts[MACHINE]["guest_spec"] = {"cloud_init": {"user_data": {"password": "correct horse"}}}
    lab.report()
    text = (lab.folder / "report.json").read_text()
    assert "correct horse" not in text
    assert "(secret)" in text


def test_a_report_gives_advice(lab: Lab) -> None:
    lab.hosts[FIRST]["guest_needs"] = ["kernel_modules"]
    done = lab.play("report", "--tags", "advice")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"{FIRST} +container +virtual machine +it loads kernel modules", done.stdout)
    assert lab.report()["advice"][0]["guest"] == FIRST


def test_a_part_of_site_is_run_by_its_tag(lab: Lab) -> None:
    path, through = (
        lab.folder / "more.yml",
        {"ansible_connection": "homelab.hybrid.lxc", "ansible_hypervisor_transport": "local"},
    )
    through["guest_services"] = ["unbound"]
    path.write_text(json.dumps({"all": {"children": {"guests": {"hosts": {FIRST: through}}}}}))
    done = lab.play("site", "--tags", "hypervisors")
    assert (done.returncode, changed(done)) == (0, 0), done.stdout + done.stderr
    for tag in ("services", "unbound"):
        # The guest of busybox has no Python, so the role fails; but the lab was read for it.
        done = lab.play("site", "-i", str(path), "--tags", tag)
        assert "Sum up the lab" in done.stdout and "has no attribute 'lab'" not in done.stdout
        assert "Preflight | Gather the facts" in done.stdout and "Converge the host]" not in done.stdout

    def memory() -> str:
        return labs.run("lxc-cgroup", "-n", FIRST, "memory.limit_in_bytes")

    lab.spec(FIRST)["memory"] = "48MiB"
    done = lab.play("site", "--tags", "services")
    assert (done.returncode, changed(done), memory()) == (0, 0, str(32 * 2**20)), done.stdout + done.stderr
    done = lab.play("site", "--tags", "guests")
    assert (done.returncode, memory()) == (0, str(48 * 2**20)), done.stdout + done.stderr
    assert "Converge the host]" not in done.stdout
    del lab.spec(FIRST)["memory"]
    done = lab.play("site", "--tags", "hypervisors")
    assert (done.returncode, memory()) == (0, str(32 * 2**20)), done.stdout + done.stderr
    lab.spec(FIRST)["memory"] = "no memory"
    assert lab.play("site", "--tags", "hypervisors").returncode == 2


def test_the_backups_of_a_lab_come_to_life_or_fail_the_run(lab: Lab, tmp_path: Path) -> None:
    repository = tmp_path / "restic"
    declared = backups.declared(repository, guests=[FIRST, SECOND])
    lab.host = {**lab.host, "hypervisor_backup_jobs": declared["jobs"]}
    backups.set_up(repository, guests=[FIRST, SECOND])
    try:
        backups.backup("run", backups.JOB)
        rehearsed = lab.play("drill", "--check")
        assert rehearsed.returncode == 0 and "would be tried" in rehearsed.stdout, rehearsed.stdout + rehearsed.stderr
        done = lab.play("drill")
        assert (done.returncode, changed(done)) == (0, 0), done.stdout + done.stderr
        assert {name for name in labs.GUESTS if re.search(rf"alpha +{name} .* ok +\d", done.stdout)} == {FIRST, SECOND}
        backups.turn_a_byte(repository)
        done = lab.play("drill", "--limit", SECOND)
        assert done.returncode == 2 and FIRST not in done.stdout, done.stdout + done.stderr
        assert f"{SECOND}: the backup repository {backups.REPOSITORY}" in done.stdout
        done = lab.play("drill", drill_guests=MACHINE)
        assert done.returncode == 2 and f"{MACHINE}: no job of this host backs it up" in done.stdout, done.stdout
        assert power() == RUNNING
    finally:
        backups.tear_down(repository)


def test_guests_stop_and_start_in_their_order(lab: Lab) -> None:
    rehearsed = lab.play("shutdown", "--check")
    assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
    assert power() == RUNNING
    done = lab.play("shutdown", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == STOPPED
    assert changed(rehearsed) == changed(done) == 3
    assert order_of(done) == [SECOND, MACHINE, FIRST]
    again = lab.play("shutdown")
    assert (again.returncode, changed(again)) == (0, 0), again.stdout
    assert "No guest runs." in again.stdout

    rehearsed = lab.play("startup", "--check")
    assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
    assert power() == STOPPED
    done = lab.play("startup", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == RUNNING
    assert changed(rehearsed) == changed(done) == 3
    assert order_of(done) == [FIRST, MACHINE, SECOND]
    again = lab.play("startup")
    assert (again.returncode, changed(again)) == (0, 0), again.stdout


def order_of(done: t.Any) -> list[str]:
    """The guests in the order of their steps, from the verbose output."""
    parts = done.stdout.split("TASK [Bring the guests of this step to their state]")[1:]
    return [re.findall(rf"name: ({labs.PREFIX}-\w+)", part)[0] for part in parts]


def test_a_limit_to_a_guest_stops_it_alone(lab: Lab) -> None:
    done = lab.play("shutdown", "--limit", SECOND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == {**RUNNING, SECOND: "stopped"}
    lab.hosts[SECOND]["guest_spec"]["state"] = "stopped"
    done = lab.play("startup")
    assert (done.returncode, changed(done)) == (0, 0), "what the inventory wants stopped stays stopped"
    del lab.hosts[SECOND]["guest_spec"]["state"]
    assert lab.play("startup", "--limit", "alpha").returncode == 0
    assert power() == RUNNING


def test_a_guest_that_a_limit_leaves_out_is_left_as_it_is(lab: Lab) -> None:
    limit = ("--limit", f"all:!{SECOND}")
    assert set(resources(lab.report(*limit))) == {labs.BRIDGE, labs.POOL, labs.IMAGE, FIRST, MACHINE}
    for playbook in ("shutdown", "decommission"):
        done = lab.play(playbook, *limit, "--check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"{MACHINE} +differs", done.stdout)
        assert not re.search(rf"{SECOND} +differs", done.stdout)
    done = lab.play("shutdown", "--limit", f"alpha:!{SECOND}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert power() == {**STOPPED, SECOND: "running"}
    assert lab.play("startup").returncode == 0


def test_a_guest_that_does_not_stop_stops_no_other(lab: Lab) -> None:
    lab.spec(MACHINE)["force_stop"] = False
    done = lab.play("shutdown")
    assert done.returncode == 2, done.stdout + done.stderr
    assert power() == {**STOPPED, MACHINE: "running"}
    assert re.search(rf"vm +{MACHINE} +failed", done.stdout)
    assert lab.play("startup").returncode == 0
    assert power() == RUNNING


def test_a_guest_that_cannot_be_read_fails_alone_and_the_others_go_on(lab: Lab) -> None:
    nowhere = f"{labs.PREFIX}-lost"
    lab.hosts[nowhere] = {**lab.hosts[SECOND], "guest_hypervisor": "gamma"}
    lab.hosts[SECOND]["guest_profiles"] = ["{{ no_such_variable }}"]
    for name in (FIRST, SECOND):
        labs.run("lxc-stop", "-k", "-n", name)
    done = lab.play("startup")
    assert done.returncode == 2, done.stdout + done.stderr
    assert power() == {**RUNNING, SECOND: "stopped"}
    assert re.search(rf"container +{SECOND} +failed +.*no_such_variable", done.stdout), done.stdout
    assert f"{nowhere}: guest_hypervisor is 'gamma', it must be a host of the inventory" in done.stdout
    named = lab.play("decommission", "--check", decommission_guests=[FIRST, SECOND])
    assert named.returncode == 2, named.stdout + named.stderr
    assert re.search(rf"container +{FIRST} +differs", named.stdout), named.stdout
    assert re.search(rf"container +{SECOND} +failed", named.stdout)
    labs.run("lxc-start", "-n", SECOND)
    assert power() == RUNNING


def test_a_host_is_not_powered_off_below_its_guests(lab: Lab) -> None:
    done = lab.play("shutdown", "--tags", "host", host_poweroff=True)
    assert done.returncode == 2
    assert re.search(r"still runs on alpha", done.stdout)
    assert power() == RUNNING


def test_nothing_is_taken_away_that_nobody_named(lab: Lab) -> None:
    done = lab.play("decommission")
    assert done.returncode == 2
    assert "none is named" in done.stdout
    done = lab.play("decommission", decommission_guests=["hlpb-secnd"])
    assert done.returncode == 2
    assert "no guest of the inventory is called hlpb-secnd" in done.stdout + done.stderr
    assert power() == RUNNING


def test_what_is_taken_away_keeps_its_data_until_it_is_named(lab: Lab) -> None:
    disk, root = labs.FOLDER / "pool" / f"{MACHINE}.root.qcow2", labs.FOLDER / "pool" / f"{SECOND}.rootfs"
    rehearsed = lab.play("decommission", "--check", decommission_guests=[MACHINE, SECOND])
    assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
    assert power() == RUNNING
    done = lab.play("decommission", decommission_guests=f"{MACHINE},{SECOND}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed(rehearsed) == changed(done) == 1
    assert power() == {FIRST: "running"}
    assert disk.exists()
    assert root.exists()
    assert str(disk) in done.stdout
    assert str(root) in done.stdout

    named = lab.play("decommission", "--limit", f"{MACHINE},{SECOND}", guest_delete=["disks", "rootfs"])
    assert named.returncode == 0, named.stdout + named.stderr
    assert not disk.exists()
    assert not root.exists()
    again = lab.play("decommission", "--limit", f"{MACHINE},{SECOND}", guest_delete=["disks", "rootfs"])
    assert (again.returncode, changed(again)) == (0, 0), again.stdout
    assert power() == {FIRST: "running"}


def test_what_comes_from_a_vault_reaches_cloud_init_plainly(tmp_path: Path) -> None:
    key, tools = tmp_path / "key", labs.ROOT / ".build/venv/bin"
    key.write_text("a key for this test")
    vault = ("--vault-password-file", str(key))
    secret = labs.run(str(tools / "ansible-vault"), "encrypt_string", *vault, "--name", "password", "correct horse")
    (tmp_path / "spec.yml").write_text(
        "guest_spec:\n  cloud_init:\n    user_data:\n" + "".join(f"      {line}\n" for line in secret.splitlines())
    )
    said = labs.run(
        *("env", f"ANSIBLE_COLLECTIONS_PATH={labs.ROOT / '.build'}", str(tools / "ansible"), "localhost", *vault),
        *("-i", "localhost,", "-e", f"@{tmp_path / 'spec.yml'}", "-m", "ansible.builtin.debug"),
        *("-a", "msg={{ (guest_spec | homelab.hybrid.guest_spec(name='web')).cloud_init.user_data }}"),
    )
    assert "password: correct horse" in said
