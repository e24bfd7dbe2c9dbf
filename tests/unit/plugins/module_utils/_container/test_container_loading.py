# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether liblxc can load a configuration: a child is asked, and a program where the child could not."""

from __future__ import annotations

import os
import types
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import loading
from ansible_collections.homelab.hybrid.plugins.module_utils._core.command import CommandError


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that were started; each says that it cannot load it."""
    started: list[list[str]] = []

    def run(argv: list[str], **how: t.Any) -> str:
        started.append(argv)
        raise CommandError(argv, 1, "line 7 is odd")

    monkeypatch.setattr(loading.command, "run", run)
    return started


def answer(monkeypatch: pytest.MonkeyPatch, load: t.Callable[[str, str], object]) -> None:
    monkeypatch.setattr(loading.libraries, "lxc", lambda: types.SimpleNamespace(Container=load))


def test_what_liblxc_loads_needs_no_program(monkeypatch: pytest.MonkeyPatch, programs: list[list[str]]) -> None:
    answer(monkeypatch, lambda name, folder: (name, folder))
    assert loading.problem_of("web", "/tmp/x") is None and not programs


def refuse(name: str, folder: str) -> None:
    raise RuntimeError


def end_the_caller(name: str, folder: str) -> None:
    os._exit(0)


@pytest.mark.parametrize("load", [refuse, end_the_caller])
def test_of_what_it_cannot_load_a_program_tells_why(
    monkeypatch: pytest.MonkeyPatch, programs: list[list[str]], load: t.Callable[[str, str], None]
) -> None:
    answer(monkeypatch, load)
    assert "line 7 is odd" in (loading.problem_of("web", "/tmp/x") or "")
    assert programs and all(argv[:5] == ["lxc-info", "-n", "web", "-P", "/tmp/x"] for argv in programs)
