# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house stands as it was drawn: imports point one way, pure files stay pure, one file knows check mode."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from unit.tree import (
    MODULES,
    PLUGIN_FILES,
    PLUGINS,
    ROOT,
    SHARED,
    SHARED_FILES,
    constant,
    files,
    imports,
    load,
    parse,
    relative,
    room,
)

from ansible_collections.homelab.hybrid.plugins.module_utils._layout.kinds import KINDS

RANK = {
    "_core": 0,
    "_run": 1,
    "_host": 2,
    "_appliance": 1,
    "_opnsense": 3,
    "_truenas": 3,
    "_bridge": 3,
    "_mount": 3,
    "_storage": 3,
    "_image": 4,
    "_guest": 5,
    "_vm": 6,
    "_container": 6,
    "_snapshot": 7,
    "_quarantine": 7,
    "_backup": 8,
    "_listing": 9,
    "_notify": 9,
    "_layout": 9,
    "_overview": 10,
}
OWNERS = {
    **{room(kind): {kind.module, *(["guest_info"] if kind.is_guest else [])} for kind in KINDS},
    "_listing": {"guest_info", "host_info", "_hypervisor_info"},
    "_layout": {"layout"},
    "_mount": {"_host_mount"},
    "_snapshot": {"guest_snapshot"},
    "_quarantine": {"guest_quarantine"},
    "_backup": {"_host_backup", "_lost_guests", "guest_restore"},
    "_notify": {"_host_notify"},
    "_overview": {"_host_overview"},
    "_appliance": {"_opnsense", "_truenas"},
    "_opnsense": {"_opnsense"},
    "_truenas": {"_truenas"},
}
THIRD_PARTY = {"libvirt", "libvirt_qemu", "lxc", "lxml", "pycdlib", "pyroute2", "yaml"}
LIBRARIES = SHARED / "_core" / "libraries.py"
MODULE = SHARED / "_run" / "module.py"
COMMAND = SHARED / "_core" / "command.py"
KEPT = PLUGINS / "modules" / "_kept.py"
# It lies on a host by itself, where nothing of the collection is.
ALONE = SHARED / "_bridge" / "switch" / "program.py"

each_shared_file = pytest.mark.parametrize("path", SHARED_FILES, ids=relative)
each_plugin_file = pytest.mark.parametrize("path", PLUGIN_FILES, ids=relative)
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)


def folder(path: Path) -> str:
    return path.relative_to(SHARED).parts[0]


@each_shared_file
def test_imports_point_one_way(path: Path) -> None:
    own = folder(path)
    assert own in RANK, f"{own}: give it a rank, or put its files where they belong"
    for found in imports(path):
        inside = found.inside
        if inside is None:
            continue
        where = f"{relative(path)}:{found.line}"
        assert inside[:2] == ("plugins", "module_utils"), f"{where}: shared code imports only shared code"
        other = inside[2] if len(inside) > 2 else found.name
        assert other in RANK, f"{where}: {other} has no rank"
        assert other == own or RANK[other] < RANK[own], f"{where}: {own} may not import {other}"
        if other not in (own, "_core", "_host"):
            assert not (found.name or "").startswith("_"), f"{where}: {found.name} is private to {other}"


@each_module
def test_a_module_is_wired_to_its_own_resource(path: Path) -> None:
    for found in imports(path):
        inside = found.inside
        if path == KEPT and found.top in ("fcntl", "importlib", "os", "sys"):
            continue  # it is sent alone
        if inside is None:
            assert found.top == "__future__", f"{relative(path)}:{found.line}: a module imports only the collection"
            continue
        assert inside[:2] == ("plugins", "module_utils"), f"{relative(path)}:{found.line}"
        allowed = OWNERS.get(inside[2])
        assert allowed is None or path.stem in allowed, f"{relative(path)}: {inside[2]} belongs to {sorted(allowed)}"


def test_one_file_knows_check_mode() -> None:
    assert [relative(path) for path in SHARED_FILES if "check_mode" in path.read_text(encoding="utf-8")] == [
        relative(MODULE)
    ]


@each_shared_file
def test_libraries_children_and_ansible_have_one_door_each(path: Path) -> None:
    for found in imports(path):
        where = f"{relative(path)}:{found.line}"
        if found.top in THIRD_PARTY:
            assert path == LIBRARIES, f"{where}: {found.module} is imported by _core/libraries.py alone"
        elif found.top == "ansible":
            assert path == MODULE, f"{where}: _run/module.py alone knows Ansible"
        elif found.top == "subprocess":
            assert path in (COMMAND, ALONE), f"{where}: children are started by _core/command.py alone"
        elif found.inside is None:
            assert found.top in sys.stdlib_module_names, f"{where}: {found.module} is no part of Python"


def test_libraries_are_imported_lazily() -> None:
    for node in parse(LIBRARIES).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & THIRD_PARTY


@each_plugin_file
def test_imports_are_static(path: Path) -> None:
    # AnsiballZ ships what it sees in the source.
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        assert name not in ("__import__", "exec", "eval", "import_module"), f"{relative(path)}:{node.lineno}: {name}"
        # What is kept on the host is what AnsiballZ does not ship.
        is_static = path == KEPT or not name.endswith(".import_module")
        assert is_static, f"{relative(path)}:{node.lineno}: {name}"


@pytest.mark.parametrize("path", [path for path in MODULES if path != KEPT], ids=lambda path: path.stem)
def test_a_module_file_is_documentation_and_wiring(path: Path) -> None:
    (end,) = [
        node.end_lineno
        for node in parse(path).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RETURN"
    ]
    lines = path.read_text(encoding="utf-8").splitlines()[end:]
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) <= 15
    assert not any(
        isinstance(node, (ast.If, ast.For, ast.While, ast.Try))
        for node in ast.walk(parse(path))
        if not is_main_guard(node)
    )


def is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


@pytest.mark.parametrize("path", [*PLUGIN_FILES, *files(ROOT / "tests"), *files(ROOT / "tools")], ids=relative)
def test_what_a_tool_passes_over_has_its_reason_beside(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        silenced = re.search(r"# (type: ignore|noqa)\b[^#]*(?P<reason># \S+)?", line)
        assert not silenced or silenced["reason"] or line.count("# ") > 2, f"{relative(path)}:{number}"


@each_plugin_file
def test_every_file_says_licence_and_privacy(path: Path) -> None:
    head = path.read_text(encoding="utf-8").splitlines()[:6]
    assert "# SPDX-License-Identifier: GPL-3.0-or-later" in head
    assert "from __future__ import annotations" in path.read_text(encoding="utf-8")
    private = "# PRIVATE to the collection homelab.hybrid: may change at any time." in head
    if path.is_relative_to(SHARED) or path.is_relative_to(PLUGINS / "plugin_utils"):
        assert private


def test_shared_folders_are_private_by_name() -> None:
    assert not list(PLUGINS.rglob("__init__.py"))
    assert not [relative(path) for path in SHARED_FILES if not folder(path).startswith("_")]
    for shared in ("plugin_utils", "doc_fragments"):
        names = [path.name for path in (PLUGINS / shared).glob("*")] if (PLUGINS / shared).is_dir() else []
        assert not [name for name in names if not name.startswith("_")]


def test_every_public_module_is_in_the_action_group() -> None:
    group = set(load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]["hybrid"])
    assert {path.stem for path in MODULES if not path.stem.startswith("_")} == group
    for path in MODULES:
        fragments = load(constant(path, "DOCUMENTATION"))["extends_documentation_fragment"]
        assert any(name.startswith("homelab.hybrid._attributes") for name in fragments), path.stem
