# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README and guides show is true: examples are accepted by what they are for, commands and files are there, tables are in use."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.doc_fragments import constructed, inventory_cache
from ansible_builder.ee_schema import validate_schema
from unit.documents import DOCUMENTS, Block, blocks
from unit.test_documentation import arguments, assert_accepted
from unit.tree import MODULES, PLUGINS, ROOT, constant, files, load, relative, tasks_of

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import HybridError
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import How
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.spec import ALLOW as OF_POOLS
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import options_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._inventory import parse_sources
from ansible_collections.homelab.hybrid.plugins.plugin_utils._networks import bridges_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._profiles import ALLOW, DELETE

README = ROOT / "README.md"
PAGES = ROOT / "docs" / "docsite" / "rst"
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
YAML = [block for block in BLOCKS if block.language == "yaml"]
COMMANDS = [block for block in BLOCKS if block.language in ("sh", "console")]
LISTS = {"hypervisor_bridges": "bridge", "hypervisor_storage_pools": "storage_pool", "hypervisor_images": "image"}
TYPES = {"boolean": "bool", "string": "str"}  # the words of plugins, and those of argument specifications
KINDS = {"vm": "kvm_vm", "container": "lxc_container"}
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=relative)


def module_file(name: str) -> Path:
    return PLUGINS / "modules" / f"{name}.py"


