# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories that are shipped are what the modules accept, read as the playbooks read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from unit.documents import blocks
from unit.tree import ROOT

from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule import spec as backups
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.plan import plan_backups
from ansible_collections.homelab.hybrid.plugins.module_utils._backup.schedule.state import State
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import ARGUMENTS, KINDS
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.spec import parse

INVENTORIES = sorted(path for path in (ROOT / "playbooks" / "inventory").iterdir() if path.is_dir())
# What an example leaves to the vault of its user.
VAULT = "vault_opnsense_secret=a-secret-of-a-vault vault_truenas_password=pressed-cider"
READ = """
- hosts: hypervisors
  gather_facts: false
  vars:
    guests_of: "{{ groups['guests'] | homelab.hybrid.guests_by_hypervisor(hostvars) }}"
    layout:
      bridges: "{{ hypervisor_bridges | default([]) }}"
      storage_pools: "{{ hypervisor_storage_pools | default([]) }}"
      images: "{{ hostvars[inventory_hostname] | homelab.hybrid._host_options('images', guests_of[inventory_hostname], hostvars) }}"
      vms: "{{ guests_of[inventory_hostname] | homelab.hybrid.guest_options(hostvars, 'vm') }}"
      containers: "{{ guests_of[inventory_hostname] | homelab.hybrid.guest_options(hostvars, 'container') }}"
    backups:
      repositories: "{{ hypervisor_backup_repositories | default([]) }}"
      jobs: "{{ hypervisor_backup_jobs | default([]) }}"
  tasks:
    - ansible.builtin.import_tasks: "{{ playbooks }}/tasks/inventory.yml"
    - homelab.hybrid._guests_apart:
        guests: "{{ groups['guests'] }}"
    - ansible.builtin.copy:
        dest: "{{ folder }}/{{ inventory_hostname }}.json"
        content: >-
          {{ {'layout': layout, 'backups': backups, 'guests': guests_of[inventory_hostname]} | to_json }}
      delegate_to: localhost
      vars:
        ansible_connection: local
"""


def read(inventory: Path, folder: Path) -> list[Path]:
    playbook = folder / "read.yml"
    playbook.write_text(READ)
    subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(inventory),
            "-e",
            f"folder={folder} playbooks={ROOT / 'playbooks'} {VAULT}",
            str(playbook),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_LOCALHOST_WARNING": "false"},
    )
    return sorted(folder.glob("*.json"))


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.name)
def test_every_host_and_guest_is_accepted(inventory: Path, tmp_path: Path) -> None:
    assert_accepted(inventory, tmp_path)


def test_every_host_and_guest_of_the_readme_is_accepted(tmp_path: Path) -> None:
    """Its blocks say in their first line which file of an inventory they are."""
    for block in blocks(ROOT / "README.md"):
        if block.file is not None:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    assert_accepted(tmp_path / "inventory", tmp_path)


def assert_accepted(inventory: Path, tmp_path: Path) -> None:
    hosts = read(inventory, tmp_path)
    assert hosts
    for host in hosts:
        told = json.loads(host.read_text())
        result = ArgumentSpecValidator(ARGUMENTS).validate(told["layout"])
        assert not result.error_messages
        layout = parse(result.validated_parameters, KINDS)
        for item in layout.items:
            item.kind.resource.parse(item.params)
        assert sorted(item.name for item in layout.items if item.kind.is_guest) == sorted(told["guests"])
        result = ArgumentSpecValidator(backups.ARGUMENTS).validate(told["backups"])
        assert not result.error_messages
        wanted = backups.parse(result.validated_parameters)
        assert not plan_backups(wanted, State()).refused
        assert {guest for job in wanted.jobs for guest in job.get("guests") or ()} <= {*told["guests"]}
