# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the house read: the tree, its imports, the documentation of modules, the inputs of roles."""

from __future__ import annotations

import ast
import dataclasses
import functools
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
SHARED = PLUGINS / "module_utils"
PACKAGE = "ansible_collections.homelab.hybrid"


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files(folder: Path, pattern: str = "*.py") -> list[Path]:
    return sorted(folder.rglob(pattern)) if folder.is_dir() else []


MODULES = files(PLUGINS / "modules")
SHARED_FILES = files(SHARED)
PLUGIN_FILES = files(PLUGINS)
ROLES = sorted(path.parent.parent for path in (ROOT / "roles").glob("*/tasks/main.yml"))


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name: ``module`` is dotted and absolute, ``name`` is None in ``import module``."""

    module: str
    name: str | None
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def inside(self) -> tuple[str, ...] | None:
        """The path below the collection (``("plugins", "module_utils", "_core")``), None for everything else."""
        if not (self.module + ".").startswith(PACKAGE + "."):
            return None
        return tuple(self.module.split(".")[3:])


def room(kind: t.Any) -> str:
    """The folder of the shared code in which the resource of a kind of the layout lives."""
    return type(kind.resource).__module__.split(".")[-2]


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def marks(path: Path) -> set[str]:
    """What a file says in the comments above its docstring: ``PURE`` or ``WRITES``."""
    head = path.read_text(encoding="utf-8").partition('"""')[0].splitlines()
    return {line.removeprefix("# ") for line in head} & {"PURE", "WRITES"}


def dotted(path: Path) -> str:
    return ".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts])


def imports(path: Path) -> list[Import]:
    """Every import of a file, also inside functions, with relative ones resolved."""
    found: list[Import] = []
    package = dotted(path).split(".")[:-1]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from . import lock` imports a file: name it as one.
                if (path_of(f"{module}.{alias.name}")) is not None:
                    found.append(Import(f"{module}.{alias.name}", None, node.lineno))
                else:
                    found.append(Import(module, alias.name, node.lineno))
    return found


def path_of(module: str) -> Path | None:
    """The file of a module of the collection."""
    if not module.startswith(PACKAGE + "."):
        return None
    path = ROOT.joinpath(*module.split(".")[3:]).with_suffix(".py")
    return path if path.is_file() else None


def constant(path: Path, name: str) -> str | None:
    """The text assigned to a name at the top of a file."""
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(it, ast.Name) and it.id == name for it in node.targets):
            return t.cast(str, ast.literal_eval(node.value))
    return None


def load(text: str | None) -> t.Any:
    return yaml.safe_load(text) if text else None


def fragment(reference: str) -> dict[str, t.Any]:
    """A documentation fragment: ``homelab.hybrid._plan`` or ``homelab.hybrid._requirements.libvirt``."""
    parts = reference.split(".")
    assert parts[:2] == ["homelab", "hybrid"], f"{reference}: not a fragment of this collection"
    path = PLUGINS / "doc_fragments" / f"{parts[2]}.py"
    attribute = parts[3].upper() if len(parts) > 3 else "DOCUMENTATION"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Assign) and any(isinstance(it, ast.Name) and it.id == attribute for it in node.targets):
            return t.cast(dict[str, t.Any], yaml.safe_load(ast.literal_eval(node.value)))
    raise AssertionError(f"{reference}: {relative(path)} has no {attribute}")


def merge_options(own: dict[str, t.Any], other: dict[str, t.Any]) -> dict[str, t.Any]:
    """As Ansible merges fragments: what the module says itself stands."""
    merged = dict(own)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge_options(merged[key], value)
        else:
            merged.setdefault(key, value)
    return merged


def documentation(path: Path) -> dict[str, t.Any]:
    """DOCUMENTATION with its fragments."""
    told: dict[str, t.Any] = load(constant(path, "DOCUMENTATION")) or {}
    for reference in told.get("extends_documentation_fragment") or []:
        for key, value in fragment(reference).items():
            if isinstance(value, dict):
                told[key] = merge_options(told.get(key) or {}, value)
            else:
                told.setdefault(key, value)
    return told


def tasks_of(text: str) -> list[dict[str, t.Any]]:
    """Every task in a YAML text: bare ones, those of plays and of blocks."""
    found: list[dict[str, t.Any]] = []

    def walk(entries: t.Any) -> None:
        for entry in entries or []:
            assert isinstance(entry, dict), f"not a task: {entry!r}"
            nested = [
                entry[key] for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always") if key in entry
            ]
            for inner in nested:
                walk(inner)
            if not nested and "hosts" not in entry:
                found.append(entry)

    walk(yaml.safe_load(text))
    return found