@functools.cache
def tool(name: str) -> t.Any:
    """A file of tests/tools, which are programs and no package."""
    sys.path.insert(0, str(ROOT / "tests" / "tools"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def is_play(entry: dict[str, t.Any]) -> bool:
    return "hosts" in entry or any(key.endswith("import_playbook") for key in entry)


# ---- YAML -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", YAML, ids=str)
def test_every_example_is_accepted(block: Block) -> None:
    found = yaml.safe_load(block.text)
    if isinstance(found, list):
        check_tasks(found)
    elif "plugin" in found:
        check_source(found)
    elif "dependencies" in found:
        validate_schema(found)
    elif "all" in found:
        assert found["all"]["children"].keys() == {"hypervisors", "guests"}
    else:
        check_variables(found, block.file)


def plugin_examples() -> t.Iterator[tuple[str, t.Any]]:
    """Each document of the examples of each plugin that is no module, with the file that it stands in."""
    for folder in ("callback", "connection", "filter", "inventory"):
        for path in files(PLUGINS / folder, "*.py"):
            if text := constant(path, "EXAMPLES"):
                yield from ((relative(path), document) for document in yaml.safe_load_all(text))
        for path in files(PLUGINS / folder, "*.yml"):
            yield relative(path), yaml.safe_load(yaml.safe_load(path.read_text())["EXAMPLES"])


@pytest.mark.parametrize(("where", "found"), [*plugin_examples()])
def test_every_example_of_a_plugin_is_accepted(where: str, found: t.Any) -> None:
    if isinstance(found, list):
        check_tasks(found)
    elif "plugin" in found:
        check_source(found)
    elif found.keys() == {"value"}:
        assert f"homelab.hybrid.{Path(where).stem}" in found["value"], "a private filter shows how it is called"
    else:
        # What a task hands to a module is no variable of an inventory.
        check_variables({key: value for key, value in found.items() if key != "guest_options"}, None)


def check_tasks(entries: list[dict[str, t.Any]]) -> None:
    """Plays or bare tasks. Whether their modules and roles are there the test of syntax says."""
    for play in entries:
        for written in (play, *(role for role in play.get("roles", ()) if isinstance(role, dict))):
            assert written.get("vars", {}).keys() <= known_variables()
    for task in tasks_of(
        yaml.safe_dump([entry for entry in entries if not any("import_playbook" in key for key in entry)])
    ):
        for path in MODULES:
            options = task.get(f"homelab.hybrid.{path.stem}")
            if isinstance(options, dict):
                assert_accepted(path, options, task["name"])


def check_source(source: dict[str, t.Any]) -> None:
    """The file of an inventory plugin."""
    assert source["plugin"] == "homelab.hybrid.guests"
    fragments = [fragment.ModuleDocFragment.DOCUMENTATION for fragment in (constructed, inventory_cache)]
    told = [constant(PLUGINS / "inventory" / "guests.py", "DOCUMENTATION"), *fragments]
    options = {name: option for text in told for name, option in load(text)["options"].items()}
    result = ArgumentSpecValidator(specification(options)).validate(source)
    assert not result.error_messages
    parse_sources(source["hypervisors"], {}, 10, True)


def specification(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """The documented *options* of a plugin as an argument specification."""
    aspects = ("elements", "choices", "required", "aliases")
    return {
        name: {
            "type": TYPES.get(told.get("type", "str"), told.get("type", "str")),
            **{key: told[key] for key in aspects if key in told},
        }
        for name, told in options.items()
    }


def check_variables(variables: dict[str, t.Any], file: str | None) -> None:
    """Variables of hypervisors, of guests or of a group."""
    assert variables.keys() - known_variables() == set(), "no playbook, role or filter reads them"
    lists = {**variables, "hypervisor_bridges": bridges_of("example", variables)}
    for variable, module in LISTS.items():
        for item in lists.get(variable, ()):
            assert_accepted(module_file(module), item, variable)
    for name, profile in variables.get("guest_profile_catalog", {}).items():
        check_guest({"guest_spec": profile}, name)
    if "guest_spec" in variables or "guest_startup" in variables:
        check_guest({"guest_profile_catalog": catalog(), **variables}, Path(file or "example").stem)


def check_guest(variables: dict[str, t.Any], name: str) -> None:
    """By the kinds that take all of its options. An example tells its kind by them, or is right for both."""
    errors = []
    for kind, module in KINDS.items():
        try:
            options = options_of(name, {"guest_kind": kind, **variables}, {})
            assert_accepted(module_file(module), options, f"guest_spec of {name}, {kind}")
        except (AssertionError, HybridError) as error:
            errors.append(str(error))
    assert len(errors) < len(KINDS), errors


@functools.cache
def catalog() -> dict[str, t.Any]:
    """The profiles of all examples: a block with a guest names those of the block before it."""
    found: dict[str, t.Any] = {}
    for block in YAML:
        read = yaml.safe_load(block.text)
        found.update(read.get("guest_profile_catalog", {}) if isinstance(read, dict) else {})
    return found


@functools.cache
def known_variables() -> set[str]:
    """Every word of a playbook, of what a role takes and of what runs on the control node, and what Ansible itself reads."""
    readers = [*files(ROOT / "playbooks", "*.yml"), *files(ROOT / "roles", "argument_specs.yml")]
    readers += [
        path for folder in ("connection", "doc_fragments", "filter", "plugin_utils") for path in files(PLUGINS / folder)
    ]
    readers = [path for path in readers if "inventory" not in path.parts]
    words = {word for path in readers for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    return words | {"ansible_connection", "ansible_host", "ansible_python_interpreter", "ansible_user"}


def test_every_play_and_every_task_has_a_right_syntax(tmp_path: Path) -> None:
    """Modules, roles and keywords, as ansible-playbook reads them."""
    playbooks = []
    for block in YAML:
        found = yaml.safe_load(block.text)
        if isinstance(found, list):
            plays = found if all(map(is_play, found)) else [{"hosts": "all", "gather_facts": False, "tasks": found}]
            playbooks.append(tmp_path / f"{str(block).replace('/', '-')}.yml")
            playbooks[-1].write_text(yaml.safe_dump(plays))
    assert playbooks
    done = ansible("ansible-playbook", "-i", "localhost,", "--syntax-check", *map(str, playbooks))
    assert done.returncode == 0, done.stderr


def test_the_inventories_of_examples_are_read(tmp_path: Path) -> None:
    sources = [block for block in YAML if "all" in (yaml.safe_load(block.text) or ())]
    assert sources
    for number, block in enumerate(sources):
        path = tmp_path / f"{number}.yml"
        path.write_text(block.text)
        done = ansible("ansible-inventory", "-i", str(path), "--list")
        assert done.returncode == 0 and "WARNING" not in done.stderr, f"{block}: {done.stderr}"
        variables = json.loads(done.stdout)["_meta"]["hostvars"].values()
        used = {key for its in variables for key in its if not key.startswith("ansible_")}
        assert used <= known_variables(), str(block)


def ansible(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_LOCALHOST_WARNING": "false"},
    )


def test_no_block_is_passed_over() -> None:
    """Text that is no example says so: ``text``, ``json``, ``console``."""
    assert {block.language for block in BLOCKS} <= {"yaml", "sh", "console", "text", "json"}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert len(re.findall(r"^```\w+$|^ *\.\. code-block::", text, re.MULTILINE)) == len(blocks(document)), document


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_every_shown_result_is_one(block: Block) -> None:
    """JSON, with no way of a change that there is not."""
    shown = json.loads(block.text)
    assert {change["how"] for change in shown.get("plan", [])} <= {how.value for how in How}


# ---- commands -------------------------------------------------------------------------------------------------------


def commands(block: Block) -> t.Iterator[list[str]]:
    """The commands of a block as words, without what a console answers."""
    for line in block.text.splitlines():
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        yield shlex.split(line, comments=True)


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_every_command_of_ansible_is_right(block: Block) -> None:
    """The playbook is there, what ``-e`` gives is read by somebody, and what it permits is a word of a module."""
    for words in commands(block):
        playbooks = [word.removeprefix("homelab.hybrid.") for word in words if word.startswith("homelab.hybrid.")]
        if words[:1] == ["ansible-playbook"]:
            assert all((ROOT / "playbooks" / f"{name}.yml").is_file() for name in playbooks), words
        for option, given in itertools.pairwise(words):
            if option == "-e":
                check_extra(given)


def check_extra(given: str) -> None:
    variables = json.loads(given) if given.startswith("{") else dict(pair.split("=", 1) for pair in given.split())
    assert variables.keys() <= known_variables()
    permits = (("guest_allow", ALLOW), ("guest_delete", DELETE), ("hypervisor_allow", {"pool": OF_POOLS}))
    for variable, known in permits:
        said = variables.get(variable, [])
        said = said.split(",") if isinstance(said, str) else said
        assert set(said) <= {word for words in known.values() for word in words}, said


def test_the_readme_describes_every_guest_that_it_names() -> None:
    files_shown = {block.file: yaml.safe_load(block.text) for block in blocks(README) if block.file}
    groups = files_shown["inventory/hosts.yml"]["all"]["children"]["guests"]["children"].values()
    guests = {guest for group in groups for guest in group["hosts"]}
    described = {Path(file).stem for file in files_shown if "/host_vars/" in file}
    named = {
        name
        for block in COMMANDS
        if block.document == README
        for words in commands(block)
        for option, given in itertools.pairwise(words)
        if option == "--limit"
        for name in given.split(",")
    }
    assert guests == described and named and named <= guests


# ---- files and tables -----------------------------------------------------------------------------------------------


def test_every_file_that_the_readme_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_the_readme_is_a_front_door() -> None:
    """What is longer belongs on a page of its own."""
    assert len(README.read_text().splitlines()) <= 160


def test_every_page_is_in_the_table_of_contents() -> None:
    sections = yaml.safe_load((ROOT / "docs" / "docsite" / "extra-docs.yml").read_text())["sections"]
    listed = [page for section in sections for page in section["toctree"]]
    assert sorted(listed) == sorted(path.stem for path in DOCUMENTS if path.suffix == ".rst")


def test_every_reference_to_a_page_leads_somewhere() -> None:
    texts = [path.read_text() for path in DOCUMENTS if path.suffix == ".rst"]
    labels = {label for text in texts for label in re.findall(r"^\.\. _([^:]+):$", text, re.MULTILINE)}
    assert {label for text in texts for label in re.findall(r":ref:`[^`]*<([^>]+)>`", text)} <= labels


@each_document
def test_every_make_target_that_is_named_is_there(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^ *\$? ?)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("word", ["allow", "delete"])
def test_every_word_that_permits_is_explained_with_its_modules(word: str) -> None:
    text = (PAGES / "guide_applying_changes.rst").read_text()
    for path in MODULES:
        choices = arguments(path).get(word, {}).get("choices", ())
        for choice in choices if path.stem != "layout" else ():
            row = re.search(rf"^  \* - [^\n]*``{choice}``.*?(?=^  \* - |\n\n)", text, re.MULTILINE | re.DOTALL)
            assert row and f"homelab.hybrid.{path.stem}#module" in row[0], f"{path.stem}: {choice}"


def test_every_word_beside_one_of_proxmox_is_an_option_a_variable_or_a_playbook() -> None:
    text = (PAGES / "guide_take_over.rst").read_text().partition("docsite.proxmox_words:")[2].partition("\n---")[2]
    rows = re.findall(r"^  \* - .*\n    - (.*)$", text.partition("What cannot be taken over")[0], re.MULTILINE)
    assert len(rows) > 15
    known = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} | known_variables()
    options: set[str] = set()
    for path in MODULES:
        options |= option_paths(arguments(path))
    written = {word for row in rows for word in re.findall(r"``([a-z_.]+)", row)}
    assert {word.removeprefix("homelab.hybrid.") for word in written} - known - options - {"hypervisors"} == set()


def option_paths(options: dict[str, t.Any]) -> set[str]:
    found = set(options)
    for name, told in options.items():
        found |= {f"{name}.{path}" for path in option_paths(told.get("options") or {})} | set(told.get("aliases", ()))
    return found


def test_the_command_that_installs_names_the_repository_of_the_collection() -> None:
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    installs = [
        words
        for block in blocks(README)
        for words in commands(block)
        if words[:3] == ["ansible-galaxy", "collection", "install"]
    ]
    assert [words[3:] for words in installs] == [[f"git+{repository}.git"]]


def test_one_command_installs_the_collection_from_its_repository(tmp_path: Path) -> None:
    """The way of the README, from a clone: no tool of Debian, and nothing that is built before."""
    clone = tmp_path / "hybrid"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{ROOT}", str(clone)], check=True)
    done = ansible(
        "ansible-galaxy", "collection", "install", f"git+file://{clone}", "-p", str(tmp_path / "there"), "--force"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    there = tmp_path / "there" / "ansible_collections" / "homelab" / "hybrid"
    assert (there / "playbooks" / "site.yml").is_file() and (there / "MANIFEST.json").is_file()


def test_the_guides_name_the_folders_that_are_in_use() -> None:
    told = (PAGES / "guide_troubleshooting.rst").read_text() + (PAGES / "guide_storage.rst").read_text()
    assert [
        place for place in (f"{paths.JOURNAL}/journal.jsonl", paths.LOCKS, paths.PROGRESS) if place not in told
    ] == []


def test_the_table_of_apply_paths_is_the_one_in_use() -> None:
    table = tool("apply_paths")
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.with_table(page) == page, "stale: make docs"


def test_the_table_of_the_catalogue_is_that_of_its_data() -> None:
    table = tool("catalogue_docs")
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.with_table(page) == page, "stale: make docs"


def test_what_is_said_of_presets_is_that_of_their_data() -> None:
    said = tool("preset_docs")
    page = said.PAGE.read_text(encoding="utf-8")
    assert said.with_text(page) == page, "stale: make docs"


def test_what_was_measured_again_comes_into_its_place() -> None:
    pages = tool("pages")
    head = ("what", "time", "ratio")
    standing = [
        *(("a: x", "1 s", "1.0"), ("night one: of `tar`", "2 s", "1.0"), ("night two: of `tar`", "3 s", "1.0")),
        ("b: x", "4 s", "1.0"),
    ]
    page = pages.list_table(head, ([cell.replace("`", "``") for cell in row] for row in standing))
    assert pages.standing_rows(page) == standing
    new = [("night one: anew", "5 s", "1.0"), ("night two: anew", "6 s", "1.2"), ("night three: anew", "7 s", "")]
    assert pages.merged(standing, new) == [standing[0], *new, standing[3]]
    assert pages.merged(standing, [("c: x", "8 s", "1.0")]) == [*standing, ("c: x", "8 s", "1.0")]


def test_the_table_of_benchmarks_has_its_place() -> None:
    """``make bench-write`` would find out only when it has measured for minutes."""
    page = (PAGES / "benchmarks.rst").read_text(encoding="utf-8")
    begin, end = "benchmarks: written by make bench-write", "end of benchmarks"
    assert "new" in tool("pages").replaced(page, begin, end, "new")
