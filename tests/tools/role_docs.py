# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write ``defaults/main.yml`` and the table of the README of each role as its ``meta/argument_specs.yml`` says.

``role_docs.py`` writes, ``role_docs.py --check`` says what is stale. A default that Ansible works out (a template) has its place in
``defaults/main.yml`` and is kept there as it stands: in a spec, Ansible (2.19) would fill it in at each validation, also for a user who
wrote the variable, and antsibull-docs would take its text for a value of the option's type.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 120
HEADING = "## Inputs\n"
HEAD = "| variable | default | meaning |\n|---|---|---|\n"
# What is longer is read in defaults/main.yml.
LONGEST_CELL = 80
Option = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Default:
    """``text`` is what stands behind the colon of a key, its further lines indented as below a variable."""

    text: str
    value: t.Any

    @property
    def is_template(self) -> bool:
        return "{{" in self.text or "{%" in self.text


def options_of(spec: str) -> dict[str, Option]:
    """The options of all entry points of a ``meta/argument_specs.yml``, each once."""
    found: dict[str, Option] = {}
    for entry in (yaml.safe_load(spec).get("argument_specs") or {}).values():
        found.update(entry.get("options") or {})
    return found


def defaults_of_spec(spec: str) -> dict[str, Default]:
    """The defaults that a ``meta/argument_specs.yml`` says, as they are written there."""
    found: dict[str, Default] = {}
    for entry in _children(_children(yaml.compose(spec)).get("argument_specs")).values():
        for name, option in _pairs(_children(entry).get("options")):
            found.update((name.value, each) for key, each in _written(spec, option) if key == "default")
    return found


def _children(node: yaml.Node | None) -> dict[str, yaml.Node]:
    return {key.value: value for key, value in _pairs(node)}


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _written(text: str, node: yaml.Node | None) -> t.Iterator[tuple[str, Default]]:
    """Each key of the mapping *node* of *text* with what is written behind it."""
    for key, value in _pairs(node):
        said = text[key.end_mark.index : value.end_mark.index].removeprefix(":").rstrip()
        lines = said.split("\n")
        column = key.start_mark.column
        moved = [line[column:] if not line[:column].strip() else line for line in lines[1:]]
        yield key.value, Default("\n".join([lines[0], *moved]), yaml.safe_load(yaml.serialize(value)))


def defaults(spec: str, old: str) -> dict[str, Default]:
    """The default of each variable that has one: the spec's, or a template of the *old* ``defaults/main.yml``.

    :raises ValueError: where *old* has what belongs into the spec, or what contradicts it.
    """
    options, said = options_of(spec), defaults_of_spec(spec)
    kept = {name: each for name, each in _written(old, yaml.compose(old)) if each.is_template}
    for name in _children(yaml.compose(old)):
        option = options.get(name)
        if option is None:
            raise ValueError(f"{name} is no option of meta/argument_specs.yml")
        if option.get("required"):
            raise ValueError(f"{name} is required, and has a default")
        if name in said and name in kept:
            raise ValueError(f"{name} has one default in meta/argument_specs.yml, and a template for another")
        if name not in said and name not in kept:
            raise ValueError(f"the default of {name} belongs into meta/argument_specs.yml")
    for name, each in said.items():
        if each.is_template:
            raise ValueError(f"the default of {name} is a template: it belongs into defaults/main.yml")
    return {name: {**said, **kept}[name] for name in options if name in said or name in kept}


def defaults_file(spec: str, old: str) -> str:
    """``defaults/main.yml``: each default below what its option means."""
    options = options_of(spec)
    parts = ["---\n# Written by `make docs` from meta/argument_specs.yml, but for the values that are templates.\n"]
    for name, default in defaults(spec, old).items():
        lines = textwrap.wrap(_meaning(options[name]), WIDTH - 2, break_on_hyphens=False, break_long_words=False)
        parts.append("".join(f"# {line}\n" for line in lines) + f"{name}:{default.text}\n")
    return "\n".join(parts)


