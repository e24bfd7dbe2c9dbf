# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file says in its head what it may do: ``# PURE`` reaches no effects, ``# WRITES`` changes the host, no mark only reads.

The rooms ``_core`` and ``_run`` hold the means by which others read and write; of their files only the pure ones are marked.
"""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
from unit.tree import SHARED, SHARED_FILES, Import, imports, marks, parse, path_of, relative

MEANS = ("_core", "_run")
# Rooms in which nothing changes a host.
READERS = ("_host", "_listing")
# A kind of file that is pure in every room.
PURE_NAMES = ("spec", "state", "options", "plan", "units", "declared", "errors", "paths", "decide")
EFFECTS = frozenset(
    "os subprocess libvirt libvirt_qemu lxc ansible socket shutil pathlib tempfile fcntl ctypes multiprocessing signal"
    " threading time urllib http ssl glob io".split()
)
LIBRARIES = SHARED / "_core" / "libraries.py"
# A driver reads and writes the volumes of its pool: who asks it loads both, and only where there is such a pool.
DRIVERS = SHARED / "_storage" / "drivers"
# What it notes is only how a probe went, for the next run.
CACHES = (SHARED / "_host" / "accelerator.py",)

# Calls that change the host, by the module they are in ...
WRITING = {
    "os": (
        "chmod chown fchmod fchown lchown link makedirs mkdir mkfifo mknod remove removexattr rename replace rmdir setxattr symlink"
        " truncate ftruncate unlink utime"
    ).split(),
    "shutil": "chown copy copy2 copyfile copytree move rmtree".split(),
    "atomic": "write_file remove_file place remove_tree".split(),
}
# ... and of the objects of libvirt, LXC and our own records, by their name alone.
METHODS = frozenset(
    "attachDeviceFlags blockResize clear_config_item createWithFlags defineXML destroy detachDeviceFlags freeze managedSave"
    " managedSaveRemove networkDefineXML networkUpdate plug_in refresh save save_config setAutostart setBlockIoTune"
    " setInterfaceParameters setMemoryFlags setMetadata"
    " setVcpusFlags set_cgroup_item set_config_item storagePoolDefineXML undefine undefineFlags unfreeze updateDeviceFlags".split()
)
# Children that only tell.
TELLING = (
    ("apt-config", "dump"),
    ("bridge", "-j"),
    ("dpkg-query", "--show"),
    ("ip", "-j"),
    ("ip", "-6", "-j"),
    ("losetup", "--noheadings"),
    ("lxc-info",),
    ("nft", "list"),
    ("qemu-img", "info"),
    ("stat", "--file-system"),
    ("systemctl", "is-active"),
    ("systemctl", "show"),
    ("systemd-analyze", "calendar"),
    ("systemd-analyze", "condition"),
    ("nft", "-j", "list"),
    ("systemd-detect-virt", "--container"),
    ("tar", "--list"),
    ("tc", "-j"),
    ("unshare", "--net"),
    ("wg", "show"),
    ("wipefs", "--no-act"),
)

each_file = pytest.mark.parametrize("path", SHARED_FILES, ids=relative)


def room_of(path: Path) -> str:
    return path.relative_to(SHARED).parts[0]


def inside(path: Path) -> dict[Path, Import]:
    """The shared files that a file imports, also in functions and for types alone."""
    return {target: found for found in imports(path) if (target := path_of(found.module)) is not None}


def effects_of(path: Path, way: tuple[Path, ...] = (), seen: set[Path] | None = None) -> str | None:
    """The first way from a file to an effect, as a sentence; none leads through what was *seen*."""
    seen = set() if seen is None else seen
    if path in seen:
        return None
    seen.add(path)
    own = next((found.module for found in imports(path) if found.top in EFFECTS), None)
    if own is not None:
        return " -> ".join([*map(relative, (*way, path)), own])
    for target, found in sorted(inside(path).items()):
        if target == LIBRARIES and found.name == "etree":
            continue  # lxml reads and makes text, and nothing else of it is asked here
        if told := effects_of(target, (*way, path), seen):
            return told
    return None


def calls(path: Path) -> t.Iterator[tuple[ast.Call, str]]:
    """Every call of a file, and what is called."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def writing(path: Path) -> list[str]:
    """The calls of a file that change the host."""
    return [f"{relative(path)}:{node.lineno}: {name}" for node, name in calls(path) if is_writing(node, name)]


def is_writing(node: ast.Call, name: str) -> bool:
    module, dot, function = name.rpartition(".")
    if function in WRITING.get(module, ()):
        return True
    if dot and function in METHODS and module != "dataclasses":
        return True
    if name == "open":
        return not is_read(node)
    return name == "command.run" and not is_telling(node)


def is_read(node: ast.Call) -> bool:
    """Whether a file is opened to be read."""
    mode = node.args[1] if len(node.args) > 1 else None
    return mode is None or (isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rbt"))


def is_telling(node: ast.Call) -> bool:
    """Whether a child only tells. Of a command line that is put together elsewhere nothing is known."""
    argv = node.args[0] if node.args else None
    if not isinstance(argv, ast.List):
        return True
    words = tuple(item.value if isinstance(item, ast.Constant) else "" for item in argv.elts)
    return any(words[: len(known)] == known for known in TELLING)


@each_file
def test_a_file_has_one_mark_at_most(path: Path) -> None:
    assert len(marks(path)) <= 1


@pytest.mark.parametrize("path", [path for path in SHARED_FILES if path.stem in PURE_NAMES], ids=relative)
def test_a_file_that_is_pure_by_its_name_bears_the_mark(path: Path) -> None:
    assert marks(path) == {"PURE"}


@pytest.mark.parametrize("path", [path for path in SHARED_FILES if "PURE" in marks(path)], ids=relative)
def test_a_pure_file_reaches_no_effects(path: Path) -> None:
    assert effects_of(path) is None
    for node, name in calls(path):
        assert name not in ("open", "print", "input"), f"{relative(path)}:{node.lineno}: input or output"


@each_file
def test_a_file_that_can_be_pure_bears_the_mark(path: Path) -> None:
    if "PURE" not in marks(path):
        assert effects_of(path) is not None


@pytest.mark.parametrize("path", [path for path in SHARED_FILES if not marks(path)], ids=relative)
def test_a_file_that_writes_says_so(path: Path) -> None:
    if room_of(path) not in MEANS and path not in CACHES:
        assert not writing(path)


def test_rooms_of_readers_hold_no_writer() -> None:
    assert not [relative(path) for path in SHARED_FILES if room_of(path) in READERS and "WRITES" in marks(path)]


@pytest.mark.parametrize("path", [path for path in SHARED_FILES if not marks(path)], ids=relative)
def test_a_file_that_only_reads_loads_a_writer_to_apply_alone(path: Path) -> None:
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef)]
    for target, found in inside(path).items():
        if "WRITES" not in marks(target) or DRIVERS in target.parents:
            continue
        around = [node.name for node in functions if node.lineno <= found.line <= (node.end_lineno or 0)]
        assert around[-1:] in (["apply"], ["load"]), f"{relative(path)}:{found.line}: most runs have nothing to write"


@each_file
def test_no_file_imports_itself_through_others(path: Path) -> None:
    waiting, seen = [(target, (path, target)) for target in inside(path)], set()
    while waiting:
        target, way = waiting.pop()
        assert target != path, f"circle: {' -> '.join(map(relative, way))}"
        if target not in seen:
            seen.add(target)
            waiting += [(further, (*way, further)) for further in inside(target)]
