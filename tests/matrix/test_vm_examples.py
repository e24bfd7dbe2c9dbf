# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every machine that the module's page and the shipped inventories show is made and started as it is written there."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.plugins.modules import kvm_vm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again
from ansible_collections.homelab.hybrid.tests.harness.hand_made import image
from ansible_collections.homelab.hybrid.tests.harness.machines import BRIDGES, IMAGE, POOL

VM = KvmVm()
INVENTORIES = Path(__file__).parents[2] / "playbooks" / "inventory"
MODULE = "homelab.hybrid.kvm_vm"
# A machine without an operating system reaches nothing that could be waited for.
SMALL: dict[str, t.Any] = {"shutdown_timeout": 1, "force_stop": True, "wait_for": None}


def here(params: dict[str, t.Any], folder: Path) -> dict[str, t.Any]:
    """*params* with the pool, the bridges, the image and the files of this host in place of those of the example."""
    disks = [dict(item) for item in params.get("disks", ())]
    cards = [dict(item) for item in params.get("networks", ())]
    for item in disks:
        item.update({key: value for key, value in (("pool", POOL), ("image", IMAGE)) if key in item})
        if "source" in item:
            file = folder / f"{machines.PREFIX}-{Path(item['source']).name}"
            item["source"] = str(file if file.exists() else image(file))
    for number, item in enumerate(cards):
        if "bridge" in item:
            item["bridge"] = BRIDGES[number % len(BRIDGES)]
    lists = {key: its for key, its in (("disks", disks), ("networks", cards)) if key in params}
    keys = (
        {"cloud_init": {**params["cloud_init"], "ssh_keys": ["ssh-ed25519 AAAA a"]}} if "cloud_init" in params else {}
    )
    keys |= {"image": IMAGE} if "image" in params else {}
    return {**params, **lists, **keys, "name": f"{machines.PREFIX}-{params['name']}", **SMALL}


def test_the_examples_of_the_module_run_one_after_the_other(folder: Path) -> None:
    for task in yaml.safe_load(kvm_vm.EXAMPLES):
        params = here(task[MODULE], folder)
        check_run_again(VM, params)
        if "memory" in params:
            check_run_again(VM, {"name": params["name"], "state": "started"})


def specs() -> dict[str, dict[str, t.Any]]:
    files = sorted(INVENTORIES.glob("*/host_vars/*.yml"))
    found = {f"{file.parts[-3]}/{file.stem}": yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in files}
    return {name: its["guest_spec"] for name, its in found.items() if "disks" in its.get("guest_spec", {})}


@pytest.mark.parametrize("name", specs())
def test_the_machines_of_the_inventories_start(folder: Path, name: str) -> None:
    spec = {"memory": "256MiB", **specs()[name], "name": Path(name).name, "state": "started"}
    check_run_again(VM, here(spec, folder))