def _meaning(option: Option, *, has_keys: bool = True) -> str:
    """What the option means, its keys and its choices."""
    said = option["description"]
    parts = [_plain(each).strip() for each in ([said] if isinstance(said, str) else said)]
    if has_keys and option.get("options"):
        parts.append(f"{'Items' if option.get('type') == 'list' else 'Keys'}: {', '.join(option['options'])}.")
    if option.get("choices"):
        parts.append(f"One of {', '.join(f'`{each}`' for each in option['choices'])}.")
    return " ".join(parts)


def _plain(text: str) -> str:
    """Ansible's markup as Markdown."""
    text = re.sub(r"\b(?:C|V|O|RV|E)\(((?:[^)\\]|\\.)*)\)", lambda it: f"`{_unescaped(it[1])}`", text)
    text = re.sub(r"\b[MP]\(([^)#]+)[^)]*\)", r"`\1`", text)
    text = re.sub(r"\bL\(([^,]+), *([^)]+)\)", r"[\1](\2)", text)
    return re.sub(r"\bU\(([^)]+)\)", r"\1", text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def table(spec: str, old: str) -> str:
    """The table of the README: each variable, and below it the keys that it has."""
    known = defaults(spec, old)
    rows = []
    for name, option in options_of(spec).items():
        default = known.get(name)
        if default is not None and default.is_template:
            cell = "worked out"
        elif default is not None:
            cell = _cell(default.value)
        else:
            cell = "required" if option.get("required") else ""
        rows += [(name, cell, _meaning(option, has_keys=False)), *_keys(name, option)]
    return HEAD + "".join(f"| `{name}` | {cell} | {_in_a_cell(meaning)} |\n" for name, cell, meaning in rows)


def _keys(name: str, option: Option) -> t.Iterator[tuple[str, str, str]]:
    below = f"{name}[]" if option.get("type") == "list" else name
    for key, each in (option.get("options") or {}).items():
        cell = _cell(each["default"]) if "default" in each else "required" if each.get("required") else ""
        yield f"{below}.{key}", cell, _meaning(each, has_keys=False)
        yield from _keys(f"{below}.{key}", each)


def _cell(value: t.Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, sort_keys=False, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    if len(text) > LONGEST_CELL:
        return "see `defaults/main.yml`"
    return f"`{_in_a_cell(text)}`"


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")


def readme(old: str, inputs: str) -> str:
    """The README with *inputs* as the table below its heading.

    :raises ValueError: where it has no such heading.
    """
    before, found, rest = old.partition(HEADING)
    if not found:
        raise ValueError(f"README.md has no heading '{HEADING.strip()}'")
    lines = rest.lstrip("\n").splitlines(keepends=True)
    after = "".join(lines[next((place for place, line in enumerate(lines) if line[0] != "|"), len(lines)) :])
    return f"{before}{found}\n{inputs}{after}"


def targets(role: Path) -> dict[Path, str]:
    """The files of *role* and the text that they should have. A role without options has none of them."""
    spec = (role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    if not options_of(spec):
        return {}
    path, page = role / "defaults" / "main.yml", role / "README.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    return {path: defaults_file(spec, old), page: readme(page.read_text(encoding="utf-8"), table(spec, old))}


def main() -> int:
    status = 0
    for spec in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        role = spec.parents[1]
        try:
            stale = {
                path: text
                for path, text in targets(role).items()
                if not path.exists() or path.read_text(encoding="utf-8") != text
            }
        except ValueError as error:
            print(f"{role.relative_to(ROOT)}: {error}", file=sys.stderr)
            status = 1
            continue
        for path, text in stale.items():
            if "--check" in sys.argv:
                print(f"{path.relative_to(ROOT)} is stale: run make docs", file=sys.stderr)
                status = 1
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
