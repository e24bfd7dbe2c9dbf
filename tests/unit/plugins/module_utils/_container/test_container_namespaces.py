# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked in a child of its own: its answer, its errors, and an end to the wait for it."""

from __future__ import annotations

import os
import time

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._container import child, namespaces
from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ApplyError, ObserveError


def test_the_answer_comes_back_whatever_its_length():
    assert namespaces.in_namespaces(os.getpid(), (), lambda: ["x" * 300_000]) == ["x" * 300_000]


def test_an_error_comes_back_as_a_sentence():
    def fail() -> None:
        raise ApplyError("it did not work")

    with pytest.raises(ObserveError, match="it did not work"):
        namespaces.in_namespaces(os.getpid(), (), fail, error=ObserveError)


def test_a_child_that_hangs_is_ended_and_named(monkeypatch):
    monkeypatch.setattr(child, "_SECONDS", 0.2)
    begin = time.monotonic()
    with pytest.raises(ApplyError, match=r"waited 0\.2 s for what was asked in the mnt namespace of process"):
        monkeypatch.setattr(namespaces, "_enter_and_do", lambda pid, kinds, do: time.sleep(30))
        namespaces.in_namespaces(os.getpid(), ("mnt",), lambda: None)
    assert time.monotonic() - begin < 10
