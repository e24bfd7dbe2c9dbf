# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill tests leave out a step only where nothing was done since the one before: what may reach the host counts as done."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import atomic
from ansible_collections.homelab.hybrid.tests.harness.child import Watch

Act = t.Callable[[Path], object]


def idle_steps(folder: Path, *acts: Act) -> list[int]:
    """The numbers of those of *acts* that do nothing, each a step."""
    watch = Watch()
    sys.setprofile(watch)
    try:
        for act in acts:
            act(folder)
            watch.note_step()
    finally:
        sys.setprofile(None)
    return watch.idle


def calculate(folder: Path) -> object:
    found = {"a": [1, 2], "b": [3]}
    return sorted(",".join(map(str, items)) for items in found.values()), max(found), len(found), {*found}.pop()


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: (folder / "file").write_text("more"),
        lambda folder: (folder / "file").rename(folder / "other"),
        lambda folder: os.unlink(folder / "file"),
        lambda folder: atomic.rename_new(str(folder / "file"), str(folder / "other")),
        lambda folder: ctypes.CDLL(None).sync(),
        lambda folder: subprocess.run(["true"], check=True),
        lambda folder: socket.socket().close(),
        lambda folder: time.sleep(0),
    ],
    ids=["write", "rename", "unlink", "rename_new", "ctypes", "program", "socket", "sleep"],
)
def test_what_may_reach_the_host_is_done(tmp_path: Path, act: Act) -> None:
    (tmp_path / "file").touch()
    assert idle_steps(tmp_path, calculate, act, calculate) == [1, 3]
