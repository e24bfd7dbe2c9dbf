# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No task pays for what it does not use: what a module may not load, when it is imported and when it finds nothing to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from unit.tree import MODULES, PACKAGE, ROOT, room

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import KINDS

LIBRARIES = {"libvirt", "lxc", "lxml", "pycdlib", "yaml"}
COSTLY = {"ssl", "http", "email", "asyncio", "multiprocessing", "ctypes", "pyroute2", "requests"}
ROOMS = {room(kind): kind for kind in KINDS}
RESOURCES = {*ROOMS, "_listing", "_snapshot", "_backup", "_quarantine", "_notify", "_layout"}


def below(kind: t.Any) -> set[str]:
    """The rooms that *kind* stands on. What it is plugged into it knows by name alone."""
    return {name for name, other in ROOMS.items() if other.reference.rank < kind.reference.rank} - {"_bridge"}


# Of the resources each module may load its own and those that it stands on.
MAY_LOAD = {
    **{kind.module: {name, *below(kind)} for name, kind in ROOMS.items()},
    "guest_info": {"_listing"}.union(*({name, *below(kind)} for name, kind in ROOMS.items() if kind.is_guest)),
    "guest_snapshot": {"_snapshot"}.union(*({name, *below(kind)} for name, kind in ROOMS.items() if kind.is_guest)),
    "guest_quarantine": {"_quarantine", "_image", "_storage"},
    "guest_restore": {"_backup", "_snapshot"}.union(
        *({name, *below(kind)} for name, kind in ROOMS.items() if kind.is_guest)
    ),
    "_lost_guests": {"_backup", "_snapshot"}.union(
        *({name, *below(kind)} for name, kind in ROOMS.items() if kind.is_guest)
    ),
    "_guest_result": set(),
    "_guests_apart": set(),
    "_hypervisor_info": {"_listing"},
    "_host_backup": {"_backup", "_storage"},
    "_host_mount": set(),
    "_host_notify": {"_notify"},
    "_host_overview": {"_overview"},
    "host_info": {"_bridge", "_listing"},
    "layout": {*ROOMS, "_layout"},
    "_kept": set(),
    "_opnsense": set(),
    "_truenas": set(),
}
IMPORT = """
import importlib, json, sys
import ansible.modules.ping
before = set(sys.modules)
module = importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""
# What a run on a host without guests loads beyond: libvirt to ask it, no XML library, no LXC.
ASK_A_BARE_HOST = """
import json, sys
from {package}.plugins.module_utils._listing.read import read_guests
from {package}.plugins.module_utils._host.snapshot import Host
Host.domains = Host.containers = {{}}
assert read_guests({{}}, Host()) == {{"guests": []}}
print(json.dumps(sorted(sys.modules)))
"""


def loaded(script: str, *argv: str) -> set[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".build")}
    command = [sys.executable, "-c", script, *argv]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return set(json.loads(output))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_a_module_may_not_load(path: Path) -> None:
    modules = loaded(IMPORT, f"{PACKAGE}.plugins.modules.{path.stem}")
    resources = {name.split(".")[5] for name in modules if name.startswith(f"{PACKAGE}.plugins.module_utils.")}
    assert not modules & LIBRARIES, "libraries are loaded when they are needed"
    assert not modules & COSTLY
    assert resources & RESOURCES <= MAY_LOAD[path.stem]
    # Most runs find nothing to do: what writes and what waits is loaded by those that do.
    parts = [name.split(".")[5:] for name in modules if name.startswith(f"{PACKAGE}.plugins.module_utils.")]
    assert not [part for part in parts if part[-1] in ("apply", "backend", "ownership", "wait")]


def test_a_host_without_guests_costs_no_library() -> None:
    assert not loaded(ASK_A_BARE_HOST.format(package=PACKAGE)) & LIBRARIES


def test_a_bridge_without_ports_does_not_load_how_the_host_configures_its_network() -> None:
    resource = f"{PACKAGE}.plugins.module_utils._bridge.resource"
    assert not [name for name in loaded(IMPORT, resource) if f"{PACKAGE}.plugins.module_utils._bridge.link." in name]
