# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system calls that bring a folder of the host into a running container."""

from __future__ import annotations

import contextlib
import os
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import binding, mapping, mounting
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError

# A process has a user namespace that it may open: its own.
PID = os.getpid()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    calls: list[t.Any] = []

    @contextlib.contextmanager
    def clone_of(source: str) -> t.Iterator[int]:
        calls.append(f"clone of {source}")
        yield 55

    def in_namespaces(pid: int, names: tuple[str, ...], do: t.Callable[[], None]) -> None:
        calls.append((pid, names))
        do()

    def move(number: int, tree: int, *given: t.Any) -> int:
        calls.append(("move", tree, given[2]))
        return 0

    libc = types.SimpleNamespace(syscall=move, umount2=lambda path, flags: calls.append(("umount", path, flags)) or 0)
    monkeypatch.setattr(mapping, "clone_of", clone_of)
    monkeypatch.setattr(mapping, "map_owners", lambda tree, namespace: calls.append(f"map {tree}"))
    monkeypatch.setattr(mapping, "restrict", lambda tree, options: calls.append(f"{tree} is {','.join(options)}"))
    monkeypatch.setattr(mounting, "in_namespaces", in_namespaces)
    monkeypatch.setattr(mapping, "libc", libc)
    return calls


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_folder_is_mapped_and_made_read_only_before_it_is_moved_to_its_place(
    tmp_path: Path, told: list[t.Any], monkeypatch: pytest.MonkeyPatch, is_mapped: bool
) -> None:
    made: list[t.Any] = []
    monkeypatch.setattr(binding, "_make_target", lambda path, root, is_folder: made.append((path, root, is_folder)))
    monkeypatch.setattr(binding, "extents_of", lambda pid, kind: [(0, 100000, 65536)])
    (tmp_path / "file").touch()
    for source, is_folder in ((tmp_path, True), (tmp_path / "file", False)):
        told.clear()
        options = ("bind", "ro", "idmap=container") if is_mapped else ("bind", "ro")
        mounting.mount(PID, str(source), "/data", options)
        mapped = ["map 55"] if is_mapped else []
        restricted = [f"55 is {','.join(options)}"]
        assert told == [f"clone of {source}", *mapped, *restricted, (PID, ("mnt",)), ("move", 55, b"/data")]
        assert made.pop() == ("/data", (100000, 100000), is_folder)


def test_what_the_kernel_refuses_is_told_and_a_mount_is_taken_away_where_it_is(
    told: list[t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounting.unmount(1, "/data")
    assert told == [(1, ("mnt",)), ("umount", b"/data", 2)]

    def refuse(source: str) -> t.Any:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(mapping, "clone_of", refuse)
    with pytest.raises(ApplyError, match="/srv could not be mounted at /data of the running container: Operation not"):
        mounting.mount(1, "/srv", "/data", ("bind",))
