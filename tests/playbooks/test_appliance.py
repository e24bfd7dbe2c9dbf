# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that is an appliance of a user's own collection, in which nothing of Ansible runs, by the playbooks as a user runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import labs
from ansible_collections.homelab.hybrid.tests.harness.labs import FIRST, MACHINE, SECOND, Lab, changed

pytestmark = pytest.mark.usefixtures("lab_host")
ROLE = {
    "meta/argument_specs.yml": "argument_specs: {guest: {options: {wall_words: {type: str, required: true}}}}",
    "defaults/main.yml": "wall_address: ''\n",
    "vars/main.yml": """
__wall_service: {title: Wall, appliance: true, address: wall_address, guest: {kind: vm, spec: {memory: 64MiB, graphics: {type: none}}}}
__wall_xml: [virsh, -c, 'qemu:///system', dumpxml, '{{ inventory_hostname }}']
""",
    "tasks/guest.yml": """
- ansible.builtin.assert: {that: "'broken' not in wall_words", fail_msg: the words are broken}
- ansible.builtin.set_fact:
    guest_appliance: {description: "{{ lookup('ansible.builtin.template', 'said.j2') | trim }}"}
""",
    "templates/said.j2": "{{ wall_words }} of {{ inventory_hostname }}\n",
    "tasks/main.yml": """
- ansible.builtin.command: {argv: "{{ __wall_xml }}"}
  delegate_to: "{{ guest_hypervisor }}"
  check_mode: false
  changed_when: false # only reads
  register: __wall_read
- ansible.builtin.debug: {msg: "<{{ __wall_read.stdout | regex_search('(?<=<description>).*(?=</description>)') }}> at <{{ appliance_address }}>"}
""",
    "tasks/check.yml": """
- ansible.builtin.command: {argv: "{{ __wall_xml }}"}
  changed_when: false # only reads
- ansible.builtin.set_fact:
    service_checks: {wall: {service: wall, question: "its words at {{ appliance_address }}", answer: heard, ok: true}}
""",
    "tasks/update.yml": '- ansible.builtin.debug: {msg: "{{ inventory_hostname }} updates itself"}\n',
}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """The machine of the lab is the appliance."""
    for name, text in ROLE.items():
        path = tmp_path / "own/ansible_collections/my/lab/roles/wall" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = Lab(tmp_path)
    found.collections.append(tmp_path / "own")
    del found.hosts[MACHINE]["guest_kind"]
    found.hosts[MACHINE].update(
        guest_services=["my.lab.wall"], wall_words="hello", wall_address="10.93.61.77/24", guest_needs=[]
    )
    return found


def description() -> str:
    return labs.run("virsh", "-q", "-c", "qemu:///system", "desc", MACHINE)


def test_an_appliance_is_planned_made_asked_and_left_alone(lab: Lab) -> None:
    planned = lab.play("site", "--check", "--diff")
    told = planned.stdout + planned.stderr
    assert planned.returncode == 0 and f"hello of {MACHINE}" in told, told
    assert "hello of" not in description()
    # Limited to its hypervisor no play has the guest, and it is the same guest.
    done = lab.play("site", "--limit", "alpha")
    assert (done.returncode, description()) == (0, f"hello of {MACHINE}"), done.stdout + done.stderr
    done = lab.play("site")
    told = done.stdout + done.stderr
    assert (done.returncode, changed(done)) == (0, 1), told
    assert f"<hello of {MACHINE}> at <10.93.61.77>" in told and "Gathering Facts" not in told
    assert "UNREACHABLE" not in told
    named = labs.run("virsh", "-c", "qemu:///system", "net-dumpxml", labs.BRIDGE)
    assert re.search(rf"'10.93.61.77'>\s*<hostname>{MACHINE}.home.arpa<", named), (
        "the one change: the name of the service"
    )
    again = lab.play("site")
    assert (again.returncode, changed(again)) == (0, 0), again.stdout
    shown = lab.play("show", "--limit", f"{MACHINE}")
    assert re.search(rf"{MACHINE} +wall +its words at 10.93.61.77 +heard", shown.stdout), shown.stdout + shown.stderr
    updated = lab.play("update", "--limit", MACHINE, update_hosts=False)
    assert f"{MACHINE} updates itself" in updated.stdout and updated.returncode == 0, updated.stdout + updated.stderr
    assert "is no Debian" not in updated.stdout
    report = lab.report()
    assert report["drifted"] is False and report["advice"] == [], report


def test_one_that_its_role_refuses_fails_alone(lab: Lab) -> None:
    lab.hosts[MACHINE]["wall_words"] = "broken"
    done = lab.play("site", "--check")
    told = done.stdout + done.stderr
    assert done.returncode == 2 and f"wall of {MACHINE}: the words are broken" in told, told
    recap = done.stdout.partition("PLAY RECAP")[2]
    failed = {name for name, number in re.findall(r"^(\S+) .*failed=(\d+)", recap, re.MULTILINE) if int(number)}
    assert failed == {MACHINE} and {FIRST, SECOND} <= set(re.findall(r"^\S+", recap, re.MULTILINE)), recap
