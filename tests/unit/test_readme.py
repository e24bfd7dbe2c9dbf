# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the README shows is true: its table is the one that plan uses, its examples are accepted by the modules."""

from __future__ import annotations

import importlib.util
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from unit.test_documentation import arguments, resource
from unit.tree import MODULES, ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LISTS = {"hypervisor_bridges": "bridge", "hypervisor_storage_pools": "storage_pool", "hypervisor_images": "image"}


def apply_paths() -> t.Any:
    spec = importlib.util.spec_from_file_location("apply_paths", ROOT / "tests" / "tools" / "apply_paths.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_accepted(module: str, written: dict[str, t.Any]) -> None:
    path = next(path for path in MODULES if path.stem == module)
    result = ArgumentSpecValidator(arguments(path)).validate(written)
    assert not result.error_messages, f"{module}: {result.error_messages}"
    resource(path).parse(result.validated_parameters)


def test_the_table_of_apply_paths_is_the_one_in_use() -> None:
    assert apply_paths().with_table(README) == README, "stale: make docs"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_every_example_is_accepted(block: str) -> None:
    found = yaml.safe_load(block)
    if isinstance(found, list):
        for task in found:
            module = next(key for key in task if key.startswith("homelab.hybrid."))
            assert_accepted(module.removeprefix("homelab.hybrid."), task[module])
        return
    for variable, module in LISTS.items():
        for item in found.get(variable, ()):
            assert_accepted(module, item)
    if "guest_spec" in found:
        module = "kvm_vm" if "disks" in found["guest_spec"] else "lxc_container"
        assert_accepted(module, {"name": "example", **found["guest_spec"]})


def test_the_inventory_describes_every_guest_that_it_names() -> None:
    files = [
        (block.split()[1].rstrip(":,"), yaml.safe_load(block)) for block in BLOCKS if block.startswith("# inventory")
    ]
    groups = dict(files)["inventory/hosts.yml"]["all"]["children"]["guests"]["children"].values()
    guests = {guest for group in groups for guest in group["hosts"]}
    described = {Path(name).stem for name, found in files if "guest_spec" in found}
    assert guests <= described
    assert set(re.findall(r"--limit (\w+)", README)) <= guests
    assert {
        name for found in re.findall(r"decommission_guests=([\w,]+)", README) for name in found.split(",")
    } <= guests


def test_every_file_that_the_readme_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_every_make_target_that_the_readme_names_is_there() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= set(targets)
